package resilience_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// An open breaker stays open for the rest of its time.
func TestRestoreOpen(t *testing.T) {
	c := newClock()
	p := plan.Guards{Breaker: &plan.Breaker{Failures: 2, OpenFor: 30 * time.Second, Probes: 1}}
	recorded := []plan.Entry{
		entryOf("e", "", c.t, time.Second, nil),
		entryOf("e", "", c.t.Add(time.Second), 500*time.Millisecond, errBroken),
		entryOf("e", "", c.t.Add(2*time.Second), 500*time.Millisecond, errBroken),
		{Type: plan.EntryOutcome, Effect: "e", Outcome: plan.OutcomeRejected, Attempt: 2, At: c.t.Add(3 * time.Second)},
		{Type: plan.EntryOutcome, Effect: "e", Outcome: plan.OutcomeNotDone, By: "reconcile", Attempt: 2, At: c.t.Add(4 * time.Second)},
		{Type: plan.EntryDecision, Effect: "e", Outcome: plan.OutcomeDone, At: c.t.Add(5 * time.Second)},
	}
	c.add(31*time.Second + 999*time.Millisecond)
	g := resilience.NewSet(c.now, nil).Guard("e", p)
	g.Restore(recorded)
	if _, err := g.Enter(t.Context()); err == nil {
		t.Error("the breaker is open for another millisecond, and lets a call out")
	}
	c.add(time.Millisecond)
	leave := enter(t, g)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Enter(gone); err == nil {
		t.Error("a second probe is let out")
	}
	leave(nil, 0)
	enter(t, g)(nil, 0)
}

// The clock may have been put back: nothing is open for longer than the policy says.
func TestRestoreFromTheFuture(t *testing.T) {
	c := newClock()
	g := resilience.NewSet(c.now, nil).Guard("e", plan.Guards{
		Breaker: &plan.Breaker{Failures: 1, OpenFor: time.Minute, Probes: 1},
		Rate:    &plan.Rate{PerSecond: 1, Burst: 1},
	})
	g.Restore([]plan.Entry{entryOf("e", "", c.t.AddDate(1, 0, 0), time.Second, errBroken), entryOf("e", "", c.t, -time.Hour, errBroken)})
	_, err := g.Enter(t.Context())
	if after := resilience.After(err, c.t); after != time.Minute {
		t.Errorf("a failure a year ahead: %v, want to be open for a minute", err)
	}
	c.add(time.Minute)
	enter(t, g)(nil, 0)
}

// What stages share is restored from the records of all of them, whichever is
// restored first.
func TestRestoreShared(t *testing.T) {
	c := newClock()
	p := plan.Guards{
		Breaker: &plan.Breaker{Failures: 3, OpenFor: time.Hour, Probes: 1, Name: "bank"},
		Rate:    &plan.Rate{PerSecond: 0.001, Burst: 4, Name: "bank"},
	}
	a := []plan.Entry{
		entryOf("a", "", c.t.Add(1*time.Second), 0, errBroken),
		entryOf("a", "", c.t.Add(3*time.Second), 0, errBroken),
	}
	b := []plan.Entry{entryOf("b", "", c.t.Add(2*time.Second), 0, errBroken)}
	c.add(4 * time.Second)
	for _, order := range []string{"ab", "ba"} {
		set := resilience.NewSet(c.now, nil)
		guards := map[rune]*resilience.Guard{'a': set.Guard("a", p), 'b': set.Guard("b", p)}
		for _, who := range order {
			guards[who].Restore(map[rune][]plan.Entry{'a': a, 'b': b}[who])
		}
		if _, err := guards['a'].Enter(t.Context()); err == nil {
			t.Errorf("%s: three failures in a row over two stages, and the breaker is closed", order)
		}
		if _, ok := guards['a'].Spare(); !ok {
			t.Errorf("%s: three of four tokens were taken, and none is left", order)
		}
		if _, ok := guards['b'].Spare(); ok {
			t.Errorf("%s: a fifth token", order)
		}
	}
}

