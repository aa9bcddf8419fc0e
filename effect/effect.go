// Package effect declares outside actions: what they are called, how they are
// made, and what may happen if one is attempted again.
//
//	var charge = effect.Keyed("card.charge.v1", func(o Order) string { return o.ID },
//		func(ctx context.Context, call effect.Call, o Order) (Receipt, error) {
//			return bank.Charge(ctx, call.Key, o.Cents)
//		})
//
// How safe a repetition is decides which constructor an author must use, and the
// constructor asks for what that answer needs: [Keyed] for a key, [AtMostOnce] for
// a way to find out. There is no default.
//
//	safety          on record before a call   when the outcome is unknown
//	Idempotent      nothing                   called again
//	Keyed           the request               called again, same key, recorded request
//	KeyedByInput    the request               called again, same key, recorded request
//	AtMostOnce      the attempt               reconcile; else a person decides
//	AtLeastOnce     the attempt               called again, as another attempt
//	Transactional   the request               the port is asked for the key
//
// A call ends in one of three ways: with a result; with an error by which the
// action is known not to have happened, which is one marked by [Permanent],
// [DidNotHappen] or [RetryAfter]; or with any other error, and then it is unknown
// whether it happened. A crash, a timeout and a panic leave it unknown too. What is
// unknown is never taken for failed.
//
// The context of a call ends with its attempt's time (policy.Timeout, policy.Heartbeat),
// when the run is cancelled, and at the deadline of a stop, which waits for calls
// under way until then. A call that is cut off stays open, and is settled when the
// run is continued. One that takes long says with [Heartbeat] that it goes on.
//
// Effects are performed by weir.Perform and weir.Do.
package effect

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// A Call identifies one logical call. Every attempt of it has the same key, in
// every process that makes one.
type Call struct {
	Key     string // to be sent to the service
	Attempt int    // 1 for the first
}

// An Effect is one named outside action with a recorded outcome. Make one with
// [Idempotent], [Keyed], [KeyedByInput], [AtMostOnce], [AtLeastOnce] or
// [Transactional]. It is immutable. The zero Effect is refused when a flow is
// built, as is one without a name or a function.
type Effect[Req, Res any] struct {
	name    string
	version string
	safety  plan.Safety
	fault   string // why it cannot be performed
	build   func(c event.Codec) (*plan.Effect, error)
}

// Name returns the effect's name.
func (e Effect[Req, Res]) Name() string { return e.name }

// Safety returns the safety class in words, as topologies show it.
func (e Effect[Req, Res]) Safety() string { return string(e.safety) }

// Version returns e with a version of what it means. A change of version does not
// make a recorded outcome invalid; resume and verify show it. The default is "".
func (e Effect[Req, Res]) Version(v string) Effect[Req, Res] {
	e.version = v
	return e
}

// Plan returns e as the engine knows it, for values in the codec c. The error says
// what is wrong with e, or with its types.
func (e Effect[Req, Res]) Plan(c event.Codec) (*plan.Effect, error) {
	switch {
	case e.build == nil && e.fault == "":
		return nil, errors.New("the zero effect.Effect cannot be performed; make one with effect.Keyed, effect.AtMostOnce or another constructor of package effect")
	case e.fault != "":
		return nil, fmt.Errorf("effect %q: %s", e.name, e.fault)
	}
	if !validName(e.name) {
		return nil, fmt.Errorf("effect name %q: want at most %d bytes of a-z, 0-9, _ and dots between parts that are not empty, as in card.charge.v1", e.name, event.MaxName)
	}
	p, err := e.build(c)
	if err != nil {
		return nil, fmt.Errorf("effect %s: %w", e.name, err)
	}
	p.Version = e.version
	return p, nil
}

func validName(name string) bool {
	if len(name) > event.MaxName {
		return false
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return false
		}
	}
	return true
}

// Heartbeat says that the call whose context is ctx, or was made from it, goes on:
// policy.Heartbeat counts from here anew. Call it as often as there is progress; it
// costs little, and nothing where no heartbeat is waited for. It reports whether the
// call shall go on: not if ctx is done, because the attempt is given up, the run is
// cancelled, or the deadline of a stop is over.
func Heartbeat(ctx context.Context) bool {
	plan.Beat(ctx)
	return ctx.Err() == nil
}

// A State is what became of a call.
type State int

// What a reconcile function can answer.
const (
	Unknown State = State(plan.CallUnknown) // still not known: the call stays in doubt
	Done    State = State(plan.CallDone)    // it happened; the result is returned with it
	NotDone State = State(plan.CallNotDone) // it did not happen, and no attempt made so far can still make it happen
)

// Happened is what is known of a call that was given up.
type Happened string

// What may be known.
const (
	No    Happened = ""        // the action is known not to have happened
	Maybe Happened = "unknown" // nobody knows: attempts and reconciliation are used up
	Yes   Happened = "yes"     // it happened, and its answer could not be used
)

// HappenedIn returns what is known of the call that err, an error of weir.Do,
// tells of. An error that tells of none is [No].
func HappenedIn(err error) Happened {
	if c, ok := errors.AsType[*plan.CallError](err); ok {
		return Happened(c.Happened)
	}
	return No
}

// Idempotent declares an action that may be called again whatever became of the
// calls before. Nothing is recorded before a call.
func Idempotent[Req, Res any](name string, do func(context.Context, Req) (Res, error)) Effect[Req, Res] {
	var call func(context.Context, Call, Req) (Res, error)
	if do != nil {
		call = func(ctx context.Context, _ Call, r Req) (Res, error) { return do(ctx, r) }
	}
	return declare(name, plan.Idempotent, call, nil)
}

