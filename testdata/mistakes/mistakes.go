// Package mistakes holds wiring mistakes that the compiler refuses. Each is on a
// line with a comment that quotes a part of what the compiler says.
package mistakes

import (
	"context"
	"iter"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/policy"
)

type (
	order   struct{ ID string }
	invoice struct{ Number string }
)

type ports struct{ Valid weir.Out[order] }

// wrongSink has the method of a sink with one argument too few.
type wrongSink struct{}

func (wrongSink) Open(context.Context) (weir.Writer[order], error) { return nil, nil }

// wrongTx has a TransactionalSink's method with another result.
type wrongTx struct{}

func (wrongTx) OpenTx(context.Context, weir.At) (weir.Writer[order], error) { return nil, nil }

// wrongSource forgets the position.
type wrongSource struct{}

func (wrongSource) Read(context.Context) iter.Seq2[weir.Batch[order], error] { return nil }

func byID(o order) string                                   { return o.ID }
func byNumber(i invoice) int                                { return len(i.Number) }
func toInvoice(o order) (invoice, error)                    { return invoice{o.ID}, nil }
func print(context.Context, order) error                    { return nil }
func add(n *int, o order) error                             { *n++; return nil }
func two(order, weir.Emit[order], weir.Emit[invoice]) error { return nil }

func wire(f *weir.Flow) {
	orders := weir.From(f, "orders", weir.Slice([]order{}))
	invoices := weir.Map(orders, "invoice", toInvoice)

	weir.Each(invoices, "print", print)                                                                                                                     // want "does not match"
	weir.Map(invoices, "again", toInvoice)                                                                                                                  // want "does not match"
	weir.Merge(orders, invoices)                                                                                                                            // want "does not match"
	weir.Map(orders, "no_error", func(o order) invoice { return invoice{} })                                                                                // want "does not match"
	weir.Map(orders, "context", func(context.Context, order) (invoice, error) { panic("") })                                                                // want "does not match"
	weir.Filter(orders, "filter", func(o order) bool { return true })                                                                                       // want "does not match"
	weir.Reduce(orders, "total", weir.Zero, add)                                                                                                            // want "does not match"
	weir.Reduce(weir.KeyBy(invoices, byNumber), "total", weir.Zero, add)                                                                                    // want "does not match"
	weir.Join(weir.KeyBy(orders, byID), weir.TableOf(weir.KeyBy(invoices, byNumber)), "join", func(order, invoice) (order, error) { panic("") })            // want "does not match"
	weir.Join(weir.KeyBy(orders, byID), weir.KeyBy(orders, byID), "join", func(order, order) (order, error) { panic("") })                                  // want "does not match"
	weir.KeyBy(orders, func(o order) []string { return nil })                                                                                               // want "does not satisfy comparable"
	weir.KeyBy(orders, byNumber)                                                                                                                            // want "does not match"
	weir.Split2(orders, "split", func(order, weir.Emit[order]) error { return nil })                                                                        // want "does not match"
	weir.Split(orders, "split", func(invoice, ports) error { return nil })                                                                                  // want "does not match"
	weir.Map(weir.DeadLetters(orders, "invoice"), "mend", toInvoice)                                                                                        // want "does not match"
	weir.Flatten(orders, "flatten")                                                                                                                         // want "does not satisfy"
	weir.From(f, "source", wrongSource{})                                                                                                                   // want "does not match"
	weir.Into(orders, "sink", wrongSink{})                                                                                                                  // want "does not match"
	weir.Into(orders, "sink", weir.ExactlyOnce(wrongTx{}))                                                                                                  // want "does not match"
	weir.Map(orders, "retry", toInvoice, policy.Retry{})                                                                                                    // want "missing method ApplyStage"
	weir.Map(orders, "emit", toInvoice, weir.EmitAtEnd())                                                                                                   // want "missing method ApplyStage"
	weir.Each(orders, "ports", print, weir.Ports("a"))                                                                                                      // want "missing method ApplySink"
	weir.Reduce(weir.All(orders), "flush", weir.Zero, add, weir.FlushEvery(1))                                                                              // want "missing method ApplyEmit"
	weir.From(f, "on_error", weir.Slice([]order{}), weir.OnError{})                                                                                         // want "missing method ApplySource"
	weir.Join(weir.KeyBy(orders, byID), weir.TableOf(weir.KeyBy(orders, byID)), "live", func(order, order) (order, error) { panic("") }, weir.EmitAlways()) // want "missing method ApplyState"
	f.Defaults(weir.EmitAlways())                                                                                                                           // want "missing method ApplyDefault"
	a, b, c := weir.Split2(orders, "split", two)                                                                                                            // want "assignment mismatch"
	weir.Each(weir.Records(orders), "records", print)                                                                                                       // want "does not match"
	weir.Into(orders, "nothing")                                                                                                                            // want "not enough arguments"
	weir.Map(orders, toInvoice, "name")                                                                                                                     // want "cannot infer"
	weir.Each(ports{}, "ports", print)                                                                                                                      // want "does not match"
	_, _, _ = a, b, c
}
