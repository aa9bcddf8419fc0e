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
	waiting, woken := waits(past)
	if woken != nil {
		r.took([]plan.Entry{*woken})
		return nil
	}
	if waiting == nil {
		since := r.now
		if since.IsZero() {
			since = r.x.Now()
		}
		waiting = &plan.Entry{Type: plan.EntryWaiting, Step: step, At: since.Add(max(d, 0))}
		if err := r.record(*waiting); err != nil {
			return err
		}
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
	waiting, woken := waits(past)
	if woken != nil {
		r.took([]plan.Entry{*woken})
		return woken.Result, woken.ID != "", nil
	}
	if waiting == nil {
		waiting = &plan.Entry{Type: plan.EntryWaiting, Step: step, Effect: signal, Key: key}
		if timeout > 0 {
			since := r.now
			if since.IsZero() {
				since = r.x.Now()
			}
			waiting.At = since.Add(timeout)
		}
		if err := r.record(*waiting); err != nil {
			return nil, false, err
		}
	}
	return nil, false, r.end(plan.Result{
		State: plan.Suspended, Wake: plan.Wake{Step: step, At: waiting.At, Signal: signal, Key: key},
	})
}

// waits finds how a waiting step stands.
func waits(past []plan.Entry) (waiting, woken *plan.Entry) {
	for i := range past {
		switch e := &past[i]; e.Type {
		case plan.EntryWaiting:
			waiting = e
		case plan.EntryWoken:
			woken = e
		}
	}
	return waiting, woken
}
