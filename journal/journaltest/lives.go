package journaltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

const (
	runsOfLives = 30 // logs
	livesOfRun  = 25 // owners of each
)

// Lives lets owner after owner of a log die at a random operation, of the
// process or of a loss of power, in the middle of its work or of its recovery,
// some on a disk that was full for a while. What was cut must stay cut, and what
// was durable in any life must be there in all that follow.
func Lives(t *testing.T, open Opener) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		reached := 0
		for seed := range runsOfLives {
			r := &lives{rng: rand.New(rand.NewPCG(uint64(seed), 3)), open: open, disk: vfs.NewMemory(), author: newAuthor(uint64(seed))}
			for life := range livesOfRun {
				if err := r.live(t.Context(), life == livesOfRun-1); err != nil {
					t.Fatalf("log %d, life %d: %v", seed, life, err)
				}
			}
			reached += len(r.log)
		}
		t.Logf("%d lives, %d frames left of %d logs", runsOfLives*livesOfRun, reached, runsOfLives)
	})
}

// lives is one log with all its owners.
type lives struct {
	rng  *rand.Rand
	open Opener
	disk *vfs.Memory
	*author
	durable journal.LSN
}

// fate is a plan: the world stops at a random operation, and before that there
// may be no space for a while.
func (r *lives) fate() func(op vfs.Op) vfs.Fault {
	end := 1 + r.rng.IntN(25)
	if r.rng.IntN(2) == 0 {
		end += r.rng.IntN(100)
	}
	full := mishap{cause: syscall.ENOSPC, count: r.rng.IntN(6) * r.rng.IntN(2), half: r.rng.IntN(2) == 0}
	from := r.rng.IntN(end)
	half := int64(r.rng.IntN(2))
	return func(op vfs.Op) vfs.Fault {
		if op.Number == end {
			return vfs.Fault{Stop: true, Bytes: op.Size / 2 * half}
		}
		return full.fault(from, op)
	}
}

// live is the life of one owner; the last one is spared.
func (r *lives) live(ctx context.Context, spared bool) error {
	plan := r.fate()
	if spared {
		plan = nil
	}
	log, err := r.open(vfs.NewFaults(r.disk, plan))
	if err == nil {
		err = r.spend(ctx, log)
		if closed := log.Close(); closed == nil && err == nil {
			r.durable = journal.LSN(len(r.log))
		}
	}
	if spared || err != nil && !errors.Is(err, vfs.ErrCrashed) && !vfs.IsNoSpace(err) {
		return err
	}
	if r.rng.IntN(3) == 0 {
		r.disk = r.disk.Kill()
	} else {
		r.disk = r.disk.Crash(r.rng)
	}
	return nil
}

// spend checks what the owner found and appends until it dies.
func (r *lives) spend(ctx context.Context, log journal.Log) error {
	r.durable = max(r.durable, log.Durable()) // it said so
	n, err := survivors(log, r.log, r.durable)
	if err != nil {
		return err
	}
	r.cut(n)
	epochs := log.Manifest().Epochs
	for range r.rng.IntN(60) {
		s := shape{stage: []string{"orders", "validate"}[r.rng.IntN(2)], parts: 1 + r.rng.IntN(8)/5, bytes: r.rng.IntN(300)}
		d := r.draft(s)
		lsn, err := log.Append(ctx, journal.Normal, d.frames...)
		r.placed(d, epochs[len(epochs)-1].Number) // or in doubt
		if err == nil && lsn != journal.LSN(len(r.log)) {
			return fmt.Errorf("append = %d, want %d", lsn, len(r.log))
		}
		if err == nil && r.rng.IntN(3) == 0 {
			if err = log.Await(ctx, lsn); err == nil {
				r.durable = max(r.durable, lsn)
			}
		}
		r.durable = max(r.durable, log.Durable())
		if err != nil {
			return err
		}
	}
	return nil
}
