package steps

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// Sleep waits until d has passed since the latest step, or since now if it is the
// first.
func (r *Run) Sleep(step string, d time.Duration) error {
	if err := r.begin(); err != nil {
		return err
	}
	defer r.leave()
	if err := r.claim(step); err != nil {
		return err
	}
	past, err := r.step(step, "a sleep", plan.EntryWaiting, plan.EntryWoken)
	if err != nil {
		return err
	}
	e := plan.Entry{Type: plan.EntryWaiting, Step: step, At: r.since().Add(max(d, 0))}
	waiting, woken, err := r.waits(past, e, max(d, 0))
	if err != nil {
		return err
	}
	if woken != nil {
		r.took(woken)
		return nil
	}
	if now := r.x.Now(); !waiting.At.After(now) {
		e := plan.Entry{Type: plan.EntryWoken, Step: step, At: now}
		if err := r.record(e); err != nil {
			return err
		}
		r.took(&e)
		return nil
	}
	return r.end(plan.Result{State: plan.Suspended, Wake: plan.Wake{Step: step, At: waiting.At}})
}

// Await waits for a signal, or until timeout has passed since the latest step; zero
// means without end. step is how the wait is called on record.
func (r *Run) Await(signal, key string, timeout time.Duration) (step string, payload []byte, arrived bool, err error) {
	if err := r.begin(); err != nil {
		return "", nil, false, err
	}
	defer r.leave()
	if err := plan.SignalKey(key); err != nil {
		return "", nil, false, event.Invalid(err)
	}
	address := signal + " " + key
	r.awaits[address]++
	step = awaited(signal, key, r.awaits[address])
	if err := r.first(step); err != nil {
		return "", nil, false, err
	}
	past, err := r.step(step, "a wait for a signal", plan.EntryWaiting, plan.EntryWoken)
	if err != nil {
		return "", nil, false, err
	}
	e := plan.Entry{Type: plan.EntryWaiting, Step: step, Effect: signal, Key: key}
	if timeout = max(timeout, 0); timeout > 0 {
		e.At = r.since().Add(timeout)
	}
	waiting, woken, err := r.waits(past, e, timeout)
	if err != nil {
		return "", nil, false, err
	}
	if woken != nil {
		r.took(woken)
		return step, woken.Result, woken.ID != "", nil
	}
	return step, nil, false, r.end(plan.Result{
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
	past = r.past.after(past)
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

// awaited names the step that awaits a signal for the n-th time. Different waits
// have different names, whatever their keys are made of.
func awaited(signal, key string, n int) string {
	const most = 200
	text := key
	if plain := strings.ContainsFunc(key, func(c rune) bool { return !strings.ContainsRune(plainKey, c) }); key == "" || plain {
		text = strconv.Quote(key)
	}
	if len(text) > most {
		sum := sha256.Sum256([]byte(key))
		text = fmt.Sprintf("%s…%s", strings.ToValidUTF8(text[:most/2], ""), hex.EncodeToString(sum[:16]))
	}
	if text = awaiting + signal + " " + text; n > 1 {
		text += " " + strconv.Itoa(n)
	}
	return text
}

const plainKey = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@#+"
