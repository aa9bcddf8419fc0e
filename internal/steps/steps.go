package steps

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// ErrSuspended is what every step of an execution returns once it has to wait, or
// to end. What the handler makes of it is ignored.
var ErrSuspended = errors.New("the orchestration is suspended; return this error as it is")

// errReturned is what steps return when the function they were given to has ended.
var errReturned = errors.New("the function that was given these steps has returned")

// spins is how often steps may be taken in vain before the execution is taken for
// one that never returns.
const spins = 1 << 20

// maxPending is how much may be emitted between two steps, in bytes: it leaves in
// one transition with what is recorded of the second.
const maxPending = 16 << 20

// A Run is one execution of a durable function. It is used by one goroutine; that
// another comes between is noticed, not prevented.
type Run struct {
	x     plan.Execution
	uses  map[string]perform.Guarded
	past  record
	ended bool // its end is on record

	seen    map[string]bool // names of steps that the code came to, or registered
	awaits  map[string]int  // how often a signal was awaited
	now     time.Time       // of the latest step
	notes   []plan.Entry    // of captures that failed: they are recorded with what follows
	pending []func()        // emissions that no record accounts for
	gone    []func()        // those that left with steps on record
	bytes   int             // of pending
	fault   error           // why something cannot be emitted
	undo    []undo
	undoing bool // compensations are under way

	over   bool // steps return ErrSuspended
	vain   int  // steps taken since
	result plan.Result
	given  error // why a person gave it up

	busy     atomic.Bool // a step is under way
	returned atomic.Bool // the function has
	wrong    atomic.Pointer[error]
}

// An undo is a registered compensation.
type undo struct {
	step, effect string
	in           any
}

// Begin begins an execution. uses are the effects it may perform, by name.
func Begin(x plan.Execution, uses map[string]perform.Guarded) *Run {
	r := &Run{x: x, uses: uses, seen: map[string]bool{}, awaits: map[string]int{}}
	r.past, r.ended = recordOf(x.History())
	return r
}

// GivenUp reports whether a person gave the input up that cannot be executed. The
// handler is not called then; End ends the execution.
func (r *Run) GivenUp() bool {
	d, parked := decided(r.past.whole)
	if d == nil || d.Outcome != plan.DecideFailed || parked.Outcome == plan.ParkedDiverged {
		return false
	}
	r.given = byPerson(d, errors.New(parked.Reason))
	return true
}

// enter begins a step, or whatever else is not to be done beside one, until leave.
func (r *Run) enter() error {
	if r.returned.Load() {
		return errReturned
	}
	if !r.busy.CompareAndSwap(false, true) {
		err := errors.New("a step was taken, or something emitted, within weir.Capture or by another goroutine: steps belong to the function that was given them and are taken one after the other")
		r.wrong.CompareAndSwap(nil, &err)
		return ErrSuspended
	}
	if !r.over {
		return nil
	}
	if r.vain++; r.vain > spins {
		panic(fmt.Sprintf("weir: an orchestration does not return although its steps have said weir.ErrSuspended %d times", spins))
	}
	r.leave()
	return ErrSuspended
}

func (r *Run) leave() { r.busy.Store(false) }

// begin enters a step of the handler's. Once something could not be emitted, or
// registered, no step is taken any more: the execution fails.
func (r *Run) begin() error {
	err := r.enter()
	if err == nil && r.fault != nil {
		r.leave()
		err = r.fault
	}
	return err
}

// Emit has write called, in the stage's goroutine, in the transition of the step
// that follows or of the end, unless that is on record: then an earlier execution
// did it. err says why it cannot be written: then the steps that follow are not
// taken, and the execution fails. It panics if the handler has returned.
func (r *Run) Emit(write func(), size int, err error) {
	switch entered := r.enter(); {
	case errors.Is(entered, errReturned):
		panic("weir: emit is called when the function that was given it has returned")
	case entered != nil:
		return
	}
	defer r.leave()
	if r.bytes += size; err == nil && r.bytes > maxPending {
		err = event.Mark(event.KindTooLarge, fmt.Errorf("more than %d MiB are emitted between two steps", maxPending>>20))
	}
	if err != nil {
		r.fault = errors.Join(r.fault, err)
		return
	}
	r.pending = append(r.pending, write)
}

