package segment

import (
	"github.com/fsnotify/fsnotify"

	"github.com/weirflow/weir/internal/vfs"
)

// newWaker watches a file by inotify. On file systems of tests, and when inotify
// has no room for another watch, there is the clock.
func newWaker(fsys vfs.FS, file string) *waker {
	if fsys != vfs.OS {
		return &waker{}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return &waker{}
	}
	if err := w.Add(file); err != nil {
		_ = w.Close() // it has nothing to lose
		return &waker{}
	}
	changed := make(chan struct{}, 1) // one change is as good as many; never closed
	done := make(chan struct{})       // closed when the goroutine below has ended
	go func() {
		defer close(done)
		for events, errs := w.Events, w.Errors; events != nil; {
			select {
			case _, ok := <-events:
				if !ok {
					events = nil
				}
			case <-errs: //nolint:errcheck // an overflow is a change as well
			}
			wake(changed)
		}
	}()
	return &waker{changed: changed, close: func() error {
		err := w.Close() // closes its channels
		<-done
		return err
	}}
}
