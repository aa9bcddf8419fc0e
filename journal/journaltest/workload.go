package journaltest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// The workload of the campaigns: what it must come to if nothing goes wrong.
const (
	workSteps     = 150 // transitions
	workSegments  = 3   // at least
	workSnapshots = 4
	minBoundaries = 300 // operations that change the disk; half of that where the log does not sync
)

// A history is what one owner did and was told.
type history struct {
	*author
	opened bool        // the log was created
	acked  journal.LSN // the greatest LSN that it was told is durable
	ended  error       // why it could not do the whole workload
}

// work runs the workload on a new log until it ends or the log fails. What the
// log refuses with the first error is in doubt and counts as placed.
func work(ctx context.Context, log journal.Log) (*history, error) {
	h := &history{author: newAuthor(7), opened: true}
	stages := []string{"orders", "validate", "ship"}
	for step := range workSteps {
		s := shape{stage: stages[h.rng.IntN(3)], parts: 1, bytes: h.rng.IntN(700)}
		if h.rng.IntN(6) == 0 {
			s.parts = 2 + h.rng.IntN(3)
		}
		if step%(workSteps/workSnapshots) == 20 {
			name := fmt.Sprintf("%s-%d", s.stage, step)
			if data := snapshotData(name); log.WriteSnapshot(name, data) == nil {
				s.check, s.sum = name, sha256.Sum256(data)
			}
		}
		d := h.draft(s)
		lsn, err := log.Append(ctx, journal.Normal, d.frames...)
		h.placed(d, 1)
		if err == nil && lsn != journal.LSN(len(h.log)) {
			return h, fmt.Errorf("step %d: Append = %d, want %d", step, lsn, len(h.log))
		}
		switch dice := h.rng.IntN(6); {
		case err != nil:
		case dice < 3:
			if err = log.Await(ctx, lsn); err == nil {
				h.acked = max(h.acked, lsn)
			}
		case dice == 3:
			log.Want(lsn)
		}
		h.acked = max(h.acked, log.Durable())
		if err != nil {
			h.ended = err
			if !errors.Is(err, journal.ErrPoisoned) {
				return h, fmt.Errorf("step %d: %w; want ErrPoisoned", step, err)
			}
			return h, nil
		}
	}
	return h, nil
}

// snapshotData is the content of the snapshot of that name.
func snapshotData(name string) []byte { return bytes.Repeat([]byte(name+" "), 200) }

// verify checks a log that was opened after the owner of h died: it holds what
// was placed, cut after a transition and not before durable, and the snapshots
// that it names. It returns how many frames it holds.
func (h *history) verify(log journal.Log, durable journal.LSN) (int, error) {
	n, err := survivors(log, h.log, durable)
	if err != nil {
		return 0, err
	}
	if err := tails(log, h.log[:n]); err != nil {
		return 0, err
	}
	for stage, tail := range log.Tails() {
		if tail.Checkpoint == 0 {
			continue
		}
		name := h.log[tail.Checkpoint-1].check
		if data, err := log.ReadSnapshot(name); err != nil {
			return 0, fmt.Errorf("the checkpoint of %s at %d: %w", stage, tail.Checkpoint, err)
		} else if !bytes.Equal(data, snapshotData(name)) {
			return 0, fmt.Errorf("the checkpoint of %s at %d names snapshot %s of %d bytes that are not those written",
				stage, tail.Checkpoint, name, len(data))
		}
	}
	epochs := log.Manifest().Epochs
	if len(epochs) == 0 {
		return 0, errors.New("the manifest lists no epoch")
	}
	if e := epochs[len(epochs)-1]; e.First != journal.LSN(n+1) {
		return 0, fmt.Errorf("the epoch begins at %d, and the log holds %d frames", e.First, n)
	}
	return n, nil
}

// goOn appends to a log that holds n frames of h, and checks that the next owner
// finds it all.
func (h *history) goOn(ctx context.Context, n int, log journal.Log, reopen func() (journal.Log, error)) error {
	a := newAuthor(8)
	a.log = h.log
	a.cut(n)
	a.made = 1 << 32 // so that no record is like one of h
	epochs := log.Manifest().Epochs
	for _, s := range []shape{{stage: "orders", parts: 3, bytes: 500}, {stage: "ship", parts: 1, bytes: 900}} {
		d := a.draft(s)
		lsn, err := log.Append(ctx, journal.Normal, d.frames...)
		if err != nil {
			return fmt.Errorf("append after recovery: %w", err)
		}
		a.placed(d, epochs[len(epochs)-1].Number)
		if err := log.Await(ctx, lsn); err != nil {
			return fmt.Errorf("await after recovery: %w", err)
		}
	}
	if err := log.Close(); err != nil {
		return fmt.Errorf("close after recovery: %w", err)
	}
	next, err := reopen()
	if err != nil {
		return fmt.Errorf("the owner after recovery: %w", err)
	}
	if err := compare(next, a.log); err != nil {
		return fmt.Errorf("the owner after recovery: %w", err)
	}
	return next.Close()
}

// written returns how many of the placed frames had reached the files whole,
// transitions complete, in order.
func written(disk vfs.FS, log []placed) (int, error) {
	files, err := contents(disk, "/")
	if err != nil {
		return 0, err
	}
	n := 0
	for i, p := range log {
		if !strings.Contains(files, p.body) {
			break
		}
		if !p.more {
			n = i + 1
		}
	}
	return n, nil
}

// contents returns all bytes of all files below a directory.
func contents(disk vfs.FS, dir string) (string, error) {
	list, err := disk.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var all strings.Builder
	for _, e := range list {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			below, err := contents(disk, name)
			if err != nil {
				return "", err
			}
			all.WriteString(below)
			continue
		}
		data, err := vfs.ReadFile(disk, name, 64<<20)
		if err != nil {
			return "", err
		}
		all.Write(data)
	}
	return all.String(), nil
}
