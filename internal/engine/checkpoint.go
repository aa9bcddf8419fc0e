package engine

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// A rememberer is a worker whose memory is more than tables.
type rememberer interface {
	// remember puts what a snapshot holds of it into at.
	remember(at *recovery.Stage) error
}

func (w *sink) remember(at *recovery.Stage) error { //nolint:unparam // as other workers do
	at.Note, at.Phase, at.Receipted = w.note, w.phase, w.settled
	return nil
}

// A checkpointer knows when a stage takes its next checkpoint.
type checkpointer struct {
	placed  bool      // anything was placed since the last
	data    bool      // and more than what supervisors say
	since   time.Time // when the first data was
	logged  int64     // size of the log at the last
	due     bool
	changed bool // what a snapshot holds changed since the last one
	at      journal.LSN
	name    string
	sum     [32]byte
	size    int64 // of the snapshot
}

// grown reports whether the log has grown so much that a checkpoint is due: by
// the interval, or by as much as the last snapshot had, so that writing snapshots
// never outweighs writing the log.
func (s *stage) grown() bool {
	return s.run.logged.Load()-s.check.logged >= max(s.run.c.Checkpoint.Bytes, s.check.size)
}

// aged reports whether what was placed has waited long enough, and weighs
// something beside the last snapshot.
func (s *stage) aged(now time.Time) bool {
	c := &s.check
	return c.data && now.Sub(c.since) >= s.run.c.Checkpoint.Every && s.weighs()
}

func (s *stage) weighs() bool { return s.run.logged.Load()-s.check.logged >= s.check.size/4 }

// note takes a placed transition into account.
func (s *stage) noteForCheck(data, changed bool, now time.Time) {
	c := &s.check
	if data && !c.data {
		c.data, c.since = true, now
	}
	c.placed, c.changed = true, c.changed || changed
	c.due = s.grown() || s.aged(now)
}

// checkIdle takes a checkpoint of a stage that has nothing else to do, if one is
// due, and returns when to look again, at the latest at also; zero means never.
func (s *stage) checkIdle(also time.Time) (time.Time, error) {
	c := &s.check
	if !c.placed || s.rules.State().Terminal() {
		return also, nil
	}
	if s.grown() || s.aged(time.Now()) {
		return also, s.checkpoint()
	}
	due := c.since.Add(s.run.c.Checkpoint.Every)
	if c.data && s.weighs() && (also.IsZero() || due.Before(also)) {
		return due, nil
	}
	return also, nil
}

// checkpoint places a checkpoint, in a transition of its own.
func (s *stage) checkpoint() error {
	if err := s.flushSaid(); err != nil {
		return err
	}
	check, err := s.snapshot(0)
	if errors.Is(err, journal.ErrPoisoned) || errors.Is(err, journal.ErrClosed) {
		return err
	}
	if err != nil { // everything is in the log; recovery will take longer
		s.run.log.Warn("no checkpoint now; it is tried again later", attr("stage", s.name), attr("error", err.Error()))
		s.checked()
		return nil
	}
	s.t.Check = check
	if err := s.commit(journal.Urgent); err != nil {
		return err
	}
	s.checked()
	return nil
}

// checkpointAtEnd puts a checkpoint into the open transition. The stage ends just
// the same if it cannot be written.
func (s *stage) checkpointAtEnd(kind journal.EndKind) {
	check, err := s.snapshot(kind)
	if err != nil {
		s.run.log.Warn("no checkpoint at the end", attr("stage", s.name), attr("error", err.Error()))
		return
	}
	s.t.Check = check
}

func (s *stage) checked() {
	c := &s.check
	if s.careful {
		s.careful, s.deaths, s.limit = false, nil, s.run.c.Batch
	}
	c.placed, c.data, c.due, c.logged = false, false, false, s.run.logged.Load()
}

// snapshot writes what the stage remembers, if that changed since the last time,
// and returns the checkpoint that names it. Ports have ended as kind says. Nothing
// may have been said since the last transition.
func (s *stage) snapshot(kind journal.EndKind) (*journal.Checkpoint, error) {
	c := &s.check
	check := &journal.Checkpoint{}
	for _, e := range s.inputs {
		check.Cursors = append(check.Cursors, journal.Cursor{Journal: e.journal, Seq: e.cursor, End: e.saw})
	}
	for _, y := range s.tallies() {
		check.Ports = append(check.Ports, journal.End{Port: y.port, Kind: kind, Count: y.count, Digest: y.digest})
	}
	check.Ports = append(check.Ports, journal.End{Port: s.sys.port, Count: s.sys.count, Digest: s.sys.digest})
	if s.node.Source != nil && s.located {
		p := s.position
		check.Position = &p
	}
	w, _ := s.worker.(rememberer)
	if len(s.tables) > 0 || w != nil {
		if c.changed || c.name == "" {
			at := recovery.Stage{Name: s.name}
			if w != nil {
				if err := w.remember(&at); err != nil {
					return nil, err
				}
			}
			data, err := recovery.AppendSnapshot(nil, &at, s.tables)
			if err != nil {
				return nil, err
			}
			name := snapshotName(s.name, s.last)
			if err := s.run.c.Log.WriteSnapshot(name, data); err != nil {
				return nil, fmt.Errorf("write snapshot %s: %w", name, err)
			}
			c.name, c.sum, c.size, c.at, c.changed = name, sumOf(data), int64(len(data)), s.last, false
		}
	} else {
		c.at = s.last
	}
	check.Snapshot, check.Sum, check.At = c.name, c.sum, c.at
	return check, nil
}

func snapshotName(stage string, at journal.LSN) string {
	return fmt.Sprintf("%s-%020d", strings.ReplaceAll(stage, "/", "."), at)
}

func sumOf(data []byte) [32]byte { return sha256.Sum256(data) }

// tallies returns every port of the stage that can end, with what was written to it.
func (s *stage) tallies() []*tally {
	all := []*tally{}
	for _, p := range s.ports {
		all = append(all, &p.tally)
	}
	switch w := s.worker.(type) {
	case *sink:
		all = append(all, &w.receipts)
	case *performer:
		all = append(all, &w.fx)
	}
	return append(all, s.kept...)
}
