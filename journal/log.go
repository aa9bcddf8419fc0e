package journal

import (
	"context"
	"errors"
	"time"
)

// A Frame is the encoded form of a transition, or of one part of a large one.
type Frame struct {
	Stage string
	Body  []byte // see Encode
	Spans []Span // which records it holds, for the log's index
	Check bool   // it carries a checkpoint
}

// A Span says which records of a journal a frame holds.
type Span struct {
	Stage, Port string // the journal is "stage.port"
	First       uint64
	Count       int
}

// An Entry is a frame as readers get it.
type Entry struct {
	LSN   LSN
	Epoch uint64
	More  bool   // further parts of the same transition follow
	Body  []byte // valid until the next call of the reader; Clone to keep
}

// An Urgency says whether an append waits while the log is hindered.
type Urgency uint8

const (
	// Normal appends wait while the log is far behind or the disk is full.
	Normal Urgency = iota
	// Urgent ones do not: control, outcomes and receipts, for which the log
	// holds space in reserve.
	Urgent
)

// A Log is the log of one run, opened by its owner. Its methods may be called
// from several goroutines.
type Log interface {
	// Append places the frames of one transition, in one piece, and returns the
	// LSN of the last. The log copies what it keeps; the caller may reuse the
	// bodies. It blocks while the log has no room (see Urgency) until ctx is
	// done. On error nothing was placed: ctx's error if it gave up waiting,
	// ErrPoisoned (wrapped, with the cause) if the log cannot go on: then only a
	// reopen may continue, and everything not durable is uncertain.
	Append(ctx context.Context, u Urgency, frames ...Frame) (LSN, error)

	// Head returns the LSN placed last, Durable the LSN up to which everything
	// is durable.
	Head() LSN
	Durable() LSN

	// Want says that someone waits for lsn to be durable, and returns at once.
	Want(lsn LSN)

	// Await asks for lsn to be durable and returns when it is, when ctx is done
	// or when the log is poisoned.
	Await(ctx context.Context, lsn LSN) error

	// Watch has fn called after each advance of Durable, and once with the cause
	// when the log is poisoned. fn must return at once and not call the log.
	// The returned function ends the watch.
	Watch(fn func(durable LSN, err error)) (stop func())

	// Read returns a reader that begins at the first transition at or after from
	// (zero means the beginning of what is kept) and ends, with io.EOF, at the
	// head of the moment when Next finds nothing more.
	Read(from LSN) (Reader, error)

	// Find returns the LSN of a frame at or before the one that holds record seq
	// of a journal, as near as the log's index knows.
	Find(journal string, seq uint64) (LSN, error)

	// Tails returns, for each stage that has frames, what recovery needs to
	// bound its reading.
	Tails() map[string]Tail

	// WriteSnapshot stores data under name; it is durable on return. A snapshot
	// counts once a durable checkpoint names it; others are removed at open.
	WriteSnapshot(name string, data []byte) error
	ReadSnapshot(name string) ([]byte, error)

	// Manifest returns what the run is; its last epoch is the one that this owner
	// entered.
	Manifest() Manifest

	// Stats returns sizes and the present condition.
	Stats() Stats

	// Close makes everything placed durable, if it can, and gives the log up.
	Close() error
}

// A View is what can be read of a log: of one's own, or of one that somebody else
// owns or will own.
type View interface {
	Manifest() Manifest
	Head() LSN
	Tails() map[string]Tail
	Read(from LSN) (Reader, error)
	Find(journal string, seq uint64) (LSN, error)
	ReadSnapshot(name string) ([]byte, error)
}

// A Redefine is asked once when an owner opens a log that there is, after its tail
// was cut and before its epoch is entered, what the definition that it brings
// means. It reads the log as it is then, and returns nil for the definition of the
// epoch before. With an error the log is not opened and no epoch is entered.
type Redefine func(View) (*Redefinition, error)

// A Reader yields the frames of a log in order, transitions whole.
type Reader interface {
	// Next returns the next frame, or io.EOF if there is none at present; it may
	// be called again later.
	Next() (Entry, error)
	Close() error
}

// A Tail is where a stage stood when the log was opened.
type Tail struct {
	Last       LSN // its newest frame
	Checkpoint LSN // the newest frame of it that carries a checkpoint, zero if none
}

// Stats describes a log.
type Stats struct {
	Bytes    int64 // of frames, in all segments
	Segments int
	Paused   error // why intake waits (disk full), nil if it does not
}

// A Sync is a durability mode. The zero value is Group.
type Sync struct {
	Mode  SyncMode
	Every time.Duration // Interval only
}

// SyncMode tells the durability modes apart.
type SyncMode uint8

// The durability modes.
const (
	Group    SyncMode = iota // durable means covered by a sync; one sync covers all appended since the last
	Always                   // as Group, and a frame is durable before any reader sees it
	Interval                 // as Group, at most one sync in each Every
	None                     // durable means written: survives the process, not a loss of power
)

// Errors of a log.
var (
	// ErrPoisoned says that a write or sync failed and the log cannot go on.
	ErrPoisoned = errors.New("journal: log is poisoned")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("journal: log is closed")
	// ErrInUse says that another owner holds the run.
	ErrInUse = errors.New("journal: run is in use")
	// ErrTrimmed says that retention has removed what was asked for.
	ErrTrimmed = errors.New("journal: no longer kept")
)
