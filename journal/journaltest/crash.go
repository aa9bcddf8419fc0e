package journaltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Crash cuts the power before each operation that a workload asks of the disk,
// three times with other sectors surviving, and once more during the recovery:
// before each operation of a recovery, spread over the boundaries of the workload
// so that three neighbours have them all. Whatever survived, everything that was acknowledged
// as durable must be there, byte for byte; what is there is a prefix of what was
// appended, cut between transitions; snapshots that its checkpoints name can be
// read; and the log goes on.
//
// The segments of the log must be small enough that the workload of some 60 KiB
// needs three of them. With -short, this and the campaigns below visit one of five
// operations.
func Crash(t *testing.T, open Opener) {
	t.Helper()
	campaign(t, open, (*machine).crashAt, minBoundaries)
}

// Kill ends the process before and in the middle of each operation that a
// workload asks of the disk. Everything that had been written must be there, and
// be durable once the next owner has it.
func Kill(t *testing.T, open Opener) {
	t.Helper()
	campaign(t, open, (*machine).killAt, minBoundaries/2)
}

// MustFail goes through the cases of Crash, Kill and Fault over a file system
// that leaves out the syncs that drop says, none if drop is nil, and fails if no
// case notices: a test that the campaigns can fail.
func MustFail(t *testing.T, open Opener, drop Drop) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{open: open, drop: drop}
		for n, last := 1, false; !last; n++ {
			last = true
			for _, at := range []trial{(*machine).crashAt, (*machine).killAt, (*machine).faultAt} {
				end, err := at(m, t.Context(), n)
				if err != nil {
					t.Logf("noticed at boundary %d: %v", n, err)
					return
				}
				last = last && end
			}
		}
		t.Error("there is a mistake, and no campaign found it")
	})
}

// A trial is the case of a campaign at one boundary of the workload. It returns
// true once the workload has no such boundary.
type trial func(m *machine, ctx context.Context, n int) (end bool, err error)

func campaign(t *testing.T, open Opener, at trial, least int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{open: open}
		boundaries, step := 0, 1
		if testing.Short() {
			step = 5
		}
		for {
			end, err := at(m, t.Context(), boundaries+1)
			if err != nil {
				t.Fatalf("boundary %d: %v", boundaries+1, err)
			}
			if end {
				break
			}
			boundaries += step
		}
		t.Logf("%d boundaries, %d of recoveries, %d openings", boundaries, m.recoveries, m.openings)
		if boundaries < least {
			t.Errorf("the workload has %d boundaries, want at least %d", boundaries, least)
		}
	})
}

// A machine runs the workload and dies.
type machine struct {
	open Opener
	drop Drop // nil: all syncs are done

	recoveries int // boundaries of recoveries so far
	openings   int
}

// on opens the log on a file system, as owner number n of this case.
func (m *machine) on(fsys vfs.FS, owner int) (journal.Log, error) {
	m.openings++
	if m.drop != nil {
		fsys = lossy{fsys, func(op vfs.Op) bool { return m.drop(owner, op) }}
	}
	return m.open(fsys)
}

// run does the workload on a new disk until the fault or the end, and returns
// the disk as the fault leaves it.
func (m *machine) run(ctx context.Context, plan func(op vfs.Op) vfs.Fault) (*vfs.Memory, *vfs.Faults, *history, error) {
	disk := vfs.NewMemory()
	faults := vfs.NewFaults(disk, plan)
	log, err := m.on(faults, 1)
	if err != nil { // the fault was in the creation
		return disk, faults, &history{author: newAuthor(7), ended: err}, nil //nolint:nilerr // a log that was not created is a history as well
	}
	h, err := work(ctx, log)
	if err == nil && h.ended == nil {
		err = done(log)
	}
	if closed := log.Close(); closed == nil && h.ended == nil {
		h.acked = journal.LSN(len(h.log))
	}
	return disk, faults, h, err
}

// done checks that a workload that came to its end was worth it.
func done(log journal.Log) error {
	if n := log.Stats().Segments; n < workSegments {
		return fmt.Errorf("the workload fills %d segments, want at least %d: make them smaller", n, workSegments)
	}
	return nil
}

