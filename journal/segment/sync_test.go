package segment_test

import (
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// A sync waits until what somebody waits for is written: one before that would have
// to be followed by another.
func TestSyncsWaitForTheWriter(t *testing.T) {
	for _, full := range []bool{false, true} { // the second time what is waited for cannot be written
		synctest.Test(t, func(t *testing.T) {
			var writes, syncs atomic.Int32
			var armed atomic.Bool
			held := make(chan struct{})
			l := create(t, vfs.NewFaults(vfs.NewMemory(), func(op vfs.Op) vfs.Fault {
				switch hint := strings.HasSuffix(op.Name, "/durable"); {
				case hint || !armed.Load():
				case op.Kind == vfs.KindSync:
					syncs.Add(1)
				case op.Kind == vfs.KindWrite && writes.Add(1) == 2:
					if <-held; full {
						return vfs.Fault{Err: syscall.ENOSPC}
					}
				}
				return vfs.Fault{}
			}), segment.Options{})
			s := &stage{name: "orders"}
			place := func() journal.LSN {
				lsn, err := l.Append(t.Context(), journal.Urgent, s.next(t, 1, nil, "x")...)
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				return lsn
			}
			place()
			durable(t, l)
			armed.Store(true)
			first := place() // written, and nobody waits for it
			second := place()
			l.Want(second) // the writer has it
			synctest.Wait()
			if n := syncs.Load(); n != 0 {
				t.Errorf("%d syncs before what is wanted is written", n)
			}
			close(held)
			synctest.Wait()
			want := second
			if full { // until there is space, and that may take long
				want = first
			}
			if n, got := syncs.Load(), l.Durable(); n != 1 || got != want {
				t.Errorf("%d syncs, durable up to %d, want 1 and %d", n, got, want)
			}
			if err := l.Await(t.Context(), second); err != nil {
				t.Error(err)
			}
			closeLog(t, l)
		})
	}
}
