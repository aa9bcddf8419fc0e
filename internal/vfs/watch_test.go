package vfs_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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

// Where nothing tells of changes there is the clock.
func TestWatchByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := vfs.Watch(vfs.NewMemory(), "/")
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
