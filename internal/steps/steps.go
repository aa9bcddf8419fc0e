package steps

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// ErrSuspended is what every step of an execution returns once it has to wait, or
// to end. What the handler makes of it is ignored.
var ErrSuspended = errors.New("the orchestration is suspended; return this error as it is")

// MaxName is how long a step's name may be, in bytes.
const MaxName = 512

// reserved begins the names of steps that are not the user's.
const reserved = "weir."

// A Run is one execution of a durable function. It is used by one goroutine.
type Run struct {
	x     plan.Execution
	uses  map[string]perform.Guarded
	past  []plan.Entry
	first bool // nothing was on record when it began
	ended bool // its end is on record

	seen     map[string]bool // steps that the code came to
	awaits   map[string]int  // how often a signal was awaited
	now      time.Time       // of the latest step
	passOver int             // emissions that are on record
	pending  []func()        // emissions that are not
	undo     []undo

	over   bool // steps return ErrSuspended
	result plan.Result
}

// An undo is a registered compensation.
type undo struct {
	step, effect string
	in           any
}

// Begin begins an execution. uses are the effects it may perform, by name.
func Begin(x plan.Execution, uses map[string]perform.Guarded) *Run {
	r := &Run{x: x, uses: uses, past: x.History(), seen: map[string]bool{}, awaits: map[string]int{}}
	r.first = len(r.past) == 0
	for i := range r.past {
		if e := &r.past[i]; e.Type == plan.EntryCompleted {
			r.ended = true // and what it emitted last has not left, or it were not executed again
		} else {
			r.passOver += e.Emitted
		}
	}
	return r
}

// Emit has write called, in the stage's goroutine, in the transition of the step
// that follows or of the end, unless an earlier execution did it.
func (r *Run) Emit(write func()) {
	switch {
	case r.over:
	case r.passOver > 0:
		r.passOver--
	default:
		r.pending = append(r.pending, write)
	}
}

// Now returns when the latest step came to its end. Before the first step it is
// when it was first asked for.
func (r *Run) Now() time.Time {
	if r.now.IsZero() && !r.over {
		e := plan.Entry{Type: plan.EntryCapture, Step: reserved + "now", At: r.x.Now()}
		if past := r.entries(e.Step); r.asks(e) != nil {
			return r.now
		} else if len(past) > 0 {
			r.now = past[0].At
		} else if r.record(e) == nil {
			r.now = e.At
		}
	}
	return r.now
}

// asks tells what the code asks for at a step.
func (r *Run) asks(e plan.Entry) error {
	if r.x.Asked(e) != nil {
		return r.end(plan.Result{State: plan.Interrupted})
	}
	return nil
}

// record records entries together with what was emitted before.
func (r *Run) record(entries ...plan.Entry) error { return (&recorder{r.x, r}).Record(nil, entries...) }

// A recorder is the Execution that steps record with.
type recorder struct {
	plan.Execution
	r *Run
}

func (x *recorder) Record(emit func(), entries ...plan.Entry) error {
	r := x.r
	n := len(r.pending)
	if len(entries) == 0 || entries[0].Type == plan.EntryDrift { // which is no step
		n = 0
	}
	if n > 0 {
		entries = slices.Clone(entries)
		entries[0].Emitted = n
		emit = r.emits(emit)
	}
	if err := x.Execution.Record(emit, entries...); err != nil {
		return r.end(plan.Result{State: plan.Interrupted})
	}
	r.pending = r.pending[n:]
	return nil
}

// emits writes what is pending, and then what more does.
func (r *Run) emits(more func()) func() {
	pending := r.pending
	if len(pending) == 0 {
		return more
	}
	return func() {
		for _, write := range pending {
			write()
		}
		if more != nil {
			more()
		}
	}
}

// end ends the execution with a result; the first one counts.
func (r *Run) end(result plan.Result) error {
	if !r.over {
		r.over, r.result = true, result
	}
	return ErrSuspended
}

// Break ends the execution, and the stage, because the code cannot be right. It
// returns [ErrSuspended].
func (r *Run) Break(err error) error { return r.end(plan.Result{State: plan.Broken, Err: err}) }

// broken ends it because the code cannot be right.
func (r *Run) broken(format string, args ...any) error {
	return r.end(plan.Result{State: plan.Broken, Err: fmt.Errorf(format, args...)})
}

// park leaves the input to a person.
func (r *Run) park(step string, err error) error {
	return r.end(plan.Result{
		State: plan.Parked, Err: err, Entries: []plan.Entry{{Type: plan.EntryParked, Step: step, Reason: err.Error(), At: r.x.Now()}},
	})
}

// enter begins a step and returns what is on record of it; its types are those
// that a step of its kind has.
func (r *Run) enter(step, kind string, types ...string) ([]plan.Entry, error) {
	if r.over {
		return nil, ErrSuspended
	}
	if step == "" || len(step) > MaxName || strings.ContainsRune(step, 0) {
		return nil, r.broken("the name of a step is %d bytes long, or has a zero byte: want 1 to %d bytes", len(step), MaxName)
	}
	if strings.HasPrefix(step, reserved) {
		return nil, r.broken("step %q: names that begin with %q are reserved", step, reserved)
	}
	if r.seen[step] {
		return nil, r.broken("two steps of one input are called %q: in a loop, put what it goes over into the name", step)
	}
	r.seen[step] = true
	past := r.entries(step)
	for i := range past {
		switch t := past[i].Type; {
		case t == plan.EntryParked, t == plan.EntryDecision, slices.Contains(types, t):
		default:
			if err := r.asks(plan.Entry{Type: types[0], Step: step}); err != nil {
				return nil, err
			}
			return nil, r.diverged(step, past, fmt.Errorf("diverged: step %q is %s on record, and %s in the code", step, words(t), kind))
		}
	}
	return past, nil
}

