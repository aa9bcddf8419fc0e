// Package weir defines and runs durable dataflows.
//
// A flow is Go code that connects stages. A stage is a call, the stream it
// returns is its output, and passing the stream on is the edge:
//
//	var hello = weir.Define("hello", func(f *weir.Flow) {
//		words := weir.From(f, "words", weir.Slice([]string{"hello", "durable", "world"}))
//		loud := weir.Map(words, "shout", func(w string) (string, error) { return strings.ToUpper(w), nil })
//		weir.Each(loud, "print", func(_ context.Context, w string) error { fmt.Println(w); return nil })
//	})
//
// A [Definition] is a recipe; [Definition.Run] builds it afresh and executes it.
// Everything that happens is in the run's log before the world can see it, so a
// run whose process died goes on where it was: run the same definition over the
// same directory again.
//
// Stages are named by the string they are given. The name is what the log knows
// a stage by, across runs and releases of the program.
//
//   - Sources: [From] with a [Source], such as [Slice], [Seq] or [Chan].
//   - Stateless stages: [Map], [Filter], [FlatMap], [Flatten], [Split2],
//     [Split3] and [Split].
//   - Stages with state for each key: [Reduce], [TopN], [Latest], [Join] and
//     [LeftJoin], on what [KeyBy] or [All] return.
//   - Sinks: [Into] with a [Sink], [Each] with a function.
//   - Views, which only say how a stage reads: [Merge], [KeyBy], [All],
//     [Records], [TableOf], [DeadLetters] and [BadInput].
//
// Payloads are plain Go types, encoded as JSON in the log. A stage gets exactly
// what decoding the record gives, and may keep or change it.
//
// Functions without a context.Context are pure: they compute from their
// arguments alone, because a replay calls them again. An error that a function
// returns sends its input to the dead letters of the stage and the flow goes on;
// a panic fails the stage ([OnError] changes either). In both cases the input
// leaves nothing behind: neither what was emitted for it nor what it changed of
// the state.
package weir
