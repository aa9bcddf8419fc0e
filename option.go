package weir

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Options are typed by audience: one interface of one method for each kind of
// stage. An option implements as many as it fits, and a stage that cannot use an
// option does not compile with it. The methods are for this module's packages.
type (
	// A SourceOption tunes [From].
	SourceOption interface{ ApplySource(*plan.SourceSettings) }
	// A StageOption tunes a stateless stage: [Map], [Filter], [FlatMap],
	// [Flatten] and the splits.
	StageOption interface{ ApplyStage(*plan.StageSettings) }
	// A StateOption tunes a stage with state that emits for each input: [Join]
	// and [LeftJoin].
	StateOption interface{ ApplyState(*plan.StateSettings) }
	// An EmitOption tunes a stage with state that emits when an [Emission] says
	// so: [Reduce], [TopN] and [Latest].
	EmitOption interface{ ApplyEmit(*plan.StateSettings) }
	// An EffectOption tunes the performing of an effect: [Perform].
	EffectOption interface{ ApplyEffect(*plan.EffectSettings) }
	// A SinkOption tunes [Into] and [Each].
	SinkOption interface{ ApplySink(*plan.SinkSettings) }
	// A DefaultOption is for [Flow.Defaults].
	DefaultOption interface{ ApplyDefault(*plan.DefaultSettings) }
)

// OnError says what a failed input means for its stage. By default an error that
// a function returns sends the input to the dead letters, and a panic fails the
// stage; the run can then be continued with mended code and begins with that
// input.
type OnError struct {
	Error  Action // zero means DeadLetter
	Panic  Action // zero means Fail
	Budget Budget // how many inputs may be given up
}

// An Action is an answer to a failed input.
type Action int

// The actions. The zero Action is the default of where it stands.
const (
	_ Action = iota
	// DeadLetter sends the input to the stage's dead letters and goes on.
	DeadLetter
	// Fail fails the stage, and with it the run. The input is not consumed.
	Fail
)

// A Budget fails a stage that gives up too many of its inputs.
type Budget struct {
	InARow int     // this many one after the other fail the stage; zero means 100
	Share  float64 // or this share of the last Over inputs; zero means 0.1
	Over   int     // zero means 1,000
}

func defaultOnError() plan.OnError {
	return plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail, Budget: plan.Budget{InARow: 100, Share: 0.1, Over: 1000}}
}

// apply returns o with its zero fields filled in, and what is wrong with it.
func (o OnError) apply() (p *plan.OnError, faults []string) {
	d := defaultOnError()
	for _, a := range []struct {
		name string
		from Action
		to   *plan.Action
	}{{"Error", o.Error, &d.Error}, {"Panic", o.Panic, &d.Panic}} {
		switch a.from {
		case 0:
		case DeadLetter:
			*a.to = plan.DeadLetter
		case Fail:
			*a.to = plan.Fail
		default:
			faults = append(faults, fmt.Sprintf("OnError.%s is %d; use DeadLetter or Fail", a.name, a.from))
		}
	}
	b := o.Budget
	if b.InARow < 0 || b.Over < 0 || b.Share < 0 || b.Share > 1 {
		faults = append(faults, fmt.Sprintf("OnError.Budget is %+v; counts are not negative and Share is between 0 and 1", b))
		return &d, faults
	}
	if b.InARow > 0 {
		d.Budget.InARow = b.InARow
	}
	if b.Share > 0 {
		d.Budget.Share = b.Share
	}
	if b.Over > 0 {
		d.Budget.Over = b.Over
	}
	return &d, faults
}

func (o OnError) ApplyStage(s *plan.StageSettings)     { o.set(&s.OnError, &s.Faults) }
func (o OnError) ApplyState(s *plan.StateSettings)     { o.set(&s.OnError, &s.Faults) }
func (o OnError) ApplyEmit(s *plan.StateSettings)      { o.set(&s.OnError, &s.Faults) }
func (o OnError) ApplySink(s *plan.SinkSettings)       { o.set(&s.OnError, &s.Faults) }
func (o OnError) ApplyDefault(s *plan.DefaultSettings) { o.set(&s.OnError, &s.Faults) }

func (o OnError) set(to **plan.OnError, all *[]string) {
	p, faults := o.apply()
	*to, *all = p, append(*all, faults...)
}

// FlushEvery bounds how long a sink may wait for more before it delivers what it
// has. Zero, or no FlushEvery, means that it waits for nothing.
type FlushEvery time.Duration

func (d FlushEvery) ApplySink(s *plan.SinkSettings) {
	if s.Flush = time.Duration(d); s.Flush < 0 {
		s.Faults = append(s.Faults, fmt.Sprintf("FlushEvery is %v; a duration is not negative", s.Flush))
	}
}

// Concurrency is how many calls of a stage may be under way at once, and so how
// many may be of unknown outcome when the process dies; zero means one. On a Keyed
// input there is at most one for each key.
type Concurrency int

func (c Concurrency) ApplyEffect(s *plan.EffectSettings) {
	if s.Concurrency = int(c); c < 0 {
		s.Faults = append(s.Faults, fmt.Sprintf("Concurrency is %d; a count is not negative", c))
	}
}

// AsCompleted has results leave a stage in the order in which they come, and not
// in that of its inputs.
func AsCompleted() EffectOption { return asCompleted{} }

type asCompleted struct{}

func (asCompleted) ApplyEffect(s *plan.EffectSettings) { s.Unordered = true }

// HoldInDoubt stops the stage, and with it the run, at the first payload that is
// in doubt, instead of putting it aside and going on with others. A run that is
// continued before somebody has decided waits for that, and does nothing else in
// this stage.
func HoldInDoubt() EffectOption { return holdInDoubt{} }

type holdInDoubt struct{}

func (holdInDoubt) ApplyEffect(s *plan.EffectSettings) { s.Hold = true }

// Ports names the outputs of a split, in their order. Without it they are
// "out1", "out2" and so on. On a stage with one output it renames "out".
func Ports(names ...string) StageOption { return portList(names) }

type portList []string

func (p portList) ApplyStage(s *plan.StageSettings) {
	s.Ports = p
	if s.Ports == nil {
		s.Ports = []string{}
	}
}