func words(typ string) string {
	return strings.TrimSuffix(strings.TrimPrefix(typ, reserved), ".v1")
}

// diverged parks the input at a step, or gives it up if a person said so.
func (r *Run) diverged(step string, past []plan.Entry, err error) error {
	if d := decision(past); d != nil && d.Outcome == perform.DecideFailed {
		return r.fail(d, err)
	}
	return r.park(step, err)
}

// fail ends the input as a person decided.
func (r *Run) fail(d *plan.Entry, err error) error {
	if d.Reason != "" {
		err = fmt.Errorf("%s; %w", d.Reason, err)
	}
	return r.end(plan.Result{State: plan.Finished, Err: err})
}

// decision returns the last entry, if it is a decision.
func decision(past []plan.Entry) *plan.Entry {
	if n := len(past); n > 0 && past[n-1].Type == plan.EntryDecision {
		return &past[n-1]
	}
	return nil
}

// entries returns what counts of a step's record: all after the last decision to
// go on as the code says.
func (r *Run) entries(step string) []plan.Entry {
	var of []plan.Entry
	for i := range r.past {
		e := &r.past[i]
		switch {
		case e.Step != step, e.Type == plan.EntryChange: // changes have names of their own
		case e.Type == plan.EntryDecision && e.Outcome == perform.DecideContinue:
			of = of[:0]
		default:
			of = append(of, *e)
		}
	}
	return of
}

// Do performs an effect. The error of a call that was given up is a
// [plan.CallError].
func (r *Run) Do(step, effect string, in any) (any, error) {
	past, err := r.enter(step, "a call of "+effect,
		plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome, plan.EntryDrift)
	if err != nil {
		return nil, err
	}
	return r.call(step, effect, in, past)
}

func (r *Run) call(step, effect string, in any, past []plan.Entry) (any, error) {
	g, ok := r.uses[effect]
	if !ok {
		return nil, r.broken("step %q performs effect %s, which was not granted: give the stage weir.Using", step, effect)
	}
	a := perform.Do(&recorder{r.x, r}, g, step, in, past)
	switch a.State {
	case perform.Interrupted:
		return nil, r.end(plan.Result{State: plan.Interrupted})
	case perform.Parked:
		return nil, r.park(step, fmt.Errorf("step %q: %w", step, a.Failure.Err))
	case perform.Answered, perform.Failed:
	}
	if len(a.Entries) > 0 {
		if err := r.record(a.Entries...); err != nil {
			return nil, err
		}
	}
	r.took(slices.Concat(past, a.Entries))
	if a.State == perform.Failed {
		return nil, &plan.CallError{Err: a.Failure.Err, Happened: string(a.Happened), Attempts: a.Attempts}
	}
	return a.Out, nil
}

// took moves Now to the last of a step's entries.
func (r *Run) took(entries []plan.Entry) {
	for i := range entries {
		if t := entries[i].At; t.After(r.now) {
			r.now = t
		}
	}
}

// Compensate has an effect performed, under the step's name, if the handler fails.
func (r *Run) Compensate(step, effect string, in any) {
	if r.over {
		return
	}
	for _, u := range r.undo {
		if u.step == step {
			_ = r.broken("two steps of one input are called %q", step)
			return
		}
	}
	if _, ok := r.uses[effect]; !ok {
		_ = r.broken("step %q performs effect %s, which was not granted: give the stage weir.Using", step, effect)
		return
	}
	r.undo = append(r.undo, undo{step, effect, in})
}

// Capture records what fn returns. After an error nothing is recorded.
func (r *Run) Capture(step string, fn func() ([]byte, error)) ([]byte, error) {
	past, err := r.enter(step, "a capture", plan.EntryCapture)
	if err == nil {
		err = r.asks(plan.Entry{Type: plan.EntryCapture, Step: step})
	}
	if err != nil {
		return nil, err
	}
	if len(past) > 0 && past[0].Type == plan.EntryCapture {
		r.took(past)
		return past[0].Result, nil
	}
	data, err := fn()
	if err != nil {
		return nil, err
	}
	e := plan.Entry{Type: plan.EntryCapture, Step: step, Result: data, At: r.x.Now()}
	if err := r.record(e); err != nil {
		return nil, err
	}
	r.took([]plan.Entry{e})
	return data, nil
}

// Unreadable parks the input: what is on record of a step is not what the code
// reads.
func (r *Run) Unreadable(step string, err error) error {
	return r.diverged(step, r.entries(step), fmt.Errorf("diverged: what is on record of step %q cannot be read by this code: %w", step, err))
}

// Since reports whether the execution knows of a change: it began with code that
// has it.
func (r *Run) Since(change string) bool {
	if r.over {
		return false
	}
	e := plan.Entry{Type: plan.EntryChange, Step: change, At: r.x.Now()}
	for i := range r.past {
		if past := &r.past[i]; past.Type == e.Type && past.Step == change {
			return r.asks(e) == nil
		}
	}
	if !r.first {
		return false
	}
	if change == "" || len(change) > MaxName {
		_ = r.broken("the name of a change is %d bytes long: want 1 to %d", len(change), MaxName)
		return false
	}
	if r.asks(e) != nil || r.record(e) != nil {
		return false
	}
	r.past = append(slices.Clip(r.past), e)
	return true
}

// awaited names the step that awaits a signal for the n-th time.
func awaited(signal, key string, n int) string {
	step := "await " + signal + " " + key
	if n > 1 {
		step += " " + strconv.Itoa(n)
	}
	return step
}
