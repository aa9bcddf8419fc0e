package supervise

import (
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/fsm"
)

// PipelineState is a state of a run's supervisor.
type PipelineState uint8

// The states. Drained and Failed are terminal: what is left to do there is to
// write the terminal record and to tear down.
const (
	PipelineCreated PipelineState = iota + 1
	PipelineMaterializing
	PipelineMaterialized
	PipelineRunning
	PipelineSourceCompleted
	PipelineDraining
	PipelineAbortRequested
	PipelineDrained
	PipelineFailed
)

func (s PipelineState) String() string {
	return name(s, "none", "Created", "Materializing", "Materialized", "Running", "SourceCompleted", "Draining",
		"AbortRequested", "Drained", "Failed")
}

// Terminal reports whether the state is the last of an epoch.
func (s PipelineState) Terminal() bool { return s == PipelineDrained || s == PipelineFailed }

// PipelineInput is an event as it arrives at [Pipeline.Step]; which members
// count is said at the event.
type PipelineInput struct {
	Event    Event
	Name     string    // a stage or contract
	Reason   string    // of Stop and Cancel
	Deadline time.Time // of Stop; zero means none
	Err      error     // of the failures
	Finished []string  // of MaterializationComplete
	Passed   []string  // of MaterializationComplete
}

// PipelineFacts is what the guards of the table look at: the event and what is
// known after it was taken into account.
type PipelineFacts struct {
	Event      Event
	Stopping   bool // a stop was asked for
	Cancelled  bool // a cancel, or an expired stop, cut the run short
	First      bool // the first stop or cancel, a pause while not paused, an unpause while paused
	Sooner     bool // this stop brought the deadline forward
	Gating     bool // the contract of this event gates
	AllRunning bool // every stage but the sources runs
	Manual     bool // startup is manual and nobody has said Run
	Epoch      bool // an epoch was entered: a terminal record is owed
	Poisoned   bool // the log takes no more
	Writing    bool // the terminal record was ordered
	Written    bool // and is durable
	Closing    bool // the teardown was ordered
	Pausing    bool // a pause was asked for
	Paused     bool // and has settled
}

// Kind returns the kind of the event.
func (f PipelineFacts) Kind() Event { return f.Event }

// PipelineConfig is what a pipeline is made of.
type PipelineConfig struct {
	Stages []Member
	Gates  []Gate
	Manual bool // wait for Run before the sources start
}

// Pipeline is the supervisor of one epoch of a run, without its goroutine. It
// is owned by one goroutine.
type Pipeline struct {
	state   PipelineState
	intent  Intent
	barrier *Barrier
	failure error
	facts   PipelineFacts
	raised  map[Event]bool // in this state
}

// NewPipeline returns a pipeline in Created. Stages or gates that contradict
// themselves are an error.
func NewPipeline(config PipelineConfig) (*Pipeline, error) {
	b, err := NewBarrier(config.Stages, config.Gates)
	if err != nil {
		return nil, err
	}
	return &Pipeline{
		state: PipelineCreated, barrier: b, raised: map[Event]bool{},
		facts: PipelineFacts{Manual: config.Manual},
	}, nil
}

// PipelineStep is what one event did. If Err is not nil, it is a protocol
// error: nothing changed and there is nothing to perform; the owner steps an
// Error with it.
type PipelineStep struct {
	From, To PipelineState
	Event    Event
	Actions  []Action // shared with the table; not to be changed
	Ignored  bool     // the table ignores the event here
	Reason   string   // why it is ignored
	Err      error
}

// State returns the state.
func (p *Pipeline) State() PipelineState { return p.state }

// Intent returns what was asked for.
func (p *Pipeline) Intent() Intent { return p.intent }

// Failure returns the first failure that ends or ended the run, or nil.
func (p *Pipeline) Failure() error { return p.failure }

// Paused reports whether the sources are paused and what was in flight has
// completed.
func (p *Pipeline) Paused() bool { return p.facts.Paused }

// Barrier returns what the run waits for.
func (p *Pipeline) Barrier() Snapshot { return p.barrier.Snapshot() }

// Status returns how the epoch ends, or NoStatus before a terminal state.
func (p *Pipeline) Status() Status {
	switch {
	case !p.state.Terminal():
		return NoStatus
	case p.facts.Poisoned:
		return Interrupted
	case p.state == PipelineDrained && p.facts.Stopping:
		return Stopped
	case p.state == PipelineDrained:
		return Completed
	case p.facts.Cancelled:
		return Cancelled
	default:
		return Failure
	}
}

// Step takes an event into account and returns what is to be done.
func (p *Pipeline) Step(in PipelineInput) PipelineStep {
	step := PipelineStep{From: p.state, To: p.state, Event: in.Event}
	intent, failure, facts := p.intent, p.failure, p.facts
	p.note(in)
	if b := pipelineTable.Look(p.state, p.facts); b.Outcome == fsm.Ignore {
		p.intent, p.failure, p.facts = intent, failure, facts
		step.Ignored, step.Reason = true, b.Reason
		return step
	}
	step.To, step.Actions, step.Err = pipelineTable.Step(p.state, p.facts)
	if step.Err == nil {
		step.Err = p.book(in, step.To)
	}
	if step.Err != nil {
		p.intent, p.failure, p.facts = intent, failure, facts
		step.To, step.Actions = p.state, nil
		return step
	}
	for _, a := range step.Actions {
		p.facts.Writing = p.facts.Writing || a.Do == WriteTerminal
		p.facts.Closing = p.facts.Closing || a.Do == Teardown
	}
	if step.To != p.state {
		p.state = step.To
		clear(p.raised)
	}
	return step
}

