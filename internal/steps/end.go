package steps

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// End ends the execution after the handler returned err. done writes, in the
// stage's goroutine, what the end of a handler without error brings; failed what
// that of one with an error does, whose compensations are made before.
func (r *Run) End(err error, done func(), failed func(error)) plan.Result {
	alone := r.enter() == nil || r.over
	r.returned.Store(true)
	if wrong := r.wrong.Load(); wrong != nil {
		return plan.Result{State: plan.Broken, Err: *wrong}
	} else if !alone {
		return plan.Result{State: plan.Broken, Err: errors.New("the function has returned while another goroutine of it takes a step")}
	}
	if err == nil {
		err = r.fault
	}
	if !r.over && r.given == nil {
		r.passedBy(err != nil)
	}
	if r.given != nil {
		err, r.over = r.given, false
	}
	if !r.over && err != nil {
		r.pending = nil // nothing comes of what has failed
		err = r.compensate(err)
	}
	if r.over {
		r.result.Emissions = r.emitted()
		return r.result
	}
	e := plan.Entry{Type: plan.EntryCompleted, At: r.x.Now()}
	last := done
	if err != nil {
		e.Reason = perform.ReasonOf(err)
		last = func() { failed(err) }
	}
	result := plan.Result{State: plan.Finished, Entries: r.notes, Emit: r.emits(last), Emissions: r.emitted(), Closing: last}
	if !r.ended {
		result.Entries = append(result.Entries, e)
	}
	return result
}

// emitted is all that the execution emitted, apart from what left in it.
func (r *Run) emitted() []func() { return slices.Concat(r.gone, r.pending) }

// compensate performs what was registered, the latest first, and returns the
// handler's error, as a [plan.UndoError] with those of compensations that failed.
func (r *Run) compensate(cause error) error {
	r.undoing = true
	happened := perform.No
	for _, u := range slices.Backward(r.undo) {
		_, err := r.call(u.step, u.effect, u.in)
		if err == nil {
			continue
		}
		if r.over {
			return cause
		}
		cause = errors.Join(cause, fmt.Errorf("compensation %q: %w", u.step, err))
		switch c, _ := errors.AsType[*plan.CallError](err); {
		case c != nil && c.Happened == string(perform.Yes): // it is undone
		case c != nil && c.Happened == string(perform.Maybe) && happened == perform.No:
			happened = perform.Maybe
		default:
			happened = perform.Yes
		}
	}
	if happened == perform.No {
		return cause
	}
	return &plan.UndoError{Err: cause, Happened: string(happened)}
}

// passedBy parks an execution that comes to its end without a step that is on
// record. One that failed will come to its compensations yet.
func (r *Run) passedBy(failed bool) {
	missed := maps.Clone(r.past.ahead)
	for _, u := range r.undo {
		if failed {
			delete(missed, u.step)
		}
	}
	if len(missed) == 0 {
		return
	}
	if d, parked := decided(r.past.whole); d != nil && d.Outcome == plan.DecideContinue && parked.Outcome == plan.ParkedDiverged {
		return
	}
	var names []string
	for _, step := range slices.Sorted(maps.Keys(missed)) {
		names = append(names, fmt.Sprintf("%q", step))
	}
	_ = r.diverged("", plan.ParkedDiverged, r.past.whole, fmt.Errorf("diverged: on record, and passed by in the code: step %s", strings.Join(names, ", ")))
}
