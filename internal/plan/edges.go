package plan

import (
	"context"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// A Source reads the world. Read runs in a goroutine of its own; Emit in the
// stage's.
type Source interface {
	// Read reads batches after a position ("" is the beginning) and gives each to
	// take, which returns once the batch is in the log, false when reading shall
	// end. It returns nil at the end of input.
	Read(ctx context.Context, after string, take func(*Read) bool) error

	// Emit writes a batch to the node's port and what is bad to its dead letters,
	// and sets N and Bad to how many these were.
	Emit(r *Read)

	// Bounded tells whether the source ends by itself.
	Bounded() bool

	// Expect returns how many records there should be, if that is known.
	Expect(ctx context.Context) (n int64, known bool, err error)

	// Ack tells the source that a position is durable; nil if it does not care.
	// It is called in order, from the source's reading goroutine or another one,
	// never concurrently with itself.
	Ack() func(ctx context.Context, upTo string) error
}

// A Rereader is a Source that can be given again what it could not accept.
type Rereader interface {
	Source

	// Rereads says what stands against reading a row again that was refused for a
	// reason, for people; nil if nothing does.
	Rereads(kind event.Kind) error

	// Reread makes a batch of rows, which is then emitted as if it had been read.
	// What cannot be accepted now is bad again. It is called by one goroutine.
	Reread(ctx context.Context, rows []Row) (*Read, error)
}

// A Row is what a source could not accept, as it is on record.
type Row struct {
	Raw   []byte
	Kind  event.Kind // why
	Cause Origin     // where it is on record
}

// A Read is a batch from the world.
type Read struct {
	Values   any // []T
	N        int
	Bad      int // rows that could not be decoded
	Bytes    int // about how large it is
	Position string
	Part     string
	Batch    any // the root package's Batch[T]
}

// At is what a sink is told when it opens.
type At struct {
	Flow, Stage string
	StageAt     func(journal.LSN) string // what the stage was called when a record was written; nil if it was always Stage
	Run         string
	Redrives    string // the run of which this one processes inputs again, "" if it is none
	Epoch       uint64
	EpochID     journal.ID
	Note        string // what the last receipt noted, "" at first

	// Signal gives signals to the stages of the run that take some and returns
	// once they are durable.
	Signal func(ctx context.Context, signals ...Signal) error
}

// A Sink delivers to the world.
type Sink interface {
	// Guarantee is "at least once" or "exactly once", for people.
	Guarantee() string
	Open(ctx context.Context, at At) (Deliverer, error)
	// Bury writes record i to the node's dead letters.
	Bury(b *Batch, i int, f *Failure)
}

// A Deliverer is a sink that is open. Its methods are called by one goroutine
// at a time, which may not be the stage's.
type Deliverer interface {
	// Deliver delivers records from to to-1 of b. redelivered says that an
	// earlier epoch may have delivered them. It returns the failures of single
	// records by index; all others were delivered, or are held until Flush if the
	// sink Holds.
	Deliver(ctx context.Context, b *Batch, from, to, attempt int, redelivered bool) (failed map[int]error, err error)

	// Limit is how many records Deliver takes at once; zero means any number.
	Limit() int

	// Holds reports that what Deliver took is settled only by Flush.
	Holds() bool
	Flush(ctx context.Context) error

	// Note is what the next receipt shall record for the next Open; ok is false
	// if the sink keeps no note.
	Note() (note string, ok bool)

	// Marks is how the sink stores marks, nil if it does not. Otherwise Commit
	// delivers, not Deliver, and nothing is held.
	Marks() Marker

	// Finishes reports that the sink puts its result in place at the natural end
	// of its input. Prepare returns the note to make durable before Finish, which
	// returns the final one.
	Finishes() bool
	Prepare(ctx context.Context) (note string, err error)
	Finish(ctx context.Context) (note string, err error)

	Close() error
}

// A Marker is the side of an open sink that stores how far it has delivered, in
// one transaction with what it delivered.
type Marker interface {
	// Mark returns the mark stored last, "" if none.
	Mark(ctx context.Context) (string, error)

	// Commit delivers all parts and stores mark, or does nothing. An error that
	// cannot pass says that a record is refused, and that nothing was done. Any
	// other says that it is not known.
	Commit(ctx context.Context, parts []Part, attempt int, mark string) error
}

// A Part is records From to To-1 of a batch on their way out.
type Part struct {
	Batch       *Batch
	From, To    int
	Redelivered bool // an earlier epoch may have delivered them
}
