package perform_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// The format of keys is for ever: a process of another version sends the same.
func TestKeyIsForEver(t *testing.T) {
	in := &plan.Accepted{Run: "01JZ0000000000000000000000", Stage: "charge"}
	if got, want := perform.Key(in, "pay"), "927265ee87e1bf8cc8cb071c7e3b756e"; len(got) != 32 || !strings.HasPrefix(got, want) {
		t.Errorf("key %s, want %s…", got, want)
	}
	other := *in
	other.Stage = "charg"
	if perform.Key(in, "pay") == perform.Key(&other, "epay") {
		t.Error("two calls have one key")
	}
}

// inDoubt is an AtMostOnce call that nobody can ask about, parked.
func inDoubt(t *testing.T) *world {
	t.Helper()
	w := &world{safety: plan.AtMostOnce, fates: []fate{lost}, keys: map[string]int{}, nobody: true}
	a := w.run()
	if a.State != perform.Parked || !strings.Contains(a.Failure.Err.Error(), "in doubt: it is not known whether attempt 1 of charge happened: connection reset") {
		t.Fatalf("%+v", a)
	}
	return w
}

func TestDecisions(t *testing.T) {
	for _, c := range []struct {
		decision plan.Entry
		state    perform.State
		out      any
		happened perform.Happened
		calls    int
	}{
		{plan.Entry{Outcome: perform.DecideDone, Result: []byte(`{"Text":"by hand"}`)}, perform.Answered, receipt{"by hand"}, "", 0},
		{plan.Entry{Outcome: perform.DecideDone}, perform.Answered, receipt{}, "", 0},
		{plan.Entry{Outcome: perform.DecideDone, Result: []byte(`[1]`)}, perform.Parked, nil, "", 0},
		{plan.Entry{Outcome: perform.DecideNotDone}, perform.Answered, receipt{"for "}, "", 1},
		{plan.Entry{Outcome: perform.DecideRetry}, perform.Answered, receipt{"for "}, "", 1},
		{plan.Entry{Outcome: perform.DecideFailed, Reason: "too old"}, perform.Failed, nil, perform.Maybe, 0},
		{plan.Entry{Outcome: perform.DecideContinue}, perform.Parked, nil, "", 0}, // it is for what has diverged
		{plan.Entry{Outcome: "nonsense"}, perform.Parked, nil, "", 0},
	} {
		w := inDoubt(t)
		before := len(w.calls)
		c.decision.Type, c.decision.Step, c.decision.By, c.decision.ID = plan.EntryDecision, "pay", "ann", "d1"
		w.durable = append(w.durable, c.decision)
		a := w.run()
		if a.State != c.state || a.Happened != c.happened || len(w.calls)-before != c.calls {
			t.Errorf("%s: %+v, %d calls more", c.decision.Outcome, a, len(w.calls)-before)
			continue
		}
		if want, ok := c.out.(receipt); ok {
			if got, ok := a.Out.(receipt); !ok || !strings.HasPrefix(got.Text, want.Text) {
				t.Errorf("%s: answered %v, want %v", c.decision.Outcome, a.Out, want)
			}
		}
		if c.calls == 0 && len(a.Entries) > 0 && (a.Entries[0].By != "ann" || a.Entries[0].ID != "d1") {
			t.Errorf("%s: the outcome does not say who decided: %+v", c.decision.Outcome, a.Entries)
		}
		if key := w.durable[0].Key; len(a.Entries) > 0 && (key == "" || a.Entries[0].Key != key) {
			t.Errorf("%s: the key %q is missing in the outcome: %+v", c.decision.Outcome, key, a.Entries)
		}
	}
}

// A recorded request is sent as it is, whatever the code computes now, and the
// difference is on record once.
func TestDrift(t *testing.T) {
	w := &world{safety: plan.Keyed, dieAt: 5, keys: map[string]int{}}
	w.run()
	drifts := 0
	for _, e := range w.durable {
		if e.Type == plan.EntryDrift {
			drifts++
		}
	}
	if w.lives != 2 || drifts != 1 || len(w.calls) == 0 || w.calls[len(w.calls)-1] != "seven 7 !" {
		t.Errorf("%d lives, %d drifts, calls %q", w.lives, drifts, w.calls)
	}
}

// A gate that refuses some attempts.
type gate struct {
	refuse int
	left   []error
}

func (g *gate) Enter(context.Context) (func(error, time.Duration), error) {
	if g.refuse > 0 {
		g.refuse--
		return nil, errors.New("breaker bank is open")
	}
	return func(err error, _ time.Duration) { g.left = append(g.left, err) }, nil
}

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{refuse: 2}
		w := &world{safety: plan.AtMostOnce, keys: map[string]int{}, gate: g, policy: plan.Guards{Retry: &plan.Retry{Max: 3, Delay: time.Second, Factor: 2}}}
		began := time.Now()
		a := w.run()
		if a.State != perform.Answered || len(w.calls) != 1 || len(g.left) != 1 || g.left[0] != nil {
			t.Errorf("%+v, %d calls, left with %v", a, len(w.calls), g.left)
		}
		if took := time.Since(began); took < 3*time.Second || took > 4500*time.Millisecond {
			t.Errorf("it took %v, want 1 s and 2 s and up to a half more", took)
		}
		g = &gate{refuse: 1}
		w = &world{safety: plan.AtMostOnce, keys: map[string]int{}, gate: g}
		a = w.run()
		if a.State != perform.Failed || a.Failure.Kind != event.KindRejected || a.Happened != perform.No || len(w.calls) != 0 || w.durable[0].Outcome != plan.OutcomeRejected {
			t.Errorf("%+v, %d calls, record %+v", a, len(w.calls), w.durable)
		}
	})
}

