package engine

import (
	"bytes"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// maxOpenBytes is how much data of accepted inputs a stage holds before others
// wait.
const maxOpenBytes = 64 << 20

// accepts reports whether one more input may be accepted in round r.
func (w *performer) accepts(r *round) bool {
	switch s := w.s; {
	case !w.reading, w.over, r.failed != nil, r.items >= s.limit:
		return false
	case w.single, s.careful:
		return r.size == 0
	case w.stopping && w.running == 0 && !w.startable() && len(r.accepted) == 0:
		return true // what the inputs hold stands before their end
	case w.holds(), len(w.ready)+len(r.accepted) >= 2*w.slots(), len(w.tasks)+len(r.accepted) >= w.tune.MaxOpen:
		return false
	case w.bytes+r.bytes >= maxOpenBytes, r.size >= turnBytes:
		return false
	case r.items == 0 && w.running > 0 && s.run.c.Log.Stats().Paused != nil:
		return false // the space left is for outcomes
	}
	return true
}

// accept takes inputs into open work.
func (w *performer) accept(r *round) error {
	s := w.s
	for i := range s.inputs {
		e := s.inputs[(s.next+i)%len(s.inputs)]
		if s.declines(e) {
			continue
		}
		for w.accepts(r) {
			if err := e.fill(e.work); err != nil {
				return err
			}
			h, at, ok := e.peek()
			if !ok {
				break
			}
			if took, err := w.acceptOne(r, e, h.batch, at); err != nil {
				return err
			} else if !took {
				return nil
			}
		}
	}
	s.next = (s.next + 1) % len(s.inputs)
	return nil
}

// acceptOne accepts record i of b, or buries it; with false it fails the stage
// once what came before is placed.
func (w *performer) acceptOne(r *round, e *edge, b *plan.Batch, i int) (bool, error) {
	s := w.s
	t := &task{in: plan.Accepted{
		ID:    w.next + uint64(len(r.accepted)),
		Input: event.RecordID{Epoch: b.Epoch, Journal: e.journal, Seq: b.First + uint64(i)},
		Run:   s.run.c.RootRun, Stage: s.name, Original: b.Original(i),
	}}
	var f *plan.Failure
	if _, bad := b.Readable(i, i+1); bad != nil {
		f = unread(bad)
	} else {
		f = w.p.Accept(b, i, &t.in)
		t.in.Data = bytes.Clone(t.in.Data)
	}
	if f == nil && r.tooLarge {
		t.in.Data, f = nil, &plan.Failure{Kind: event.KindTooLarge, Err: journal.ErrTooLarge}
	}
	if f != nil {
		if ok, err := w.bury(r, t, f); err != nil || !ok {
			return false, err
		}
	} else {
		s.t.Open = append(s.t.Open, journal.OpenWork{
			Op: journal.OpenAdd, ID: t.in.ID, Epoch: t.in.Input.Epoch, Journal: e.journal, Seq: t.in.Input.Seq, Data: t.in.Data,
		})
		r.accepted = append(r.accepted, t)
		r.bytes += len(t.in.Data)
	}
	s.consumeRun(e, b, i, i+1)
	s.budget.seen++
	e.step(1)
	r.items++
	r.size += len(t.in.Data) + 1
	return true, nil
}
