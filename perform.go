package weir

import (
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
	"github.com/weirflow/weir/topology"
)

// Perform calls e once for each payload and emits the results, in the order of
// the payloads unless [AsCompleted] is given. Before a call leaves the process,
// everything that it follows from is durable; its outcome is on record before
// anyone sees it, and is never called for again.
//
// The second stream holds the payloads whose call finally failed. A call of which
// nobody knows whether it happened, and which must not be repeated, is neither
// result nor failure: its payload is in doubt. It waits, with those of its key,
// until a person has decided; others go on, and the end of the run waits. See
// package effect for when that is, and [HoldInDoubt].
//
// With [Concurrency] several calls are made at once, on a Keyed input one at a time
// for each key.
func Perform[Req, Res any](in Input[Req], name string, e effect.Effect[Req, Res], opts ...EffectOption) (Stream[Res], Stream[Failed[Req]]) {
	src := streamOf(in)
	s := src.f.add(topology.Effect, "effect", name)
	key, via := keyOf(s, in)
	s.read(src.ports, 0, plan.Stream, via)
	var set plan.EffectSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplyEffect(&set)
	}
	s.f.faults(s.node.Name, s.node.Caller, set.Faults)
	s.node.Guards = set.Guards
	s.f.share(s.node.Name, s.node.Caller, &s.node.Guards)
	p := &performing[Req, Res]{in: payloadType[Req](s, "payload"), key: key}
	p.done = addPort[Res](s, "out")
	p.addFailed(s)
	p.dead = addDead[Req](s)
	action, err := e.Plan(s.f.codec)
	if err != nil {
		s.problem("%v", err)
		return port[Res](s, 0), port[Failed[Req]](s, 1)
	}
	s.uses(action, set.Guards)
	p.guard = s.f.policies.Guard(action.Name, set.Guards)
	p.call = perform.Guarded{Effect: action, Guards: set.Guards, Gate: p.guard}
	s.node.Performer = p
	s.node.Performing = plan.Performing{
		Concurrency: max(set.Concurrency, 1), Unordered: set.Unordered, Hold: set.Hold, MaxOpen: maxOpen,
	}
	return port[Res](s, 0), port[Failed[Req]](s, 1)
}

const maxOpen = 10_000 // accepted and unfinished payloads of a stage

// uses notes in the graph that the stage performs an effect.
func (s *stage) uses(e *plan.Effect, g plan.Guards) {
	t := &s.f.stages[s.at]
	t.Effects = append(t.Effects, topology.Action{Name: e.Name, Version: e.Version, Safety: string(e.Safety)})
	if why := g.Suit(e); why != "" {
		s.problem("%s", why)
	}
}

// performing is the plan.Performer of Perform.
type performing[Req, Res any] struct {
	in     *payload.Type[Req]
	key    func(v Req) (string, error) // nil for a stream without keys
	call   perform.Guarded
	guard  *resilience.Guard
	done   *plan.TypedWriter[Res]
	failed *plan.TypedWriter[Failed[Req]]
	dead   morgue[Req]

	failedShape string    // of the failed port's payloads
	past        plan.Past // what they were
}

// Accept encodes a payload, as it is in its record if it can be; see plan.Performer.
func (p *performing[Req, Res]) Accept(b *plan.Batch, i int, in *plan.Accepted) (failure *plan.Failure) {
	defer func() {
		if v := recover(); v != nil {
			failure = panicked(v)
		}
	}()
	v := b.Values.([]Req)[i]
	var err error
	if b.Type != p.in.Name || b.Schema != "" {
		if in.Data, err = p.in.Append(nil, &v); err != nil {
			in.Data = nil
			return refused(err, event.KindValidation)
		}
	} else if in.Data = b.Payload(i); p.in.Mode == payload.Share {
		in.Value = v
	}
	if p.key == nil {
		return nil
	}
	if in.Key, err = p.key(v); err != nil {
		return refused(err, event.KindValidation)
	}
	return nil
}

// input returns the payload of an execution.
func (p *performing[Req, Res]) input(x plan.Execution) (Req, error) {
	in := x.Input()
	if v, ok := in.Value.(Req); ok {
		return v, nil
	}
	return p.in.Decode(in.Data)
}

