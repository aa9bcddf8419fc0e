// Package recovery rebuilds what every stage of a run knew, from its log: where
// it stands on each input, what it has written, its tables, its open work. No
// handler runs. It reads from the oldest redo point on, not from the beginning.
package recovery

import (
	"github.com/weirflow/weir/journal"
)

// A Table takes state; plan.Table is one. See there.
type Table interface {
	Name() string
	Apply(c journal.Change, lsn journal.LSN) error
}

// A Stage is where a stage stood.
type Stage struct {
	Name      string
	Frames    uint64                    // frames written; the next has this number plus one
	Cursors   map[string]journal.Cursor // by journal; End is set only for a natural end
	Ports     map[string]Port           // by port name, reserved ports included
	Position  *journal.Position         // sources
	Watermark int64
	Note      string // sinks: the last note in a receipt
	Phase     string // sinks: the last phase in a receipt
	Receipted uint64 // sinks: records with a receipt of success
	Open      []Open // in order of acceptance
	NextOpen  uint64
	Timers    []journal.Timer
	Ended     bool // it authored its natural end on every port, and is finished
	Redo      journal.LSN
	Snapshot  string // of the newest checkpoint
	Last      journal.LSN
}

// A Port is what a stage has written to one journal.
type Port struct {
	Count  uint64 // records; the next has this sequence plus one
	Digest uint64
	End    journal.EndKind // natural or zero: other ends are as if absent
}

// Open is one accepted, unfinished input with every record about it.
type Open struct {
	journal.OpenWork
	Updates [][]byte
}

// A State is where a run stood.
type State struct {
	Stages map[string]*Stage
	Read   int // frames read
	From   journal.LSN
}
