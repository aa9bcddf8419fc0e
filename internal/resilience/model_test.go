package resilience_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// A clock is set by its test.
type clock struct{ t time.Time }

func newClock() *clock               { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time      { return c.t }
func (c *clock) add(d time.Duration) { c.t = c.t.Add(d) }

// What calls may end with, and what that says about the service: 1 it works, -1 it
// fails, 0 nothing.
var endings = []struct {
	name string
	err  error
	says int
}{
	{"fine", nil, 1},
	{"broken", errors.New("connection reset"), -1},
	{"refused for now", &plan.RefusedError{Err: errors.New("come back later"), After: time.Second}, -1},
	{"declined", &plan.RefusedError{Err: errors.New("no funds"), Final: true}, 1},
	{"domain", event.Mark(event.KindDomain, errors.New("unknown customer")), 1},
	{"not made", resilience.ErrCut, 0},
	{"panicked", event.Mark(event.KindPanic, errors.New("panic: index out of range")), 0},
}

// A model is a breaker that keeps everything and counts it anew each time.
type model struct {
	p       plan.Breaker
	open    bool
	half    bool
	until   time.Time
	round   int
	ended   []modelCall // of the present closed round
	probing int
	passed  int
}

type modelCall struct {
	at           time.Time
	failed, slow bool
}

// enter returns the round of a call that goes out, or false.
func (m *model) enter(now time.Time) (int, bool) {
	if m.open && !now.Before(m.until) {
		m.open, m.half, m.probing, m.passed = false, true, 0, 0
		m.round++
	}
	if m.open || m.half && m.probing+m.passed >= m.p.Probes {
		return 0, false
	}
	if m.half {
		m.probing++
	}
	return m.round, true
}

func (m *model) leave(now time.Time, round, says int, took time.Duration) {
	if round != m.round {
		return
	}
	slow := m.p.Slow > 0 && took >= m.p.Slow
	if m.half {
		m.probing--
		if says < 0 || says > 0 && slow {
			m.trip(now)
		} else if says > 0 {
			if m.passed++; m.passed == m.p.Probes {
				m.half, m.ended = false, nil
				m.round++
			}
		}
		return
	}
	if says == 0 {
		return
	}
	m.ended = append(m.ended, modelCall{now, says < 0, slow})
	row := 0
	for i := len(m.ended) - 1; i >= 0 && m.ended[i].failed; i-- {
		row++
	}
	var calls, failed, slows int
	for i, c := range m.ended {
		if m.p.Window > 0 && len(m.ended)-i > m.p.Window {
			continue
		}
		if tenth := m.p.Over / 10; tenth > 0 && now.UnixNano()/int64(tenth)-c.at.UnixNano()/int64(tenth) >= 10 {
			continue
		}
		calls++
		if c.failed {
			failed++
		}
		if c.slow {
			slows++
		}
	}
	ratio := func(n int, share float64) bool {
		return share > 0 && n > 0 && calls >= m.p.Least && float64(n) >= share*float64(calls)
	}
	if m.p.Failures > 0 && row >= m.p.Failures || ratio(failed, m.p.Ratio) || ratio(slows, m.p.SlowRatio) {
		m.trip(now)
	}
}

func (m *model) trip(now time.Time) {
	m.open, m.half, m.until = true, false, now.Add(m.p.OpenFor)
	m.round++
}

// drawBreaker draws a policy with at least one rule.
func drawBreaker(t *rapid.T) *plan.Breaker {
	p := &plan.Breaker{
		OpenFor: time.Duration(rapid.IntRange(1, 20).Draw(t, "open for")) * time.Second,
		Probes:  rapid.IntRange(1, 3).Draw(t, "probes"),
		Least:   rapid.IntRange(1, 5).Draw(t, "least"),
	}
	rules := rapid.IntRange(1, 7).Draw(t, "rules")
	if rules&1 != 0 {
		p.Failures = rapid.IntRange(1, 4).Draw(t, "failures")
	}
	if rules&2 != 0 {
		p.Ratio = rapid.SampledFrom([]float64{0.25, 0.5, 1}).Draw(t, "ratio")
	}
	if rules&4 != 0 {
		p.SlowRatio, p.Slow = rapid.SampledFrom([]float64{0.3, 0.5}).Draw(t, "slow ratio"), 2*time.Second
	}
	if rapid.Bool().Draw(t, "by time") {
		p.Over = time.Duration(rapid.IntRange(1, 12).Draw(t, "over")) * time.Second
	} else {
		p.Window = rapid.IntRange(1, 8).Draw(t, "window")
	}
	return p
}

// An entered is what became of a call that wanted to go out: it did, was refused,
// or waits, and then is told to end.
type entered struct {
	leave  func(error, time.Duration)
	err    error
	waited bool
}

// try has a call enter, within a bubble.
func try(ctx context.Context, g *resilience.Guard) (e entered) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.leave, e.err = g.Enter(ctx)
	}()
	synctest.Wait()
	select {
	case <-done:
	default:
		e.waited = true
		cancel(errGone)
		<-done
	}
	if e.err != nil {
		cancel(nil)
		return e
	}
	leave := e.leave
	e.leave = func(err error, took time.Duration) {
		leave(err, took)
		cancel(nil)
	}
	return e
}

