package supervise

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/internal/fsm"
)

// StageState is a state of a stage's supervisor.
type StageState uint8

// The states. Drained and Failed are terminal: what is left to do there is to
// author EOFs, clean up and write the terminal record.
const (
	StageCreated StageState = iota + 1
	StageInitialized
	StageWaitingToStart // sources only
	StageHydrating      // joins that read a side to its end first
	StageRunning
	StageDraining
	StageDrained
	StageFailed
)

func (s StageState) String() string {
	return name(s, "none", "Created", "Initialized", "WaitingToStart", "Hydrating", "Running", "Draining", "Drained", "Failed")
}

// Terminal reports whether the state is the last of an epoch.
func (s StageState) Terminal() bool { return s == StageDrained || s == StageFailed }

// StageInput is an event as it arrives at [Stage.Step]; which members count is
// said at the event.
type StageInput struct {
	Event    Event
	Input    int
	Ending   Ending
	OpenWork bool
	Err      error
}

// StageFacts is what the guards of the table look at: the event and what is
// known after it was taken into account.
type StageFacts struct {
	Event     Event
	Source    bool   // the stage is a source
	Hydrates  bool   // it reads some inputs to their end first
	Stopping  bool   // a stop was asked for
	Cancelled bool   // a cancel cut the stage short
	Paused    bool   // the source is not to read
	First     bool   // the first stop or poisoning, a pause while not paused, an unpause while paused
	Table     Ending // of the inputs that are read to their end first
	Ending    Ending // of all inputs; the kind of the stage's own EOF
	OpenWork  bool   // accepted work is left in the open-work table
	Poisoned  bool   // the log takes no more
	Idle      bool   // the stage failed and nothing of it runs any more
	Closing   bool   // the cleanup was ordered
	Cleaned   bool   // and is done
	Written   bool   // the terminal record is durable
}

// Kind returns the kind of the event.
func (f StageFacts) Kind() Event { return f.Event }

// StageConfig is what a stage's supervisor is made of.
type StageConfig struct {
	Source  bool
	Inputs  int   // edges that it reads; of a source it does not count
	Hydrate []int // inputs that are read to their end before the others
}

// Stage is the supervisor of a stage in one epoch, without its goroutine. It
// is owned by one goroutine.
type Stage struct {
	state   StageState
	facts   StageFacts
	ends    []Ending
	hydrate []int
	failure error
	raised  map[Event]bool // in this state
}

// NewStage returns a stage in Created. A stage without inputs that is no
// source, and hydration of an input it does not have, are an error.
func NewStage(config StageConfig) (*Stage, error) {
	n := config.Inputs
	switch {
	case config.Source && len(config.Hydrate) > 0:
		return nil, errors.New("a source does not hydrate")
	case config.Source:
		n = 1 // its reader
	case n < 1:
		return nil, fmt.Errorf("a stage that is no source has %d inputs", n)
	}
	for _, i := range config.Hydrate {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("hydration from input %d of %d", i, n)
		}
	}
	return &Stage{
		state: StageCreated, ends: make([]Ending, n), hydrate: append([]int(nil), config.Hydrate...),
		facts:  StageFacts{Source: config.Source, Hydrates: len(config.Hydrate) > 0},
		raised: map[Event]bool{},
	}, nil
}

// StageStep is what one event did. If Err is not nil, it is a protocol error:
// nothing changed and there is nothing to perform; the owner steps an Error
// with it.
type StageStep struct {
	From, To StageState
	Event    Event
	Actions  []Action // shared with the table; not to be changed
	Ignored  bool     // the table ignores the event here
	Reason   string   // why it is ignored
	Err      error
}

// State returns the state.
func (s *Stage) State() StageState { return s.state }

// Failure returns the first failure that ended the stage, or nil.
func (s *Stage) Failure() error { return s.failure }

// Ending returns the kind of the stage's own EOF as far as it is known.
func (s *Stage) Ending() Ending { return s.facts.Ending }

// Status returns how the epoch ends for the stage, or NoStatus before a
// terminal state. A stage whose EOF is natural completed and is not started
// again.
func (s *Stage) Status() Status {
	f := s.facts
	switch {
	case !s.state.Terminal():
		return NoStatus
	case f.Poisoned:
		return Interrupted
	case s.state == StageDrained && f.Ending.Final():
		return Completed
	case s.state == StageDrained:
		return Stopped
	case f.Cancelled:
		return Cancelled
	default:
		return Failure
	}
}

