// Package policy holds what stands between a stage and the outside world: the
// reads of a source, the deliveries of a sink. Policies are options of those
// stages; a pure stage given one does not compile.
//
//	weir.From(f, "orders", orders, policy.Retry{Max: 5})
//	weir.Into(paid, "ship", ship, policy.Retry{}, policy.Rate{PerSecond: 50})
package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Retry attempts again after a failure that may pass: a source is read again
// from its last recorded position, a delivery is made again with the same id.
// Failures that are marked permanent are not retried. The zero Retry attempts
// three times.
type Retry struct {
	Max    int           // attempts in all; zero means 3
	Delay  time.Duration // before the second attempt; zero means 100 ms
	Factor float64       // growth of the delay; zero means 2, one means fixed
	Within time.Duration // no attempt starts later than this after the first; zero means no limit
}

var _ interface {
	ApplySource(*plan.SourceSettings)
	ApplySink(*plan.SinkSettings)
} = Retry{}

// ApplySource makes r the retry policy of a source.
func (r Retry) ApplySource(s *plan.SourceSettings) { s.Guards.Retry = r.apply(&s.Faults) }

// ApplySink makes r the retry policy of a sink.
func (r Retry) ApplySink(s *plan.SinkSettings) { s.Guards.Retry = r.apply(&s.Faults) }

func (r Retry) apply(faults *[]string) *plan.Retry {
	if r.Max < 0 || r.Delay < 0 || r.Within < 0 || (r.Factor != 0 && !(r.Factor >= 1 && r.Factor <= math.MaxFloat64)) {
		*faults = append(*faults, fmt.Sprintf("policy.Retry is %+v; nothing in it is negative, and Factor is at least 1", r))
		r = Retry{}
	}
	p := &plan.Retry{Max: 3, Delay: 100 * time.Millisecond, Factor: 2, Within: r.Within}
	if r.Max > 0 {
		p.Max = r.Max
	}
	if r.Delay > 0 {
		p.Delay = r.Delay
	}
	if r.Factor > 0 {
		p.Factor = r.Factor
	}
	return p
}

// Rate limits how many records a source or sink takes in a second.
type Rate struct {
	PerSecond float64 // zero means no limit
	Burst     int     // records at once after a pause; zero means 1
	Name      string  // stages of a run that give the same Name share one budget; empty means its own
}

var _ interface {
	ApplySource(*plan.SourceSettings)
	ApplySink(*plan.SinkSettings)
} = Rate{}

// ApplySource makes r the limit of a source.
func (r Rate) ApplySource(s *plan.SourceSettings) { s.Guards.Rate = r.apply(&s.Faults) }

// ApplySink makes r the limit of a sink.
func (r Rate) ApplySink(s *plan.SinkSettings) { s.Guards.Rate = r.apply(&s.Faults) }

func (r Rate) apply(faults *[]string) *plan.Rate {
	if !(r.PerSecond >= 0 && r.PerSecond <= math.MaxFloat64) || r.Burst < 0 {
		*faults = append(*faults, fmt.Sprintf("policy.Rate is %+v; neither PerSecond nor Burst is negative", r))
		return nil
	}
	return &plan.Rate{PerSecond: r.PerSecond, Burst: max(r.Burst, 1), Name: r.Name}
}
