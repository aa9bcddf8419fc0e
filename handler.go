package weir

import (
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// An outlet is a port that a handler emits to: a *plan.TypedWriter.
type outlet interface {
	Watch(b *plan.Batch, from int)
	Undo()
}

// rows is the table that a handler changes: a *plan.TypedTable.
type rows interface {
	Close()             // ends what the present item did
	Undo() (dirty bool) // takes it back
}

// A handler is the plan.Handler of a stage with one logical input: it calls
// step for each record.
type handler[In any] struct {
	turn *plan.Turn
	step func(b *plan.Batch, i int, v In) error
	outs []outlet
	dead morgue[In]
	rows rows // the table that step changes; nil without state
}

// Handle works on a batch; see plan.Handler. A panic of the user's ends the
// call, so the recovery costs once for a batch and not for each record.
func (h *handler[In]) Handle(_ int, b *plan.Batch, from, to int) (next int, dirty bool, failure *plan.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = panicked(p)
			dirty = h.takeBack()
		}
	}()
	values := b.Values.([]In)
	turn := h.turn
	for _, o := range h.outs {
		o.Watch(b, from)
	}
	for next = from; next < to; next++ {
		turn.Item = turn.Base + next - from
		err := h.step(b, next, values[next])
		if err == nil {
			err = turn.Err
		}
		if err != nil {
			return next, h.takeBack(), refused(err, event.KindDomain)
		}
		if h.rows != nil {
			h.rows.Close()
		}
	}
	return next, false, nil
}

// takeBack undoes the present item.
func (h *handler[In]) takeBack() (dirty bool) {
	for _, o := range h.outs {
		o.Undo()
	}
	h.turn.Err = nil
	return h.rows != nil && h.rows.Undo()
}

// Bury writes a record to the dead letters; see plan.Handler.
func (h *handler[In]) Bury(_ int, b *plan.Batch, i int, f *plan.Failure) { h.dead.bury(b, i, f, true) }
