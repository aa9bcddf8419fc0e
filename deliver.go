package weir

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// The guarantees of a sink, for people.
const (
	atLeastOnce = "at least once"
	exactlyOnce = "exactly once"
)

// maxNote bounds a note and a mark, in bytes.
const maxNote = 4 << 10

// An idle deliverer is a plan.Deliverer that can do nothing special.
type idleDeliverer struct{}

func (idleDeliverer) Limit() int                              { return 0 }
func (idleDeliverer) Holds() bool                             { return false }
func (idleDeliverer) Flush(context.Context) error             { return nil }
func (idleDeliverer) Note() (string, bool)                    { return "", false }
func (idleDeliverer) Marks() plan.Marker                      { return nil }
func (idleDeliverer) Finishes() bool                          { return false }
func (idleDeliverer) Prepare(context.Context) (string, error) { return "", nil }
func (idleDeliverer) Finish(context.Context) (string, error)  { return "", nil }
func (idleDeliverer) Close() error                            { return nil }

// calling is the plan.Sink of Each, and its own Deliverer.
type calling[T any] struct {
	idleDeliverer
	fn   func(context.Context, T) error
	dead morgue[T]
}

func (c *calling[T]) Guarantee() string                                     { return atLeastOnce }
func (c *calling[T]) Open(context.Context, plan.At) (plan.Deliverer, error) { return c, nil }
func (c *calling[T]) Bury(b *plan.Batch, i int, f *plan.Failure)            { c.dead.bury(b, i, f, true) }

// Deliver calls the function for each record; see plan.Deliverer. When ctx ends
// meanwhile, it is not known what came of the call under way, so nothing is said
// of the batch: all of it comes again.
func (c *calling[T]) Deliver(ctx context.Context, b *plan.Batch, from, to, _ int, _ bool) (failed map[int]error, err error) {
	values := b.Values.([]T)
	for i := from; i < to && ctx.Err() == nil; i++ {
		if err := c.call(ctx, values[i]); err != nil {
			if failed == nil {
				failed = map[int]error{}
			}
			failed[i] = err
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return failed, nil
}

func (c *calling[T]) call(ctx context.Context, v T) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p).Err
		}
	}()
	return c.fn(ctx, v)
}

// delivering is the plan.Sink of a Sink.
type delivering[T any] struct {
	sink Sink[T]
	dead morgue[T]
}

func (d *delivering[T]) Guarantee() string {
	if _, ok := d.sink.(exactly[T]); ok {
		return exactlyOnce
	}
	return atLeastOnce
}

func (d *delivering[T]) Bury(b *plan.Batch, i int, f *plan.Failure) { d.dead.bury(b, i, f, true) }

// Open opens the sink; see plan.Sink.
func (d *delivering[T]) Open(ctx context.Context, at plan.At) (_ plan.Deliverer, err error) {
	public := At{Flow: at.Flow, Stage: at.Stage, Run: at.Run, Redrives: at.Redrives, Epoch: at.Epoch, EpochID: at.EpochID.String(), Note: at.Note}
	stageAt := at.StageAt
	if stageAt == nil {
		stageAt = func(journal.LSN) string { return at.Stage }
	}
	if e, ok := d.sink.(exactly[T]); ok {
		tx, err := e.sink.OpenTx(ctx, public)
		if err == nil && tx == nil {
			err = errors.New("OpenTx returned neither a TxWriter nor an error")
		}
		if err != nil {
			return nil, err
		}
		return &transacting[T]{stageAt: stageAt, tx: tx}, nil
	}
	w := &writing[T]{stageAt: stageAt}
	if w.w, err = d.sink.Open(ctx, public); err == nil && w.w == nil {
		err = errors.New("Open returned neither a Writer nor an error")
	}
	if err != nil {
		return nil, err
	}
	if l, ok := w.w.(Limiter); ok {
		w.limit = max(l.Limit(), 1)
	}
	w.flusher, _ = w.w.(Flusher)
	w.noter, _ = w.w.(Noter)
	w.finisher, _ = w.w.(Finisher)
	return w, nil
}

// writing is the plan.Deliverer of a Writer.
type writing[T any] struct {
	stageAt  func(journal.LSN) string // what the stage is called in the ids of deliveries
	w        Writer[T]
	limit    int
	flusher  Flusher
	noter    Noter
	finisher Finisher
}

