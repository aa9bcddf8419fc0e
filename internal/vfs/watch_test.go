package vfs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/vfs"
)

// A change of the names in a directory ends a wait that began before it, and one
// that begins after it.
func TestWatchSeesChanges(t *testing.T) {
	dir := t.TempDir()
	w := vfs.Watch(vfs.OS, dir)
	defer w.Close()
	for _, name := range []string{"a", "b"} {
		woken := make(chan error, 1) // how the wait ended
		go func() { woken <- w.Wait(t.Context()) }()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := <-woken; err != nil {
			t.Errorf("Wait while %s appears = %v", name, err)
		}
	}
	gone := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	for range 10 { // what is left of the changes above may come first
		if err := w.Wait(ctx); errors.Is(err, gone) {
			return
		} else if err != nil {
			t.Fatalf("Wait = %v, want %v", err, gone)
		}
	}
	t.Error("a wait whose context is done does not end")
}

// A file system in memory tells of changes, also through others around it: whoever
// waits is not woken by the clock, and not by what it does not watch.
func TestWatchMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		fsys := vfs.NewFaults(vfs.NewTrace(disk), nil)
		for _, dir := range []string{"/here", "/there"} {
			if err := fsys.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		write := func(name string) {
			if err := vfs.WriteFileAtomic(fsys, name, []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
		}
		began := time.Now()
		var woken atomic.Int64
		w := vfs.Watch(fsys, "/here")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for w.Wait(ctx) == nil {
				woken.Add(1)
			}
		}()
		synctest.Wait()
		write("/there/a")
		time.Sleep(time.Hour)
		if woken.Load() != 0 {
			t.Errorf("woken %d times by what is elsewhere", woken.Load())
		}
		write("/here/a")
		synctest.Wait()
		if woken.Load() == 0 || time.Since(began) != time.Hour {
			t.Errorf("woken %d times after %v", woken.Load(), time.Since(began))
		}
		was := woken.Load()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		write("/here/b")
		synctest.Wait()
		if woken.Load() != was {
			t.Error("woken although the watch has ended")
		}
	})
}

// quietly is a file system that tells nobody of changes.
type quietly struct{ vfs.FS }

// Where nothing tells of changes there is the clock.
func TestWatchByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := vfs.Watch(quietly{vfs.NewMemory()}, "/")
		began := time.Now()
		if err := w.Wait(t.Context()); err != nil {
			t.Errorf("Wait = %v", err)
		}
		if took := time.Since(began); took != vfs.LookEvery {
			t.Errorf("Wait took %v, want %v", took, vfs.LookEvery)
		}
		if err := w.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
}
