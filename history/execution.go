package history

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sort"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// An execution folds what is on record about one input into calls.
type execution struct {
	run   *Run
	stage string
	input event.Ref
	calls []*Call // in the order of their first record
	over  bool    // nothing more is recorded about the input
}

func (r *Run) execution(stage string, input event.Ref) *execution {
	return &execution{run: r, stage: stage, input: input}
}

// each gives the calls to fn, until fn returns false.
func (x *execution) each(fn func(*Call) bool) bool {
	for _, c := range x.calls {
		if !fn(c) {
			return false
		}
	}
	return true
}

// step returns the call of a step, and makes it if there is none.
func (x *execution) step(name string) *Call {
	for _, c := range x.calls {
		if c.Step == name && c.Kind != KindExecution {
			return c
		}
	}
	return x.add(&Call{Step: name, Kind: KindCall})
}

func (x *execution) add(c *Call) *Call {
	c.Stage, c.Input, c.State = x.stage, x.input, CallOpen
	x.calls = append(x.calls, c)
	return c
}

// concerned returns the call that an entry about the whole input concerns: the
// newest that is not over, or else the input as such.
func (x *execution) concerned() *Call {
	for _, c := range slices.Backward(x.calls) {
		if !c.Ended() {
			return c
		}
	}
	if s, ok := x.run.definition(x.stage); ok && s.Kind == topology.Effect {
		return x.step("") // there is one call, and its beginning is not kept
	}
	return x.whole()
}

// orchestrated reports whether the input is executed in steps.
func (x *execution) orchestrated() bool {
	if s, ok := x.run.definition(x.stage); ok {
		return slices.Contains(s.Params, topology.Param{Key: "operator", Value: "orchestrate"})
	}
	return slices.ContainsFunc(x.calls, func(c *Call) bool { return c.Step != "" })
}

// whole returns what is on record about the input as such.
func (x *execution) whole() *Call {
	for _, c := range x.calls {
		if c.Kind == KindExecution {
			return c
		}
	}
	return x.add(&Call{Kind: KindExecution})
}

// take adds record seq of the stage's fx port.
func (x *execution) take(seq uint64, e *plan.Entry, code string) {
	var c *Call
	switch e.Type {
	case plan.EntryCompleted:
		x.over = true
		for _, c := range x.calls {
			if c.Kind == KindExecution && !c.Ended() {
				c.State = CallDone
			}
		}
		return
	case plan.EntryChange, plan.EntrySignal: // which are no steps
		return
	case plan.EntryParked, plan.EntryDecision:
		switch c = x.concerned(); {
		case e.Step == "" && x.orchestrated():
			c = x.whole()
		case e.Step != "" && c.Step != e.Step:
			c = x.step(e.Step)
		}
	default:
		c = x.step(e.Step)
	}
	ref := event.Ref{Stage: x.stage, Port: journal.PortFx, Seq: seq}
	if seq > 0 {
		c.Records = append(c.Records, ref)
	}
	if code != "" && !slices.Contains(c.Code, code) {
		c.Code = append(c.Code, code)
	}
	if e.Type != plan.EntryWaiting { // there it is when the wait ends
		if c.Began.IsZero() {
			c.Began = e.At
		}
		if !e.At.IsZero() {
			c.Last = e.At
		}
	}
	x.fold(c, e, ref)
}

func (x *execution) fold(c *Call, e *plan.Entry, ref event.Ref) {
	switch e.Type {
	case plan.EntryIntent:
		x.names(c, e)
		c.Request = x.run.value(e.Request)
		c.State = CallOpen
	case plan.EntryAttempt:
		x.names(c, e)
		if len(e.Request) > 0 { // of an effect that has no intent
			c.Request = x.run.value(e.Request)
		}
		c.State = CallOpen
	case plan.EntryOutcome:
		x.names(c, e)
		x.outcome(c, e)
	case plan.EntryParked:
		if c.State, c.Parked = CallParked, e.Outcome; e.Outcome == plan.ParkedInDoubt {
			c.State = CallInDoubt
		}
		if e.Reason != "" {
			c.Reason = e.Reason
		}
	case plan.EntryDecision:
		c.State, c.Parked = CallOpen, ""
		c.Decisions = append(c.Decisions, Decision{
			ID: e.ID, Verdict: e.Outcome, Result: x.run.value(e.Result), Reason: e.Reason, By: e.By, At: e.At, Record: ref,
		})
	case plan.EntryCapture:
		c.Kind, c.State, c.Result = KindCapture, CallDone, x.run.value(e.Result)
		if e.Kind != "" {
			c.State, c.Failure, c.Reason = CallFailed, e.Kind, e.Reason
		}
	case plan.EntryWaiting:
		c.Kind, c.State, c.Signal, c.Key = KindWait, CallWaiting, e.Effect, e.Key
		c.Until = e.At
	case plan.EntryWoken:
		c.Kind, c.State, c.Result, c.By = KindWait, CallDone, x.run.value(e.Result), e.By
		if c.SignalID = e.ID; e.ID != "" {
			c.Signal, c.Key = e.Effect, e.Key
			if id, err := event.ParseRecordID(e.ID); err == nil {
				if at, err := id.Ref(); err == nil {
					c.From = &at
				}
			}
		}
	case plan.EntryDrift:
		c.Drifts = append(c.Drifts, e.Reason)
	}
}

