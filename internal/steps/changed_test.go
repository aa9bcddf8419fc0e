package steps_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/steps"
)

// What was emitted before a step that is on record has left, whatever changed code
// would emit there: it neither comes twice nor takes the place of what comes later.
func TestChangedEmissions(t *testing.T) {
	emits := func(before, after []string) func(*steps.Run, func(string)) error {
		return func(r *steps.Run, emit func(string)) error {
			for _, s := range before {
				emit(s)
			}
			if _, err := r.Do("one", "reserve", "7"); err != nil {
				return err
			}
			for _, s := range after {
				emit(s)
			}
			_, _, err := await(r, "go", "7", 0)
			return err
		}
	}
	for _, c := range []struct{ before, after, want []string }{
		{[]string{"a"}, []string{"b"}, []string{"a", "b", "done"}},
		{[]string{"new", "a"}, []string{"b"}, []string{"a", "b", "done"}},
		{nil, []string{"b"}, []string{"a", "b", "done"}},
		{[]string{"a"}, []string{"new", "b"}, []string{"a", "new", "b", "done"}},
	} {
		w := newWorld(t, emits([]string{"a"}, nil))
		w.once()
		w.durable = w.durable[:len(w.durable)-1] // it died before it came to wait
		w.handler = emits(c.before, c.after)
		res := w.once()
		w.durable = append(w.durable, plan.Entry{Type: plan.EntryWoken, Step: res.Wake.Step, ID: "s"})
		w.once()
		if !slices.Equal(w.emitted, c.want) {
			t.Errorf("emits %q and %q now: %q, want %q", c.before, c.after, w.emitted, c.want)
		}
	}
}

// An input that is given up has its compensations made, whatever it was given up
// for; and none is made before a person has said so.
func TestGivenUpIsCompensated(t *testing.T) {
	undone := func(w *world) (n int) {
		for call, k := range w.calls {
			if strings.HasPrefix(call, "release") {
				n += k
			}
		}
		return n
	}
	reserve := func(r *steps.Run) error {
		_, err := r.Do("one", "reserve", "7")
		if err == nil {
			err = r.Compensate("undo", "release", "7")
		}
		return err
	}
	old := func(r *steps.Run, _ func(string)) error {
		if err := reserve(r); err != nil {
			return err
		}
		if _, err := r.Do("two", "charge", "7"); err != nil {
			return err
		}
		_, _, err := await(r, "go", "7", 0)
		return err
	}
	for name, changed := range map[string]func(*steps.Run, func(string)) error{
		"at a step": func(r *steps.Run, _ func(string)) error {
			if err := reserve(r); err != nil {
				return err
			}
			_, err := r.Capture("two", func() ([]byte, error) { return nil, errors.New("never") })
			return err
		},
		"passed by": func(r *steps.Run, _ func(string)) error { return reserve(r) },
		"passed by a failure": func(r *steps.Run, _ func(string)) error {
			if err := reserve(r); err != nil {
				return err
			}
			return errors.New("the new code says no")
		},
	} {
		w := newWorld(t, old)
		if res := w.once(); res.State != plan.Suspended {
			t.Fatalf("%+v", res)
		}
		w.durable = w.durable[:len(w.durable)-1]
		w.handler = changed
		if res := w.once(); res.State != plan.Parked || res.Entries[0].Outcome != plan.ParkedDiverged || undone(w) != 0 {
			t.Fatalf("%s: %+v, undone %d times", name, res, undone(w))
		}
		step := w.durable[len(w.durable)-1].Step
		w.durable = append(w.durable, plan.Entry{Type: plan.EntryDecision, Step: step, Outcome: perform.DecideFailed, By: "ann", Reason: "too old"})
		res := w.once()
		if res.State != plan.Finished || undone(w) != 1 || len(w.emitted) != 1 || !strings.HasPrefix(w.emitted[0], "failed: too old; diverged") {
			t.Errorf("%s: %+v, undone %d times, emitted %q", name, res, undone(w), w.emitted)
		}
	}
}

// An input that was parked because the process died of it is given up without
// running its code.
func TestGivenUpWithoutItsCode(t *testing.T) {
	w := newWorld(t, func(*steps.Run, func(string)) error { panic("it kills") })
	w.durable = []plan.Entry{
		{Type: plan.EntryCapture, Step: "one"},
		{Type: plan.EntryParked, Outcome: plan.ParkedCrash, Reason: "it died"},
		{Type: plan.EntryDecision, Outcome: perform.DecideFailed, By: "ann"},
	}
	p := &process{w: w, began: w.durable, ctx: t.Context()}
	r := steps.Begin(p, nil)
	if !r.GivenUp() {
		t.Fatal("it is not given up")
	}
	said := ""
	res := r.End(nil, nil, func(err error) { said = err.Error() })
	if res.Emit(); res.State != plan.Finished || said != "it died" {
		t.Errorf("%+v: %q", res, said)
	}
	for _, c := range []struct{ parked, verdict string }{
		{plan.ParkedCrash, perform.DecideRetry}, {plan.ParkedDiverged, perform.DecideFailed}, {plan.ParkedUnreadable, perform.DecideRetry},
	} {
		p.began = []plan.Entry{{Type: plan.EntryParked, Outcome: c.parked}, {Type: plan.EntryDecision, Outcome: c.verdict}}
		if steps.Begin(p, nil).GivenUp() {
			t.Errorf("%s, %s: given up", c.parked, c.verdict)
		}
	}
}

// A step that is on record and a change that was never asked for: what Since says
// stays, whatever comes to be on record after it.
func TestSinceStays(t *testing.T) {
	var said []string
	handler := func(changes ...string) func(*steps.Run, func(string)) error {
		return func(r *steps.Run, _ func(string)) error {
			line := ""
			for _, c := range changes {
				line += fmt.Sprint(c, r.Since(c), " ")
			}
			if _, err := r.Do("one", "reserve", "7"); err != nil {
				return err
			}
			for _, c := range changes {
				line += fmt.Sprint(c, r.Since(c), " ")
			}
			said = append(said, line)
			_, _, err := await(r, "go", "7", 0)
			return err
		}
	}
	w := newWorld(t, handler("a"))
	w.once()
	w.handler = handler("b", "a") // forward
	w.once()
	w.handler = handler() // and back
	w.once()
	w.handler = handler("a", "b")
	w.once()
	want := []string{"atrue atrue ", "bfalse atrue bfalse atrue ", "", "atrue bfalse atrue bfalse "}
	if !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
}
