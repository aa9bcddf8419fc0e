package engine

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A transform is the worker of a stage that computes.
type transform struct {
	s      *stage
	failed *InputError // the input that ends the stage, once what precedes it is placed
	gave   error       // the budget that ends the stage, likewise

	accounts *account // nil if the stage keeps no state
}

func (w *transform) open() error                  { return nil }
func (w *transform) read()                        {}
func (w *transform) pause()                       {}
func (w *transform) stop()                        {}
func (w *transform) handle(message) error         { return nil }
func (w *transform) output() (_, _ bool, _ error) { return false, true, nil }
func (w *transform) cut() bool                    { return true }
func (w *transform) close() bool                  { return true }
func (w *transform) leave()                       {}

func (w *transform) idle() bool { return !w.s.pendingInput() }

// drain decides the accounting contract.
func (w *transform) drain() (did, done bool, err error) {
	if w.accounts == nil {
		return false, true, nil
	}
	w.accounts.judge(w.s)
	return true, true, w.s.flushSaid()
}

// pendingInput reports whether an input that the stage reads holds something for
// it.
func (s *stage) pendingInput() bool {
	for _, e := range s.inputs {
		if e.standing().pending {
			return true
		}
	}
	return false
}

// work makes one transition of what is at hand.
func (w *transform) work() (bool, error) {
	s := w.s
	if s.full() {
		return false, nil
	}
	for again := true; again; {
		again = false
		for i := range s.inputs {
			e := s.inputs[(s.next+i)%len(s.inputs)]
			if s.declines(e) {
				continue
			}
			took, err := w.take(e)
			if err != nil {
				return true, errors.Join(err, s.drop())
			}
			again = again || took
			if w.stops() {
				again = false
				break
			}
		}
	}
	s.next = (s.next + 1) % len(s.inputs)
	if w.failed == nil && w.gave == nil {
		if err := s.takeEnds(); err != nil {
			return true, errors.Join(err, s.drop())
		}
	}
	if s.turn.items == 0 && w.failed == nil {
		return false, nil
	}
	return true, w.finish()
}

// finish places the open transition.
func (w *transform) finish() error {
	s := w.s
	if s.turn.items > 0 {
		items := s.turn.items
		err := s.commit(journal.Normal)
		switch {
		case errors.Is(err, journal.ErrTooLarge):
			w.failed, w.gave = nil, nil
			return w.tooLarge(items)
		case err != nil:
			return err
		}
		if !s.careful {
			s.limit = s.run.c.Batch
		}
	}
	return w.outcome()
}

// outcome is why the stage ends, now that what precedes it is placed; nil if it
// does not.
func (w *transform) outcome() error {
	if w.failed != nil {
		return w.failed
	}
	return w.gave
}

// stops reports whether the open transition takes nothing more.
func (w *transform) stops() bool {
	s := w.s
	if w.failed != nil || w.gave != nil || s.turn.items >= s.limit {
		return true
	}
	bytes, records := s.written()
	return bytes >= turnBytes || records >= 4*turnRecords
}

// declines reports whether the stage does not read an input at present.
func (s *stage) declines(e *edge) bool {
	return e.saw != 0 || (s.rules.State() == supervise.StageHydrating && e.spec.Role != plan.TableAtEnd)
}

// take runs the handler over some records of one input.
func (w *transform) take(e *edge) (bool, error) {
	s := w.s
	if err := e.fill(e.work); err != nil {
		return false, err
	}
	h, from, ok := e.peek()
	if !ok {
		return false, nil
	}
	b, raw := h.batch, h.raw
	to, bad := b.Readable(from, min(b.N, from+min(pieceLimit, s.limit-s.turn.items)))
	if bad != nil {
		return true, w.refused(piece{edge: e, batch: b, raw: raw, from: from, failure: unread(bad)}, false)
	}
	if s.careful {
		to = from + 1
		if ok, err := s.try(e, b, from); err != nil {
			return false, err
		} else if !ok {
			return true, w.refused(piece{edge: e, batch: b, raw: raw, from: from, failure: crashed()}, false)
		}
	}
	s.node.Turn.Base = s.turn.items
	next, dirty, f := s.node.Handler.Handle(e.input, b, from, to)
	if next < from || next > to || (f == nil && next != to) {
		return true, fmt.Errorf("handler of %s returned record %d for records %d to %d", s.name, next, from, to)
	}
	if next > from {
		w.took(piece{edge: e, batch: b, raw: raw, from: from, to: next})
	}
	if f == nil {
		return true, nil
	}
	return true, w.refused(piece{edge: e, batch: b, raw: raw, from: next, failure: f}, dirty)
}

// took notes that a piece is part of the open transition.
func (w *transform) took(p piece) {
	s := w.s
	s.turn.pieces = append(s.turn.pieces, p)
	s.consumeRun(p.edge, p.batch, p.from, p.to)
	s.budget.seen += uint64(p.to - p.from)
	p.edge.step(p.to - p.from)
}