// names takes what identifies a call.
func (x *execution) names(c *Call, e *plan.Entry) {
	set := func(to *string, v string) {
		if v != "" {
			*to = v
		}
	}
	set(&c.Effect, e.Effect)
	set(&c.Version, e.Version)
	set(&c.Key, e.Key)
	c.Attempts = max(c.Attempts, e.Attempt)
	if c.Safety != "" {
		return
	}
	s, _ := x.run.definition(x.stage)
	for _, a := range s.Effects {
		if a.Name == c.Effect {
			c.Safety = a.Safety
		}
	}
}

func (x *execution) outcome(c *Call, e *plan.Entry) {
	c.Took += e.Took
	c.Failure, c.Reason, c.By = e.Kind, e.Reason, e.By
	c.Result = x.run.value(e.Result)
	if !e.Final {
		c.State = CallOpen
		return
	}
	switch e.Outcome {
	case plan.OutcomeDone:
		c.State = CallDone
	case plan.OutcomeFallback:
		c.State = CallFallback
	case plan.OutcomeUnknown:
		c.State = CallUnknown
	default:
		c.State = CallFailed
	}
	x.over = x.over || e.Step == ""
}

// value returns what was recorded of a request or result, as JSON.
func (r *Run) value(p plan.Payload) json.RawMessage {
	if len(p) == 0 {
		return nil
	}
	shown := r.shown("", p)
	if json.Valid(shown) {
		return shown
	}
	quoted, err := marshal(text(shown))
	if err != nil {
		return nil
	}
	return quoted
}

// facts collects what is on record about the calls that a record follows from. The
// record names the input, decisions about it, and the last that is on record.
type facts struct {
	*tracer
	stage  string
	inputs []event.Ref
	seqs   []uint64 // of the stage's fx port
}

// factsBack is how many records of an fx port are looked through for what was
// recorded before each of those that an output names.
const factsBack = 100_000

// calls returns the calls, with what is on record of them as far back as is looked;
// left says that there may be more.
func (f *facts) calls() (all []Call, left string, _ error) {
	if len(f.seqs) == 0 {
		return nil, "", nil
	}
	name := f.stage + "." + journal.PortFx
	slices.Sort(f.seqs)
	next, err := f.begin(name, f.seqs[len(f.seqs)-1])
	if err != nil {
		return nil, "", err
	}
	var of []*execution
	for _, seq := range f.seqs {
		var failed error
		from := max(next, seq-min(seq, factsBack))
		if from > next {
			left = fmt.Sprintf("what was recorded before %s:%d is not looked for", name, from)
		}
		err := f.run.each(f.ctx, name, from, seq, func(e entry) bool {
			input, ok := aboutWhich(e)
			if !ok || !slices.Contains(f.inputs, input) {
				return true
			}
			var fact plan.Entry
			if fact, failed = fxEntry(e); failed == nil {
				f.about(&of, input).take(e.seq, &fact, f.run.code(e.p))
			}
			return failed == nil
		})
		if err := cmp.Or(err, failed); err != nil {
			return nil, "", err
		}
		next = max(next, seq+1)
	}
	for _, x := range of {
		x.each(func(c *Call) bool {
			all = append(all, *c)
			return true
		})
	}
	return all, left, nil
}

// begin is a record of the fx port, up to last, before which nothing is about the
// inputs: they were not there yet.
func (f *facts) begin(name string, last uint64) (uint64, error) {
	first := uint64(1)
	if kept := f.run.manifest.Kept; kept != nil {
		first = max(first, kept.Journals[name])
	}
	var oldest journal.LSN
	for _, ref := range f.inputs {
		p, _, _, err := f.place(ref)
		if err != nil {
			return first, nil //nolint:nilerr // it is no longer kept
		}
		if oldest == 0 || p.First < oldest {
			oldest = p.First
		}
	}
	// Find says where a record is at the earliest, for all records of a stretch the
	// same.
	var failed error
	reached := func(at journal.LSN) uint64 {
		return first + uint64(sort.Search(int(last-min(first, last)), func(i int) bool {
			lsn, err := f.run.log.Find(name, first+uint64(i))
			failed = cmp.Or(failed, err)
			return lsn >= at
		}))
	}
	after := reached(oldest)
	if after > first && failed == nil {
		at, err := f.run.log.Find(name, after-1)
		if failed = err; err == nil {
			after = reached(at)
		}
	}
	return after, failed
}

// about returns the execution of an input among those in of, and adds one if there
// is none.
func (f *facts) about(of *[]*execution, input event.Ref) *execution {
	i := slices.IndexFunc(*of, func(x *execution) bool { return x.input == input })
	if i < 0 {
		i = len(*of)
		*of = append(*of, f.run.execution(f.stage, input))
	}
	return (*of)[i]
}