// The service's wish is a floor; no attempt starts beyond the window.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		within time.Duration
		state  perform.State
		took   time.Duration
	}{{0, perform.Answered, 5 * time.Second}, {2 * time.Second, perform.Failed, 0}} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{
				safety: plan.Keyed, fates: []fate{slowdown}, keys: map[string]int{},
				policy: plan.Guards{Retry: &plan.Retry{Max: 3, Delay: time.Millisecond, Factor: 1, Within: c.within}},
			}
			began := time.Now()
			a := w.run()
			if a.State != c.state || time.Since(began) < c.took || a.Happened != perform.No {
				t.Errorf("within %v: %+v after %v", c.within, a, time.Since(began))
			}
		})
	}
}

// A fallback answers for what is known not to have happened, and for reads; never
// for what may have happened.
func TestFallback(t *testing.T) {
	for _, c := range []struct {
		safety plan.Safety
		fate   fate
		state  perform.State
		out    string
	}{
		{plan.Keyed, forever, perform.Answered, "instead: no such account"},
		{plan.Keyed, dropped, perform.Failed, ""},
		{plan.Idempotent, dropped, perform.Answered, "instead: connection reset"},
	} {
		w := &world{safety: c.safety, fates: []fate{c.fate}, keys: map[string]int{}, fallback: true}
		a := w.run()
		if a.State != c.state || c.out != "" && a.Out != (receipt{c.out}) {
			t.Errorf("%s, %s: %+v", c.safety, c.fate, a)
		}
		if n := len(a.Entries); c.out != "" && (n != 2 || a.Entries[1].Outcome != plan.OutcomeFallback || a.Entries[0].Final || !a.Entries[1].Final) {
			t.Errorf("%s, %s: recorded %+v", c.safety, c.fate, a.Entries)
		}
	}
}

// A second attempt is made when the first is slow, and the first answer counts.
func TestHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			safety: plan.Idempotent, fates: []fate{slow}, keys: map[string]int{},
			policy: plan.Guards{Timeout: 10 * time.Second, Hedge: &plan.Hedge{After: 100 * time.Millisecond, Max: 2}},
		}
		began := time.Now()
		if a := w.run(); a.State != perform.Answered || len(w.calls) != 2 || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%+v after %v, %d calls", a, time.Since(began), len(w.calls))
		}
		time.Sleep(time.Minute)
	})
}

// What cannot be sent fails before it is sent; an answer that cannot be used says
// that the action happened.
func TestAdaptFails(t *testing.T) {
	for _, c := range []struct {
		to, from error
		happened perform.Happened
	}{{errors.New("no card"), nil, perform.No}, {nil, errors.New("no receipt"), perform.Yes}} {
		w := &world{safety: plan.Keyed, keys: map[string]int{}, to: c.to, from: c.from}
		if a := w.run(); a.State != perform.Failed || a.Happened != c.happened || (c.happened == perform.Yes) != (w.acted == 1) {
			t.Errorf("%+v, acted %d", a, w.acted)
		}
	}
}

// Whatever is on record, nothing panics, and an AtMostOnce call is not made unless
// it may be.
func TestAnyHistory(outer *testing.T) {
	types := []string{plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome, plan.EntryDecision, plan.EntryDrift, plan.EntryParked, "weir.other.v1"}
	parked := []string{plan.ParkedInDoubt, plan.ParkedUnreadable, plan.ParkedCrash}
	outcomes := []string{plan.OutcomeDone, plan.OutcomeNotDone, plan.OutcomeUnknown, plan.OutcomeRejected, plan.OutcomeFallback, perform.DecideRetry, perform.DecideFailed, perform.DecideContinue, ""}
	rapid.Check(outer, func(t *rapid.T) {
		w := &world{safety: rapid.SampledFrom(classes).Draw(t, "class"), keys: map[string]int{}, nobody: true}
		n := rapid.IntRange(0, 6).Draw(t, "entries")
		for range n {
			e := plan.Entry{
				Type: rapid.SampledFrom(types).Draw(t, "type"), Step: rapid.SampledFrom([]string{"pay", "", "other"}).Draw(t, "step"),
				Effect: rapid.SampledFrom([]string{"charge", "other", ""}).Draw(t, "effect"), Attempt: rapid.IntRange(-1, 3).Draw(t, "attempt"),
				Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), Final: rapid.Bool().Draw(t, "final"),
				Result:  rapid.SampledFrom([]plan.Payload{nil, []byte(`{"Text":"x"}`), []byte(`no`)}).Draw(t, "result"),
				Request: rapid.SampledFrom([]plan.Payload{nil, []byte(`{"ID":"x"}`), []byte(`no`)}).Draw(t, "request"),
			}
			if e.Type == plan.EntryParked {
				e.Outcome = rapid.SampledFrom(parked).Draw(t, "parked")
			}
			w.durable = append(w.durable, e)
		}
		before := append([]plan.Entry(nil), w.durable...)
		synctest.Test(outer, func(*testing.T) { w.run() })
		last := ""
		for _, e := range before {
			if e.Step == "pay" && e.Type == plan.EntryAttempt {
				last = "open"
			}
			if e.Step == "pay" && (e.Type == plan.EntryOutcome || e.Type == plan.EntryDecision && e.Outcome != perform.DecideContinue) {
				last = e.Outcome
			}
		}
		if w.safety == plan.AtMostOnce && last == "open" && len(w.calls) > 0 {
			t.Errorf("called although an attempt is open: %s", list(before))
		}
	})
}
