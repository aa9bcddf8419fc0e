// Package recovery rebuilds what every stage of a run knew, from its log: where
// it stands on each input, what it has written, its tables, its open work. No
// handler runs. It reads from the oldest redo point on, not from the beginning.
//
// A stage starts from its newest checkpoint. The checkpoint says how far the
// stage had consumed and written, its own transition included; the snapshot it names holds everything else
// that the stage remembered at Checkpoint.At, in this encoding (integers as in
// package wire, text and bytes behind their length):
//
//	magic     "weirsnap"
//	version   uvarint, 1
//	stage     text
//	tables    count; each: name, then entries, then 0
//	  entry   1, key, value, uvarint LSN of the entry's last change
//	open      count; each: uvarint id, epoch (16 bytes), journal, uvarint
//	          sequence, data, count and bytes of each update
//	next      uvarint, the id of the open work accepted next
//	timers    count; each: id, key, varint at, reason
//	sink      note, phase, uvarint receipted
//
// After At, each transition of the stage adds its changes: tables, open work,
// timers (one that is due is gone) and receipts. After the checkpoint, it moves
// cursors, ports and position too. So Checkpoint.Redo, the first transition that
// must be read again, counts receipts and consumed timers among the changes.
//
// Where an epoch ran another definition than the one before, the manifest says
// what each stage had when it began (journal.Redefinition). That is applied
// between the frames before the epoch's first and that one, to the stages whose
// checkpoint is older than the epoch; one of the epoch or a later one has it in it.
//
// A log that contradicts itself is a [*Violation].
package recovery

import (
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A Table takes state; plan.Table is one. See there. A change is valid until
// Apply returns; epoch is the one in which its value was written, which is not
// always that of lsn: a snapshot is written anew.
type Table interface {
	Name() string
	Apply(c journal.Change, lsn journal.LSN, epoch uint64) error
}

// A Stage is where a stage stood.
type Stage struct {
	Name      string
	Frames    uint64                    // frames written; the next has this number plus one
	Cursors   map[string]journal.Cursor // by journal; End is set only for a natural end
	Ports     map[string]Port           // by port name, reserved ports included
	Position  *journal.Position         // sources
	Watermark int64                     // authored last
	Note      string                    // sinks: the last note in a receipt
	Phase     string                    // sinks: the last phase in a receipt
	Receipted uint64                    // sinks: records with a receipt of success
	Open      []Open                    // in order of acceptance
	NextOpen  uint64                    // the ID that the next accepted input gets
	Taken     []string                  // ids of the messages from the inbox that it took last, oldest first; at most MaxTaken
	Timers    []journal.Timer           // by time, then ID
	Trying    []Trying                  // tried since the checkpoint and not consumed, or still open; in order
	Ended     bool                      // it authored a natural end on every port that holds data, and is finished
	Snapshot  string                    // of the newest checkpoint, "" if that has none
	At        journal.LSN               // the snapshot holds all changes up to here
	Redo      journal.LSN               // first transition with a change after the snapshot; zero if none
	Last      journal.LSN               // newest frame, zero if it has none
	Checked   journal.LSN               // newest frame with a checkpoint, zero if it has none
}

// MaxTaken is how many messages from the inbox a stage remembers that it has taken.
const MaxTaken = 1024

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
	Foreign int    // so many of Updates, the first, are records of a stage whose memory this one took
	Wrote   uint64 // the epoch in which Data was written
}

// Trying is one input whose handler was about to be called.
type Trying struct {
	evidence.Trying
	Epoch uint64
}

// A State is where a run stood.
type State struct {
	Stages    map[string]*Stage            // every stage that has frames or a memory, the pipeline included
	Terminals map[uint64]evidence.Terminal // what the pipeline said at its end, by epoch, where it was read
	Read      int                          // frames read
	From      journal.LSN                  // where reading began; the log's head plus one if nothing had to be read
}
