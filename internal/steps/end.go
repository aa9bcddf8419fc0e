package steps

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// End ends the execution after the handler returned err. done writes, in the
// stage's goroutine, what the end of a handler without error brings; failed what
// that of one with an error does, whose compensations are made before.
func (r *Run) End(err error, done func(), failed func(error)) plan.Result {
	if !r.over && err != nil {
		err = r.compensate(err)
	}
	if !r.over {
		r.passedBy()
	}
	if r.over && r.result.State != plan.Finished {
		r.result.Emissions = r.pending
		return r.result
	}
	e := plan.Entry{Type: plan.EntryCompleted, At: r.x.Now()}
	last := done
	if r.over { // a person gave it up
		err = r.result.Err
	}
	if err != nil {
		e.Reason = err.Error()
		last = func() { failed(err) }
	}
	result := plan.Result{
		State: plan.Finished, Entries: []plan.Entry{e}, Emit: r.emits(last), Emissions: r.pending, Closing: last,
	}
	if r.ended {
		result.Entries = nil
	}
	return result
}

// compensate performs what was registered, the latest first, and returns the
// handler's error, as a [plan.UndoError] with those of compensations that failed.
func (r *Run) compensate(cause error) error {
	happened := perform.No
	for _, u := range slices.Backward(r.undo) {
		_, err := r.Do(u.step, u.effect, u.in)
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
// record.
func (r *Run) passedBy() {
	var missed []string
	noted := map[string]bool{}
	var whole []plan.Entry // about no step
	for i := range r.past {
		e := &r.past[i]
		switch e.Type {
		case plan.EntryParked, plan.EntryDecision:
			if e.Step == "" {
				whole = append(whole, *e)
			}
			continue
		case plan.EntryChange, plan.EntryCompleted:
			continue
		}
		if !r.seen[e.Step] && !noted[e.Step] && !strings.HasPrefix(e.Step, reserved) {
			noted[e.Step] = true
			missed = append(missed, fmt.Sprintf("%q", e.Step))
		}
	}
	if len(missed) == 0 {
		return
	}
	err := fmt.Errorf("diverged: on record, and passed by in the code: step %s", strings.Join(missed, ", "))
	if d := decision(whole); d != nil && d.Outcome == perform.DecideContinue {
		return
	}
	_ = r.diverged("", whole, err)
}
