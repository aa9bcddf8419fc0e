package policy

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Breaker stops calling a service that fails. It opens when one of its rules is
// met; while it is open nothing is called. After OpenFor it lets Probes calls
// through, and others wait for these: if all of them succeed it closes and counts
// anew, if one fails it opens again. A probe lasts as long as its call, so a breaker
// goes with a [Timeout].
//
// An attempt that finds it open is refused: it is known not to have happened,
// counts as an attempt, and a [Retry] waits until the breaker lets calls through
// again.
//
// The rules are Failures, Ratio and SlowRatio; the zero Breaker opens after five
// failures in a row. Ratio and SlowRatio look at a window, which is the last Window
// calls, or those of the time Over, to a tenth of it.
//
// What counts as a failure: an error, unless it says that the service works. A
// final refusal does (effect.Permanent, or an error of kind permanent, validation or domain),
// so a declined card does not open a breaker. A panic, or a result that cannot be
// recorded, says nothing either way, and neither does a call that is cut short by
// a stop. Counts decides otherwise.
type Breaker struct {
	Failures int // failures in a row; zero means 5 if there is no other rule, else that this is none

	Ratio  float64       // share of the window that failed, up to 1; zero means that this is no rule
	Window int           // calls, up to 10,000; zero means 100 if Over is zero
	Over   time.Duration // instead of Window; at least a second
	Least  int           // calls in the window before Ratio and SlowRatio are looked at; zero means 10, or Window if that is less

	Slow      time.Duration // a call that takes this long, or longer, is slow; goes with SlowRatio
	SlowRatio float64       // share of the window that was slow, up to 1; zero means that this is no rule. A slow probe is a failed one

	OpenFor time.Duration // zero means 30 s
	Probes  int           // zero means 1

	// Counts reports whether a failure counts against the service; if not, it is a
	// success to the breaker. It is asked about errors the service may be to blame
	// for, by several goroutines, and after a resume about errors made of what is
	// on record: event.KindOf and the text are what they have in common. Nil means
	// as said above.
	Counts func(error) bool

	Name string // stages of a run that give the same Name share one breaker; empty means its own
}

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Breaker{}

// ApplyEffect makes b the breaker of an effect.
func (b Breaker) ApplyEffect(s *plan.EffectSettings) { s.Guards.Breaker = b.apply(&s.Faults) }

const defaultWindow, maxWindow = 100, 10_000

func (b Breaker) apply(faults *[]string) *plan.Breaker {
	wrong := b.wrong()
	for _, w := range wrong {
		*faults = append(*faults, "policy.Breaker"+w)
	}
	if len(wrong) > 0 {
		return nil
	}
	p := &plan.Breaker{
		Failures: b.Failures, Ratio: b.Ratio, Over: b.Over, Slow: b.Slow, SlowRatio: b.SlowRatio,
		OpenFor: or(b.OpenFor, 30*time.Second), Probes: or(b.Probes, 1), Counts: b.Counts, Name: b.Name,
	}
	if b.Ratio == 0 && b.SlowRatio == 0 {
		p.Failures, p.Over = or(b.Failures, 5), 0
		return p
	}
	p.Least = or(b.Least, 10)
	if b.Over == 0 {
		p.Window = or(b.Window, defaultWindow)
		p.Least = min(p.Least, p.Window)
	}
	return p
}

// wrong returns what is, each as the end of a sentence about the breaker.
func (b Breaker) wrong() []string {
	var w []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	ruled := b.Ratio != 0 || b.SlowRatio != 0
	add(b.Failures < 0, ".Failures is %d; a count is not negative", b.Failures)
	add(!(b.Ratio >= 0 && b.Ratio <= 1), ".Ratio is %v; a share is between 0 and 1", b.Ratio)
	add(!(b.SlowRatio >= 0 && b.SlowRatio <= 1), ".SlowRatio is %v; a share is between 0 and 1", b.SlowRatio)
	add(b.Window < 0 || b.Window > maxWindow, ".Window is %d; it is between 1 and %d calls", b.Window, maxWindow)
	add(b.Over != 0 && b.Over < time.Second, ".Over is %v; it is at least a second", b.Over)
	add(b.Window != 0 && b.Over != 0, " has a Window of calls and one Over time; choose one")
	add(b.Least < 0, ".Least is %d; a count is not negative", b.Least)
	window := or(b.Window, defaultWindow)
	add(b.Over == 0 && ruled && window > 0 && b.Least > window, ".Least is %d in a Window of %d calls; it would never open", b.Least, window)
	add(!ruled && (b.Window != 0 || b.Over != 0 || b.Least != 0), " has a window and neither Ratio nor SlowRatio, which look at it")
	add(b.Slow < 0, ".Slow is %v; a duration is not negative", b.Slow)
	add(b.Slow > 0 && b.SlowRatio == 0, ".Slow is %v without a SlowRatio", b.Slow)
	add(b.SlowRatio > 0 && b.Slow == 0, ".SlowRatio is %v without Slow, which says what a slow call is", b.SlowRatio)
	add(b.OpenFor < 0, ".OpenFor is %v; a duration is not negative", b.OpenFor)
	add(b.Probes < 0, ".Probes is %d; a count is not negative", b.Probes)
	return w
}
