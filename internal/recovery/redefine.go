package recovery

import (
	"bytes"
	"maps"
	"math"
	"slices"

	"github.com/weirflow/weir/journal"
)

// Names come and go, and memories move between them. What is needed in the end is
// the memory of the stages that there are; it is followed back, stage by stage, to
// the checkpoint that has it. A stage is folded in the epochs of its lives, in
// which its memory is needed; beyond them only what it wrote counts.

// A life is a time in which the memory of a stage is needed: from the epoch in
// which it got it, to the one in which it had left it.
type life struct{ from, to uint64 }

// forEver ends the life of a stage that there is.
const forEver = math.MaxUint64

// alive reports whether the stage has a memory, which counts, in an epoch.
func (s *stage) alive(epoch uint64) bool {
	return slices.ContainsFunc(s.lives, func(l life) bool { return l.from <= epoch && epoch < l.to })
}

// begins reports whether a life begins in an epoch, and is not in the checkpoint.
func (s *stage) begins(epoch uint64) bool {
	return epoch > s.epoch && slices.ContainsFunc(s.lives, func(l life) bool { return l.from == epoch })
}

// prepare finds out which lives count, and from which checkpoint each stage begins.
func (r *reader) prepare() {
	for r.follow() {
		for _, s := range r.stages {
			s.lives = nil
		}
	}
	for name, s := range r.stages {
		last := uint64(0)
		for _, e := range r.redefined {
			if mentions(e, name) {
				last = e.Number
			}
		}
		if last > s.epoch {
			s.rows = rows{} // which table it is for is known in the end
		}
	}
}

// follow follows the memory of every stage that there is. It reports whether it
// found a checkpoint of a later life, which it dropped: then all must be followed
// again.
func (r *reader) follow() (again bool) {
	names := slices.Sorted(maps.Keys(r.stages))
	for _, e := range r.redefined {
		for _, n := range e.Redefined.Renamed {
			names = append(names, n.Stage)
		}
		for _, at := range e.Redefined.Starts {
			names = append(names, at.Stage)
		}
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		left, renamed := r.left(name)
		switch {
		case left == 0:
			again = r.live(name, forEver) || again
		case !renamed && r.stage(name).epoch < left: // how much it delivered
			again = r.live(name, left) || again
		}
	}
	return again
}

// live notes the life that a stage leaves in an epoch, and those before it that its
// memory comes from.
func (r *reader) live(name string, to uint64) (again bool) {
	s := r.stage(name)
	if s.base != nil && s.epoch >= to {
		s.base, s.epoch = nil, 0
		again = true
	}
	from, was := s.epoch, ""
	removed, before := uint64(0), uint64(0)
	for _, e := range r.redefined {
		if e.Number <= s.epoch || e.Number >= to {
			continue
		}
		for _, n := range e.Redefined.Renamed {
			if n.Stage == name {
				from, was = e.Number, n.Was
			}
		}
		if slices.Contains(e.Redefined.Added, name) {
			from, was, before = e.Number, "", removed
		}
		if slices.Contains(e.Redefined.Removed, name) {
			removed = e.Number
		}
	}
	s.lives = append(s.lives, life{from, to})
	switch {
	case was != "":
		again = r.live(was, from) || again
	case before > 0: // what a source and a sink did is kept
		again = r.live(name, before) || again
	}
	return again
}

// left returns the epoch in which a stage was no longer there, zero if it is there,
// and whether another has its memory.
func (r *reader) left(name string) (epoch uint64, renamed bool) {
	for _, e := range r.redefined {
		d := e.Redefined
		switch {
		case slices.ContainsFunc(d.Renamed, func(n journal.Rename) bool { return n.Was == name }):
			epoch, renamed = e.Number, true
		case slices.Contains(d.Removed, name):
			epoch, renamed = e.Number, false
		case slices.ContainsFunc(d.Renamed, func(n journal.Rename) bool { return n.Stage == name }), slices.Contains(d.Added, name):
			epoch, renamed = 0, false
		}
	}
	return epoch, renamed
}

