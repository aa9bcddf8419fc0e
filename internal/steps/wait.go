package steps

import (
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Sleep waits until d has passed since the latest step, or since now if it is the
// first.
func (r *Run) Sleep(step string, d time.Duration) error {
	past, err := r.enter(step, "a sleep", plan.EntryWaiting, plan.EntryWoken)
	if err != nil {
		return err
	}
	e := plan.Entry{Type: plan.EntryWaiting, Step: step, At: r.since().Add(max(d, 0))}
	waiting, woken, err := r.waits(past, e, max(d, 0))
	if err != nil {
		return err
	}
	if woken != nil {
		r.took([]plan.Entry{*woken})
		return nil
	}
	if now := r.x.Now(); !waiting.At.After(now) {
		e := plan.Entry{Type: plan.EntryWoken, Step: step, At: now}
		if err := r.record(e); err != nil {
			return err
		}
		r.took([]plan.Entry{e})
		return nil
	}
	return r.end(plan.Result{State: plan.Suspended, Wake: plan.Wake{Step: step, At: waiting.At}})
}

// Await waits for a signal, or until timeout has passed since the latest step; zero
// means without end.
func (r *Run) Await(signal, key string, timeout time.Duration) (payload []byte, arrived bool, err error) {
	if r.over {
		return nil, false, ErrSuspended
	}
	r.awaits[signal+" "+key]++
	step := awaited(signal, key, r.awaits[signal+" "+key])
	past, err := r.enter(step, "a wait for a signal", plan.EntryWaiting, plan.EntryWoken)
	if err != nil {
		return nil, false, err
	}
	e := plan.Entry{Type: plan.EntryWaiting, Step: step, Effect: signal, Key: key}
	if timeout = max(timeout, 0); timeout > 0 {
		e.At = r.since().Add(timeout)
	}
	waiting, woken, err := r.waits(past, e, timeout)
	if err != nil {
		return nil, false, err
	}
	if woken != nil {
		r.took([]plan.Entry{*woken})
		return woken.Result, woken.ID != "", nil
	}
	return nil, false, r.end(plan.Result{
		State: plan.Suspended, Wake: plan.Wake{Step: step, At: waiting.At, Signal: signal, Key: key},
	})
}

// since is when a wait begins: with the latest step, or now if it is the first.
func (r *Run) since() time.Time {
	if r.now.IsZero() {
		return r.x.Now()
	}
	return r.now
}

// waits finds how a waiting step stands, and records that it waits if nothing is on
// record.
func (r *Run) waits(past []plan.Entry, e plan.Entry, long time.Duration) (waiting, woken *plan.Entry, err error) {
	for i := range past {
		switch e := &past[i]; e.Type {
		case plan.EntryWaiting:
			waiting = e
		case plan.EntryWoken:
			woken = e
		}
	}
	asked := e
	if asked.Took = long; r.now.IsZero() {
		asked.At = time.Time{} // of which only the length can be known again
	}
	if err := r.asks(asked); err != nil {
		return nil, nil, err
	}
	if waiting == nil && woken == nil {
		waiting = &e
		err = r.record(e)
	}
	return waiting, woken, err
}
