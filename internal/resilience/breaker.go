package resilience

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// A RejectedError says that a breaker did not let a call out: it is known not to
// have happened.
type RejectedError struct {
	Breaker string    // its name, or the effect's
	Why     string    // it opened, for people
	Until   time.Time // no call is let out before
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("breaker %s is open until %s: %s", e.Breaker, e.Until.UTC().Format("2006-01-02T15:04:05.000Z"), e.Why)
}

// ErrorKind makes a rejection one for event.KindOf.
func (e *RejectedError) ErrorKind() event.Kind { return event.KindRejected }

// A verdict is what a call says about the service.
type verdict uint8

const (
	nothing verdict = iota // it was cut short, or the fault is ours
	worked
	failed
)

// A phase is where a breaker stands.
type phase uint8

const (
	closed   phase = iota // calls go out and are counted
	open                  // none goes out before until
	halfOpen              // as many as there are probes go out; others wait for what comes of them
)

// A breaker stops calls to a service that fails.
//
//	closed   → open      a rule of the policy is met
//	open     → half open the first call at or after until
//	half open → closed   as many probes worked as the policy wants
//	half open → open     a probe failed, or was slow where the policy has a rule for slow calls
//
// Each change begins a new round; results of calls that were let out in an
// earlier round are not counted.
type breaker struct {
	name   string
	policy plan.Breaker

	mu      sync.Mutex
	state   breakerState
	changed chan struct{} // closed when who waits for probes shall ask again; nil if nobody waits
	past    []attempt     // what was recorded by all that share it; see restore
}

// breakerState is what a breaker knows.
type breakerState struct {
	phase   phase
	round   uint64
	now     time.Time // the latest it was told; never goes back
	row     int       // failures one after the other
	latest  window
	until   time.Time // open
	why     string    // open
	probing int       // half open: under way
	passed  int       // half open: that worked
}

func newBreaker(p *plan.Breaker, name string) *breaker {
	return &breaker{name: name, policy: *p, state: breakerState{latest: newWindow(p)}}
}

// ask says what would become of a call at now: it may go on, it is refused, or it
// waits and asks again when changed is closed. It changes nothing, so that nobody
// waits in a queue to be refused at its end.
func (b *breaker) ask(now time.Time) (changed <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := &b.state; s.phase == open && now.Before(s.until) || s.phase == halfOpen && !b.probes(s) {
		return b.refusal()
	}
	return nil, nil
}

// admit lets a call out, which then must be ended with the round it belongs to; if
// not, it says the same as ask.
func (b *breaker) admit(now time.Time) (round uint64, changed <-chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.step(&b.state, now) {
		changed, err = b.refusal()
		return 0, changed, err
	}
	return b.state.round, nil, nil
}

// end takes in what became of a call that was let out.
func (b *breaker) end(now time.Time, round uint64, v verdict, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(&b.state, now, round, v, took)
	b.wake()
}

func (b *breaker) refusal() (changed <-chan struct{}, err error) {
	if s := &b.state; s.phase == open {
		return nil, &RejectedError{Breaker: b.name, Why: s.why, Until: s.until}
	}
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.changed, nil
}

func (b *breaker) wake() {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
}

// probes reports whether a half-open breaker wants one more probe.
func (b *breaker) probes(s *breakerState) bool { return s.probing+s.passed < b.policy.Probes }

// step reports whether a call at now goes out, and goes on from open if it does.
func (b *breaker) step(s *breakerState, now time.Time) bool {
	s.tick(now)
	switch s.phase {
	case open:
		if s.now.Before(s.until) {
			return false
		}
		s.turn(halfOpen)
		s.probing, s.passed = 0, 0
	case halfOpen:
		if !b.probes(s) {
			return false
		}
	default:
		return true
	}
	s.probing++
	return true
}

// count is what becomes of s by a call's result.
func (b *breaker) count(s *breakerState, now time.Time, round uint64, v verdict, took time.Duration) {
	if round != s.round {
		return
	}
	s.tick(now)
	p := &b.policy
	slow := p.Slow > 0 && took >= p.Slow
	if s.phase == halfOpen {
		s.probing--
		switch {
		case v == nothing:
		case v == failed:
			b.trip(s, "a probe failed")
		case slow:
			b.trip(s, fmt.Sprintf("a probe took %v", took))
		default:
			if s.passed++; s.passed >= p.Probes {
				s.turn(closed)
				s.row = 0
				s.latest.clear()
			}
		}
		return
	}
	if v == nothing {
		return
	}
	call := tally{calls: 1}
	if v == failed {
		call.failed, s.row = 1, s.row+1
	} else {
		s.row = 0
	}
	if slow {
		call.slow = 1
	}
	s.latest.add(s.now, call)
	if why := b.tripped(s); why != "" {
		b.trip(s, why)
	}
}

// tripped returns the rules that are met, for people; empty means none.
func (b *breaker) tripped(s *breakerState) string {
	p, sum := &b.policy, s.latest.sum
	var why []string
	if p.Failures > 0 && s.row >= p.Failures {
		why = append(why, fmt.Sprintf("%d failures in a row", s.row))
	}
	if sum.calls >= p.Least {
		if p.Ratio > 0 && sum.failed > 0 && float64(sum.failed) >= p.Ratio*float64(sum.calls) {
			why = append(why, fmt.Sprintf("%d of %d calls failed", sum.failed, sum.calls))
		}
		if p.SlowRatio > 0 && sum.slow > 0 && float64(sum.slow) >= p.SlowRatio*float64(sum.calls) {
			why = append(why, fmt.Sprintf("%d of %d calls took %v or longer", sum.slow, sum.calls, p.Slow))
		}
	}
	return strings.Join(why, ", ")
}

func (b *breaker) trip(s *breakerState, why string) {
	s.turn(open)
	s.why, s.until = why, s.now.Add(b.policy.OpenFor)
}

func (s *breakerState) turn(to phase) {
	s.phase = to
	s.round++
}

func (s *breakerState) tick(now time.Time) {
	if now.After(s.now) {
		s.now = now
	}
}
