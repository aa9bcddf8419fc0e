package perform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// ask reconciles: it returns the outcome that it found, not recorded, nil if what
// became of the call stays unknown. "Not done" is not believed before the latest
// attempt has settled: it asks again then.
func (c *caller) ask() (*plan.Entry, error) {
	c.unclear = nil
	began := c.k.latest
	if began.IsZero() && c.k.last != nil {
		began = c.k.last.At.Add(-c.k.last.Took)
	}
	if c.g.Guards.Alive > 0 && c.alive.After(began) { // it may have gone on for long
		began = c.alive
	}
	settles := settled(&c.g.Guards, began)
	by := byReconcile
	if _, again := retry(&c.k, c.g.Guards.Retry); again && c.e.Safety == plan.Transactional {
		settles, by = time.Time{}, byLookup // calling again is safe: the port knows the key
	}
	for failed := 0; ; {
		before := c.x.Now()
		res, state, err := c.inquire()
		if c.x.Context().Err() != nil {
			return nil, errEnd
		}
		if err != nil {
			failed++
			c.unclear = fmt.Errorf("asked, it said: %w", err)
			if p := c.g.Guards.Retry; p != nil && failed < p.Max {
				if err := c.wait(c.x.Now().Add(backoff(p, failed, c.key))); err != nil {
					return nil, err
				}
				continue
			}
			state = plan.CallUnknown
		}
		o := c.entry(plan.EntryOutcome)
		o.By, o.Attempt = by, c.k.tried
		switch {
		case state == plan.CallDone:
			if c.done(o, res); o.Outcome == plan.OutcomeDone {
				return o, nil
			}
			c.unclear = errors.New(o.Reason)
			return nil, nil //nolint:nilnil // it stays unknown
		case state == plan.CallUnknown:
			return nil, nil //nolint:nilnil // it stays unknown
		case before.Before(settles):
			if err := c.wait(settles); err != nil {
				return nil, err
			}
			failed = 0
		case c.running.Load() > 0:
			c.unclear = errors.New("it has not happened so far, but the call still runs")
			return nil, nil //nolint:nilnil // it stays unknown
		default:
			o.Outcome = plan.OutcomeNotDone
			return o, nil
		}
	}
}

// inquire calls Reconcile once.
func (c *caller) inquire() (res any, s plan.CallState, err error) {
	ctx := c.x.Context()
	if c.g.Guards.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.g.Guards.Timeout)
		defer cancel()
	}
	defer recovered(&err)
	return c.e.Reconcile(ctx, plan.Call{Key: c.key, Attempt: c.k.tried}, c.req)
}
