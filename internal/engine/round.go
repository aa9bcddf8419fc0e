package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A move is one change of a task that waits to be placed: what an execution has
// recorded, how it came back, or what was said from outside.
type move struct {
	t       *task
	note             // what it records; its place is known in the open round
	texts   [][]byte // of the first entries, as they are recorded
	ink     []byte   // what texts are in
	emit    func()
	end     plan.ResultState // how an execution came back; zero if none did
	err     error            // of Parked and Broken
	wake    plan.Wake        // of Suspended
	cut     error            // why it was told to end, if it was
	again   bool             // the task goes on
	because journal.Consumed // what the stage reacted to; its Kind may be zero
	told    func(at journal.LSN, err error)
	apply   func() error // changes tables, in the open round; may be nil

	failure *plan.Failure // of Broken, in the open round
}

// move has m placed.
func (w *performer) move(m *move) {
	w.moves = append(w.moves, m)
	m.t.moving++
}

// usualText is more than most entries take without their payloads.
const usualText = 320

// write makes the texts of entries that have none. Whoever records something does
// it before the stage comes to it.
func (m *move) write() error {
	size := 0
	for i := range m.entries {
		if i >= len(m.texts) {
			m.ink = slices.Grow(m.ink, usualText+len(m.entries[i].Request)+len(m.entries[i].Result))
			at := len(m.ink)
			ink, err := plan.AppendEntry(m.ink, &m.entries[i])
			if err != nil {
				return fmt.Errorf("what is to be recorded of it: %w", err)
			}
			m.ink, m.texts = ink, append(m.texts, ink[at:])
		}
		if size += len(m.texts[i]); size > maxEntries {
			return event.Mark(event.KindTooLarge, fmt.Errorf("what is to be recorded of it is more than %d MiB: %w", maxEntries>>20, journal.ErrTooLarge))
		}
	}
	return nil
}

func (m *move) answer(at journal.LSN, err error) {
	if m.told != nil {
		m.told(at, err)
	}
}

// A round is what one transition of a performer does, until it is placed.
type round struct {
	moves    []*move
	kept     []*arrival // signals
	leaving  []*task    // whose outputs are emitted: they are finished
	accepted []*task
	passed   bool  // outputs left before others that come before them
	tooLarge bool  // the next input is, by itself
	said     int   // records of the port fx
	failed   error // the stage fails, once the rest is placed
	items    int   // inputs consumed
	bytes    int   // of data accepted
	size     int   // about what is written
}

var errUnasked = errors.New("its execution ended, and nobody had asked for it")

// maxEntries bounds what one move records, so that it fits a transition twice: as
// records of the port fx and in the open work.
const maxEntries = 24 << 20

// place makes one transition of what has come, of outputs that may leave, and of
// what can be accepted, and reports whether it did anything.
func (w *performer) place() (bool, error) {
	s, said := w.s, len(w.s.said)
	r := &round{tooLarge: w.single && w.big}
	if err := w.compose(r); err != nil {
		w.undo(r, said)
		return true, errors.Join(err, s.drop())
	}
	if len(s.said) == said && len(s.t.Open) == 0 && s.turn.items == 0 && s.nothingWritten() {
		did := len(r.moves) > 0 || r.failed != nil
		w.placed(r) // what an execution that was told to end leaves behind
		return did, r.failed
	}
	u := journal.Urgent
	if len(r.moves)+len(r.leaving)+len(r.kept)+w.running == 0 {
		u = journal.Normal
	}
	if err := s.commit(u); errors.Is(err, journal.ErrTooLarge) {
		w.undo(r, said)
		return true, w.tooLarge(r, err)
	} else if err != nil {
		w.undo(r, said)
		return true, err
	}
	w.single, w.big = false, false
	w.placed(r)
	return true, r.failed
}

