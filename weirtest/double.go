package weirtest

import (
	"context"
	"fmt"
	"reflect"
	"strconv"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// A feed is a source that yields given values through the source it replaces.
type feed[T any] struct {
	plan.Source // emits
	values      []T
}

func newFeed[T any](replaced plan.Source, values []T) *feed[T] {
	return &feed[T]{Source: replaced, values: values}
}

// feedBatch is how many values a feed reads at once.
const feedBatch = 64

func (f *feed[T]) Read(ctx context.Context, after string, take func(*plan.Read) bool) error {
	at := 0
	if after != "" {
		var err error
		if at, err = strconv.Atoi(after); err != nil || at > len(f.values) {
			return fmt.Errorf("position %q is none of a source of %d values", after, len(f.values))
		}
	}
	for at < len(f.values) && ctx.Err() == nil {
		end := min(at+feedBatch, len(f.values))
		if !take(&plan.Read{Values: f.values[at:end:end], N: end - at, Position: strconv.Itoa(end)}) {
			return nil
		}
		at = end
	}
	return context.Cause(ctx)
}

func (f *feed[T]) Bounded() bool { return true }

func (f *feed[T]) Expect(context.Context) (int64, bool, error) {
	return int64(len(f.values)), true, nil
}

func (f *feed[T]) Ack() func(context.Context, string) error { return nil }

// received is what was delivered to a sink, by all processes.
type received struct {
	values []any
	marks  []delivery // of the same
}

// A delivery is one record that reached a sink.
type delivery struct {
	id      event.RecordID
	session int
	again   bool // it was said that it may have come before
}

// A recorder is a sink that remembers what it was to deliver. It buries like the
// sink that it replaces.
type recorder struct {
	plan.Sink
	setup *setup
	to    *received
}

func (r *recorder) Open(context.Context, plan.At) (plan.Deliverer, error) { return r, nil }

func (r *recorder) Deliver(_ context.Context, b *plan.Batch, from, to, _ int, again bool) (map[int]error, error) {
	values := reflect.ValueOf(b.Values)
	for i := from; i < to; i++ {
		r.to.values = append(r.to.values, values.Index(i).Interface())
		id := event.RecordID{Epoch: b.Epoch, Journal: b.Journal, Seq: b.First + uint64(i)}
		r.to.marks = append(r.to.marks, delivery{id, r.setup.session, again})
	}
	return nil, nil
}

func (r *recorder) Limit() int                              { return 0 }
func (r *recorder) Holds() bool                             { return false }
func (r *recorder) Flush(context.Context) error             { return nil }
func (r *recorder) Note() (string, bool)                    { return "", false }
func (r *recorder) Marks() plan.Marker                      { return nil }
func (r *recorder) Finishes() bool                          { return false }
func (r *recorder) Prepare(context.Context) (string, error) { return "", nil }
func (r *recorder) Finish(context.Context) (string, error)  { return "", nil }
func (r *recorder) Close() error                            { return nil }
