package engine

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// emitAll emits the outputs that may leave: those that wait for nothing, and in
// order those before which none is missing.
func (w *performer) emitAll(r *round) error {
	for _, t := range w.loose {
		if err := w.emitOne(r, t); err != nil {
			return err
		}
	}
	for _, m := range r.moves {
		if m.answers() && (w.tune.Unordered || m.t.late) {
			if err := w.emitOne(r, m.t); err != nil {
				return err
			}
		}
	}
	for _, t := range w.order {
		if w.passesOver(t) {
			r.passed = true
			continue
		}
		if t.state != taskAnswered && (t.now == nil || !t.now.answers()) {
			break
		}
		was := len(r.leaving)
		if err := w.emitOne(r, t); err != nil {
			return err
		}
		if len(r.leaving) == was {
			break
		}
	}
	return nil
}

// emits reports whether an output waits for credit.
func (w *performer) emits() bool {
	if len(w.loose) > 0 {
		return true
	}
	for _, t := range w.order {
		if !w.passesOver(t) {
			return t.state == taskAnswered
		}
	}
	return false
}

// passesOver reports whether the order of outputs does not wait for t: it is put
// aside in this round, or waits behind one of its key that is.
func (w *performer) passesOver(t *task) bool {
	aside := func(t *task) bool { return t.state == taskParked || t.now != nil && t.now.end == plan.Parked }
	return aside(t) || t.state == taskBlocked && aside(w.keys[t.in.Key][0])
}

// answers reports whether the move is the last that is known of its task.
func (m *move) answers() bool { return m.end == plan.Finished || m.failure != nil }

// hasRoom reports whether the transition takes what follows from t, too.
func (w *performer) hasRoom(r *round, t *task) bool {
	bytes, records := w.s.written()
	if r.failed != nil || bytes >= turnBytes || records >= 4*turnRecords {
		return false
	}
	return !w.single || len(r.leaving) == 0 && (t.now != nil || len(r.moves) == 0)
}

// emitOne emits what follows from an answered task, or buries it, unless the
// transition is large enough.
func (w *performer) emitOne(r *round, t *task) error {
	if !w.hasRoom(r, t) {
		return nil
	}
	emit, f := t.emit, t.failure
	if t.now != nil {
		emit = t.now.emit
		if f == nil {
			f = t.now.failure
		}
	}
	if f == nil && emit != nil {
		f = unwritable(w.emit(t, emit))
	}
	if f != nil {
		if ok, err := w.bury(r, t, f); err != nil || !ok {
			return err
		}
	}
	r.leaving, t.leaving = append(r.leaving, t), true
	r.size++
	return nil
}

func unwritable(err error) *plan.Failure {
	if err == nil {
		return nil
	}
	return &plan.Failure{Err: err, Kind: event.KindOf(err)}
}

// bury gives an input up: it becomes a dead letter. With false it fails the stage
// and stays what it is.
func (w *performer) bury(r *round, t *task, f *plan.Failure) (bool, error) {
	s := w.s
	action := s.node.OnError.Error
	if f.Panic {
		action = s.node.OnError.Panic
	}
	if action == plan.Fail || s.node.Dead == nil {
		r.failed = &InputError{Input: t.ref(), Kind: f.Kind, Panic: f.Panic, Stack: f.Stack, Err: failureOf(f)}
		return false, nil
	}
	s.tellPanic(f.Panic, t.ref(), f.Err, f.Stack)
	if err := w.emit(t, func() { w.p.Bury(&t.in, f) }); err != nil {
		return false, fmt.Errorf("dead letter for %s: %w", t.ref(), err)
	}
	if gave := s.budget.spend(s.node.OnError.Budget); gave != nil {
		r.failed = errors.Join(r.failed, gave)
	}
	return true, nil
}

// emit has fn write what follows from t. If something cannot be written nothing
// is.
func (w *performer) emit(t *task, fn func()) error {
	s := w.s
	turn := s.node.Turn
	turn.Base, turn.Item, turn.From = 0, -1, w.because(t)
	defer func() { turn.From = nil }()
	w.lens = w.lens[:0]
	for _, p := range s.ports {
		w.lens = append(w.lens, p.Writer.Len())
	}
	fn()
	var err error
	for _, p := range s.ports {
		err = errors.Join(err, p.Writer.Err())
	}
	if err != nil {
		for i, p := range s.ports {
			p.Writer.Rollback(w.lens[i])
		}
	}
	turn.Err = nil
	return err
}

// because returns what an emission from t follows from: the input, what was
// decided about it, and the last that is on record. It is good until the next call.
func (w *performer) because(t *task) []plan.Origin {
	w.from = append(w.from[:0], t.origin())
	see := func(n note, last bool) {
		for i := range n.entries {
			if n.first > 0 && (n.entries[i].Type == plan.EntryDecision || last && i+1 == len(n.entries)) {
				w.from = append(w.from, plan.Origin{Journal: w.journal, Seq: n.first + uint64(i)})
			}
		}
	}
	now := t.now != nil && len(t.now.entries) > 0
	for i, n := range t.notes {
		see(n, !now && i+1 == len(t.notes))
	}
	if now {
		see(t.now.note, true)
	}
	return w.from
}
