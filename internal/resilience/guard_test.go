package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

var errBroken = errors.New("connection reset")

func guard(p plan.Guards) *resilience.Guard { return resilience.NewSet(time.Now, nil).Guard("e", p) }

// enter fails the test if the guard refuses.
func enter(t *testing.T, g *resilience.Guard) func(error, time.Duration) {
	t.Helper()
	leave, err := g.Enter(t.Context())
	if err != nil {
		t.Fatalf("Enter: %v", err)
	}
	return leave
}

// What a rejection says is what is on record about it.
func TestRejectionSaysWhy(t *testing.T) {
	c := newClock()
	for _, tt := range []struct {
		name string
		p    plan.Breaker
		err  error
		took time.Duration
		n    int
		want string
	}{
		{"in a row", plan.Breaker{Failures: 2}, errBroken, 0, 2, "breaker e is open until 2026-03-01T12:00:30.000Z: 2 failures in a row"},
		{"ratio", plan.Breaker{Ratio: 0.5, Window: 10, Least: 3}, errBroken, 0, 3, "breaker e is open until 2026-03-01T12:00:30.000Z: 3 of 3 calls failed"},
		{"slow", plan.Breaker{Slow: time.Second, SlowRatio: 0.5, Over: time.Minute, Least: 2, Name: "bank"}, nil, time.Second, 2, "breaker bank is open until 2026-03-01T12:00:30.000Z: 2 of 2 calls took 1s or longer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.OpenFor, tt.p.Probes = 30*time.Second, 1
			g := resilience.NewSet(c.now, nil).Guard("e", plan.Guards{Breaker: &tt.p})
			for range tt.n {
				enter(t, g)(tt.err, tt.took)
			}
			_, err := g.Enter(t.Context())
			if err == nil || err.Error() != tt.want || event.KindOf(err) != event.KindRejected {
				t.Errorf("Enter = %v of kind %s, want %s", err, event.KindOf(err), tt.want)
			}
			if got := resilience.After(fmt.Errorf("call: %w", err), c.t.Add(time.Second)); got != 29*time.Second {
				t.Errorf("After a second = %v, want 29s", got)
			}
		})
	}
}

// While probes are under way other calls wait for what comes of them, and do not
// use up their attempts.
func TestProbes(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    plan.Guards
	}{
		{"breaker alone", plan.Guards{}},
		{"before a queue", plan.Guards{Bulkhead: &plan.Bulkhead{Max: 100}}},
		{"in a queue", plan.Guards{Rate: &plan.Rate{PerSecond: 100, Burst: 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.p.Breaker = &plan.Breaker{Failures: 1, OpenFor: time.Second, Probes: 2}
				g := guard(tt.p)
				// round has five calls come when the breaker is half open, lets the probes end with
				// err, and returns how many went out and how many were refused.
				round := func(err error) (out, refused int32) {
					var o, r atomic.Int32
					var wg sync.WaitGroup
					for range 5 {
						wg.Go(func() {
							leave, refusal := g.Enter(t.Context())
							if refusal != nil {
								r.Add(1)
								return
							}
							o.Add(1)
							time.Sleep(100 * time.Millisecond)
							leave(err, 0)
						})
					}
					time.Sleep(99 * time.Millisecond)
					if o.Load() != 2 || r.Load() != 0 {
						t.Errorf("%d calls are out as probes, %d are refused; want 2, 0", o.Load(), r.Load())
					}
					wg.Wait()
					return o.Load(), r.Load()
				}
				enter(t, g)(errBroken, 0)
				time.Sleep(time.Second)
				if out, refused := round(errBroken); out != 2 || refused != 3 {
					t.Errorf("the probes failed, %d calls went out and %d were refused; want 2, 3", out, refused)
				}
				time.Sleep(time.Second)
				if out, refused := round(nil); out != 5 || refused != 0 {
					t.Errorf("the probes worked, %d calls went out and %d were refused; want 5, 0", out, refused)
				}
			})
		})
	}
}

func TestCounts(t *testing.T) {
	p := &plan.Breaker{Failures: 1, OpenFor: time.Hour, Probes: 1, Counts: func(err error) bool { return event.KindOf(err) == event.KindPermanent }}
	permanent := event.Mark(event.KindPermanent, errors.New("gone"))
	for _, restored := range []bool{false, true} {
		g := guard(plan.Guards{Breaker: p})
		for _, err := range []error{errBroken, permanent} {
			if restored {
				g.Restore([]plan.Entry{entryOf("e", "", time.Now(), 0, err)})
				continue
			}
			enter(t, g)(err, 0)
		}
		if _, err := g.Enter(t.Context()); err == nil {
			t.Errorf("restored %v: the classifier counts a permanent failure, and the breaker is closed", restored)
		}
	}
}

