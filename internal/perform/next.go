package perform

import (
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
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
	if k.ended == 0 {
		return time.Time{}, true
	}
	return resilience.Next(p, resilience.Tried{
		Made: k.ended, First: k.began, Last: k.last.At, After: k.last.RetryAfter, Draw: resilience.Draw(k.last.Key, k.ended),
	})
}

// backoff returns the pause after n attempts.
func backoff(p *plan.Retry, n int, key string) time.Duration {
	return resilience.Pause(p, n, resilience.Draw(key, n))
}

// settled returns when "not done" may be believed of an attempt begun at the time
// given: no attempt that was made can still take effect then.
func settled(g *plan.Guards, began time.Time) time.Time {
	switch {
	case g.Settle > 0:
		return began.Add(g.Settle)
	case g.Timeout > 0:
		return began.Add(2 * g.Timeout)
	case g.Alive > 0:
		return began.Add(2 * g.Alive)
	default:
		return began.Add(unsettled)
	}
}

// unsettled is the settling time of an effect that has neither that nor a timeout.
const unsettled = time.Minute
