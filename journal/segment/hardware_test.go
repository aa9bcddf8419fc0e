package segment_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// After a failed sync nothing more is acknowledged; the next owner makes durable
// what it finds.
func TestC12WriteBack(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewMemory()
			var broken atomic.Bool
			l, err := segment.Create(vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault {
				if op.Kind == vfs.KindSync && broken.CompareAndSwap(true, false) {
					return vfs.Fault{Err: syscall.EIO}
				}
				return vfs.Fault{}
			}), dir, run, segment.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := &stage{name: "orders"}
			told := put(t, l, s.next(t, 2, nil, "kept")...)
			durable(t, l)
			synctest.Wait()
			broken.Store(true)
			head := put(t, l, s.next(t, 2, nil, strings.Repeat("in doubt", 200))...)
			for range 2 { // another sync would succeed and prove nothing
				if err := l.Await(t.Context(), head); !errors.Is(err, journal.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
					t.Errorf("Await = %v, want ErrPoisoned and its cause", err)
				}
			}
			if _, err := l.Append(t.Context(), journal.Urgent, s.next(t, 1, nil)...); !errors.Is(err, journal.ErrPoisoned) {
				t.Errorf("Append = %v, want ErrPoisoned", err)
			}
			if l.Durable() != told {
				t.Errorf("durable %d, want %d", l.Durable(), told)
			}
			if err := l.Close(); !errors.Is(err, journal.ErrPoisoned) {
				t.Errorf("Close = %v, want ErrPoisoned", err)
			}
			next, report := open(t, disk, segment.Options{})
			if next.Head() != head || report.Rewrote == 0 {
				t.Errorf("head %d, report %+v", next.Head(), report)
			}
			disk = disk.Crash(rand.New(rand.NewPCG(seed, 1)))
			_ = next.Close()
			recovers(t, disk, head)
		})
	}
}

// A full disk, with half of a write done: nothing is lost, nothing is twice.
func TestC13DiskFull(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewMemory()
			var full atomic.Bool
			o := segment.Options{SegmentSize: 8 << 10}
			l, err := segment.Create(vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault {
				if full.Load() && (op.Kind == vfs.KindWrite || op.Kind == vfs.KindAllocate) {
					return vfs.Fault{Err: cause, Bytes: op.Size / 2}
				}
				return vfs.Fault{}
			}), dir, run, o)
			if err != nil {
				t.Fatal(err)
			}
			s := &stage{name: "orders"}
			var want []string
			place := func(u journal.Urgency) {
				fs := s.next(t, 2, nil, strings.Repeat("x", 300))
				if _, err := l.Append(t.Context(), u, fs...); err != nil {
					t.Errorf("Append: %v", err)
				}
				for _, f := range fs {
					want = append(want, string(f.Body))
				}
			}
			place(journal.Normal)
			durable(t, l)
			full.Store(true)
			place(journal.Normal) // is in memory, and fails to be written
			synctest.Wait()
			if err := l.Stats().Paused; !errors.Is(err, cause) {
				t.Errorf("Paused = %v, want %v", err, cause)
			}
			for range 20 { // more than the segment holds
				place(journal.Urgent)
			}
			if got := read(t, l, 0); len(got) != len(want) || got[len(got)-1] != want[len(want)-1] {
				t.Errorf("%d frames can be read, want %d", len(got), len(want))
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				place(journal.Normal)
			}()
			synctest.Wait()
			select {
			case <-done:
				t.Error("a Normal append did not wait for space")
			default:
			}
			full.Store(false)
			<-done
			durable(t, l)
			if l.Stats().Paused != nil {
				t.Errorf("Paused = %v with space again", l.Stats().Paused)
			}
			closeLog(t, l)
			l, _ = open(t, disk, o)
			if got := read(t, l, 0); strings.Join(got, "") != strings.Join(want, "") {
				t.Errorf("%d frames, want %d", len(got), len(want))
			}
			closeLog(t, l)
			if f := check(t, disk); len(f.Damage) != 0 {
				t.Errorf("check: %v", f.Damage)
			}
		})
	}
}

// The process is killed at any operation, the next owner goes on and is told that
// its frames are durable, and then the power goes.
func TestPowerCutAfterKill(t *testing.T) {
	o := segment.Options{SegmentSize: 2 << 10}
	for n := 1; ; n++ {
		end := false
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewMemory()
			faults := vfs.NewFaults(disk, vfs.StopAt(n))
			s := &stage{name: "orders"}
			stages := []stage{*s} // by LSN
			if l, err := segment.Create(faults, dir, run, o); err == nil {
				for i := range 20 {
					fs := s.next(t, 1+i%2, nil, strings.Repeat("x", 50*i%400))
					if _, err := l.Append(t.Context(), journal.Normal, fs...); err != nil {
						break
					}
					for range fs {
						stages = append(stages, *s)
					}
					if i%3 == 0 && l.Await(t.Context(), l.Head()) != nil {
						break
					}
				}
				_ = l.Close()
			}
			end = !faults.Stopped()
			disk = disk.Kill()
			p := begin(t, disk, o)
			*s = stages[p.Head()]
			head := put(t, p.Log, s.next(t, 2, nil, "after the kill")...)
			durable(t, p.Log)
			after := disk.Crash(rand.New(rand.NewPCG(uint64(n), 3)))
			p.kill()
			recovers(t, after, head)
		})
		if end {
			return
		}
	}
}
