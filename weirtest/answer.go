package weirtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// Answer replaces an effect by fn, on the flow's types: nothing outside is called,
// and nothing that stands between the effect and a service is looked at. name is
// that of the stage that performs it, with its groups, or, for those of
// orchestrations, that of the effect; then it is replaced in every stage.
//
// What fn returns means what it means of an effect: an error that is not marked by
// effect.Permanent, effect.DidNotHappen or effect.RetryAfter leaves it unknown
// whether the action happened. Policies are at work. The replaced effect knows what
// it was asked: a call that has the key of one that fn answered is answered in the
// same way without fn, if the effect is keyed, and what an effect is asked that has
// a way to find out what became of a call is true. So a call is left in doubt only
// where fn returned an unmarked error, or panicked. fn is called by several
// goroutines.
func Answer[Req, Res any](name string, fn func(Req) (Res, error)) Option {
	return option(func(s *setup) {
		d := &double{setup: s, known: map[string]*answered{}}
		s.doubles = append(s.doubles, d)
		s.edits = append(s.edits, func(f *plan.Flow) error {
			effects, err := effectsOf(f, name)
			if err != nil {
				return err
			}
			for _, e := range effects {
				if in, out := reflect.TypeFor[Req](), reflect.TypeFor[Res](); e.In != in || e.Out != out {
					return fmt.Errorf("Answer(%q) takes a function from %v to %v, effect %s is from %v to %v", name, in, out, e.Name, e.In, e.Out)
				}
				d.stands(e, func(req any) (any, error) { return fn(req.(Req)) })
				s.answered = append(s.answered, e)
				var c event.Codec
				if err := c.UnmarshalText([]byte(f.Graph.Codec())); err != nil {
					return err
				}
				if err := errors.Join(encodes[Req](c, &e.AppendReq, &e.DecodeReq), encodes[Res](c, &e.AppendRes, &e.DecodeRes)); err != nil {
					return fmt.Errorf("Answer(%q): %w", name, err)
				}
			}
			return nil
		})
	})
}

// effectsOf finds the effects that Answer means.
func effectsOf(f *plan.Flow, name string) ([]*plan.Effect, error) {
	var named []*plan.Effect
	var names []string
	for _, n := range f.Nodes {
		if n.Performer == nil {
			continue
		}
		effects := n.Performer.Effects()
		if n.Name == name {
			if len(effects) != 1 {
				return nil, fmt.Errorf("Answer(%q): the stage performs %d effects; name the one that is meant", name, len(effects))
			}
			return effects, nil
		}
		names = append(names, n.Name)
		for _, e := range effects {
			names = append(names, e.Name)
			if e.Name == name {
				named = append(named, e)
			}
		}
	}
	if len(named) == 0 {
		slices.Sort(names)
		return nil, fmt.Errorf("Answer(%q): the flow has no such stage and no such effect; it has %q", name, slices.Compact(names))
	}
	return named, nil
}

// encodes has values of T written and read.
func encodes[T any](c event.Codec, write *func([]byte, any) ([]byte, error), read *func([]byte) (any, error)) error {
	typ, err := payload.For[T](c)
	if err != nil {
		return err
	}
	*write = func(dst []byte, v any) ([]byte, error) {
		x, _ := v.(T) // nil is the zero value
		return typ.Append(dst, &x)
	}
	*read = func(data []byte) (any, error) { return typ.Decode(data) }
	return nil
}

// A double is what an effect is replaced by: a service with a memory. It outlives
// the runs that call it.
type double struct {
	setup *setup

	mu    sync.Mutex           // guards the rest
	calls []doubled            // in the order in which they came
	known map[string]*answered // by effect and key
}

// doubled is one attempt that came.
type doubled struct {
	effect  string
	key     string
	attempt int
	request any
	session int
	safety  plan.Safety
}

// answered is what became of a call.
type answered struct {
	res     any
	unknown bool // fn did not say whether it happened
}

// stands puts the double in the place of e.
func (d *double) stands(e *plan.Effect, fn func(req any) (any, error)) {
	name, safety := e.Name, e.Safety
	request, key := e.Request, e.Key
	e.Request = func(in any) (any, error) {
		if _, err := request(in); err != nil {
			return nil, err
		}
		return in, nil
	}
	e.Answer = func(_, res any) (any, error) { return res, nil }
	if key != nil {
		e.Key = func(in any) string {
			req, err := request(in)
			if err != nil {
				return ""
			}
			return key(req)
		}
	}
	e.Do = func(_ context.Context, c plan.Call, req any) (any, error) {
		return d.call(doubled{effect: name, key: c.Key, attempt: c.Attempt, request: req, safety: safety, session: d.setup.session}, fn)
	}
	if e.Reconcile != nil {
		e.Reconcile = func(_ context.Context, c plan.Call, _ any) (any, plan.CallState, error) { return d.ask(name, c.Key) }
	}
}

// call answers one attempt.
func (d *double) call(c doubled, fn func(any) (any, error)) (res any, err error) {
	d.mu.Lock()
	of := c.effect + " " + c.key
	known := d.known[of]
	d.calls = append(d.calls, c)
	d.mu.Unlock()
	if keyed := c.safety == plan.Keyed || c.safety == plan.KeyedByInput; keyed && known != nil && !known.unknown {
		return known.res, nil
	}
	is := &answered{unknown: true} // should fn panic
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.known[of] = is
	}()
	res, err = fn(c.request)
	_, refused := errors.AsType[*plan.RefusedError](err)
	if err != nil && !refused && c.safety == plan.Transactional { // it was rolled back
		err, refused = effect.DidNotHappen(err), true
	}
	switch {
	case err == nil:
		is = &answered{res: res}
	case refused:
		is = known // what was before
	}
	return res, err
}

// ask says what became of a call.
func (d *double) ask(name, key string) (any, plan.CallState, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch is := d.known[name+" "+key]; {
	case is == nil:
		return nil, plan.CallNotDone, nil
	case is.unknown:
		return nil, plan.CallUnknown, nil
	default:
		return is.res, plan.CallDone, nil
	}
}