// Keyed declares an action of a service that answers a second call with the same
// key as it answered the first. key is pure and returns a business key, such as an
// order's number: two runs over the same input call with the same one. An empty
// key is a failure of the call.
func Keyed[Req, Res any](name string, key func(Req) string, do func(context.Context, Call, Req) (Res, error)) Effect[Req, Res] {
	e := declare(name, plan.Keyed, do, nil)
	if key == nil {
		e.fault = "effect.Keyed needs a function that returns the key"
		return e
	}
	of := e.build
	e.build = func(c event.Codec) (*plan.Effect, error) {
		p, err := of(c)
		if err == nil {
			p.Key = func(req any) string { return key(req.(Req)) }
		}
		return p, err
	}
	return e
}

// KeyedByInput is [Keyed] with a key made from run, stage, input and step. It is
// good within one run: another run over the same input calls with another key.
func KeyedByInput[Req, Res any](name string, do func(context.Context, Call, Req) (Res, error)) Effect[Req, Res] {
	return declare(name, plan.KeyedByInput, do, nil)
}

// AtMostOnce declares an action whose repetition is harm and which has no key. If
// it is unknown whether a call happened, reconcile is asked, with the request as
// recorded, and a person if it does not know either ([AskAPerson] never does). The
// action is called again only after it is known not to have happened. NotDone is
// not believed before the settling time of policy.Settle has passed.
func AtMostOnce[Req, Res any](
	name string,
	do func(context.Context, Call, Req) (Res, error),
	reconcile func(context.Context, Call, Req) (Res, State, error),
) Effect[Req, Res] {
	e := declare(name, plan.AtMostOnce, do, reconcile)
	if reconcile == nil {
		e.fault = "effect.AtMostOnce needs a function that finds out whether a call happened; effect.AskAPerson if nothing can"
	}
	return e
}

// AskAPerson is the reconcile of an action that nobody can ask about.
func AskAPerson[Req, Res any](context.Context, Call, Req) (res Res, s State, err error) {
	return res, Unknown, nil
}

// AtLeastOnce declares an action whose repetition is accepted. Each attempt is on
// record before it is made.
func AtLeastOnce[Req, Res any](name string, do func(context.Context, Call, Req) (Res, error)) Effect[Req, Res] {
	return declare(name, plan.AtLeastOnce, do, nil)
}

// Reconciled returns e with a way to find out whether a call happened, which is
// asked when its attempts are used up and the last one's outcome is not known.
// AtMostOnce and Transactional have theirs.
func (e Effect[Req, Res]) Reconciled(ask func(context.Context, Call, Req) (Res, State, error)) Effect[Req, Res] {
	of := e.build
	switch {
	case ask == nil:
		e.fault = "Reconciled needs a function"
	case e.safety == plan.AtMostOnce, e.safety == plan.Transactional:
		e.fault = fmt.Sprintf("an effect that is %s has its own way to find out", e.safety)
	case of != nil:
		e.build = func(c event.Codec) (*plan.Effect, error) {
			p, err := of(c)
			if err == nil {
				p.Reconcile = reconciling(ask)
			}
			return p, err
		}
	}
	return e
}

// declare makes an effect on a service's own types.
func declare[Req, Res any](
	name string, safety plan.Safety,
	do func(context.Context, Call, Req) (Res, error),
	reconcile func(context.Context, Call, Req) (Res, State, error),
) Effect[Req, Res] {
	e := Effect[Req, Res]{name: name, safety: safety}
	if do == nil {
		e.fault = "it has no function that acts"
	}
	e.build = func(c event.Codec) (*plan.Effect, error) {
		p := &plan.Effect{
			Name: name, Safety: safety, In: reflect.TypeFor[Req](), Out: reflect.TypeFor[Res](), Request: asItIs,
			Answer: func(_, res any) (any, error) { return res, nil },
			Do: func(ctx context.Context, c plan.Call, req any) (any, error) {
				return do(ctx, Call(c), req.(Req))
			},
		}
		if reconcile != nil {
			p.Reconcile = reconciling(reconcile)
		}
		var err error
		if p.AppendReq, p.DecodeReq, _, err = codec[Req](c); err != nil {
			return nil, fmt.Errorf("its request %w", err)
		}
		if p.AppendRes, p.DecodeRes, p.Decoded, err = codec[Res](c); err != nil {
			return nil, fmt.Errorf("its result %w", err)
		}
		return p, nil
	}
	return e
}

func asItIs(in any) (any, error) { return in, nil }

func reconciling[Req, Res any](ask func(context.Context, Call, Req) (Res, State, error)) func(context.Context, plan.Call, any) (any, plan.CallState, error) {
	return func(ctx context.Context, c plan.Call, req any) (any, plan.CallState, error) {
		res, s, err := ask(ctx, Call(c), req.(Req))
		return res, plan.CallState(s), err
	}
}

// codec returns how values of T are written and read, and what reading one that was
// written gives, if that can be told without.
func codec[T any](c event.Codec) (
	write func(dst []byte, v any) ([]byte, error), read func(data []byte) (any, error), decoded func(v any) (any, bool), err error,
) {
	t, err := payload.For[T](c)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot be recorded: %w", err)
	}
	write = func(dst []byte, v any) ([]byte, error) {
		x, ok := v.(T)
		if !ok && v != nil {
			return dst, fmt.Errorf("a value of type %T where %s is wanted", v, reflect.TypeFor[T]())
		}
		return t.Append(dst, &x)
	}
	read = func(data []byte) (any, error) {
		v, err := t.Decode(data)
		return v, err
	}
	decoded = func(v any) (any, bool) {
		x, ok := v.(T)
		if !ok || t.Mode == payload.Decode {
			return nil, false
		}
		t.Normalize(&x)
		return x, true
	}
	return write, read, decoded, nil
}
