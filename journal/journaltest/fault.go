package journaltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
)

// Fault makes each operation that a workload asks of the disk fail: with an
// input/output error, at every other one after half of a write, and with a full
// disk that has space again at once or later. The log then either goes on and comes
// to the same, or is poisoned and its next owner finds everything that was
// acknowledged, in the same machine or after a loss of power. A full disk alone
// must not poison it.
func Fault(t *testing.T, open Opener) {
	t.Helper()
	campaign(t, open, (*machine).faultAt, minBoundaries/2)
}

// A mishap is one way to fail.
type mishap struct {
	name  string
	cause error
	count int  // of operations in a row that fail; where space is short, those that need some
	half  bool // half of a write is done
}

// mishapsAt returns what happens at boundary n: an error, and a shortage of space.
func mishapsAt(n int) []mishap {
	shortages := []mishap{
		{"ENOSPC once", syscall.ENOSPC, 1, false},
		{"ENOSPC for a while", syscall.ENOSPC, 12, true},
		{"EDQUOT for a while", syscall.EDQUOT, 5, false},
		{"ENOSPC once, in the middle", syscall.ENOSPC, 1, true},
	}
	return []mishap{{"EIO", syscall.EIO, 1, n%2 == 0}, shortages[n/2%len(shortages)]}
}

// fault says what happens to an operation when the mishap begins at operation n.
func (m mishap) fault(n int, op vfs.Op) vfs.Fault {
	if op.Number < n || op.Number >= n+m.count {
		return vfs.Fault{}
	}
	f := vfs.Fault{Err: m.cause}
	if m.half {
		f.Bytes = op.Size / 2
	}
	if !vfs.IsNoSpace(m.cause) {
		return f
	}
	switch op.Kind {
	case vfs.KindWrite, vfs.KindAllocate, vfs.KindCreate:
		return f
	default:
		return vfs.Fault{}
	}
}

func (m *machine) faultAt(ctx context.Context, n int) (end bool, err error) {
	end = true
	for i, mishap := range mishapsAt(n) {
		var met atomic.Bool
		disk, faults, h, err := m.run(ctx, func(op vfs.Op) vfs.Fault {
			f := mishap.fault(n, op)
			if f.Err != nil {
				met.Store(true)
			}
			return f
		})
		end = end && faults.Count() < n
		if err == nil && h.opened && h.ended != nil && (vfs.IsNoSpace(mishap.cause) || !met.Load()) {
			err = fmt.Errorf("the log does not go on: %w", h.ended)
		}
		rng := rand.New(rand.NewPCG(uint64(n), uint64(i)))
		switch {
		case err != nil || !met.Load():
		case (n/4+i)%2 == 0:
			err = m.recovers(ctx, disk.Crash(rng), h, h.acked)
		default:
			err = m.keeps(ctx, disk.Kill(), h, h.acked, rng)
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", mishap.name, err)
		}
	}
	return end, nil
}
