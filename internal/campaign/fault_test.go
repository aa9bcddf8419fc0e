package campaign_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/vfs"
)

// Every operation that changes the disk fails once, in each way in which disks
// fail. The run gets over it or ends with an error; then, after a restart or a
// power cut, it goes on and ends like a run that nothing happened to.
func TestFaultsEverywhere(t *testing.T) {
	t.Parallel()
	want, ops := calm(t)
	var faults, survived, ended atomic.Int64
	each(t, ops, func(n int) {
		for kind, fault := range []vfs.Fault{
			{Err: syscall.EIO}, {Err: syscall.ENOSPC}, {Err: syscall.EIO, Bytes: 100}, {Err: syscall.ENOSPC, Bytes: 700},
		} {
			s, disk := newShop(), vfs.NewMemory()
			stock(t, disk)
			hit := vfs.Op{}
			world := vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault {
				if op.Number == n {
					hit = op
					return fault
				}
				return vfs.Fault{}
			})
			sum, err := s.run(t, world, options(world))
			if world.Count() < n {
				return // another schedule, with fewer operations
			}
			faults.Add(1)
			story := fmt.Sprintf("operation %d, %s %s, fails with %v after %d bytes: %s, %v", n, hit.Kind, hit.Name, fault.Err, fault.Bytes, sum.Status, err)
			switch {
			case err == nil && sum.Status == weir.Completed:
				survived.Add(1)
			case err == nil || sum.Status != "" && sum.Status != weir.Failing && sum.Status != weir.Interrupted:
				t.Error(story)
				return
			default:
				ended.Add(1)
			}
			if err != nil && !strings.Contains(err.Error(), fault.Err.Error()) && !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("%s: the error does not say why", story)
			}
			if n%2 == kind%2 {
				disk = disk.Crash(rand.New(rand.NewPCG(uint64(n), uint64(kind))))
			} // else the same process tries again: nothing may be left open
			if _, wrong := s.resume(t, disk, want, nil, nil); len(wrong) > 0 {
				t.Errorf("%s:\n%s", story, strings.Join(wrong, "\n"))
			}
		}
	})
	t.Logf("%d boundaries: %d faults, %d runs got over it, %d ended and were continued", ops, faults.Load(), survived.Load(), ended.Load())
}
