package segment

import (
	"context"
	"time"
)

// lookEvery is how often a view looks where nothing wakes it.
const lookEvery = 200 * time.Millisecond

// A waker waits for a file to change.
type waker struct {
	changed <-chan struct{} // sent to, without waiting, after a change; nil: there is only the clock
	close   func() error
}

// wait returns after a change of the file, or when it is time to look, or with
// the cause when ctx is done.
func (w *waker) wait(ctx context.Context) error {
	var due <-chan time.Time
	if w.changed == nil {
		timer := time.NewTimer(lookEvery)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-w.changed:
	case <-due:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Close ends the waker.
func (w *waker) Close() error {
	if w.close == nil {
		return nil
	}
	return w.close()
}
