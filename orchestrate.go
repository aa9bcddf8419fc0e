package weir

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
	"github.com/weirflow/weir/internal/steps"
	"github.com/weirflow/weir/topology"
)

// Orchestrate runs fn for each payload: a durable function, which touches the world
// through its steps only. Many run at once, and what they emit leaves as it comes.
// A payload is accepted at once, up to [MaxOpen], so those that wait hold neither
// credit nor goroutine; what fn emitted is committed with the step that follows it,
// or with its end. If fn fails, what it emitted since its last step is dropped.
//
// An execution that has to wait, or that the end of a process cut off, is begun
// again from the beginning of fn and given what is on record of its steps; so apart
// from its steps fn is a pure function of the payload. An error that fn returns has
// its compensations made, and the payload leaves on the second stream. A panic
// fails the stage.
//
// Steps are on record by name. An execution that comes, with changed code, to
// another effect under a recorded name, or that ends without a step that is on
// record, is put aside for a person to decide (`weir effects resolve`); see [Since]
// for how to change code without that.
func Orchestrate[In, Out any](in Input[In], name string, fn func(s *Steps, in In, emit Emit[Out]) error, opts ...OrchestrateOption) (Stream[Out], Stream[Failed[In]]) {
	src := streamOf(in)
	s := src.f.add(topology.Effect, "orchestrate", name)
	s.require(fn != nil, "function")
	key, via := keyOf(s, in)
	s.read(src.ports, 0, plan.Stream, via)
	return orchestrate(s, key, false, opts, func(s *Steps, v In, emit Emit[Out]) (func(), error) {
		return nil, fn(s, v, emit)
	})
}

// OrchestrateBy is [Orchestrate] with state for each key. One payload of a key is
// executed at a time and the next begins when it has come to its end, with the
// state that it left. What fn makes of the state is committed with its end, and not
// at all if it fails. start makes the state of a key that has none, and is pure.
func OrchestrateBy[K comparable, S, In, Out any](in Keyed[K, In], name string, start func(K) S, fn func(s *Steps, state *S, in In, emit Emit[Out]) error, opts ...OrchestrateOption) (Stream[Out], Stream[Failed[In]]) {
	s := keyedStage(topology.Effect, "orchestrate", name, in)
	s.require(start != nil && fn != nil, "function")
	key, _ := keyOf(s, in)
	keys := keyType[K](s)
	table := newTable[K, S](s, "state", keys, keptAs[S]())
	kept, _ := payload.For[S](s.f.codec) // the table has said what is wrong
	return orchestrate(s, key, true, opts, func(s *Steps, v In, emit Emit[Out]) (func(), error) {
		k := in.key(v)
		var state S
		found := false
		if err := s.x.Record(func() { state, found = table.Get(k) }); err != nil {
			return nil, ErrSuspended
		}
		if !found {
			state = start(k)
		}
		if err := fn(s, &state, v, emit); err != nil {
			return nil, err
		}
		if _, err := kept.Append(nil, &state); err != nil {
			return nil, fmt.Errorf("the state that it left: %w", err)
		}
		return func() {
			if err := table.Put(k, state); err != nil { // it was found by this key
				panic(err)
			}
			table.Close()
		}, nil
	})
}

// An OrchestrateOption tunes [Orchestrate] and [OrchestrateBy].
type OrchestrateOption interface {
	ApplyOrchestrate(*plan.OrchestrateSettings)
}

// MaxOpen is how many payloads a stage of orchestrations holds that have not come
// to their end; beyond that its input waits. Zero means 10,000.
type MaxOpen int

func (m MaxOpen) ApplyOrchestrate(s *plan.OrchestrateSettings) {
	if s.MaxOpen = int(m); m < 0 {
		s.Faults = append(s.Faults, fmt.Sprintf("MaxOpen is %d; a count is not negative", m))
	}
}

// ApplyOrchestrate has at most c executions of a stage of orchestrations run at
// once; zero means 16. Those that wait do not run.
func (c Concurrency) ApplyOrchestrate(s *plan.OrchestrateSettings) {
	if s.Concurrency = int(c); c < 0 {
		s.Faults = append(s.Faults, fmt.Sprintf("Concurrency is %d; a count is not negative", c))
	}
}

// Using grants an orchestration an effect, under policies.
func Using[Req, Res any](e effect.Effect[Req, Res], opts ...EffectOption) OrchestrateOption {
	u := plan.Use{Name: e.Name(), In: reflect.TypeFor[Req](), Out: reflect.TypeFor[Res](), Plan: e.Plan}
	for i, o := range opts {
		if o == nil {
			u.Settings.Faults = append(u.Settings.Faults, fmt.Sprintf("option %d of Using(%s) is nil", i+1, e.Name()))
			continue
		}
		o.ApplyEffect(&u.Settings)
	}
	if set := &u.Settings; set.Concurrency != 0 || set.Unordered || set.Hold {
		set.Faults = append(set.Faults, fmt.Sprintf("Using(%s) takes policies; Concurrency is an option of the stage, AsCompleted and HoldInDoubt are for Perform", e.Name()))
	}
	return using{u}
}

type using struct{ use plan.Use }

func (u using) ApplyOrchestrate(s *plan.OrchestrateSettings) { s.Uses = append(s.Uses, u.use) }

const (
	portSignals       = "signals" // the table of what came and was not awaited
	orchestrateAtOnce = 16
)

