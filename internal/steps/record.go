package steps

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/weirflow/weir/internal/plan"
)

// MaxName is how long a step's name may be, in bytes.
const MaxName = 512

// What the names of steps begin with that are not the user's.
const (
	reserved = "weir."
	awaiting = "await "
)

// nameFault says what is wrong with a name, "" if nothing is: it must come back
// from the record as it was.
func nameFault(name string) string {
	switch {
	case name == "" || len(name) > MaxName:
		return fmt.Sprintf("is %d bytes long: want 1 to %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return fmt.Sprintf("is not UTF-8: %q", name)
	case strings.ContainsRune(name, 0):
		return fmt.Sprintf("has a zero byte: %q", name)
	}
	return ""
}

// A record is what was recorded of an input before an execution of it.
type record struct {
	steps   map[string][]plan.Entry // by step
	ahead   map[string]bool         // steps that count and that the code has not come to
	left    map[string]bool         // steps with which went what was emitted before them
	changes map[string]bool         // whether a change is known, as far as it was said
	whole   []plan.Entry            // about the input as a whole: that it was parked, and what people decided
}

// recordOf sorts a history; ended reports whether it has the end of the execution.
func recordOf(history []plan.Entry) (r record, ended bool) {
	r = record{steps: map[string][]plan.Entry{}, ahead: map[string]bool{}, left: map[string]bool{}, changes: map[string]bool{}}
	for i := range history {
		e := &history[i]
		switch aside := e.Type == plan.EntryParked || e.Type == plan.EntryDecision; {
		case e.Type == plan.EntryCompleted:
			ended = true // and what it emitted last has not left, or it were not executed again
		case e.Type == plan.EntryChange: // changes have names of their own
			r.changes[e.Step] = true
		case aside && e.Step == "":
			r.whole = append(r.whole, *e)
		case aside:
			r.steps[e.Step] = append(r.steps[e.Step], *e)
			if len(r.of(e.Step)) == 0 {
				delete(r.ahead, e.Step)
			}
		default:
			r.steps[e.Step] = append(r.steps[e.Step], *e)
			r.left[e.Step] = true
			r.ahead[e.Step] = true
		}
	}
	for step := range r.ahead { // each by itself
		if strings.HasPrefix(step, reserved) {
			delete(r.ahead, step)
		}
	}
	return r, ended
}

// of returns what counts of a step's record.
func (r *record) of(step string) []plan.Entry { return r.after(r.steps[step]) }

// after returns what comes after the last decision to go on as the code says.
func (r *record) after(past []plan.Entry) []plan.Entry {
	for i := len(past) - 1; i > 0; i-- {
		if past[i].Type == plan.EntryDecision && past[i].Outcome == plan.DecideContinue && past[i-1].Outcome == plan.ParkedDiverged {
			return past[i+1:]
		}
	}
	return past
}

// decided returns the last entry, if it is a decision, and why the input was
// parked.
func decided(past []plan.Entry) (d, parked *plan.Entry) {
	n := len(past)
	if n == 0 || past[n-1].Type != plan.EntryDecision {
		return nil, nil
	}
	parked = &plan.Entry{}
	if n > 1 && past[n-2].Type == plan.EntryParked {
		parked = &past[n-2]
	}
	return &past[n-1], parked
}
