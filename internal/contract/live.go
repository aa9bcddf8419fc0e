package contract

import (
	"fmt"
	"time"
)

// Health is how an edge does.
type Health uint8

// The healths.
const (
	Healthy Health = iota
	Idle           // nothing to do
	Suspect        // input is pending and there was no progress for the threshold
	Stalled        // and for twice the threshold
)

func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Idle:
		return "idle"
	case Suspect:
		return "suspect"
	case Stalled:
		return "stalled"
	default:
		return fmt.Sprintf("health(%d)", uint8(h))
	}
}

// DefaultThreshold is how long pending input may make no progress.
const DefaultThreshold = 2 * time.Minute

// Liveness classifies an edge: whether input is pending, when the edge last
// made progress or, if later, input began to be pending, the time now and the
// threshold; zero means [DefaultThreshold]. Time that goes backwards is no
// time.
func Liveness(pending bool, since, now time.Time, threshold time.Duration) Health {
	if threshold <= 0 {
		threshold = DefaultThreshold
	}
	waited := now.Sub(since)
	switch {
	case !pending:
		return Idle
	case waited > threshold && waited-threshold > threshold:
		return Stalled
	case waited > threshold:
		return Suspect
	default:
		return Healthy
	}
}

// NextLook returns how long from now until the classification of pending input
// can change by time alone, or zero if it cannot. A timer armed for it makes
// polling unnecessary.
func NextLook(pending bool, since, now time.Time, threshold time.Duration) time.Duration {
	if threshold <= 0 {
		threshold = DefaultThreshold
	}
	waited := max(0, now.Sub(since))
	switch {
	case !pending:
		return 0
	case waited <= threshold:
		return threshold - waited + 1
	case waited-threshold <= threshold:
		return threshold - (waited - threshold) + 1
	default:
		return 0
	}
}

// Cycle counts what happens in a loop, while it is active.
type Cycle struct {
	Entered uint64 // records that came in from outside
	Inner   uint64 // records appended by members of the loop
	Signals uint64 // records of Inner that carry no data
	Depth   uint64 // the greatest depth seen
	At      uint64 // the sequence at the entry with that depth
}

// CycleLimits are the limits of a loop; zero means no limit.
type CycleLimits struct {
	Depth   uint64
	Growth  uint64 // inner records for each that entered
	Signals uint64 // inner signals for each inner data record
}

// Check decides the divergence contract.
func (c Cycle) Check(subject Subject, limits CycleLimits) Verdict {
	v := Verdict{Kind: Divergence, Subject: subject, State: Pass, Evidence: Evidence{
		Writer: Ledger{Count: c.Entered}, Reader: Ledger{Count: c.Inner, Last: c.At},
	}}
	data := max(1, c.Inner-min(c.Inner, c.Signals))
	for _, l := range []struct {
		what         string
		limit, found uint64
	}{
		{"depth", limits.Depth, c.Depth},
		{"growth", limits.Growth, c.Inner / max(1, c.Entered)},
		{"signals for each record", limits.Signals, c.Signals / data},
	} {
		if l.limit > 0 && l.found > l.limit {
			v.State = Fail
			v.Violation = Violation{What: l.what, Expected: l.limit, Found: l.found, From: c.At}
			break
		}
	}
	return v
}