// Step takes an event into account and returns what is to be done.
func (s *Stage) Step(in StageInput) StageStep {
	step := StageStep{From: s.state, To: s.state, Event: in.Event}
	facts, failure := s.facts, s.failure
	var ended *Ending
	var was Ending
	if in.Event == EndOfInput && !s.state.Terminal() && s.state != StageDraining {
		if in.Input < 0 || in.Input >= len(s.ends) || in.Ending < Natural || in.Ending > Poison {
			step.Err = fmt.Errorf("event EndOfInput in state %v: %v on input %d of %d", s.state, in.Ending, in.Input, len(s.ends))
			return step
		}
		ended, was = &s.ends[in.Input], s.ends[in.Input]
		*ended = was.Worse(in.Ending)
	}
	s.note(in)
	if b := stageTable.Look(s.state, s.facts); b.Outcome == fsm.Ignore {
		s.facts, s.failure = facts, failure
		step.Ignored, step.Reason = true, b.Reason
		return step
	}
	step.To, step.Actions, step.Err = stageTable.Step(s.state, s.facts)
	if step.Err != nil {
		s.facts, s.failure = facts, failure
		if ended != nil {
			*ended = was
		}
		step.Actions = nil
		return step
	}
	for _, a := range step.Actions {
		s.facts.Closing = s.facts.Closing || a.Do == Cleanup
		if a.Do == AuthorEOF {
			s.facts.Ending = a.Ending
		}
	}
	if step.To != s.state {
		s.state = step.To
		clear(s.raised)
	}
	return step
}

func (s *Stage) note(in StageInput) {
	f := &s.facts
	f.Event, f.First = in.Event, false
	switch in.Event {
	case EndOfInput:
		if !s.state.Terminal() && s.state != StageDraining {
			f.Ending, f.Table = Merge(s.ends...), s.table()
		}
	case TableEnded:
		if !f.Table.Final() {
			f.Ending = f.Ending.Worse(f.Table)
		}
	case Stop:
		f.First = !f.Stopping && !f.Cancelled
		f.Stopping = f.Stopping || f.First && !s.state.Terminal()
		if f.First && f.Source && !s.state.Terminal() && s.state != StageDraining {
			f.Ending, f.Paused = f.Ending.Worse(Truncated), false
		}
	case Cancel:
		if s.failure == nil && !s.state.Terminal() {
			f.Cancelled, f.Stopping = true, false
		}
	case Pause:
		if f.Source && !f.Stopping {
			f.First, f.Paused = !f.Paused, true
		}
	case Unpause:
		f.First, f.Paused = f.Paused, false
	case DrainComplete:
		f.OpenWork = in.OpenWork
	case Error, Panic:
		if s.failure == nil && !f.Cancelled && !s.state.Terminal() {
			s.failure = orUnknown(in.Err)
		}
	case LogPoisoned:
		if !f.Written && !f.Poisoned {
			f.First, f.Poisoned, s.failure = true, true, orUnknown(in.Err)
		}
	case WorkEnded:
		f.Idle = true
	case CleanedUp:
		f.Cleaned = true
	case TerminalWritten:
		f.Written = true
	}
}

// table merges the endings of the inputs that are read to their end first.
func (s *Stage) table() Ending {
	ends := make([]Ending, len(s.hydrate))
	for i, at := range s.hydrate {
		ends[i] = s.ends[at]
	}
	return Merge(ends...)
}

// Due returns the next event that follows from what is known, if there is one.
// The owner steps it before it takes another from its channels. Each is
// returned once per state, and only if the table does not ignore it now.
func (s *Stage) Due() (StageInput, bool) {
	for _, d := range []struct {
		event Event
		holds bool
	}{
		{TableEnded, s.facts.Table != NotEnded},
		{InputsEnded, s.facts.Ending != NotEnded},
	} {
		if s.raised[d.event] || !d.holds {
			continue
		}
		f := s.facts
		f.Event = d.event
		if stageTable.Look(s.state, f).Outcome == fsm.Transition {
			s.raised[d.event] = true
			return StageInput{Event: d.event}, true
		}
	}
	return StageInput{}, false
}