var errGone = errors.New("not waiting any more")

// Whatever is called when, a breaker lets out what the model lets out.
func TestBreakerModel(t *testing.T) { synctest.Test(t, breakerModel) }

func breakerModel(t *testing.T) {
	rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // a bubble has no deadline to ask for
		p := drawBreaker(t)
		c := newClock()
		g := resilience.NewSet(c.now, nil).Guard("e", plan.Guards{Breaker: p})
		m := &model{p: *p}
		type call struct {
			leave func(error, time.Duration)
			end   context.CancelFunc
			round int
			began time.Time
		}
		var under []call
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { c.add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond) },
			"enter": func(t *rapid.T) {
				ctx, cancel := context.WithCancel(t.Context())
				got := try(ctx, g)
				round, out := m.enter(c.t)
				if out != (got.err == nil) || got.waited != (!out && m.half) {
					t.Fatalf("Enter: %+v; the model is %+v", got, m)
				}
				if !out {
					cancel()
					if got.waited {
						if !errors.Is(got.err, errGone) {
							t.Fatalf("who waited is told %v", got.err)
						}
						return
					}
					rejected, ok := errors.AsType[*resilience.RejectedError](got.err)
					if !ok || !rejected.Until.Equal(m.until) || rejected.Why == "" {
						t.Fatalf("rejected with %#v, want until %v", got.err, m.until)
					}
					return
				}
				under = append(under, call{got.leave, cancel, round, c.t})
			},
			"leave": func(t *rapid.T) {
				if len(under) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "call")
				u := under[i]
				under = append(under[:i], under[i+1:]...)
				end := rapid.SampledFrom(endings).Draw(t, "ending")
				if end.name == "broken" && rapid.IntRange(0, 3).Draw(t, "cut") == 0 {
					u.end()
					end.says = 0
				}
				took := c.t.Sub(u.began)
				u.leave(end.err, took)
				u.end()
				m.leave(c.t, u.round, end.says, took)
			},
		})
		for _, u := range under {
			u.end()
		}
	})
}

// entryOf is what is recorded of an attempt that ended at a time.
func entryOf(effect, key string, at time.Time, took time.Duration, err error) plan.Entry {
	e := plan.Entry{Type: plan.EntryOutcome, Effect: effect, Key: key, Attempt: 1, At: at, Took: took, Outcome: plan.OutcomeDone}
	if err == nil {
		return e
	}
	e.Outcome, e.Reason, e.Kind = plan.OutcomeUnknown, err.Error(), event.KindRemote
	refused, known := errors.AsType[*plan.RefusedError](err)
	if known {
		e.Outcome, e.RetryAfter = plan.OutcomeNotDone, refused.After
		if refused.Final {
			e.Kind = event.KindPermanent
		}
	}
	if k := event.KindOf(err); k != event.KindUnknown {
		e.Kind = k
	}
	return e
}

// A guard restored from what is on record lets out what the one that lived lets
// out, then and later.
func TestRestoredBreakerIsTheOneThatLived(t *testing.T) { synctest.Test(t, restoredBreaker) }

func restoredBreaker(t *testing.T) {
	rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // a bubble has no deadline to ask for
		p := drawBreaker(t)
		c := newClock()
		guards := plan.Guards{Breaker: p}
		lived := resilience.NewSet(c.now, nil).Guard("e", guards)
		type call struct {
			leave func(error, time.Duration)
			began time.Time
		}
		var recorded []plan.Entry
		var under []call
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			c.add(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
			if len(under) > 0 && rapid.Bool().Draw(t, "leave") {
				i := rapid.IntRange(0, len(under)-1).Draw(t, "call")
				end := rapid.SampledFrom(endings).Draw(t, "ending")
				took := c.t.Sub(under[i].began)
				under[i].leave(end.err, took)
				under = append(under[:i], under[i+1:]...)
				if !errors.Is(end.err, resilience.ErrCut) {
					recorded = append(recorded, entryOf("e", "", c.t, took, end.err))
				}
			} else if got := try(ctx, lived); got.err == nil {
				under = append(under, call{got.leave, c.t})
			}
		}
		stop() // what was under way is cut off and not on record
		for _, u := range under {
			u.leave(context.Canceled, c.t.Sub(u.began))
		}
		recorded = append(recorded, entryOf("other", "", c.t, 0, errors.New("another effect's")))
		restored := resilience.NewSet(c.now, nil).Guard("e", guards)
		restored.Restore(recorded)

		for i := range 30 {
			c.add(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
			a, b := try(t.Context(), lived), try(t.Context(), restored)
			if a.waited || b.waited || (a.err == nil) != (b.err == nil) || a.err != nil && a.err.Error() != b.err.Error() {
				t.Fatalf("call %d after the resume: %+v, restored %+v", i, a, b)
			}
			if a.err == nil {
				end := rapid.SampledFrom(endings).Draw(t, "ending")
				took := time.Duration(rapid.IntRange(0, 3).Draw(t, "s")) * time.Second
				c.add(took)
				a.leave(end.err, took)
				b.leave(end.err, took)
			}
		}
	})
}
