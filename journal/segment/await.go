package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weirflow/weir/journal"
)

// Want says that someone waits for lsn to be durable.
func (l *Log) Want(lsn journal.LSN) {
	l.mu.Lock()
	l.want(lsn)
	l.mu.Unlock()
}

// want notes that someone waits for lsn. What is not written yet is not synced
// yet either: the writer wakes the syncer. The caller holds mu.
func (l *Log) want(lsn journal.LSN) {
	i, found := slices.BinarySearch(l.wants, lsn)
	if found || lsn <= l.durable {
		return
	}
	l.wants = slices.Insert(l.wants, i, lsn)
	if lsn <= l.written.lsn {
		wake(l.toSync)
	}
}

// Await returns when lsn is durable. See [journal.Log].
func (l *Log) Await(ctx context.Context, lsn journal.LSN) error {
	l.mu.Lock()
	if lsn <= l.durable || l.failed != nil {
		defer l.mu.Unlock()
		if lsn <= l.durable {
			return nil
		}
		return l.failed
	}
	w := &waiter{lsn: lsn, done: make(chan error, 1)}
	l.waiters = append(l.waiters, w)
	l.want(lsn)
	l.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.waiters = slices.DeleteFunc(l.waiters, func(x *waiter) bool { return x == w })
		return ctx.Err()
	}
}

// Watch has fn called when Durable advances and when the log is poisoned, at
// once if it already is. After stop has returned fn is not called again.
func (l *Log) Watch(fn func(durable journal.LSN, err error)) (stop func()) {
	l.telling.Lock()
	defer l.telling.Unlock()
	w := &watcher{fn: fn}
	l.watchers = append(l.watchers, w)
	l.mu.Lock()
	durable, failed := l.durable, l.failed
	l.mu.Unlock()
	if errors.Is(failed, journal.ErrPoisoned) {
		fn(durable, failed)
	}
	return func() {
		l.telling.Lock()
		defer l.telling.Unlock()
		l.watchers = slices.DeleteFunc(l.watchers, func(x *watcher) bool { return x == w })
	}
}

// announce tells everyone that the log is durable up to lsn.
func (l *Log) announce(lsn journal.LSN) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	if l.failed != nil || lsn <= l.durable {
		l.mu.Unlock()
		return
	}
	l.durable = lsn
	for len(l.wants) > 0 && l.wants[0] <= lsn {
		l.wants = l.wants[1:]
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(w *waiter) bool {
		if w.lsn > lsn {
			return false
		}
		w.done <- nil
		return true
	})
	l.stir()
	l.mu.Unlock()
	for _, w := range l.watchers {
		w.fn(lsn, nil)
	}
}

// stir lets everyone who waits for room look again. The caller holds mu.
func (l *Log) stir() {
	if l.crowd {
		close(l.room)
		l.room, l.crowd = make(chan struct{}), false
	}
}

// fail poisons the log: it cannot go on, for this reason.
func (l *Log) fail(cause error) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return
	}
	err := fmt.Errorf("%w: %w", journal.ErrPoisoned, cause)
	durable := l.durable
	l.end(err)
	l.mu.Unlock()
	for _, w := range l.watchers {
		w.fn(durable, err)
	}
}

// end refuses everything from now on. The caller holds mu.
func (l *Log) end(err error) {
	l.failed = err
	for _, w := range l.waiters {
		w.done <- err
	}
	l.waiters = nil
	l.stir()
}

// hinder notes why the writer (0) or the preparer (1) waits for space, nil if it
// does not.
func (l *Log) hinder(who int, err error) {
	l.mu.Lock()
	l.hindered[who] = err
	if err == nil {
		l.stir()
	}
	l.mu.Unlock()
	wake(l.toSync)
	l.tellPaused()
}

// tellPaused tells Options.Paused whether intake waits, if that is news.
func (l *Log) tellPaused() {
	if l.o.Paused == nil {
		return
	}
	l.pausing.Lock()
	defer l.pausing.Unlock()
	l.mu.Lock()
	why := l.paused()
	l.mu.Unlock()
	if (why != nil) != l.told {
		l.told = why != nil
		l.o.Paused(why)
	}
}
