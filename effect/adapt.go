package effect

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// Adapt turns an effect on a service's own types into one on the flow's: to makes
// the request from the input, from the flow's result from the input and the
// service's answer. Both are pure: the request is recorded before it is sent and
// the service's answer as it came, and from is run again over the recorded answer
// after a crash, in replay and in verify. An error of to fails the call before
// anything was sent. One of from fails it too, and says that the action happened.
func Adapt[In, Req, Res, Out any](e Effect[Req, Res], to func(In) (Req, error), from func(In, Res) (Out, error)) Effect[In, Out] {
	a := Effect[In, Out]{name: e.name, version: e.version, safety: e.safety, fault: e.fault}
	if a.fault == "" && (to == nil || from == nil) {
		a.fault = "effect.Adapt needs both functions"
	}
	if e.build == nil {
		return a
	}
	a.build = func(c event.Codec) (*plan.Effect, error) {
		p, err := e.build(c)
		if err != nil {
			return nil, err
		}
		p.In, p.Out = reflect.TypeFor[In](), reflect.TypeFor[Out]()
		request, answer, orElse := p.Request, p.Answer, p.Else
		p.Request = func(in any) (any, error) {
			req, err := to(in.(In))
			if err != nil {
				return nil, err
			}
			return request(req)
		}
		p.Answer = func(in, res any) (any, error) {
			req, err := to(in.(In))
			if err != nil {
				return nil, err
			}
			mid, err := answer(req, res)
			if err != nil {
				return nil, err
			}
			return from(in.(In), mid.(Res))
		}
		if orElse != nil {
			p.Else = func(in any, cause error) (any, error) {
				req, err := to(in.(In))
				if err != nil {
					return nil, err
				}
				mid, err := orElse(req, cause)
				if err != nil {
					return nil, err
				}
				return from(in.(In), mid.(Res))
			}
			if p.AppendOut, p.DecodeOut, _, err = codec[Out](c); err != nil {
				return nil, fmt.Errorf("its result %w", err)
			}
		}
		return p, nil
	}
	return a
}

// OrElse returns e with an answer for calls that finally failed; err says why. The
// answer is pure and recorded as a fallback. It is not asked for calls of which it
// is unknown whether they happened and which are left to a person.
func OrElse[Req, Res any](e Effect[Req, Res], answer func(Req, error) (Res, error)) Effect[Req, Res] {
	of := e.build
	if answer == nil {
		e.fault = "effect.OrElse needs a function"
	}
	if of == nil {
		return e
	}
	e.build = func(c event.Codec) (*plan.Effect, error) {
		p, err := of(c)
		if err != nil {
			return nil, err
		}
		before := p.Else
		p.Else = func(in any, cause error) (any, error) {
			if before != nil {
				out, err := before(in, cause)
				if err == nil {
					return out, nil
				}
				cause = errors.Join(cause, err)
			}
			return answer(in.(Req), cause)
		}
		if p.AppendOut, p.DecodeOut, _, err = codec[Res](c); err != nil {
			return nil, fmt.Errorf("its result %w", err)
		}
		return p, nil
	}
	return e
}