// A restore that comes after calls were made does not give back what they took.
func TestRestoreLate(t *testing.T) {
	c := newClock()
	p := plan.Guards{
		Breaker: &plan.Breaker{Failures: 1, OpenFor: time.Hour, Probes: 1, Name: "bank"},
		Rate:    &plan.Rate{PerSecond: 0.001, Burst: 2, Name: "bank"},
	}
	set := resilience.NewSet(c.now, nil)
	a, b := set.Guard("a", p), set.Guard("b", p)
	before := enter(t, a)
	enter(t, a)(errBroken, 0)
	b.Restore([]plan.Entry{entryOf("b", "", c.t.Add(-time.Hour), 0, nil)})
	before(nil, 0)
	if _, err := b.Enter(t.Context()); err == nil {
		t.Error("the breaker had opened, and a restore closed it")
	}
	if _, ok := b.Spare(); ok {
		t.Error("both tokens were taken, and a restore gave one back")
	}
}

// Attempts on record take their tokens, once each, whether they ended or not.
func TestRestoreTokens(t *testing.T) {
	c := newClock()
	entry := func(typ, key string, attempt int) plan.Entry {
		return plan.Entry{Type: typ, Effect: "e", Key: key, Attempt: attempt, At: c.t}
	}
	done := func(key string, attempt int) plan.Entry {
		e := entryOf("e", key, c.t, 0, errBroken)
		e.Attempt = attempt
		return e
	}
	for _, tt := range []struct {
		name    string
		entries []plan.Entry
		tokens  int
	}{
		{"nothing", nil, 0},
		{"idempotent", []plan.Entry{done("", 1), done("", 1)}, 2},
		{"keyed, with a second attempt", []plan.Entry{entry(plan.EntryIntent, "k", 1), done("k", 1), entry(plan.EntryAttempt, "k", 2), done("k", 2)}, 2},
		{"two calls at once", []plan.Entry{entry(plan.EntryIntent, "a", 1), entry(plan.EntryIntent, "b", 1), done("b", 1), done("a", 1)}, 2},
		{"cut off by a crash", []plan.Entry{entry(plan.EntryIntent, "k", 1)}, 1},
		{"cut off, and made again", []plan.Entry{entry(plan.EntryIntent, "k", 1), entry(plan.EntryAttempt, "k", 2), done("k", 2)}, 2},
		{"captures and decisions", []plan.Entry{entry(plan.EntryCapture, "k", 1), entry(plan.EntryDecision, "k", 1)}, 0},
	} {
		g := resilience.NewSet(c.now, nil).Guard("e", plan.Guards{Rate: &plan.Rate{PerSecond: 0.001, Burst: 5}})
		g.Restore(tt.entries)
		left := 0
		for ok := true; ok; left++ {
			_, ok = g.Spare()
		}
		if taken := 6 - left; taken != tt.tokens {
			t.Errorf("%s: %d tokens are taken, want %d", tt.name, taken, tt.tokens)
		}
	}
}

// A bucket restored from what is on record has calls wait as long as the one that
// lived.
func TestRestoredBucketIsTheOneThatLived(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := plan.Guards{Rate: &plan.Rate{PerSecond: rapid.SampledFrom([]float64{0.5, 1, 4, 100}).Draw(rt, "rate"), Burst: rapid.IntRange(1, 5).Draw(rt, "burst")}}
		pauses := rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 20).Draw(rt, "pauses")
		down := rapid.IntRange(0, 5000).Draw(rt, "down")
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		// waits makes calls on g and returns how long each waited.
		waits := func(ctx context.Context, g *resilience.Guard, n int) (all []time.Duration) {
			for range n {
				at := time.Now()
				if _, err := g.Enter(ctx); err != nil {
					rt.Fatal(err)
				}
				all = append(all, time.Since(at))
			}
			return all
		}
		run := func(resume bool) (all []time.Duration) {
			synctest.Test(t, func(t *testing.T) {
				g := guard(p)
				var recorded []plan.Entry
				for _, pause := range pauses {
					time.Sleep(ms(pause))
					waits(t.Context(), g, 1)
					recorded = append(recorded, entryOf("e", "", time.Now().UTC().Round(0), 0, nil))
				}
				time.Sleep(ms(down))
				if resume {
					g = guard(p)
					g.Restore(recorded)
				}
				all = waits(t.Context(), g, 8)
			})
			return all
		}
		lived, restored := run(false), run(true)
		for i := range lived {
			if d := lived[i] - restored[i]; d.Abs() > time.Microsecond { // the bucket counts in floating point
				rt.Fatalf("call %d waits %v, restored %v", i, lived[i], restored[i])
			}
		}
	})
}
