// Package history reads any run without its code: what there is, how it went,
// every record, what each followed from and what came of it.
//
// [List] and [Find] look into a data directory, [Open] opens one run for reading;
// [Of] reads a log that this process owns. A [Run] needs no lock and works while
// another process writes: it sees what that process has made durable, and more
// each time it looks.
//
//	run, err := history.Open("/var/lib/shop/payments/01JZ…")
//	if err != nil { … }
//	defer run.Close()
//	s, err := run.Summary(ctx)                            // status, stages, edges
//	for rec, err := range run.Records(ctx, "validate.dead", history.Range{}) { … }
//	why, err := run.Why(ctx, ref, history.Limits{})       // back to the sources
//	came, err := run.Impact(ctx, ref, history.Limits{})   // forward to the receipts
//	report, err := run.Check(ctx)                         // is the record whole
//
// Status is never stored: it is what the log says ([Status]). Everything here
// has a JSON form, which is what `weir … --json` prints.
//
// Nothing is written and nothing is interpreted: payloads are shown as they are
// recorded.
package history
