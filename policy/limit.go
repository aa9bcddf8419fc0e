package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Rate limits how many records a source or sink takes in a second, and how many
// attempts of an effect are made. What is too much waits. It is a token bucket: it
// holds Burst tokens, gains PerSecond of them in a second, and is full when a run
// begins. When a run is continued, the attempts of effects that are on record count.
type Rate struct {
	PerSecond float64 // zero means no limit
	Burst     int     // at once after a pause; zero means 1
	Name      string  // stages of a run that give the same Name share one budget; empty means its own
}

var _ interface {
	ApplySource(*plan.SourceSettings)
	ApplySink(*plan.SinkSettings)
	ApplyEffect(*plan.EffectSettings)
} = Rate{}

// ApplySource makes r the limit of a source.
func (r Rate) ApplySource(s *plan.SourceSettings) { s.Guards.Rate = r.apply(&s.Faults) }

// ApplySink makes r the limit of a sink.
func (r Rate) ApplySink(s *plan.SinkSettings) { s.Guards.Rate = r.apply(&s.Faults) }

// ApplyEffect makes r the limit of an effect.
func (r Rate) ApplyEffect(s *plan.EffectSettings) { s.Guards.Rate = r.apply(&s.Faults) }

func (r Rate) apply(faults *[]string) *plan.Rate {
	if !(r.PerSecond >= 0 && r.PerSecond <= math.MaxFloat64) || r.Burst < 0 {
		*faults = append(*faults, fmt.Sprintf("policy.Rate is %+v; neither PerSecond nor Burst is negative", r))
		return nil
	}
	if r.PerSecond == 0 {
		return nil
	}
	return &plan.Rate{PerSecond: r.PerSecond, Burst: or(r.Burst, 1), Name: r.Name}
}

// Bulkhead bounds how many attempts are under way at once. What is too much waits,
// in the order of arrival. weir.Concurrency bounds one stage; a bulkhead is for
// what several stages have in common.
type Bulkhead struct {
	Max  int    // zero means no bound
	Name string // stages of a run that give the same Name share one; empty means its own
}

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Bulkhead{}

// ApplyEffect makes b the bulkhead of an effect.
func (b Bulkhead) ApplyEffect(s *plan.EffectSettings) {
	const most = 1_000_000
	switch {
	case b.Max < 0 || b.Max > most:
		s.Faults = append(s.Faults, fmt.Sprintf("policy.Bulkhead.Max is %d; it is between 1 and %d, or 0 for no bound", b.Max, most))
	case b.Max == 0:
		s.Guards.Bulkhead = nil
	default:
		s.Guards.Bulkhead = &plan.Bulkhead{Max: b.Max, Name: b.Name}
	}
}

// Hedge makes the same call once more when it is slow, and takes the first answer.
// It is for effects that are idempotent; a flow with one on any other is refused.
// A further call is made only if the bulkhead has a place and the rate a token for
// it at that moment.
type Hedge struct {
	After time.Duration // without an answer for this long, again and again; must be given
	Max   int           // calls under way at once, at least 2; zero means 2
}

var _ interface{ ApplyEffect(*plan.EffectSettings) } = Hedge{}

// ApplyEffect makes h the hedge of an effect.
func (h Hedge) ApplyEffect(s *plan.EffectSettings) {
	const most = 100
	switch {
	case h.After <= 0:
		s.Faults = append(s.Faults, fmt.Sprintf("policy.Hedge.After is %v; say after how long a call is slow", h.After))
	case h.Max != 0 && h.Max < 2, h.Max > most:
		s.Faults = append(s.Faults, fmt.Sprintf("policy.Hedge.Max is %d; it is between 2 and %d calls at once", h.Max, most))
	default:
		s.Guards.Hedge = &plan.Hedge{After: h.After, Max: or(h.Max, 2)}
	}
}
