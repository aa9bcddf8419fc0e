package vfs

import "github.com/fsnotify/fsnotify"

// watch watches a file by inotify. When that has no room for another watch, there is
// the clock.
func watch(fsys FS, name string) *Watcher {
	if fsys != OS {
		return &Watcher{}
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return &Watcher{}
	}
	if err := w.Add(name); err != nil {
		_ = w.Close() // it has nothing to lose
		return &Watcher{}
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
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return &Watcher{changed: changed, close: func() error {
		err := w.Close() // closes its channels
		<-done
		return err
	}}
}