// compose fills the open transition.
func (w *performer) compose(r *round) error {
	s := w.s
	full := w.over || s.full()
	if err := w.keep(r); err != nil {
		return err
	}
	for _, m := range w.moves {
		if w.single && r.size > 0 || r.size >= turnBytes || len(r.moves) >= turnRecords {
			break
		}
		emits := m.emit != nil && m.end != plan.Finished
		if bytes, _ := s.written(); emits && bytes >= turnBytes {
			break
		}
		if emits && full {
			if !w.over {
				continue // until there is credit
			}
			m.emit, m.entries, m.texts, m.ink, m.err = nil, nil, nil, nil, errCancelled // it is done again at resume
		}
		if err := w.say(r, m); err != nil {
			return err
		}
	}
	if !full {
		if err := w.emitAll(r); err != nil {
			return err
		}
	}
	w.ink = w.ink[:0]
	for _, m := range r.moves {
		if m.t.leaving {
			continue
		}
		for i, text := range m.texts {
			at := len(w.ink)
			w.ink = plan.AppendWritten(w.ink, m.first+uint64(i), m.entries[i].Type, text)
			s.t.Open = append(s.t.Open, journal.OpenWork{Op: journal.OpenUpdate, ID: m.t.in.ID, Data: w.ink[at:]})
		}
	}
	for _, t := range r.leaving {
		s.t.Open = append(s.t.Open, journal.OpenWork{Op: journal.OpenClose, ID: t.in.ID})
	}
	if err := w.accept(r); err != nil || r.failed != nil || w.over || (w.single && r.size > 0) {
		return err
	}
	return s.takeEnds()
}

// say puts what a move records into the open transition.
func (w *performer) say(r *round, m *move) error {
	s, t := w.s, m.t
	r.moves, t.now = append(r.moves, m), m
	m.failure = nil
	switch m.end {
	case plan.Parked:
		if n := len(m.entries); n == 0 || m.entries[n-1].Type != plan.EntryParked {
			m.entries = append(slices.Clip(m.entries), plan.Entry{Type: plan.EntryParked, Outcome: plan.ParkedInDoubt, Reason: reasonOf(m.err), At: time.Now().UTC()})
		}
		if w.tune.Hold {
			r.failed = errors.Join(r.failed, &HeldError{Inputs: append(w.refs(), t.ref()), Reason: reasonOf(m.err)})
		}
	case plan.Broken:
		if f := failureFrom(failureOf(&plan.Failure{Err: m.err})); f.Panic && s.node.OnError.Panic == plan.DeadLetter {
			m.failure = f
		} else {
			r.failed = errors.Join(r.failed, &InputError{Input: t.ref(), Kind: f.Kind, Panic: f.Panic, Stack: f.Stack, Err: f.Err})
		}
	case plan.Interrupted:
		if s.ctx.Err() == nil && !w.stopping { // it would never go on
			f := failureFrom(cmp.Or(m.cut, errUnasked))
			r.failed = errors.Join(r.failed, &InputError{Input: t.ref(), Kind: f.Kind, Err: f.Err})
		}
	default: // nothing is to be added
	}
	if err := m.write(); err != nil {
		w.spoilt(r, m, err)
		return nil
	}
	if m.because.Kind != 0 {
		s.consumeOther(m.because)
	}
	if m.apply != nil {
		if err := m.apply(); err != nil {
			return err
		}
	}
	m.first = w.fx.count + 1 + uint64(r.said)
	for i, text := range m.texts {
		s.said = append(s.said, saying{port: &w.fx, typ: m.entries[i].Type, payload: text, about: t.origin()})
	}
	r.said += len(m.texts)
	r.size += len(m.ink) + 1
	if m.emit != nil && m.end != plan.Finished {
		if err := w.emit(t, m.emit); err != nil {
			return &InputError{Input: t.ref(), Kind: event.KindOf(err), Err: err}
		}
	}
	return nil
}

// spoilt takes what cannot be recorded out of a move. Whoever asked for it is told;
// an execution's result fails the stage.
func (w *performer) spoilt(r *round, m *move, err error) {
	m.entries, m.texts, m.ink, m.emit, m.err, m.again = nil, nil, nil, nil, err, false
	if m.end == 0 {
		return
	}
	m.end = plan.Broken
	r.failed = errors.Join(r.failed, &InputError{Input: m.t.ref(), Kind: event.KindOf(err), Err: err})
}