// Deliver delivers a part of a batch; see plan.Deliverer.
func (w *writing[T]) Deliver(ctx context.Context, b *plan.Batch, from, to, attempt int, redelivered bool) (failed map[int]error, err error) {
	batch := appendDeliveries[T](nil, w.stageAt(b.LSN), plan.Part{Batch: b, From: from, To: to, Redelivered: redelivered}, attempt)
	err = w.w.Deliver(ctx, batch)
	partial, ok := errors.AsType[*PartialError](err)
	if !ok || ctx.Err() != nil { // of what was cut short nothing is known
		return nil, err
	}
	failed = make(map[int]error, len(partial.Failed))
	for i, err := range partial.Failed {
		if i < 0 || i >= len(batch) {
			return nil, fmt.Errorf("the sink says that delivery %d failed, in a batch of %d: %w", i, len(batch), err)
		}
		if err == nil {
			err = errors.New("the sink did not say why")
		}
		failed[from+i] = err
	}
	return failed, nil
}

// appendDeliveries appends what a sink gets of a part.
func appendDeliveries[T any](to []Delivery[T], stage string, p plan.Part, attempt int) []Delivery[T] {
	b := *p.Batch
	b.Values = b.Values.([]T)[p.From:p.To:p.To]
	b.First += uint64(p.From)
	if b.Keys != nil {
		b.Keys = b.Keys[p.From:p.To]
	}
	if b.Times != nil {
		b.Times = b.Times[p.From:p.To]
	}
	if b.Originals != nil {
		b.Originals = b.Originals[p.From:p.To]
	}
	records := recordsOf[T](&b).Values.([]event.Record[T])
	ids := make([]byte, 0, len(records)*(len(b.Journal)+len(stage)+40))
	ends := make([]int, len(records))
	for i := range records {
		ids, _ = b.ID(i).AppendText(ids)
		ids = append(append(ids, '>'), stage...)
		ends[i] = len(ids)
	}
	text, start := string(ids), 0
	to = slices.Grow(to, len(records))
	for i := range records {
		to = append(to, Delivery[T]{Record: records[i], ID: text[start:ends[i]], Attempt: attempt, Redelivery: p.Redelivered})
		start = ends[i]
	}
	return to
}

func (w *writing[T]) Limit() int { return w.limit }

func (w *writing[T]) Holds() bool { return w.flusher != nil }

func (w *writing[T]) Flush(ctx context.Context) error {
	if w.flusher == nil {
		return nil
	}
	return w.flusher.Flush(ctx)
}

func (w *writing[T]) Note() (string, bool) {
	if w.noter == nil {
		return "", false
	}
	return w.noter.Note(), true
}

func (w *writing[T]) Marks() plan.Marker { return nil }

func (w *writing[T]) Finishes() bool { return w.finisher != nil }

func (w *writing[T]) Prepare(ctx context.Context) (string, error) {
	return noted(w.finisher.Prepare(ctx))
}

func (w *writing[T]) Finish(ctx context.Context) (string, error) {
	return noted(w.finisher.Finish(ctx))
}

func (w *writing[T]) Close() error { return w.w.Close() }

// noted checks the length of a note.
func noted(note string, err error) (string, error) {
	if err == nil && len(note) > maxNote {
		err = fmt.Errorf("the note of the sink is %d bytes long, the limit is %d", len(note), maxNote)
	}
	return note, err
}

// transacting is the plan.Deliverer, and the plan.Marker, of a TxWriter.
type transacting[T any] struct {
	idleDeliverer
	stageAt func(journal.LSN) string // as in writing
	tx      TxWriter[T]
}

// Deliver is not called of a sink that stores marks.
func (w *transacting[T]) Deliver(context.Context, *plan.Batch, int, int, int, bool) (map[int]error, error) {
	return nil, errors.New("a sink that stores marks was to deliver without one")
}

func (w *transacting[T]) Marks() plan.Marker { return w }
func (w *transacting[T]) Close() error       { return w.tx.Close() }

func (w *transacting[T]) Mark(ctx context.Context) (string, error) {
	m, err := w.tx.Mark(ctx)
	return string(m), err
}

func (w *transacting[T]) Commit(ctx context.Context, parts []plan.Part, attempt int, mark string) error {
	var batch []Delivery[T]
	for _, p := range parts {
		batch = appendDeliveries(batch, w.stageAt(p.Batch.LSN), p, attempt)
	}
	return w.tx.Commit(ctx, batch, Mark(mark))
}
