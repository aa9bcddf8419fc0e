package vfs

import (
	"context"
	"time"
)

// LookEvery is how often somebody who waits for a change looks where the file
// system does not tell of changes.
const LookEvery = 200 * time.Millisecond

// A Watcher waits for changes of one file, or of the names in one directory. It
// is for one goroutine.
type Watcher struct {
	changed <-chan struct{} // sent to, without waiting, after a change; nil: there is only the clock
	close   func() error
}

// Watch begins to watch a file or directory, which must exist. Changes from now
// on are noticed; so watch first, then look. Where the file system tells of
// changes (inotify, and those of this package) nothing is done in between, elsewhere
// the clock says every [LookEvery] that there may be one. Watch never fails: without
// a watch there is the clock.
func Watch(fsys FS, name string) *Watcher {
	if tells, ok := fsys.(interface{ watch(name string) *Watcher }); ok {
		return tells.watch(name)
	}
	return watch(fsys, name)
}

// Wait returns nil after a change since the last Wait, or when it is time to
// look, and the cause of ctx when that is done. It may return without a change.
func (w *Watcher) Wait(ctx context.Context) error {
	var due <-chan time.Time
	if w.changed == nil {
		timer := time.NewTimer(LookEvery)
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

// Close ends the watch.
func (w *Watcher) Close() error {
	if w.close == nil {
		return nil
	}
	return w.close()
}