// orchestrate completes the stage.
func orchestrate[In, Out any](s *stage, key func(In) (string, error), chained bool, opts []OrchestrateOption, run func(*Steps, In, Emit[Out]) (func(), error)) (Stream[Out], Stream[Failed[In]]) {
	var set plan.OrchestrateSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplyOrchestrate(&set)
	}
	s.f.faults(s.node.Name, s.node.Caller, set.Faults)
	o := &orchestrating[In, Out]{run: run, codec: s.f.codec, uses: map[string]granted{}, calls: map[string]perform.Guarded{}, types: &sync.Map{}}
	o.in, o.key = payloadType[In](s, "payload"), key
	o.out = payloadType[Out](s, "result")
	o.done, o.state = addPort[Out](s, "out"), chained
	o.addFailed(s)
	o.dead = addDead[In](s)
	for i := range set.Uses {
		o.grant(s, &set.Uses[i])
	}
	kept, err := payload.For[plan.Kept](s.f.codec)
	names, err2 := payload.KeyFor[string]()
	if err := errors.Join(err, err2); err != nil {
		s.problem("signals: %v", err)
		return port[Out](s, 0), port[Failed[In]](s, 1)
	}
	signals := plan.NewTable(portSignals, names, kept, s.node.Turn)
	s.node.Tables = append(s.node.Tables, signals)
	s.node.Performer = o
	s.node.Performing = plan.Performing{
		Concurrency: set.Concurrency, Unordered: true, MaxOpen: set.MaxOpen, Chained: chained, Signals: signals,
	}
	if set.Concurrency <= 0 {
		s.node.Performing.Concurrency = orchestrateAtOnce
	}
	if set.MaxOpen <= 0 {
		s.node.Performing.MaxOpen = maxOpen
	}
	return port[Out](s, 0), port[Failed[In]](s, 1)
}

// orchestrating is the plan.Performer of Orchestrate and OrchestrateBy.
type orchestrating[In, Out any] struct {
	performing[In, Out]
	out    *payload.Type[Out]
	state  bool // there is state for each key
	run    func(*Steps, In, Emit[Out]) (commit func(), err error)
	codec  event.Codec
	uses   map[string]granted
	calls  map[string]perform.Guarded
	guards []grantedGuard
	known  []*plan.Effect
	types  *sync.Map // of captured and awaited values: payload types by Go type
}

// granted are the Go types of an effect.
type granted struct{ in, out reflect.Type }

type grantedGuard struct {
	effect string
	guard  *resilience.Guard
}

// grant notes an effect that the stage may perform.
func (o *orchestrating[In, Out]) grant(s *stage, u *plan.Use) {
	if _, twice := o.uses[u.Name]; twice {
		s.problem("effect %s is granted twice", u.Name)
		return
	}
	s.f.faults(s.node.Name, s.node.Caller, u.Settings.Faults)
	s.f.share(s.node.Name, s.node.Caller, &u.Settings.Guards)
	action, err := u.Plan(s.f.codec)
	if err != nil {
		s.problem("%v", err)
		return
	}
	s.uses(action, u.Settings.Guards)
	g := s.f.policies.Guard(action.Name, u.Settings.Guards)
	o.uses[u.Name] = granted{u.In, u.Out}
	o.calls[u.Name] = perform.Guarded{Effect: action, Guards: u.Settings.Guards, Gate: g}
	o.guards = append(o.guards, grantedGuard{u.Name, g})
	o.known = append(o.known, action)
}

// Execute runs the function once over one payload; see plan.Performer.
func (o *orchestrating[In, Out]) Execute(x plan.Execution) plan.Result {
	s := &Steps{run: steps.Begin(x, o.calls), x: x, codec: o.codec, uses: o.uses, types: o.types}
	failed := func(err error) { o.give(x.Input(), err) }
	if s.run.GivenUp() {
		return s.run.End(nil, nil, failed)
	}
	v, err := o.input(x)
	if err != nil {
		return parked(x, plan.ParkedUnreadable, &plan.UnreadableError{Err: err})
	}
	emit := func(v Out) {
		o.out.Normalize(&v) // and what v refers to is the handler's alone
		data, err := o.out.Append(nil, &v)
		if err == nil && o.out.Mode == payload.Decode {
			v, err = o.out.Decode(data)
		}
		s.run.Emit(func() { o.done.EmitFrom(v, o.cause(x.Input())) }, len(data), err)
	}
	commit, err := o.run(s, v, emit)
	return s.run.End(err, func() {
		if commit != nil && o.done.Err() == nil { // else it becomes a dead letter
			commit()
		}
	}, failed)
}

// give emits a payload whose orchestration failed.
func (o *orchestrating[In, Out]) give(in *plan.Accepted, err error) {
	f := failedInput(o.in, in, refused(err, event.KindDomain))
	if c, ok := errors.AsType[*plan.CallError](err); ok {
		f.Happened, f.Attempts = effect.Happened(c.Happened), c.Attempts
	}
	if u, ok := errors.AsType[*plan.UndoError](err); ok && (f.Happened == effect.No || u.Happened == string(effect.Yes)) {
		f.Happened = effect.Happened(u.Happened)
	}
	o.failed.EmitFrom(f, o.cause(in))
}

// cause says that what is emitted follows from the state of a key, where there is
// state.
func (o *orchestrating[In, Out]) cause(in *plan.Accepted) *plan.Cause {
	if !o.state {
		return nil
	}
	return &plan.Cause{Key: in.KeyText(), HasKey: true, FromKey: true}
}

// Restore brings the policies to where they were; see plan.Restorer.
func (o *orchestrating[In, Out]) Restore(latest []plan.Entry) {
	for _, g := range o.guards {
		var of []plan.Entry
		for i := range latest {
			if latest[i].Effect == g.effect {
				of = append(of, latest[i])
			}
		}
		g.guard.Restore(of)
	}
}

// Effects returns those that were granted; see plan.Performer.
func (o *orchestrating[In, Out]) Effects() []*plan.Effect { return o.known }
