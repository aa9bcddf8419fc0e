package perform

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// An action is what is to be done next.
type action struct {
	do doing
	at time.Time // call: no earlier
}

type doing uint8

const (
	answer doing = iota + 1 // what is recorded as final
	call                    // make an attempt
	ask                     // reconcile
	take                    // the decision's result is the call's
	park                    // leave it to a person
	giveUp                  // no further attempt
)

// next decides. asked is what reconciliation last said, nil if it was not asked
// since the last entry.
func next(k *known, e *plan.Effect, g *plan.Guards, asked *plan.CallState) action {
	if k.final != nil {
		return action{do: answer}
	}
	if d := k.decided; d != nil {
		switch d.Outcome {
		case DecideDone:
			return action{do: take}
		case DecideFailed:
			return action{do: giveUp}
		case DecideNotDone, DecideRetry:
			return action{do: call}
		}
	}
	switch {
	case (k.open || k.unknown()) && e.Safety == plan.AtMostOnce:
		if asked == nil && e.Reconcile != nil {
			return action{do: ask}
		}
		return action{do: park}
	case (k.open || k.unknown()) && e.Safety == plan.Transactional && asked == nil && e.Reconcile != nil:
		return action{do: ask}
	case k.open || k.last == nil:
		return action{do: call}
	}
	if at, ok := retry(k, g.Retry); ok {
		return action{do: call, at: at}
	}
	if k.doubt && asked == nil && e.Reconcile != nil {
		return action{do: ask}
	}
	return action{do: giveUp}
}

// retry returns when the next attempt is due, and whether there is one.
func retry(k *known, p *plan.Retry) (time.Time, bool) {
	if p == nil || k.ended >= p.Max {
		return time.Time{}, k.ended == 0
	}
	if k.ended == 0 {
		return time.Time{}, true
	}
	at := k.last.At.Add(max(backoff(p, k.ended, k.last.Key), k.last.RetryAfter))
	return at, p.Within <= 0 || at.Sub(k.began) <= p.Within
}

// backoff returns the pause after n attempts: the policy's delay, grown n-1 times,
// at most an hour, and up to a quarter more. How much more follows from the call's
// key, so that calls which failed together do not come back together, and the same
// call always waits the same.
func backoff(p *plan.Retry, n int, key string) time.Duration {
	delay := float64(p.Delay)
	for range n - 1 {
		delay = min(delay*max(p.Factor, 1), float64(time.Hour))
	}
	sum := sha256.Sum256(binary.AppendUvarint([]byte(key), uint64(n)))
	share := float64(binary.BigEndian.Uint32(sum[:])) / (1 << 32)
	return time.Duration(delay * (1 + share/4))
}

// settled returns when "not done" may be believed of an attempt begun at the time
// given: no attempt that was made can still take effect then.
func settled(g *plan.Guards, began time.Time) time.Time {
	switch {
	case g.Settle > 0:
		return began.Add(g.Settle)
	case g.Timeout > 0:
		return began.Add(2 * g.Timeout)
	default:
		return began.Add(unsettled)
	}
}

// unsettled is the settling time of an effect that has neither that nor a timeout.
const unsettled = time.Minute