// A breaker refuses before anything is waited for, and again after it. A place
// comes before a token, so that calls leave at the rate.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		g := guard(plan.Guards{
			Breaker:  &plan.Breaker{Failures: 1, OpenFor: time.Hour, Probes: 1},
			Bulkhead: &plan.Bulkhead{Max: 1},
			Rate:     &plan.Rate{PerSecond: 1, Burst: 1},
		})
		first := enter(t, g) // takes the token
		var wg sync.WaitGroup
		var left []time.Duration
		wg.Go(func() {
			leave, err := g.Enter(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			left = append(left, time.Since(began))
			leave(errBroken, 0)
		})
		wg.Go(func() { // waits for the place, and then finds the breaker open
			synctest.Wait()
			time.Sleep(time.Millisecond)
			if _, err := g.Enter(t.Context()); err == nil {
				t.Error("the breaker opened while a call waited, and let it out")
			}
		})
		time.Sleep(10 * time.Second)
		first(nil, 0)
		wg.Wait()
		if diff := cmp.Diff([]time.Duration{10 * time.Second}, left); diff != "" {
			t.Errorf("the second call left (-want +got):\n%s", diff)
		}
		at := time.Now()
		if _, err := g.Enter(t.Context()); err == nil || time.Since(at) > 0 {
			t.Errorf("an open breaker: %v after %v, want a refusal at once", err, time.Since(at))
		}
	})
}

// Calls that wait for places do not hoard tokens: they leave at the rate, even if
// all places become free at once.
func TestRateHoldsAfterTheBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(plan.Guards{Bulkhead: &plan.Bulkhead{Max: 5}, Rate: &plan.Rate{PerSecond: 10, Burst: 5}})
		var slow []func(error, time.Duration)
		for range 5 {
			slow = append(slow, enter(t, g))
		}
		var mu sync.Mutex
		var at []time.Time
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				leave := enter(t, g)
				mu.Lock()
				at = append(at, time.Now())
				mu.Unlock()
				leave(nil, 0)
			})
		}
		time.Sleep(time.Minute)
		for _, leave := range slow {
			leave(nil, 0)
		}
		wg.Wait()
		if took := at[9].Sub(at[0]); took != 500*time.Millisecond {
			t.Errorf("ten calls at 10/s with a burst of 5 left within %v, want 500ms", took)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	errStop := errors.New("stop")
	for name, p := range map[string]plan.Guards{
		"bulkhead": {Bulkhead: &plan.Bulkhead{Max: 1}},
		"rate":     {Rate: &plan.Rate{PerSecond: 0.001, Burst: 1}},
		"both":     {Bulkhead: &plan.Bulkhead{Max: 2}, Rate: &plan.Rate{PerSecond: 0.001, Burst: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := guard(p)
				leave := enter(t, g)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(errStop) })
				if _, err := g.Enter(ctx); !errors.Is(err, errStop) {
					t.Errorf("Enter = %v, want %v", err, errStop)
				}
				leave(nil, 0)
				at := time.Now()
				enter(t, g)(nil, 0)
				if p.Rate != nil && time.Since(at) != 999*time.Second {
					t.Errorf("the next call waited %v; a token that was given back leaves 999s", time.Since(at))
				}
			})
		})
	}
}

func TestBulkheadUnderConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := resilience.NewSet(time.Now, nil)
		var under, most, calls atomic.Int32
		var wg sync.WaitGroup
		for i := range 30 {
			g := set.Guard(fmt.Sprint("e", i%3), plan.Guards{
				Bulkhead: &plan.Bulkhead{Max: 4, Name: "bank"},
				Rate:     &plan.Rate{PerSecond: 100, Burst: 3, Name: "bank"},
				Breaker:  &plan.Breaker{Failures: 1000, Ratio: 0.9, Over: time.Second, Least: 1000, OpenFor: time.Second, Probes: 1, Name: "bank"},
			})
			wg.Go(func() {
				for range 10 {
					leave := enter(t, g)
					calls.Add(1)
					for n := under.Add(1); ; {
						if m := most.Load(); m >= n || most.CompareAndSwap(m, n) {
							break
						}
					}
					time.Sleep(time.Second)
					under.Add(-1)
					leave(errBroken, time.Second)
				}
			})
		}
		wg.Wait()
		if most.Load() != 4 || calls.Load() != 300 {
			t.Errorf("%d calls, at most %d at once; want 300, 4", calls.Load(), most.Load())
		}
	})
}