// note takes the event into intent, failure and facts.
func (p *Pipeline) note(in PipelineInput) {
	f := &p.facts
	f.Event, f.First, f.Sooner, f.Gating = in.Event, false, false, false
	switch in.Event {
	case Stop, Cancel, StopDeadline:
		p.ask(in)
	case Run:
		f.Manual = f.Manual && p.state != PipelineMaterialized
	case Pause:
		if p.state == PipelineRunning && p.intent.Mode == NoIntent {
			f.First, f.Pausing = !f.Pausing, true
		}
	case Unpause:
		f.First, f.Pausing, f.Paused = f.Pausing, false, false
	case PauseSettled:
		f.Paused = f.Pausing
	case EpochEntered:
		f.Epoch = f.Epoch || p.state == PipelineMaterializing
	case StageBroke:
		p.fail(fmt.Errorf("stage %s failed: %w", in.Name, orUnknown(in.Err)))
	case StageCut:
		p.fail(fmt.Errorf("stage %s was cancelled, and nobody asked for it", in.Name))
	case ContractFailed:
		if f.Gating = p.barrier.Gates(in.Name); f.Gating {
			p.fail(fmt.Errorf("contract %s failed: %w", in.Name, orUnknown(in.Err)))
		}
	case Error:
		p.fail(orUnknown(in.Err))
	case LogPoisoned:
		if !f.Written && !f.Poisoned {
			f.Poisoned, p.failure = true, orUnknown(in.Err)
		}
	case TerminalWritten:
		f.Written = true
	}
	f.AllRunning = p.barrier.AllRunning()
}

// ask takes a stop, a cancel or an expired deadline into the intent. In a
// terminal state, and after a failure, nothing is left to be decided.
func (p *Pipeline) ask(in PipelineInput) {
	if p.state.Terminal() {
		return
	}
	f, was := &p.facts, p.intent
	switch {
	case in.Event == Stop:
		p.intent = was.Stop(in.Reason, in.Deadline)
		f.First = was.Mode == NoIntent
		f.Sooner = was.Mode == StopMode && !p.intent.Deadline.Equal(was.Deadline)
		f.Pausing, f.Paused = false, false
	case p.failure != nil:
	case in.Event == Cancel:
		p.intent = was.Cancel(in.Reason)
		f.First = was.Mode != CancelMode
	default:
		p.intent = was.Expire()
	}
	f.Stopping, f.Cancelled = p.intent.Mode == StopMode, p.intent.Mode == CancelMode
}

// book takes an event that the table accepted into the barrier.
func (p *Pipeline) book(in PipelineInput, to PipelineState) error {
	var err error
	switch in.Event {
	case MaterializationComplete:
		if to == PipelineMaterialized {
			err = p.materialized(in)
		}
	case StageRuns:
		err = p.barrier.Running(in.Name)
	case SourceReady:
		err = p.barrier.Ready(in.Name)
	case StageCompleted:
		err = p.barrier.Completed(in.Name)
	case StageBroke, StageCut:
		err = p.barrier.Ended(in.Name)
	case ContractPassed:
		err = p.barrier.Passed(in.Name)
	}
	if err != nil {
		return fmt.Errorf("event %v in state %v: %w", in.Event, p.state, err)
	}
	return nil
}

func (p *Pipeline) materialized(in PipelineInput) error {
	for _, s := range in.Finished {
		if err := p.barrier.Completed(s); err != nil {
			return err
		}
	}
	for _, c := range in.Passed {
		if err := p.barrier.Passed(c); err != nil {
			return err
		}
	}
	p.barrier.Alive()
	return nil
}

// fail keeps the first failure, unless the run was cancelled before: then what
// fails, fails because it was cut short.
func (p *Pipeline) fail(err error) {
	if p.failure == nil && p.intent.Mode != CancelMode && !p.state.Terminal() {
		p.failure = err
	}
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no cause was given")
	}
	return err
}

// Due returns the next event that follows from what is known, if there is one.
// The owner steps it before it takes another from its channels. Each is
// returned once per state, and only if the table does not ignore it now.
func (p *Pipeline) Due() (PipelineInput, bool) {
	for _, d := range []struct {
		event Event
		holds func() bool
	}{
		{BeginDrain, func() bool { return p.state == PipelineSourceCompleted }},
		{AllStagesRunning, p.barrier.AllRunning},
		{SourcesReady, p.barrier.SourcesReady},
		{SourcesCompleted, p.barrier.SourcesCompleted},
		{AllStagesCompleted, p.barrier.AllCompleted},
		{AllStagesEnded, p.barrier.AllEnded},
	} {
		if p.raised[d.event] || !d.holds() {
			continue
		}
		f := p.facts
		f.Event, f.AllRunning = d.event, p.barrier.AllRunning()
		if pipelineTable.Look(p.state, f).Outcome == fsm.Transition {
			p.raised[d.event] = true
			return PipelineInput{Event: d.event}, true
		}
	}
	return PipelineInput{}, false
}