// refused deals with the first record of a piece, which the handler did not
// accept.
func (w *transform) refused(p piece, dirty bool) error {
	s, f := w.s, p.failure
	p.to = p.from + 1
	if errors.Is(f.Err, plan.ErrFull) && s.turn.items > 0 {
		items := s.turn.items
		if err := s.drop(); err != nil {
			return err
		}
		s.limit = max(1, min(items, s.limit)/2)
		return nil
	}
	if dirty {
		if err := w.rerun(); err != nil {
			return err
		}
	}
	action := s.node.OnError.Error
	if f.Panic {
		action = s.node.OnError.Panic
	}
	if action == plan.Fail || s.node.Dead == nil {
		w.failed = &InputError{
			Input: fmt.Sprintf("%s:%d", p.edge.journal, p.batch.First+uint64(p.from)), Kind: f.Kind, Panic: f.Panic, Stack: f.Stack, Err: f.Err,
		}
		return nil
	}
	s.tellPanic(f.Panic, fmt.Sprintf("%s:%d", p.edge.journal, p.batch.First+uint64(p.from)), f.Err, f.Stack)
	if err := w.bury(p); err != nil {
		return err
	}
	w.took(p)
	w.gave = s.budget.spend(s.node.OnError.Budget)
	return nil
}

// bury writes a piece's record to the dead letters.
func (w *transform) bury(p piece) error {
	s := w.s
	s.node.Turn.Base, s.node.Turn.Item = s.turn.items, s.turn.items
	b, at := p.edge.freshOne(p.batch, p.raw, p.from)
	s.node.Handler.Bury(p.edge.input, b, at, p.failure)
	if err := s.node.Dead.Writer.Err(); err != nil {
		return fmt.Errorf("dead letter for %s:%d: %w", p.edge.journal, p.batch.First+uint64(p.from), err)
	}
	return nil
}

// rerun brings the open transition back to where it was before an input that
// left half of a change behind.
func (w *transform) rerun() error {
	s := w.s
	if err := s.revert(); err != nil {
		return err
	}
	for _, p := range s.ports {
		p.Writer.Rollback(0)
	}
	items, end := 0, s.turn.items
	var again *held // the batch that was made anew last
	for _, p := range s.turn.pieces {
		s.turn.items = items
		if p.failure != nil {
			if err := w.bury(p); err != nil {
				return err
			}
		} else {
			s.node.Turn.Base = items
			if again == nil || again.raw != p.raw {
				again = &held{raw: p.raw, batch: p.edge.fresh(p.batch, p.raw)}
			}
			next, _, f := s.node.Handler.Handle(p.edge.input, again.batch, p.from, p.to)
			if f != nil || next != p.to {
				return fmt.Errorf("handler is not deterministic: it accepted %s:%d and then refused it: %w",
					p.edge.journal, p.batch.First+uint64(next), failureOf(f))
			}
		}
		items += p.to - p.from
	}
	s.turn.items = end
	return nil
}

func failureOf(f *plan.Failure) error {
	if f == nil || f.Err == nil {
		return errors.New("no cause was given")
	}
	return f.Err
}

// tooLarge makes the next transition smaller, after one of so many items was
// refused; a single input that is too large is buried.
func (w *transform) tooLarge(items int) error {
	s := w.s
	if items > 1 && s.limit > 1 {
		s.limit = max(1, min(items, s.limit)/2)
		return nil
	}
	for i := range s.inputs {
		e := s.inputs[(s.next+len(s.inputs)-1+i)%len(s.inputs)]
		if s.declines(e) {
			continue
		}
		h, at, ok := e.peek()
		if !ok {
			continue
		}
		f := &plan.Failure{Kind: event.KindTooLarge, Err: journal.ErrTooLarge}
		name := fmt.Sprintf("%s:%d", e.journal, h.batch.First+uint64(at))
		if err := w.refused(piece{edge: e, batch: h.batch, raw: h.raw, from: at, failure: f}, false); err != nil {
			return err
		}
		if s.turn.items > 0 {
			if err := s.commit(journal.Normal); err != nil {
				return fmt.Errorf("dead letter for %s: %w", name, err)
			}
		}
		return w.outcome()
	}
	return fmt.Errorf("%w: what follows from no input", journal.ErrTooLarge)
}

// takeEnds notes, in the open transition, the ends that come next on the inputs,
// if the two sides agree on what came before them.
func (s *stage) takeEnds() error {
	for _, e := range s.inputs {
		if s.declines(e) {
			continue
		}
		if end, ok := e.ended(); ok {
			if e.verdict = e.judge(end); e.verdict.State == contract.Fail {
				return e.verdict.Err()
			}
			s.consumeOther(journal.Consumed{Kind: journal.Ended, Journal: e.journal, End: end.kind})
			e.sees = end.kind
		}
	}
	return nil
}

// sawEnds follows from the ends that the placed transition noted.
func (s *stage) sawEnds() {
	for i, e := range s.inputs {
		if e.sees == 0 {
			continue
		}
		e.saw, e.sees = e.sees, 0
		s.judge(transportGate(e), e.verdict, true, true, "")
		s.raise(supervise.StageInput{Event: supervise.EndOfInput, Input: i, Ending: supervise.Ending(e.saw)})
	}
}

// emitAtEnd emits what the natural end of input brings, one transition at a time.
func (s *stage) emitAtEnd() error {
	s.node.Turn.Base, s.node.Turn.Item = 0, -1
	last, done, f := s.ender.AtEnd(s.endTab.last(), s.atEndFull)
	if f != nil {
		return &InputError{Input: "the end of its input", Kind: f.Kind, Panic: f.Panic, Stack: f.Stack, Err: failureOf(f)}
	}
	if _, records := s.written(); records > 0 {
		s.endTab.set(last)
		if err := s.commit(journal.Normal); err != nil {
			return err
		}
	} else if !done {
		return fmt.Errorf("the handler of %s emitted nothing at the end and is not done", s.name)
	}
	s.emitting = !done
	return nil
}

// atEndFull tells an Ender that its transition is large enough.
func (s *stage) atEndFull() bool {
	bytes, records := s.written()
	return bytes >= turnBytes || records >= turnRecords
}
