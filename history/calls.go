package history

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Call is one step that a stage took for one input, as the records of the
// stage's fx port tell it: an outside action with all its attempts, a captured
// value, or a wait.
type Call struct {
	Stage   string          `json:"stage"`
	Input   event.Ref       `json:"input"`
	InputID *event.RecordID `json:"input_id,omitempty"` // while the input is open
	Step    string          `json:"step,omitempty"`     // "" in a stage with one effect for each input
	Kind    string          `json:"kind"`
	State   string          `json:"state"`

	Effect   string     `json:"effect,omitempty"`
	Version  string     `json:"version,omitempty"` // of the effect
	Safety   string     `json:"safety,omitempty"`
	Key      string     `json:"key,omitempty"` // that the service was given; of a wait, of the signal
	Attempts int        `json:"attempts,omitempty"`
	Signal   string     `json:"signal,omitempty"`    // that a wait is for
	SignalID string     `json:"signal_id,omitempty"` // the one that came
	From     *event.Ref `json:"from,omitempty"`      // the record that it was made of, if it was of one

	Request json.RawMessage `json:"request,omitempty"` // absent if it is the input, or nothing was recorded before the call
	Result  json.RawMessage `json:"result,omitempty"`
	Failure event.Kind      `json:"failure,omitempty"`
	Reason  string          `json:"reason,omitempty"` // of a failure, or why it waits for a decision
	Parked  string          `json:"parked,omitempty"` // what for it waits for a decision: in doubt, diverged, unreadable, crash
	By      string          `json:"by,omitempty"`     // whose word the outcome is, if not the service's answer to the call

	Began time.Time     `json:"began,omitzero"` // the first record
	Last  time.Time     `json:"last,omitzero"`  // the newest record
	Until time.Time     `json:"until,omitzero"` // of a wait
	Took  time.Duration `json:"took_ns,omitempty"`

	Decisions []Decision  `json:"decisions,omitempty"`
	Drifts    []string    `json:"drifts,omitempty"` // where code and record differed, and the record was used
	Records   []event.Ref `json:"records,omitempty"`
	Code      []string    `json:"code,omitempty"` // versions of the code that recorded it; of an open call, the last
}

// The kinds of a Call.
const (
	KindCall      = "call"
	KindCapture   = "capture"
	KindWait      = "wait"      // for a time or a signal
	KindExecution = "execution" // not a step: what concerns the whole input
)

// The states of a Call.
const (
	CallAccepted = "accepted"  // nothing is on record yet
	CallOpen     = "open"      // under way, or cut off when the process ended
	CallWaiting  = "waiting"   // for a time or a signal
	CallInDoubt  = "in doubt"  // nobody knows whether it happened: it waits for a decision
	CallParked   = "parked"    // it waits for a decision for another reason
	CallDone     = "done"      // with a result
	CallFailed   = "failed"    // it is known not to have happened
	CallUnknown  = "unknown"   // it is over, and nobody knows whether it happened
	CallFallback = "fell back" // it failed, and something else answered
)

// Waits tells whether the call waits for a decision.
func (c *Call) Waits() bool { return c.State == CallInDoubt || c.State == CallParked }

// Ended tells whether nothing more will become of the call.
func (c *Call) Ended() bool {
	switch c.State {
	case CallDone, CallFailed, CallUnknown, CallFallback:
		return true
	}
	return false
}

