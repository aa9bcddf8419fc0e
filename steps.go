package weir

import (
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/steps"
)

// ErrSuspended is what steps return in an execution that has to wait, or to end.
// Return errors of steps as they are, or wrapped: what the function returns is then
// ignored, and it is run again later.
var ErrSuspended = steps.ErrSuspended

// Steps are the authority to take the steps of one orchestration. Only functions of
// this package that are given them touch the world. They belong to the goroutine
// that was given them, and to the call they were given to.
type Steps struct {
	run   *steps.Run
	x     plan.Execution
	codec event.Codec
	uses  map[string]granted
	types *sync.Map
}

// Now returns when the latest step came to its end, as recorded; before the first
// step, when it was first asked for.
func (s *Steps) Now() time.Time { return s.run.Now() }

// Do performs e as the step of that name, which is unique among the steps of one
// payload: in a loop, put what it goes over into it. e must have been granted by
// [Using]. The outcome is on record when Do returns.
//
// The error of a call that was given up says with effect.HappenedIn whether it
// happened. A call that is in doubt suspends the orchestration until a person has
// decided.
func Do[Req, Res any](s *Steps, step string, e effect.Effect[Req, Res], req Req) (res Res, err error) {
	if err := fits(s, step, e); err != nil {
		return res, err
	}
	out, err := s.run.Do(step, e.Name(), req)
	if err != nil {
		return res, err
	}
	return out.(Res), nil
}

// Compensate has e performed, as the step of that name, if the orchestration fails
// later: the latest that was registered first. What was registered is not on
// record; the function registers it again when it is run again. If a compensation
// fails, the others are made all the same, and the error says so; what it was to
// undo stands then, which Failed.Happened tells.
func Compensate[Req, Res any](s *Steps, step string, e effect.Effect[Req, Res], req Req) {
	if fits(s, step, e) == nil {
		_ = s.run.Compensate(step, e.Name(), req) // the orchestration fails with it
	}
}

// fits refuses an effect of other types than the one that was granted.
func fits[Req, Res any](s *Steps, step string, e effect.Effect[Req, Res]) error {
	g, ok := s.uses[e.Name()]
	in, out := reflect.TypeFor[Req](), reflect.TypeFor[Res]()
	if ok && (g.in != in || g.out != out) {
		return s.run.Break(fmt.Errorf("step %q performs effect %s from %v to %v, and the one that was granted is from %v to %v", step, e.Name(), in, out, g.in, g.out))
	}
	return nil
}

// Capture records what fn returns: an id, a random number, the time. fn is not
// called again once its value is on record. After an error it is, unless the
// function went on to another step because of it: then the error is on record with
// that. fn takes no steps and emits nothing.
func Capture[T any](s *Steps, step string, fn func() (T, error)) (v T, err error) {
	typ, err := typeOf[T](s, step)
	if err != nil {
		return v, err
	}
	data, err := s.run.Capture(step, func() ([]byte, error) {
		v, err := fn()
		if err != nil {
			return nil, err
		}
		return typ.Append(nil, &v)
	})
	if err != nil {
		return v, err
	}
	if v, err = typ.Decode(data); err != nil {
		return v, s.run.Unreadable(step, err)
	}
	return v, nil
}

// typeOf compiles T once for a stage.
func typeOf[T any](s *Steps, step string) (*payload.Type[T], error) {
	key := reflect.TypeFor[T]()
	if t, ok := s.types.Load(key); ok {
		return t.(*payload.Type[T]), nil
	}
	t, err := payload.For[T](s.codec)
	if err != nil {
		return nil, s.run.Break(fmt.Errorf("step %q: %w", step, err))
	}
	s.types.Store(key, t)
	return t, nil
}

// Sleep waits until d has passed since the latest step, across restarts: the time
// is on record.
func Sleep(s *Steps, step string, d time.Duration) error { return s.run.Sleep(step, d) }

// Await waits for the next signal with key, or until timeout has passed since the
// latest step; zero means without end. arrived is false after the timeout. A signal
// that came before the wait began counts, and each is given once.
func Await[T any](s *Steps, sig Signal[T], key string, timeout time.Duration) (v T, arrived bool, err error) {
	if err := sig.valid(); err != nil {
		return v, false, s.run.Break(err)
	}
	typ, err := typeOf[T](s, "await "+sig.name)
	if err != nil {
		return v, false, err
	}
	step, data, arrived, err := s.run.Await(sig.name, key, timeout)
	if err != nil || !arrived {
		return v, false, err
	}
	if v, err = typ.Decode(data); err != nil {
		return v, false, s.run.Unreadable(step, err)
	}
	return v, true, nil
}

// Since reports whether the execution goes the new way where the change of that
// name came into the code. It is false, for good, in executions that had gone beyond
// this place before; so old and new steps can live in one program:
//
//	if weir.Since(s, "fees") {
//		… the new steps
//	} else {
//		… the old ones
//	}
func Since(s *Steps, change string) bool { return s.run.Since(change) }
