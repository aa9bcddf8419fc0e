// Package event holds the words flows, journals and tools share about what
// travels: payloads and their names, records, references and the kinds of
// failure. It depends on the standard library alone, and everything above it
// may depend on it.
//
//   - A [Ref] addresses a record among those that exist now ("orders.out:17"),
//     a [RecordID] identifies one for ever.
//   - A [Record] is a payload with what the log knows about it.
//   - A [Kind] says why something failed; [Mark] puts one on an error and
//     [KindOf] reads it.
//   - [Typed], [Validator] and [Upcast] are what a payload type can say about
//     itself; [Codec] chooses how payloads are written.
//   - [ValidName] is the one rule for the names of flows, stages, groups and
//     ports.
package event
