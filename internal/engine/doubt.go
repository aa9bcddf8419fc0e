package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// InDoubt is an accepted input that waits for a person's decision.
type InDoubt struct {
	Stage  string
	ID     uint64         // among the accepted inputs of the stage
	Input  event.RecordID // what was accepted
	Since  time.Time      // it was put aside
	Reason string         // what is not known
}

// InDoubt returns the inputs that wait for a decision, by stage in the order of
// the flow, then in order of acceptance. It may be called at any time.
func (r *Run) InDoubt() []InDoubt {
	var all []InDoubt
	for _, s := range r.stages {
		if d := s.doubts.Load(); d != nil {
			all = append(all, *d...)
		}
	}
	return all
}

// Errors of [Run.Hand].
var (
	ErrNotOpen    = errors.New("no such input is accepted and unfinished")
	ErrNotWaiting = errors.New("the input does not wait for this")
)

// Handed is something said from outside about an accepted input.
type Handed struct {
	Stage    string
	ID       uint64           // as in InDoubt; zero means that Input says which it is
	Input    event.RecordID   //
	Entries  []plan.Entry     // recorded, in one transition; then the input is executed again
	Consumed journal.Consumed // what the stage reacts to: a decision, a signal, a timer

	// Told is called by the goroutine of the stage with what was placed, or why
	// nothing was: ErrNotOpen, ErrNotWaiting, or that the stage has ended. A message
	// that was taken before, by the ID of Consumed, is not recorded again and no error;
	// at is then the last that was. It must return at once.
	Told func(at journal.LSN, err error)
}

// Hand gives a parked or suspended input what was said about it. It returns at
// once.
func (r *Run) Hand(h Handed) error {
	for _, s := range r.stages {
		if s.name == h.Stage && s.node.Performer != nil && !s.ended {
			if !s.mail.post(message{kind: handed, hand: &h}) && h.Told != nil {
				h.Told(0, s.gone())
			}
			return nil
		}
	}
	return fmt.Errorf("stage %s: %w", h.Stage, ErrNotOpen)
}

// heard makes a move of what was said from outside.
func (w *performer) heard(h *Handed) {
	t := w.tasks[h.ID]
	for _, o := range w.tasks {
		if h.ID == 0 && o.in.Input == h.Input {
			t = o
		}
	}
	m := &move{t: t, note: note{entries: h.Entries}, again: true, because: h.Consumed, told: h.Told}
	switch {
	case w.took.has(messageOf(h.Consumed)):
		m.answer(w.s.last, nil)
	case t == nil:
		m.answer(0, ErrNotOpen)
	case t.state != taskParked && (t.state != taskSuspended || h.Consumed.Kind == journal.Decided) || t.moving > 0:
		m.answer(0, ErrNotWaiting)
	case t.state == taskParked && !t.takes(h.Entries):
		m.answer(0, fmt.Errorf("%w: it is %s, about which one can decide: %s", ErrNotWaiting, t.parkedFor(), strings.Join(plan.Verdicts(t.parkedFor()), ", ")))
	default:
		w.move(m)
	}
}

// recent are the ids of the messages from the inbox that a stage took last.
type recent struct {
	ids   []string
	known map[string]bool
}

func (r *recent) has(id string) bool { return r.known[id] }

func (r *recent) add(ids ...string) {
	if r.known == nil && len(ids) > 0 {
		r.known = map[string]bool{}
	}
	for _, id := range ids {
		r.ids, r.known[id] = append(r.ids, id), true
	}
	for len(r.ids) > recovery.MaxTaken {
		delete(r.known, r.ids[0])
		r.ids = r.ids[1:]
	}
}

// messageOf is the id of the message that c tells of, "" if it tells of none.
func messageOf(c journal.Consumed) string {
	if id, ok := strings.CutPrefix(c.ID, journal.FromInbox); ok {
		return id
	}
	return ""
}

// parkedFor says what a parked task waits for.
func (t *task) parkedFor() string { return t.last().Outcome }

// takes reports whether what was decided about a parked task can be.
func (t *task) takes(entries []plan.Entry) bool {
	return len(entries) == 0 || entries[0].Type != plan.EntryDecision || slices.Contains(plan.Verdicts(t.parkedFor()), entries[0].Outcome)
}

// publish tells others which inputs are in doubt.
func (w *performer) publish() {
	doubts := []InDoubt{}
	for _, t := range w.sorted() {
		if t.state != taskParked {
			continue
		}
		d := InDoubt{Stage: w.s.name, ID: t.in.ID, Input: t.in.Input}
		if e := t.last(); e != nil {
			d.Since, d.Reason = e.At, e.Reason
		}
		doubts = append(doubts, d)
	}
	w.s.doubts.Store(&doubts)
}

// refs names the inputs in doubt.
func (w *performer) refs() (refs []string) {
	for _, t := range w.sorted() {
		if t.state == taskParked {
			refs = append(refs, t.ref())
		}
	}
	return refs
}

func (w *performer) doubtful() string { return few(w.refs()) }

// few lists names for people.
func few(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// A HeldError says that a stage stopped because it is not known what became of a
// call, as weir.HoldInDoubt asks.
type HeldError struct {
	Inputs []string // refs of what was accepted
	Reason string   // what is not known of the last of them
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("it holds at %s: %s; find out what became of it, record that with \"weir effects resolve\", and continue the run", few(e.Inputs), e.Reason)
}
