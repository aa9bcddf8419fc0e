package memory

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/weirflow/weir/journal"
)

// Hold leaves durability to Sync, Release and Close from now on, as
// [Options.Manual] does from the start.
func (l *Log) Hold() {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.held = true
}

// Release ends Hold: what was placed is durable, and what follows will be at once.
func (l *Log) Release() {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.held = false
	if l.failed == nil {
		l.sync()
	}
}

// Sync makes everything placed durable. Only a log that is held needs it.
func (l *Log) Sync() {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.failed == nil {
		l.sync()
	}
}

// Wanted returns the greatest LSN that anyone asked to be durable.
func (l *Log) Wanted() journal.LSN {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return l.wanted
}

// Pause makes the log behave as on a full disk: Normal appends wait and Stats
// gives cause, until Pause(nil).
func (l *Log) Pause(cause error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.paused = cause
	l.store.wake()
}

// Poison makes the log behave as after a failed write or sync: it cannot go on,
// and only Reopen may continue.
func (l *Log) Poison(cause error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.fail(poisoned(cause))
}

// Kill ends the owner as the death of its process does: everything placed
// survives. Whatever the owner still tries is refused.
func (l *Log) Kill() { l.Poison(errKilled) }

// Crash ends the owner as a loss of power does: what was not durable is gone.
// Whatever the owner still tries is refused. Crash does nothing if the log
// already has another owner.
func (l *Log) Crash() {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != l {
		return
	}
	l.fail(poisoned(errCrashed))
	s.owner = nil
	s.entries = slices.Clone(s.entries[:s.durable]) // syncs cover whole transitions
	s.bytes -= s.unsynced
	s.cut, s.unsynced = s.unsynced, 0
	for name, marks := range s.index {
		n := len(marks)
		for n > 0 && marks[n-1].lsn > s.durable {
			n--
		}
		s.index[name] = marks[:n]
	}
}

// Reopen gives the log to a next owner, in a new epoch: everything that survived
// is durable, snapshots that no checkpoint names are removed. It returns
// [journal.ErrInUse] unless the present owner was closed, killed, crashed or
// poisoned. The next owner has the same options.
func (l *Log) Reopen() (*Log, error) { return l.ReopenAs(l.o) }

// ReopenAs is [Log.Reopen] for an owner with options of its own.
func (l *Log) ReopenAs(o Options) (*Log, error) {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("reopen run %s: %w", s.manifest.Run, err)
	}
	var other *journal.Redefinition
	if o.Redefine != nil {
		was := s.owner
		d, err := s.redefine(o.Redefine)
		if err == nil && s.owner != was {
			err = journal.ErrInUse
		}
		if err != nil {
			return nil, fmt.Errorf("reopen run %s: %w", s.manifest.Run, err)
		}
		other = d
	}
	return s.enter(o, other), nil
}

// redefine asks what a definition means. The caller holds s.mu, which is given up
// meanwhile.
func (s *store) redefine(ask journal.Redefine) (*journal.Redefinition, error) {
	v := &Log{tails: s.tails(), manifest: s.manifest, store: s}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		v.failed = journal.ErrClosed
	}()
	return ask(v)
}

// recover makes what survived the log of a next owner. The caller holds s.mu.
func (s *store) recover() error {
	if s.owner != nil && s.owner.failed == nil {
		return fmt.Errorf("%w: close the log first", journal.ErrInUse)
	}
	if err := s.sweep(); err != nil {
		return err
	}
	s.durable, s.unsynced = s.head(), 0
	return nil
}

// sum brings the chain up to the head and returns it: each link is the SHA-256 of
// the one before and a frame's body.
func (s *store) sum() string {
	for ; s.chained < len(s.entries); s.chained++ {
		h := sha256.New()
		h.Write(s.chain[:])
		h.Write(s.entries[s.chained].frame.Body)
		h.Sum(s.chain[:0])
	}
	return hex.EncodeToString(s.chain[:])
}

func (s *store) tails() map[string]journal.Tail {
	tails := map[string]journal.Tail{}
	for i, e := range s.entries {
		t := tails[e.frame.Stage]
		t.Last = journal.LSN(i + 1)
		if e.frame.Check {
			t.Checkpoint = t.Last
		}
		tails[e.frame.Stage] = t
	}
	return tails
}

// sweep removes the snapshots that no checkpoint names.
func (s *store) sweep() error {
	named := map[string][]byte{}
	for i, e := range s.entries {
		if !e.frame.Check {
			continue
		}
		var t journal.Transition
		if err := journal.Parse(e.frame.Body, &t); err != nil {
			return fmt.Errorf("frame %d: %w", i+1, err)
		}
		if t.Check == nil {
			return fmt.Errorf("frame %d was appended as a checkpoint and carries none", i+1)
		}
		if data, ok := s.snapshots[t.Check.Snapshot]; ok {
			named[t.Check.Snapshot] = data
		}
	}
	s.snapshots = named
	return nil
}