// mentions reports whether a stage comes or goes with an epoch.
func mentions(e *journal.Epoch, name string) bool {
	d := e.Redefined
	return slices.Contains(d.Removed, name) || slices.Contains(d.Added, name) ||
		slices.ContainsFunc(d.Renamed, func(n journal.Rename) bool { return n.Stage == name || n.Was == name })
}

// first returns the LSN before which a stage has no frame.
func (r *reader) first(name string) journal.LSN {
	for _, e := range r.redefined {
		d := e.Redefined
		switch {
		case slices.ContainsFunc(d.Renamed, func(n journal.Rename) bool { return n.Was == name }), slices.Contains(d.Removed, name):
			return 1
		case mentions(e, name):
			return e.First
		}
	}
	return 1
}

// enter applies what the definitions of epochs up to a number mean.
func (r *reader) enter(epoch uint64) {
	for len(r.redefined) > 0 && r.redefined[0].Number <= epoch {
		r.apply(r.redefined[0])
		r.redefined = r.redefined[1:]
	}
}

func (r *reader) apply(e *journal.Epoch) {
	d := e.Redefined
	for _, n := range d.Renamed {
		to, was := r.stage(n.Stage), r.stage(n.Was)
		if to.begins(e.Number) {
			to.take(was)
		}
		if was.epoch < e.Number {
			was.forget()
			was.Position, was.Receipted = nil, 0
		}
	}
	for _, name := range d.Removed {
		if s := r.stage(name); s.epoch < e.Number {
			s.forget()
		}
	}
	for _, name := range d.Added {
		if s := r.stage(name); s.begins(e.Number) {
			s.forget()
		}
	}
	changes := func(name string) bool {
		s := r.stage(name)
		return s.epoch < e.Number && s.alive(e.Number)
	}
	for _, at := range d.Dropped {
		if changes(at.Stage) {
			delete(r.stage(at.Stage).Cursors, at.Journal)
		}
	}
	for _, at := range d.Starts {
		if changes(at.Stage) {
			r.stage(at.Stage).Cursors[at.Journal] = journal.Cursor{Journal: at.Journal, Seq: at.Seq}
		}
	}
}

// take gives a stage the memory of another, which must forget it.
func (s *stage) take(from *stage) {
	s.Cursors, s.Position = from.Cursors, from.Position
	s.Note, s.Phase, s.Receipted = from.Note, from.Phase, from.Receipted
	s.open, s.timers, s.Trying, s.rows = from.open, from.timers, from.Trying, from.rows
	s.NextOpen = from.NextOpen
	for _, o := range s.open {
		o.Foreign = len(o.Updates)
	}
}

// forget takes a stage its memory. What a source and a sink did for the run stays:
// the position, and how much was delivered.
func (s *stage) forget() {
	s.Cursors, s.open, s.timers, s.rows = map[string]journal.Cursor{}, map[uint64]*Open{}, map[string]journal.Timer{}, rows{}
	s.Note, s.Phase, s.Trying, s.NextOpen = "", "", nil, 1
}

// empty reports whether there is nothing to say about the stage.
func (s *stage) empty() bool {
	for _, t := range s.rows {
		if len(t) > 0 {
			return false
		}
	}
	return s.Last == 0 && len(s.Cursors)+len(s.open)+len(s.timers) == 0 && s.Position == nil && s.NextOpen == 1 && s.Note == "" && s.Receipted == 0
}

// rows are state that was not given to tables: by table, and key.
type rows map[string]map[string]row

type row struct {
	value []byte
	at    journal.LSN
	epoch uint64
}

func (r rows) apply(table string, c journal.Change, at journal.LSN, epoch uint64) {
	if c.Deleted {
		delete(r[table], string(c.Key))
		return
	}
	if r[table] == nil {
		r[table] = map[string]row{}
	}
	r[table][string(c.Key)] = row{bytes.Clone(c.Value), at, epoch}
}

// each yields all rows, in a fixed order.
func (r rows) each(apply func(table string, c journal.Change, at journal.LSN, epoch uint64) error) error {
	for _, table := range slices.Sorted(maps.Keys(r)) {
		for _, key := range slices.Sorted(maps.Keys(r[table])) {
			v := r[table][key]
			if err := apply(table, journal.Change{Key: []byte(key), Value: v.value}, v.at, v.epoch); err != nil {
				return err
			}
		}
	}
	return nil
}
