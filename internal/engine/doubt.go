package engine

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
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
	// nothing was: ErrNotOpen, ErrNotWaiting, or that the stage has ended. What was
	// handed over before, by the ID of its entries, is not recorded again and no
	// error; at is then the last that was. It must return at once.
	Told func(at journal.LSN, err error)
}

// Hand gives a parked or suspended input what was said about it. It returns at
// once. A stage that has ended answers nothing.
func (r *Run) Hand(h Handed) error {
	for _, s := range r.stages {
		if s.name == h.Stage && s.node.Performer != nil && !s.ended {
			s.mail.post(message{kind: handed, hand: &h})
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
	case t == nil:
		m.answer(0, ErrNotOpen)
	case len(h.Entries) > 0 && t.heard(h.Entries[0].Type, h.Entries[0].ID):
		m.answer(t.must, nil)
	case t.state != taskParked && (t.state != taskSuspended || h.Consumed.Kind == journal.Decided) || t.moving > 0:
		m.answer(0, ErrNotWaiting)
	default:
		w.move(m)
	}
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