func TestSpare(t *testing.T) {
	g := guard(plan.Guards{Bulkhead: &plan.Bulkhead{Max: 2}, Rate: &plan.Rate{PerSecond: 0.001, Burst: 2}})
	first := enter(t, g)
	leave, ok := g.Spare()
	if !ok {
		t.Fatal("a place and a token are free, and none is to spare")
	}
	if _, ok := g.Spare(); ok {
		t.Error("both places are taken, and one is to spare")
	}
	leave()
	first(nil, 0)
	if _, ok := g.Spare(); ok {
		t.Error("no token is left, and one is to spare")
	}
	if leave, ok := guard(plan.Guards{}).Spare(); !ok {
		t.Error("nothing is bounded, and nothing is to spare")
	} else {
		leave()
	}
}

// Records take their tokens at once, however many they are.
func TestTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := guard(plan.Guards{Rate: &plan.Rate{PerSecond: 10, Burst: 4}})
		for _, tt := range []struct {
			n    int
			want time.Duration
		}{{4, 0}, {0, 0}, {10, time.Second}, {1, 100 * time.Millisecond}} {
			at := time.Now()
			if g.Take(t.Context(), tt.n); time.Since(at).Round(time.Millisecond) != tt.want {
				t.Errorf("Take(%d) waited %v, want %v", tt.n, time.Since(at), tt.want)
			}
		}
	})
}

func TestSharedByName(t *testing.T) {
	set := resilience.NewSet(newClock().now, nil)
	p := func(name string) plan.Guards {
		return plan.Guards{Breaker: &plan.Breaker{Failures: 1, OpenFor: time.Hour, Probes: 1, Name: name}}
	}
	a, b, alone, other := set.Guard("a", p("bank")), set.Guard("b", p("bank")), set.Guard("a", p("")), set.Guard("a", p(""))
	enter(t, a)(errBroken, 0)
	enter(t, alone)(errBroken, 0)
	if _, err := b.Enter(t.Context()); err == nil {
		t.Error("b shares a's breaker, which is open, and its call is let out")
	}
	enter(t, other)(nil, 0)
}

// Whatever ends the waiting of calls, their places and tokens come back, and
// nobody is left behind (the bubble would not end).
func TestNothingLeaks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		places, burst := rapid.IntRange(1, 4).Draw(rt, "places"), rapid.IntRange(4, 6).Draw(rt, "burst")
		p := plan.Guards{
			Breaker:  &plan.Breaker{Failures: rapid.IntRange(1, 3).Draw(rt, "failures"), OpenFor: time.Second, Probes: rapid.IntRange(1, 3).Draw(rt, "probes")},
			Bulkhead: &plan.Bulkhead{Max: places},
			Rate:     &plan.Rate{PerSecond: 2, Burst: burst},
		}
		type call struct {
			comes, stays, gone time.Duration
			err                error
		}
		ms := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(rt, name)) * time.Millisecond
		}
		var calls []call
		for range rapid.IntRange(1, 30).Draw(rt, "calls") {
			calls = append(calls, call{
				ms("comes", 10_000), ms("stays", 2000), ms("gone", 3000),
				rapid.SampledFrom([]error{nil, nil, errBroken, resilience.ErrCut}).Draw(rt, "err"),
			})
		}
		free := 0
		synctest.Test(t, func(t *testing.T) {
			g := guard(p)
			var wg sync.WaitGroup
			for _, c := range calls {
				wg.Go(func() {
					time.Sleep(c.comes)
					ctx, cancel := context.WithTimeout(t.Context(), c.gone)
					defer cancel()
					if leave, err := g.Enter(ctx); err == nil {
						time.Sleep(c.stays)
						leave(c.err, c.stays)
					}
				})
			}
			wg.Wait()
			time.Sleep(time.Minute)
			for range places + 1 {
				if _, ok := g.Spare(); ok {
					free++
				}
			}
		})
		if free != places {
			rt.Fatalf("%d of %d places are free", free, places)
		}
	})
}

func BenchmarkGuard(b *testing.B) {
	g := guard(plan.Guards{
		Breaker:  &plan.Breaker{Failures: 5, Ratio: 0.5, Window: 100, Least: 10, OpenFor: time.Second, Probes: 1},
		Bulkhead: &plan.Bulkhead{Max: 64},
		Rate:     &plan.Rate{PerSecond: 1e12, Burst: 1e9},
	})
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		leave, err := g.Enter(ctx)
		if err != nil {
			b.Fatal(err)
		}
		leave(nil, time.Millisecond)
	}
}