func reasonOf(err error) string { return failureOf(&plan.Failure{Err: err}).Error() }

// placed lets everything follow from a round that is in the log.
func (w *performer) placed(r *round) {
	s, doubts := w.s, false // whether others are in doubt than before
	at := s.last
	w.moves = slices.DeleteFunc(w.moves, func(m *move) bool { return m.t.now == m })
	for _, m := range r.moves {
		t := m.t
		t.now = nil
		t.moving--
		if len(m.entries) > 0 && !t.leaving {
			t.notes = append(t.notes, m.note)
		}
		t.must = at
		doubts = doubts || m.end == plan.Parked || m.again && t.state == taskParked
		w.follow(m)
		if err := m.err; m.end == 0 && err != nil {
			m.answer(0, err)
			continue
		}
		if id := messageOf(m.because); id != "" {
			w.took.add(id)
		}
		m.answer(at, nil)
	}
	for _, t := range r.leaving {
		w.remove(t)
		if w.tune.Chained {
			t.must = at
			w.yield(t)
		}
	}
	gone := func(t *task) bool { return w.tasks[t.in.ID] != t }
	w.loose = slices.DeleteFunc(w.loose, gone)
	n := 0
	for n < len(w.order) && gone(w.order[n]) {
		n++
	}
	if w.order = w.order[n:]; r.passed {
		w.order = slices.DeleteFunc(w.order, gone)
	}
	for _, t := range r.accepted {
		t.must = at
		w.next = t.in.ID + 1
		w.add(t)
	}
	if doubts {
		w.publish()
	}
	w.recorded(r.kept)
}

// follow brings a task where its move leads.
func (w *performer) follow(m *move) {
	t := m.t
	if m.end != 0 {
		w.running--
		w.s.acquit()
		if len(m.entries) > 0 {
			w.settling = append(w.settling, t.must) // the slot is not free before that is durable
		}
	}
	switch {
	case m.again:
		if t.state == taskParked {
			w.parked--
		} else {
			w.dormant--
			w.alarms.unset(t)
			w.awaitsNot(t)
		}
		w.enqueue(t)
	case m.answers():
		t.state, t.emit = taskAnswered, m.emit
		if t.failure == nil {
			t.failure = m.failure
		}
		if w.tune.Unordered || t.late {
			w.loose = append(w.loose, t)
		}
		if !w.tune.Chained {
			w.yield(t)
		}
	case m.end == plan.Parked:
		t.state, t.late = taskParked, true
		w.parked++
		w.order = slices.DeleteFunc(w.order, func(o *task) bool { return o == t })
	case m.end == plan.Suspended:
		t.state, t.wake = taskSuspended, m.wake
		w.dormant++
		w.alarms.set(t)
		w.awaits(t)
	case m.end != 0:
		t.state = taskCut
	}
}

// undo forgets a round that was not placed.
func (w *performer) undo(r *round, said int) {
	w.s.said = w.s.said[:said]
	for _, m := range r.moves {
		m.t.now = nil
	}
	for _, t := range r.leaving {
		t.leaving = false
	}
}

// tooLarge finds what is too large for a transition and gives it up.
func (w *performer) tooLarge(r *round, err error) error {
	switch f := (&plan.Failure{Err: err, Kind: event.KindTooLarge}); {
	case !w.single:
		w.single = true
	case len(r.leaving) == 1 && r.leaving[0].failure == nil:
		r.leaving[0].failure = f
	case len(r.kept) == 1:
		w.signals.come = slices.Delete(w.signals.come, 0, 1)
		r.kept[0].told(0, err)
	case len(r.accepted) == 1:
		w.big = true
	case len(r.moves) == 1 && r.moves[0].end == 0 && r.moves[0].told != nil:
		w.moves = slices.DeleteFunc(w.moves, func(m *move) bool { return m == r.moves[0] })
		r.moves[0].t.moving--
		r.moves[0].answer(0, err)
	default:
		return err
	}
	return nil
}