// A Decision is what a person said about an input that waited for it.
type Decision struct {
	ID      string          `json:"id,omitempty"` // of the message that handed it in
	Verdict string          `json:"verdict"`
	Result  json.RawMessage `json:"result,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	By      string          `json:"by,omitempty"`
	At      time.Time       `json:"at,omitzero"`
	Record  event.Ref       `json:"record"`
}

// Open yields the calls of all inputs that stages have accepted and not finished,
// by stage in the order in which data flows, and by input in the order in which
// they were accepted. It reads where every stage stands, not the whole log.
func (r *Run) Open(ctx context.Context) iter.Seq2[Call, error] {
	return func(yield func(Call, error) bool) {
		state, err := r.state()
		if err != nil {
			yield(Call{}, err)
			return
		}
		for _, name := range r.stages(state) {
			at := state.Stages[name]
			if at == nil || !r.performs(name) {
				continue
			}
			for i := range at.Open {
				calls, err := r.openCalls(ctx, name, &at.Open[i])
				if err != nil {
					yield(Call{}, err)
					return
				}
				for _, c := range calls {
					if !yield(*c, nil) {
						return
					}
				}
			}
		}
	}
}

// performs tells whether the open work of a stage is calls.
func (r *Run) performs(stage string) bool {
	s, ok := r.definition(stage)
	return !ok || s.Kind != topology.Sink
}

// openCalls returns the calls of one accepted input.
func (r *Run) openCalls(ctx context.Context, stage string, o *recovery.Open) ([]*Call, error) {
	x := r.execution(stage, refOf(o.Journal, o.Seq))
	var last uint64
	for i, data := range o.Updates {
		seq, e, err := plan.ParseUpdate(data)
		if err != nil {
			return nil, fmt.Errorf("open work of stage %s: %w", stage, err)
		}
		if i < o.Foreign { // a record of another stage's port
			seq = 0
		}
		x.take(seq, &e, "")
		last = max(last, seq)
	}
	if len(x.calls) == 0 {
		x.step("").State = CallAccepted
	}
	id := &event.RecordID{Epoch: o.Epoch, Journal: o.Journal, Seq: o.Seq}
	code, err := r.codeOf(ctx, stage, last)
	if err != nil {
		return nil, err
	}
	for _, c := range x.calls {
		c.InputID = id
		if code != "" {
			c.Code = []string{code}
		}
	}
	return x.calls, nil
}

// codeOf returns the version of the code that wrote record seq of the fx port of a
// stage, "" if that is not kept.
func (r *Run) codeOf(ctx context.Context, stage string, seq uint64) (code string, err error) {
	if seq == 0 {
		return "", nil
	}
	err = r.each(ctx, stage+"."+journal.PortFx, seq, seq, func(e entry) bool {
		code = r.code(e.p)
		return false
	})
	if errors.Is(err, journal.ErrTrimmed) {
		err = nil
	}
	return code, err
}

// code is the version of the code that wrote p.
func (r *Run) code(p *journal.Placed) string {
	if p.Code != "" {
		return p.Code
	}
	for i := range r.manifest.Epochs {
		if r.manifest.Epochs[i].Number == p.Epoch {
			return r.manifest.Epochs[i].Build
		}
	}
	return ""
}

// Calls yields every call of a stage, or of all stages if stage is empty: those of
// inputs that are finished in the order in which they ended, then the others. It
// reads all that the stages' fx ports hold, and keeps in memory what is open. The
// error is a [*NotFoundError] if there is no such stage.
func (r *Run) Calls(ctx context.Context, stage string) iter.Seq2[Call, error] {
	return func(yield func(Call, error) bool) {
		state, err := r.state()
		if err != nil {
			yield(Call{}, err)
			return
		}
		names := r.stages(state)
		if stage != "" {
			if !slices.Contains(names, stage) {
				yield(Call{}, &NotFoundError{What: stage, Why: "the run has no such stage", Have: names})
				return
			}
			names = []string{stage}
		}
		for _, name := range names {
			if at := state.Stages[name]; at != nil && r.performs(name) {
				if more, err := r.stageCalls(ctx, at, func(c *Call) bool { return yield(*c, nil) }); err != nil {
					yield(Call{}, err)
					return
				} else if !more {
					return
				}
			}
		}
	}
}

// stageCalls gives every call of a stage to fn, until fn returns false.
func (r *Run) stageCalls(ctx context.Context, at *recovery.Stage, fn func(*Call) bool) (more bool, err error) {
	open := map[event.Ref]*execution{}
	var order []event.Ref // of open, with some that are not open any more
	name := at.Name + "." + journal.PortFx
	from := uint64(1)
	if r.manifest.Kept != nil {
		from = max(from, r.manifest.Kept.Journals[name])
	}
	more = true
	var failed error
	err = r.each(ctx, name, from, at.Ports[journal.PortFx].Count, func(e entry) bool {
		var fact plan.Entry
		if fact, failed = fxEntry(e); failed != nil {
			return false
		}
		input, ok := aboutWhich(e)
		if !ok || fact.Type == plan.EntrySignal {
			return true
		}
		x := open[input]
		if x == nil {
			x = r.execution(at.Name, input)
			open[input] = x
			order = append(order, input)
		}
		if x.take(e.seq, &fact, r.code(e.p)); !x.over {
			return true
		}
		delete(open, input)
		if len(order) > 2*len(open)+64 {
			order = slices.DeleteFunc(order, func(ref event.Ref) bool { return open[ref] == nil })
		}
		more = x.each(fn)
		return more
	})
	if err = cmp.Or(err, failed); err != nil || !more {
		return more, err
	}
	for _, o := range at.Open {
		ref := refOf(o.Journal, o.Seq)
		if x := open[ref]; x != nil {
			for _, c := range x.calls {
				c.InputID = &event.RecordID{Epoch: o.Epoch, Journal: o.Journal, Seq: o.Seq}
			}
		}
	}
	for _, ref := range order {
		x := open[ref]
		if x == nil {
			continue
		}
		delete(open, ref)
		if more = x.each(fn); !more {
			break
		}
	}
	return more, nil
}

// fxEntry reads a record of an fx port.
func fxEntry(e entry) (plan.Entry, error) {
	fact, err := plan.ParseEntry(e.out.Type, e.rec.Payload)
	if err != nil {
		err = &journal.FrameError{LSN: e.p.Last, Err: err}
	}
	return fact, err
}

// aboutWhich returns the input that a record of an fx port is about.
func aboutWhich(e entry) (event.Ref, bool) {
	refs := causes(e.p, e.out, e.rec)
	if len(refs) == 0 {
		return event.Ref{}, false
	}
	return refs[0], true
}

func refOf(name string, seq uint64) event.Ref {
	stage, port := split(name)
	return event.Ref{Stage: stage, Port: port, Seq: seq}
}

// A Refused is a decision or signal that was handed in and not acted upon.
type Refused struct {
	ID      string    `json:"id"` // of the message
	Stage   string    `json:"stage,omitempty"`
	Input   string    `json:"input,omitempty"` // record id
	Step    string    `json:"step,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Signal  string    `json:"signal,omitempty"`
	Key     string    `json:"key,omitempty"`
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason"`
}

// Refused returns what was handed in and not acted upon, oldest first, as far as
// the newest 1,000 records of the pipeline tell.
func (r *Run) Refused(ctx context.Context) (all []Refused, err error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	err = r.evidence(ctx, state, evidence.Pipeline, func(e entry) error {
		if e.out.Type != evidence.TypeRefused {
			return nil
		}
		no, err := evidence.Parse[evidence.Refused](e.rec.Payload)
		if err == nil && !slices.ContainsFunc(all, func(have Refused) bool { return have.ID == no.ID }) {
			all = append(all, Refused(no))
		}
		return err
	})
	return all, err
}