// Now returns when the latest step came to its end. Before the first step it is
// when it was first asked for.
func (r *Run) Now() time.Time {
	if r.enter() != nil {
		return r.now
	}
	defer r.leave()
	if !r.now.IsZero() {
		return r.now
	}
	e := plan.Entry{Type: plan.EntryCapture, Step: reserved + "now", At: r.x.Now()}
	if past := r.past.of(e.Step); r.asks(e) != nil {
		return r.now
	} else if len(past) > 0 {
		r.comesTo(e.Step)
		r.now = past[0].At
	} else if r.record(e) == nil {
		r.now = e.At
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

// comesTo passes over what was emitted before a step that is on record: it has
// left with it.
func (r *Run) comesTo(step string) {
	if r.past.left[step] {
		r.gone = append(r.gone, r.pending...)
		r.pending, r.bytes = nil, 0
	}
	delete(r.past.ahead, step)
}

// record records entries together with what was emitted before, and with what
// captures failed.
func (r *Run) record(entries ...plan.Entry) error { return (&recorder{r.x, r}).Record(nil, entries...) }

// A recorder is the Execution that steps record with.
type recorder struct {
	plan.Execution
	r *Run
}

func (x *recorder) Record(emit func(), entries ...plan.Entry) error {
	r := x.r
	n, notes := len(r.pending), len(r.notes)
	if len(entries) == 0 || entries[0].Type == plan.EntryDrift { // which is no step
		n = 0
	}
	if n > 0 || notes > 0 {
		entries = slices.Concat(r.notes, entries)
	}
	if n > 0 {
		entries[notes].Emitted = n
		emit = r.emits(emit)
	}
	if err := x.Execution.Record(emit, entries...); err != nil {
		return r.end(plan.Result{State: plan.Interrupted})
	}
	if r.notes = nil; n > 0 {
		r.pending, r.bytes = nil, 0
	}
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
func (r *Run) Break(err error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.leave()
	return r.end(plan.Result{State: plan.Broken, Err: err})
}

// broken ends it because the code cannot be right.
func (r *Run) broken(format string, args ...any) error {
	return r.end(plan.Result{State: plan.Broken, Err: fmt.Errorf(format, args...)})
}

// park leaves the input to a person.
func (r *Run) park(step, what string, err error) error {
	parked := plan.Entry{Type: plan.EntryParked, Step: step, Outcome: what, Reason: err.Error(), At: r.x.Now()}
	return r.end(plan.Result{State: plan.Parked, Err: err, Entries: append(slices.Clip(r.notes), parked)})
}

// step begins a step and returns all that is on record of it; its types are those
// that a step of its kind has.
func (r *Run) step(step, kind string, types ...string) ([]plan.Entry, error) {
	if len(r.notes) > 0 && r.past.left[step] { // else they come with what is recorded of it
		if err := r.record(); err != nil {
			return nil, err
		}
	}
	r.comesTo(step)
	for _, e := range r.past.of(step) {
		switch t := e.Type; {
		case t == plan.EntryParked, t == plan.EntryDecision, slices.Contains(types, t):
		default:
			if err := r.asks(plan.Entry{Type: types[0], Step: step}); err != nil {
				return nil, err
			}
			return nil, r.diverged(step, plan.ParkedDiverged, r.past.steps[step], fmt.Errorf("diverged: step %q is %s on record, and %s in the code", step, words(t), kind))
		}
	}
	return r.past.steps[step], nil
}

func words(typ string) string {
	return strings.TrimSuffix(strings.TrimPrefix(typ, reserved), ".v1")
}

// claim takes a name that the code gives a step. A name that cannot be recorded
// may have come with the payload, and is a failure of that.
func (r *Run) claim(step string) error {
	if fault := nameFault(step); fault != "" {
		return event.Invalid(fmt.Errorf("the name of a step %s", fault))
	}
	if strings.HasPrefix(step, reserved) || strings.HasPrefix(step, awaiting) {
		return event.Invalid(fmt.Errorf("step %q: names that begin with %q or %q are reserved", step, reserved, awaiting))
	}
	return r.first(step)
}

// first notes that a step has that name.
func (r *Run) first(step string) error {
	if r.seen[step] {
		return r.broken("two steps of one input are called %q: in a loop, put what it goes over into the name", step)
	}
	r.seen[step] = true
	return nil
}

// diverged parks the input at a step, or gives it up if a person said so. past is
// what is on record about the step, or about the whole.
func (r *Run) diverged(step, what string, past []plan.Entry, err error) error {
	d, _ := decided(past)
	switch {
	case d == nil || d.Outcome != plan.DecideFailed:
		return r.park(step, what, err)
	case r.undoing: // the others are made all the same
		return byPerson(d, err)
	}
	r.given = byPerson(d, err)
	return r.end(plan.Result{State: plan.Finished})
}

// byPerson is the error of what a person gave up.
func byPerson(d *plan.Entry, err error) error {
	if d.Reason != "" {
		err = fmt.Errorf("%s; %w", d.Reason, err)
	}
	return err
}

// Do performs an effect. The error of a call that was given up is a
// [plan.CallError].
func (r *Run) Do(step, effect string, in any) (any, error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.leave()
	if err := r.claim(step); err != nil {
		return nil, err
	}
	return r.call(step, effect, in)
}

func (r *Run) call(step, effect string, in any) (any, error) {
	past, err := r.step(step, "a call of "+effect, plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome, plan.EntryDrift)
	if err != nil {
		return nil, err
	}
	g, ok := r.uses[effect]
	if !ok {
		return nil, r.broken("step %q performs effect %s, which was not granted: give the stage weir.Using", step, effect)
	}
	a := perform.Do(&recorder{r.x, r}, g, step, in, past)
	switch a.State {
	case perform.Interrupted:
		return nil, r.end(plan.Result{State: plan.Interrupted})
	case perform.Parked:
		return nil, r.park(step, a.Parked, fmt.Errorf("step %q: %w", step, a.Failure.Err))
	case perform.Answered, perform.Failed:
	}
	if len(a.Entries) > 0 {
		if err := r.record(a.Entries...); err != nil {
			return nil, err
		}
	}
	for _, es := range [...][]plan.Entry{past, a.Entries} {
		for i := range es {
			if es[i].Final {
				r.took(&es[i])
			}
		}
	}
	if a.State == perform.Failed {
		return nil, &plan.CallError{Err: a.Failure.Err, Happened: string(a.Happened), Attempts: a.Attempts}
	}
	return a.Out, nil
}

// took moves Now to the entry with which a step came to its end.
func (r *Run) took(e *plan.Entry) {
	if e.At.After(r.now) {
		r.now = e.At
	}
}

// Compensate has an effect performed, under the step's name, if the handler fails.
// The error is a name that cannot be recorded.
func (r *Run) Compensate(step, effect string, in any) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.leave()
	if err := r.claim(step); err != nil {
		r.fault = errors.Join(r.fault, err)
		return err
	}
	if _, ok := r.uses[effect]; !ok {
		return r.broken("step %q performs effect %s, which was not granted: give the stage weir.Using", step, effect)
	}
	r.undo = append(r.undo, undo{step, effect, in})
	return nil
}

// Capture records what fn returns. That it returned an error is recorded with the
// step that follows, since the handler may have taken that because of it.
func (r *Run) Capture(step string, fn func() ([]byte, error)) ([]byte, error) {
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.leave()
	if err := r.claim(step); err != nil {
		return nil, err
	}
	past, err := r.step(step, "a capture", plan.EntryCapture)
	if err == nil {
		err = r.asks(plan.Entry{Type: plan.EntryCapture, Step: step})
	}
	if err != nil {
		return nil, err
	}
	for _, e := range r.past.after(past) {
		if e.Type == plan.EntryCapture && e.Kind != "" {
			return nil, perform.ErrorOf(&e)
		} else if e.Type == plan.EntryCapture {
			r.took(&e)
			return e.Result, nil
		}
	}
	data, err := fn()
	if err == nil && len(data) > plan.MaxValue {
		err = event.Mark(event.KindTooLarge, fmt.Errorf("the value of step %q is %d bytes long, the limit is %d", step, len(data), plan.MaxValue))
	}
	if wrong := r.wrong.Load(); wrong != nil {
		return nil, r.end(plan.Result{State: plan.Broken, Err: *wrong})
	}
	if err != nil {
		r.notes = append(r.notes, plan.Entry{Type: plan.EntryCapture, Step: step, Kind: event.KindOf(err), Reason: perform.ReasonOf(err), At: r.x.Now()})
		return nil, err
	}
	e := plan.Entry{Type: plan.EntryCapture, Step: step, Result: data, At: r.x.Now()}
	if err := r.record(e); err != nil {
		return nil, err
	}
	r.took(&e)
	return data, nil
}

// Unreadable parks the input: what is on record of a step is not what the code
// reads.
func (r *Run) Unreadable(step string, err error) error {
	if err := r.enter(); err != nil {
		return err
	}
	defer r.leave()
	return r.diverged(step, plan.ParkedUnreadable, r.past.steps[step], fmt.Errorf("what is on record of step %q cannot be read by this code: %w", step, err))
}

// Since reports whether the execution knows of a change: it has not gone beyond
// this place with code that does not have it.
func (r *Run) Since(change string) bool {
	if r.enter() != nil {
		return false
	}
	defer r.leave()
	if fault := nameFault(change); fault != "" {
		_ = r.broken("the name of a change %s", fault)
		return false
	}
	e := plan.Entry{Type: plan.EntryChange, Step: change, At: r.x.Now()}
	switch known, said := r.past.changes[change]; {
	case said && known:
		return r.asks(e) == nil
	case said:
		return false
	case len(r.past.ahead) > 0:
		r.past.changes[change] = false
		return false
	}
	if r.asks(e) != nil || r.record(e) != nil {
		return false
	}
	r.past.changes[change] = true
	return true
}
