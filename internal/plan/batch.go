package plan

import (
	"errors"
	"reflect"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// ErrFull says that what a transition emits is more than a writer takes, though
// each input by itself would not be.
var ErrFull = errors.New("too much is emitted for one transition")

// A Batch is a run of consecutive records of one journal, as readers get it. It
// is immutable once sealed and may be read by several goroutines.
type Batch struct {
	Journal  string // "stage.port"
	Type     string // payload type name, as recorded: what Raw encodes
	Schema   string // hash of its schema; empty if Raw is what the port writes today
	First    uint64 // sequence of the first record
	N        int
	LSN      journal.LSN // of the last frame of the transition; set by the engine when placed
	Epoch    journal.ID  // who authored it; with Journal and sequence it is the record id
	Recorded int64       // wall clock of the transition, nanoseconds since 1970

	Values any     // []T, N long
	Bad    []error // why a record could not be read as a T, its value is zero then; nil if all could

	Raw  []byte   // holds the encoded payloads; payload i is Raw[Offs[2*i]:Offs[2*i+1]]
	Offs []uint32 // 2*N offsets
	CRCs []uint32 // CRC32C of each payload

	Times []int64  // event times, nanoseconds since 1970; nil if none has one
	Keys  []string // encoded keys; nil if none has one

	Originals []Original // what each record is a copy of; nil if none is one

	Digest uint64 // of the journal, after the last record of this batch, as the writer computed it
}

// Payload returns the encoding of record i.
func (b *Batch) Payload(i int) []byte { return b.Raw[b.Offs[2*i]:b.Offs[2*i+1]] }

// Readable returns the first record from i on, below to, that could not be read, or
// to, and why record i itself could not be.
func (b *Batch) Readable(i, to int) (end int, bad error) {
	if b.Bad == nil {
		return to, nil
	}
	for end = i; end < to && b.Bad[end] == nil; end++ {
	}
	if end < to && end == i {
		return end, b.Bad[end]
	}
	return end, nil
}

// Last returns the sequence of the last record.
func (b *Batch) Last() uint64 { return b.First + uint64(b.N) - 1 }

// One returns record i as a batch of its own, which shares memory with b.
func (b *Batch) One(i int) *Batch {
	one := *b
	one.First, one.N = b.First+uint64(i), 1
	one.Values = reflect.ValueOf(b.Values).Slice3(i, i+1, i+1).Interface()
	if b.Bad != nil {
		one.Bad = b.Bad[i : i+1 : i+1]
	}
	if b.Offs != nil {
		one.Offs = b.Offs[2*i : 2*i+2 : 2*i+2]
	}
	if b.CRCs != nil {
		one.CRCs = b.CRCs[i : i+1 : i+1]
	}
	if b.Times != nil {
		one.Times = b.Times[i : i+1 : i+1]
	}
	if b.Keys != nil {
		one.Keys = b.Keys[i : i+1 : i+1]
	}
	if b.Originals != nil {
		one.Originals = b.Originals[i : i+1 : i+1]
	}
	return &one
}

// Original returns what record i is a copy of, the zero Original if it is none.
func (b *Batch) Original(i int) Original {
	if b.Originals == nil {
		return Original{}
	}
	return b.Originals[i]
}

// ID returns what the outside knows record i as.
func (b *Batch) ID(i int) event.RecordID {
	if of := b.Original(i); of.Run != "" {
		return of.ID
	}
	return event.RecordID{Epoch: b.Epoch, Journal: b.Journal, Seq: b.First + uint64(i)}
}

// A Writer encodes what a stage emits to one port, and keeps the typed values
// for readers in this process. The typed methods (Emit and the like) belong to
// the implementation, which the root package's closures hold.
type Writer interface {
	// Len is how many records were written since the last Seal, Size how many
	// bytes they take in the log.
	Len() int
	Size() int

	// Rollback drops every record after the first n, and with it an error.
	Rollback(n int)

	// Err returns why a value could not be written since the last Rollback or
	// Seal, nil if all could: it is the fault of the input that caused it.
	Err() error

	// Seal returns what was written as a part of a transition and as the batch
	// that readers get, and starts afresh. first is the sequence of the first
	// record, digest the journal's digest before it. The engine sets the rest of
	// the batch. It must not be called when Len is zero.
	Seal(first, digest uint64) (journal.Output, *Batch)
}

// A Copier is a Writer that takes records as they are in a batch; every Writer of a
// port is one.
type Copier interface {
	Copy(b *Batch, i int, c *Cause)
}

// A Decoder makes typed batches.
type Decoder interface {
	// Decode makes the batch that readers in the writing process got, from what
	// the log holds, written in an epoch. Records before sequence from are left
	// out; the batch may then be nil. A record that an upcaster refuses is in the
	// batch, as bad.
	Decode(journalName string, o *journal.Output, from, epoch uint64) (*Batch, error)

	// Of returns a decoder of what another run recorded, of which past says what it
	// was.
	Of(past Past) Decoder

	// Private returns b for one more reader: b itself when its values can be
	// shared, else a batch with copies.
	Private(b *Batch) *Batch
}

// A Failure is why an input was not handled.
type Failure struct {
	Err   error
	Kind  event.Kind
	Panic bool
	Stack []byte // of a panic
}

// A Handler computes: from records to records and changed state.
type Handler interface {
	// Handle works on records from to to-1 of a batch of input in, in order.
	// Before record i it sets Turn.Item to Turn.Base+i-from. It returns the index
	// of the first record that it did not finish, which is to when all went well.
	//
	// With a Failure the record at next left nothing behind: what it emitted was
	// rolled back, and so was state, unless dirty is true: then a table holds
	// half of a change, and the engine must Revert the node's tables, drop the
	// open transition and run it again up to that record.
	Handle(in int, b *Batch, from, to int) (next int, dirty bool, f *Failure)

	// Bury writes record i of a batch of input in to the node's dead letters, as
	// caused by Turn.Item.
	Bury(in int, b *Batch, i int, f *Failure)
}

// An Ender is a Handler that emits when all of its inputs came to a natural
// end.
type Ender interface {
	// AtEnd emits in ascending order of keys, beginning after the key after (nil
	// means the beginning), until full reports true. It returns the last key it
	// emitted and whether there is nothing more. The engine makes one transition
	// of each call.
	AtEnd(after []byte, full func() bool) (last []byte, done bool, f *Failure)
}

// A Table is keyed state of one stage. Changes since the last Commit belong to
// the open transition.
type Table interface {
	Name() string
	Len() int

	// Changed is how many keys changed since the last Commit.
	Changed() int

	// Seal writes the changes, in ascending order of their first touch, as a
	// part of the transition; it does not commit them. It must not be called
	// when Changed is zero.
	Seal() (journal.State, error)

	// Commit accepts the changes: they were placed at lsn.
	Commit(lsn journal.LSN)

	// Revert undoes the changes since the last Commit.
	Revert() error

	// Apply sets what recovery read: one change that was placed at lsn, with a value
	// as it was written in an epoch.
	Apply(c journal.Change, lsn journal.LSN, epoch uint64) error

	// Snapshot yields every entry in ascending order of encoded keys, with the
	// LSN of its last change; key and value are valid until yield returns.
	Snapshot(yield func(key, value []byte, at journal.LSN) error) error
}