// Key returns the key of an accepted payload; see plan.Performer.
func (p *performing[Req, Res]) Key(data []byte) (key string, err error) {
	if p.key == nil {
		return "", nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v).Err
		}
	}()
	v, err := p.in.Decode(data)
	if err != nil {
		return "", &plan.UnreadableError{Err: err}
	}
	return p.key(v)
}

// Execute makes the call of one payload; see plan.Performer.
func (p *performing[Req, Res]) Execute(x plan.Execution) plan.Result {
	v, err := p.input(x)
	if err != nil {
		return p.unreadable(x, err)
	}
	switch a := perform.Do(x, p.call, "", v, x.History()); a.State {
	case perform.Answered:
		out := a.Out.(Res)
		return plan.Result{State: plan.Finished, Entries: a.Entries, Emit: func() { p.done.Emit(out) }}
	case perform.Failed:
		return plan.Result{State: plan.Finished, Entries: a.Entries, Emit: func() { p.fail(x.Input(), &a) }}
	case perform.Parked:
		return parked(x, a.Parked, a.Failure.Err, a.Entries...)
	default:
		return plan.Result{State: plan.Interrupted}
	}
}

// unreadable puts a payload aside that this code cannot read, or gives it up if a
// person said so.
func (p *performing[Req, Res]) unreadable(x plan.Execution, err error) plan.Result {
	a := perform.Abandoned(x)
	if a == nil {
		return parked(x, plan.ParkedUnreadable, &plan.UnreadableError{Err: err})
	}
	return plan.Result{State: plan.Finished, Entries: a.Entries, Emit: func() { p.fail(x.Input(), a) }}
}

// parked leaves an input to a person.
func parked(x plan.Execution, what string, err error, entries ...plan.Entry) plan.Result {
	e := plan.Entry{Type: plan.EntryParked, Outcome: what, Reason: perform.ReasonOf(err), At: x.Now()}
	return plan.Result{State: plan.Parked, Entries: append(entries, e), Err: err}
}

// fail emits a payload whose call failed.
func (p *performing[Req, Res]) fail(in *plan.Accepted, a *perform.Answer) {
	f := failedInput(p.in, in, a.Failure)
	f.Happened, f.Attempts = effect.Happened(a.Happened), a.Attempts
	p.failed.Emit(f)
}

// Bury writes a payload to the dead letters; see plan.Performer.
func (p *performing[Req, Res]) Bury(in *plan.Accepted, f *plan.Failure) {
	p.dead.write(failedInput(p.in, in, f))
}

// Restore brings the policies to where they were; see plan.Restorer.
func (p *performing[Req, Res]) Restore(latest []plan.Entry) { p.guard.Restore(latest) }

// Effects returns the one effect; see plan.Performer.
func (p *performing[Req, Res]) Effects() []*plan.Effect { return []*plan.Effect{p.call.Effect} }

// failedInput is what is told of an accepted input that failed. An input that
// cannot be read any more is left out.
func failedInput[In any](typ *payload.Type[In], in *plan.Accepted, f *plan.Failure) Failed[In] {
	stage, port := splitJournal(in.Input.Journal)
	failed := Failed[In]{
		Ref: event.Ref{Stage: stage, Port: port, Seq: in.Input.Seq}, Kind: f.Kind, Reason: reason(f.Kind, f.Err),
	}
	if len(in.Data) > 0 {
		failed.Input, _ = typ.Decode(in.Data) // zero then
	}
	return failed
}

// keyOf returns the function that gives a payload's key as text, nil for an input
// without keys, and how the stage reads the input.
func keyOf[T any](s *stage, in Input[T]) (key func(T) (string, error), via string) {
	if k, ok := in.(interface {
		keyed(s *stage) (func(T) (string, error), string)
	}); ok {
		return k.keyed(s)
	}
	return nil, ""
}

func (k Keyed[K, T]) keyed(s *stage) (key func(T) (string, error), via string) {
	s.require(k.key != nil, "key function")
	typ := keyType[K](s)
	return func(v T) (string, error) {
		text, err := typ.Append(nil, k.key(v))
		if len(text) == 0 {
			return plan.EmptyKey, err
		}
		return string(text), err
	}, k.via()
}
