// Package policy holds what stands between a stage and the outside world: the
// reads of a source, the deliveries of a sink, the attempts of an effect. Policies
// are options of those stages; a pure stage given one does not compile.
//
//	weir.From(f, "orders", orders, policy.Retry{Max: 5})
//	weir.Into(paid, "ship", ship, policy.Retry{}, policy.Rate{PerSecond: 50})
//	weir.Perform(valid, "authorize", authorize, policy.Retry{Max: 3}, policy.Timeout(2*time.Second),
//		policy.Breaker{Failures: 5, OpenFor: 30 * time.Second, Name: "gateway"})
//
//	            source  sink  effect
//	Retry         x      x      x
//	Rate          x      x      x
//	Timeout                     x
//	Heartbeat                   x   calls that say that they go on
//	Breaker                     x
//	Bulkhead                    x
//	Hedge                       x   idempotent ones only
//	Settle                      x
//
// A sink delivers one batch after the other, which a retry holds up long enough; an
// action that needs more than that is an effect.
//
// A stage has at most one of each kind: of two, the later one holds. In whatever
// order they are given, the order in which they act is always the same; from the
// outside in:
//
//	fallback > retry > breaker > bulkhead > rate > timeout > hedge
//
// effect.OrElse answers once nothing is left to try. Each attempt of a retry passes
// everything after it anew. The breaker refuses before anything is waited for, and
// is asked again after the waiting. A place in the bulkhead comes before a
// token of the rate, so that a call leaves the moment it has its token. The timeout
// bounds one attempt, without its waiting for these, and so does the heartbeat. A hedge is part of one attempt.
//
// [Breaker], [Bulkhead] and [Rate] have a Name: within one run, all stages that
// give the same one share it, and their settings must be equal.
//
// A breaker that refuses an attempt of an effect is on record, as an action that is
// known not to have happened; so a replay needs no policies. Breakers and rates go
// on from what is on record when a run is resumed.
package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Retry attempts again after a failure that may pass: a source is read again from
// its last recorded position, a delivery is made again with the same id, and an
// effect as its safety class allows. Failures that are final are not retried: those
// marked by effect.Permanent, and those of a source or sink of kind permanent,
// validation, domain, decode or too large. The zero Retry attempts three times.
//
// The pause before attempt n+1 is Delay·Factor^(n-1), at most an hour or Delay if
// that is more, and up to a half of it on top, at random, so that calls which
// failed together do not come back together. It is longer if the service asked for more
// (effect.RetryAfter), or if a breaker is open for longer.
type Retry struct {
	Max    int           // attempts in all; zero means 3
	Delay  time.Duration // before the second attempt; zero means 100 ms
	Factor float64       // growth of the delay, at least 1, which means none; zero means 2
	Within time.Duration // no attempt is due later than this after the first began; zero means no limit
}

var _ interface {
	ApplySource(*plan.SourceSettings)
	ApplySink(*plan.SinkSettings)
	ApplyEffect(*plan.EffectSettings)
} = Retry{}

// ApplySource makes r the retry policy of a source.
func (r Retry) ApplySource(s *plan.SourceSettings) { s.Guards.Retry = r.apply(&s.Faults) }

// ApplySink makes r the retry policy of a sink.
func (r Retry) ApplySink(s *plan.SinkSettings) { s.Guards.Retry = r.apply(&s.Faults) }

// ApplyEffect makes r the retry policy of an effect.
func (r Retry) ApplyEffect(s *plan.EffectSettings) { s.Guards.Retry = r.apply(&s.Faults) }

func (r Retry) apply(faults *[]string) *plan.Retry {
	if r.Max < 0 || r.Delay < 0 || r.Within < 0 || (r.Factor != 0 && !(r.Factor >= 1 && r.Factor <= math.MaxFloat64)) {
		*faults = append(*faults, fmt.Sprintf("policy.Retry is %+v; nothing in it is negative, and Factor is at least 1", r))
		r = Retry{}
	}
	return &plan.Retry{
		Max: or(r.Max, 3), Delay: or(r.Delay, 100*time.Millisecond), Factor: or(r.Factor, 2), Within: r.Within,
	}
}

// Timeout bounds one attempt: its context ends, and what it came to is not known
// unless it says so. Zero means no bound.
type Timeout time.Duration

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Timeout(0)

// ApplyEffect bounds each attempt of an effect.
func (t Timeout) ApplyEffect(s *plan.EffectSettings) {
	s.Guards.Timeout = positive("policy.Timeout", time.Duration(t), &s.Faults)
}

// Heartbeat bounds the silence of one attempt, for calls that take long: one that
// says with effect.Heartbeat that it goes on may take any time, or that of its
// [Timeout], and one that has not done so for this long is given up as if its
// timeout were over. Zero means no bound.
type Heartbeat time.Duration

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Heartbeat(0)

// ApplyEffect bounds the silence of each attempt of an effect.
func (h Heartbeat) ApplyEffect(s *plan.EffectSettings) {
	s.Guards.Alive = positive("policy.Heartbeat", time.Duration(h), &s.Faults)
}

// Settle is how long after an attempt it may still take effect, although nothing
// is heard of it: no earlier is "not done" believed when an effect is asked what became of
// a call. It counts from the beginning of the attempt, and with a [Heartbeat] from
// the last sign of life. Zero means twice the [Timeout], without one twice the
// Heartbeat, and without either a minute.
type Settle time.Duration

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Settle(0)

// ApplyEffect sets the settling time of an effect.
func (d Settle) ApplyEffect(s *plan.EffectSettings) {
	s.Guards.Settle = positive("policy.Settle", time.Duration(d), &s.Faults)
}

func positive(what string, d time.Duration, faults *[]string) time.Duration {
	if d < 0 {
		*faults = append(*faults, fmt.Sprintf("%s is %v; a duration is not negative", what, d))
		return 0
	}
	return d
}

// or returns v, or what its zero means.
func or[T comparable](v, zero T) T {
	if v == *new(T) {
		return zero
	}
	return v
}
