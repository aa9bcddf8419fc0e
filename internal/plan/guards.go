package plan

import (
	"fmt"
	"strings"
	"time"
)

// Guards are the policies between a stage and the outside world. Package
// resilience says in which order they stand.
type Guards struct {
	Retry    *Retry
	Breaker  *Breaker  // effects
	Bulkhead *Bulkhead // effects
	Rate     *Rate
	Timeout  time.Duration // effects: of one attempt; zero means none
	Alive    time.Duration // effects: of an attempt without a sign of life; zero means none
	Hedge    *Hedge        // effects that are Idempotent
	Settle   time.Duration // effects: how long after an attempt "not done" is not believed; zero means twice Timeout, or twice Alive, or a minute
}

// Describe returns the policies for people, the outermost first.
func (g *Guards) Describe() []string {
	var all []string
	if g.Retry != nil {
		all = append(all, g.Retry.String())
	}
	if g.Breaker != nil {
		all = append(all, g.Breaker.String())
	}
	if g.Bulkhead != nil {
		all = append(all, g.Bulkhead.String())
	}
	if g.Rate != nil {
		all = append(all, g.Rate.String())
	}
	if g.Timeout > 0 {
		all = append(all, fmt.Sprintf("timeout(%v)", g.Timeout))
	}
	if g.Alive > 0 {
		all = append(all, fmt.Sprintf("heartbeat(%v)", g.Alive))
	}
	if g.Hedge != nil {
		all = append(all, g.Hedge.String())
	}
	if g.Settle > 0 {
		all = append(all, fmt.Sprintf("settle(%v)", g.Settle))
	}
	return all
}

// Suit returns what is wrong with g for effect e, for people; empty means nothing.
func (g *Guards) Suit(e *Effect) string {
	if g.Hedge != nil && e.Safety != Idempotent {
		return fmt.Sprintf("policy.Hedge on effect %s, which is %s: a hedge makes the same call twice at once; "+
			"only an effect declared with effect.Idempotent may have one", e.Name, e.Safety)
	}
	return ""
}

// Retry attempts again after a failure that may pass.
type Retry struct {
	Max    int           // attempts in all, at least 1
	Delay  time.Duration // before the second attempt
	Factor float64       // growth of the delay, at least 1
	Within time.Duration // no attempt starts later than this after the first; zero means no limit
}

// String describes r for people.
func (r *Retry) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "retry(%d, %v ×%g", r.Max, r.Delay, r.Factor)
	if r.Within > 0 {
		fmt.Fprintf(&b, ", within %v", r.Within)
	}
	return b.String() + ")"
}

// A Breaker stops calling a service that fails.
type Breaker struct {
	Failures  int                  // open after so many in a row; zero means not by this rule
	Ratio     float64              // open when this share of the window failed; zero means not by this rule
	Window    int                  // the last so many calls; zero means by time
	Over      time.Duration        // the calls of the last so long; zero means by count
	Least     int                  // calls in the window before Ratio or SlowRatio counts
	Slow      time.Duration        // a call that takes so long is slow; zero means none is
	SlowRatio float64              // open when this share of the window was slow; zero means not by this rule
	OpenFor   time.Duration        // then probes are let through
	Probes    int                  // calls let through while half open, all of which must succeed to close it; at least 1
	Counts    func(err error) bool // whether a failure counts; nil means all that say something about the service
	Name      string               // stages with the same non-empty name share one breaker
}

// String describes b for people.
func (b *Breaker) String() string {
	var rules []string
	if b.Failures > 0 {
		rules = append(rules, fmt.Sprintf("%d in a row", b.Failures))
	}
	if b.Ratio > 0 {
		rules = append(rules, fmt.Sprintf("%g failed of %s", b.Ratio, b.span()))
	}
	if b.SlowRatio > 0 {
		rules = append(rules, fmt.Sprintf("%g over %v of %s", b.SlowRatio, b.Slow, b.span()))
	}
	return fmt.Sprintf("breaker(%s, open %v, probes %d%s)", strings.Join(rules, ", "), b.OpenFor, b.Probes, as(b.Name))
}

func (b *Breaker) span() string {
	if b.Over > 0 {
		return fmt.Sprintf("the last %v, at least %d", b.Over, b.Least)
	}
	return fmt.Sprintf("the last %d, at least %d", b.Window, b.Least)
}

// A Bulkhead bounds calls in flight.
type Bulkhead struct {
	Max  int    // at least 1
	Name string // stages with the same non-empty name share one
}

// String describes b for people.
func (b *Bulkhead) String() string { return fmt.Sprintf("bulkhead(%d%s)", b.Max, as(b.Name)) }

// Rate limits records per second.
type Rate struct {
	PerSecond float64 // above 0
	Burst     int     // at least 1
	Name      string  // stages with the same non-empty name share one bucket
}

// String describes r for people.
func (r *Rate) String() string {
	return fmt.Sprintf("rate(%g/s, burst %d%s)", r.PerSecond, r.Burst, as(r.Name))
}

// A Hedge starts a second attempt when the first is slow.
type Hedge struct {
	After time.Duration // above 0
	Max   int           // attempts at once, at least 2
}

// String describes h for people.
func (h *Hedge) String() string { return fmt.Sprintf("hedge(after %v, at most %d)", h.After, h.Max) }

func as(name string) string {
	if name == "" {
		return ""
	}
	return ", shared as " + name
}