func (m *machine) crashAt(ctx context.Context, n int) (end bool, err error) {
	disk, faults, h, err := m.run(ctx, vfs.StopAt(n))
	if err != nil {
		return false, err
	}
	for seed := range 3 {
		rng := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
		after := disk.Crash(rng)
		if seed > 0 {
			err = m.finds(after, h, h.acked, 2)
		} else if err = m.recovers(ctx, after, h, h.acked); err == nil {
			err = m.crashesAgain(after, h, rng, n%3)
		}
		if err != nil {
			return false, fmt.Errorf("power cut %d: %w", seed, err)
		}
	}
	return ended(faults, h)
}

// ended tells whether the workload came to its end because there was nothing
// left to stop it.
func ended(faults *vfs.Faults, h *history) (bool, error) {
	if faults.Stopped() {
		return false, nil
	}
	if h.ended != nil {
		return false, fmt.Errorf("the workload ends without a fault: %w", h.ended)
	}
	return true, nil
}

// finds opens the log on a disk, as owner number n of this case, and checks it.
func (m *machine) finds(disk *vfs.Memory, h *history, durable journal.LSN, owner int) error {
	log, err := m.on(disk, owner)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	_, err = h.verify(log, durable)
	return errors.Join(err, log.Close())
}

// recovers opens the log on a copy of a disk, checks it and goes on with it.
func (m *machine) recovers(ctx context.Context, disk *vfs.Memory, h *history, durable journal.LSN) error {
	disk = disk.Kill()
	log, err := m.on(disk, 2)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	n, err := h.verify(log, durable)
	if err == nil {
		err = h.goOn(ctx, n, log, func() (journal.Log, error) { return m.on(disk, 3) })
	}
	if err != nil {
		_ = log.Close() // ends its goroutines
	}
	return err
}

// crashesAgain cuts the power at every third operation of the recovery on a copy
// of a disk, from one of the first three on, and at last right after it.
func (m *machine) crashesAgain(disk *vfs.Memory, h *history, rng *rand.Rand, first int) error {
	for at := first + 1; ; at += 3 {
		m.recoveries++
		half := disk.Kill()
		log, err := m.on(vfs.NewFaults(half, vfs.StopAt(at)), 2)
		opened := err == nil
		durable := h.acked
		if opened {
			durable = max(durable, log.Durable()) // it said so
		}
		after := half.Crash(rng)
		if opened {
			_ = log.Close() // ends its goroutines; the disk is dead
		}
		if err := m.finds(after, h, durable, 3); err != nil {
			return fmt.Errorf("second power cut, at operation %d of the recovery: %w", at, err)
		}
		if opened {
			return nil
		}
	}
}

func (m *machine) killAt(ctx context.Context, n int) (end bool, err error) {
	disk, faults, h, err := m.run(ctx, func(op vfs.Op) vfs.Fault {
		if op.Number != n {
			return vfs.Fault{}
		}
		return vfs.Fault{Stop: true, Bytes: op.Size / 2 * int64(n%2)} // every other time half of a write is done
	})
	if err != nil {
		return false, err
	}
	disk = disk.Kill()
	reached, err := written(disk, h.log)
	if err != nil {
		return false, err
	}
	rng := rand.New(rand.NewPCG(uint64(n), 9))
	if err := m.keeps(ctx, disk, h, max(h.acked, journal.LSN(reached)), rng); err != nil {
		return false, err
	}
	return ended(faults, h)
}

// keeps opens the log after the death of its owner's process and checks that it
// holds everything up to durable, and still does if the power goes right then.
func (m *machine) keeps(ctx context.Context, disk *vfs.Memory, h *history, durable journal.LSN, rng *rand.Rand) error {
	log, err := m.on(disk, 2)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	n, err := h.verify(log, durable)
	after := disk.Crash(rng)
	_ = log.Close() // ends its goroutines; the disk is dead
	if err != nil {
		return err
	}
	if err := m.recovers(ctx, after, h, journal.LSN(n)); err != nil {
		return fmt.Errorf("power cut right after the recovery: %w", err)
	}
	return nil
}
