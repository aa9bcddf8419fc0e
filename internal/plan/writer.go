package plan

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// maxWritten is how many records one transition can hold.
const maxWritten = journal.MaxParts * journal.PartRecords

const (
	// headroom is what else is in a transition besides what one input emits, so
	// that its dead letter can be written if it fits here.
	headroom = 64 << 10
	// maxBlob is when a writer takes nothing more before Seal. The log will refuse
	// such a transition; offsets stay within their type.
	maxBlob = 1 << 30
)

// A TypedWriter is the Writer of a port whose payloads are Ts. It is used by
// the goroutine of its stage.
type TypedWriter[T any] struct {
	port string
	typ  *payload.Type[T]
	turn *Turn

	values   []T      // what decoding gives, record by record
	blob     []byte   // the records, as in journal.Output
	offs     []uint32 // of the payloads in blob
	crcs     []uint32
	items    []int32 // the item each record belongs to
	lasts    []int32 // the item AppendRecord goes on from, after each record
	keys     []string
	times    []int64
	copies   []Original
	journals []string // what refs count in
	start    int      // of the present item in blob
	first    int      // record of the present item
	err      error

	rec     journal.Record // reused
	scratch []byte         // the payload being written

	// The batch that the handler works on, if it holds Ts as they were encoded:
	// a value that comes out as it went in need not be encoded again.
	in       *Batch
	inValues []T
	inFrom   int // record of the present item is item - inFrom
}

var (
	_ Writer = (*TypedWriter[int])(nil)
	_ Copier = (*TypedWriter[int])(nil)
)

// NewWriter returns the writer of a port of a node with that turn.
func NewWriter[T any](port string, typ *payload.Type[T], turn *Turn) *TypedWriter[T] {
	return &TypedWriter[T]{port: port, typ: typ, turn: turn}
}

// A Cause is what a record follows from besides the present item.
type Cause struct {
	Key     string // encoded key of the record
	HasKey  bool
	FromKey bool // the record was emitted from the state entry of Key
	Refs    []Origin
	Copy    *Copy // the record is one; nil if it is none
}

// A Copy says of which record of another run a record is a copy.
type Copy struct {
	Of   Original
	Time int64 // event time, nanoseconds since 1970
}

// An Origin is a record of some journal.
type Origin struct {
	Journal string
	Seq     uint64
}

// Emit writes v as caused by the present item. It keeps nothing that v refers
// to. A value that cannot be written becomes the writer's and the turn's error.
func (w *TypedWriter[T]) Emit(v T) { w.EmitFrom(v, nil) }

// EmitFrom is Emit with further causes; nil means none. c is not kept.
func (w *TypedWriter[T]) EmitFrom(v T, c *Cause) {
	n := len(w.values)
	w.values = append(w.values, v)
	p := &w.values[n]
	if w.in != nil && w.turn.Item >= 0 {
		if i := w.turn.Item - w.inFrom; w.typ.Same(p, &w.inValues[i]) {
			w.append(w.in.Payload(i), w.in.CRCs[i], c)
			return
		}
	}
	w.typ.Normalize(p)
	var err error
	if w.scratch, err = w.typ.Append(w.scratch[:0], p); err != nil {
		w.fail(err)
		return
	}
	if w.typ.Mode == payload.Decode {
		if err := w.typ.DecodeInto(w.scratch, p); err != nil {
			w.fail(fmt.Errorf("it was written but cannot be read back: %w", err))
			return
		}
	}
	w.append(w.scratch, wire.Checksum(w.scratch), c)
}

// Copy emits record i of a batch of Ts, which may be of another run, with its key.
// It keeps nothing of c.
func (w *TypedWriter[T]) Copy(b *Batch, i int, c *Cause) {
	if len(b.Keys) > i && b.Keys[i] != "" {
		c.Key, c.HasKey = b.Keys[i], true
	}
	w.EmitFrom(b.Values.([]T)[i], c)
}

// Watch tells the writer that the handler begins to work on b at record from,
// with Turn.Base set: values that are emitted as they are in b are written with
// the bytes they have there. It has no effect unless b holds Ts that were encoded
// as Ts and can be shared; nil ends it.
func (w *TypedWriter[T]) Watch(b *Batch, from int) {
	w.in, w.inValues = nil, nil
	if b == nil || w.typ.Mode != payload.Share || b.Type != w.typ.Name || b.Schema != "" {
		return
	}
	if vs, ok := b.Values.([]T); ok {
		w.in, w.inValues, w.inFrom = b, vs, w.turn.Base-from
	}
}

// append writes a record whose value is already in values.
func (w *TypedWriter[T]) append(data []byte, crc uint32, c *Cause) {
	switch {
	case len(data) > journal.MaxPayload:
		w.fail(event.Mark(event.KindTooLarge, fmt.Errorf("it is %d bytes long, the limit is %d", len(data), journal.MaxPayload)))
		return
	case w.own()+len(data) > w.maxOwn() || len(w.values)-w.first > maxWritten:
		w.fail(event.Mark(event.KindTooLarge, fmt.Errorf("more than %d records or %d MiB for one input; emit less from each", maxWritten, journal.MaxBytes>>20)))
		return
	case len(w.blob) > maxBlob || len(w.values) > 2*maxWritten:
		w.fail(ErrFull)
		return
	}
	r := &w.rec
	r.Items, r.Refs, r.Key, r.FromKey, r.HasTime, r.Time = r.Items[:0], r.Refs[:0], nil, false, false, 0
	if w.turn.Item >= 0 {
		r.Items = append(r.Items, w.turn.Item)
	} else {
		w.refer(r, w.turn.From)
	}
	if c != nil {
		w.cause(r, c)
	}
	r.Payload = data
	last := -1
	if n := len(w.lasts); n > 0 {
		last = int(w.lasts[n-1])
	}
	w.blob, last = journal.AppendRecord(w.blob, last, r)
	end := len(w.blob)
	w.offs = append(w.offs, uint32(end-len(data)), uint32(end))
	w.crcs = append(w.crcs, crc)
	w.items = append(w.items, int32(w.turn.Item))
	w.lasts = append(w.lasts, int32(last))
}

// maxOwn is how many bytes may follow from one item. What follows from none, such
// as the batch of a source, is for the log to refuse, as a whole.
func (w *TypedWriter[T]) maxOwn() int {
	if w.turn.Item < 0 {
		return journal.MaxBytes
	}
	return journal.MaxBytes - headroom
}

// own is how many bytes were written for the present item.
func (w *TypedWriter[T]) own() int {
	if n := len(w.items); n == 0 || int(w.items[n-1]) != w.turn.Item {
		w.start, w.first = len(w.blob), n
	}
	return len(w.blob) - w.start
}

func (w *TypedWriter[T]) cause(r *journal.Record, c *Cause) {
	if c.HasKey {
		r.Key, r.FromKey = append(r.Key, c.Key...), c.FromKey
		if r.Key == nil {
			r.Key = []byte{}
		}
		for len(w.keys) < len(w.values)-1 {
			w.keys = append(w.keys, "")
		}
		w.keys = append(w.keys, c.Key)
	}
	w.refer(r, c.Refs)
	if c.Copy == nil {
		return
	}
	w.refer(r, []Origin{c.Copy.Of.Cause()})
	r.HasTime, r.Time = true, c.Copy.Time
	n := len(w.values) - 1
	w.times = append(append(w.times, make([]int64, n-len(w.times))...), r.Time)
	w.copies = append(append(w.copies, make([]Original, n-len(w.copies))...), c.Copy.Of)
}

// refer adds absolute causes to r.
func (w *TypedWriter[T]) refer(r *journal.Record, refs []Origin) {
	for _, o := range refs {
		j := slices.Index(w.journals, o.Journal)
		if j < 0 {
			j = len(w.journals)
			w.journals = append(w.journals, o.Journal)
		}
		r.Refs = append(r.Refs, journal.Ref{Journal: j, Seq: o.Seq})
	}
}

func (w *TypedWriter[T]) fail(err error) {
	w.values = w.values[:len(w.values)-1]
	if w.err == nil {
		w.err = fmt.Errorf("emit to %s: %w", w.port, err)
	}
	if w.turn.Err == nil {
		w.turn.Err = w.err
	}
}

// Len returns how many records were written since the last Seal.
func (w *TypedWriter[T]) Len() int { return len(w.values) }

// Size returns how many bytes they take in the log.
func (w *TypedWriter[T]) Size() int { return len(w.blob) }

// Err returns why a value could not be written.
func (w *TypedWriter[T]) Err() error { return w.err }

// Rollback drops every record after the first n, and the error.
func (w *TypedWriter[T]) Rollback(n int) {
	w.err = nil
	if n >= len(w.values) {
		return
	}
	end := 0
	if n > 0 {
		end = int(w.offs[2*n-1])
	}
	clear(w.values[n:])
	w.values, w.blob, w.offs, w.crcs = w.values[:n], w.blob[:end], w.offs[:2*n], w.crcs[:n]
	w.items, w.lasts = w.items[:n], w.lasts[:n]
	w.keys, w.times, w.copies = w.keys[:min(n, len(w.keys))], w.times[:min(n, len(w.times))], w.copies[:min(n, len(w.copies))]
}

// Undo drops what was written for the present item, and the error.
func (w *TypedWriter[T]) Undo() {
	n := len(w.items)
	for n > 0 && int(w.items[n-1]) == w.turn.Item {
		n--
	}
	// A panic may have come between the value and its record.
	clear(w.values[len(w.items):])
	w.values = w.values[:len(w.items)]
	w.Rollback(n)
}

// Forget clears the error of a value that was not written.
func (w *TypedWriter[T]) Forget() {
	w.err, w.turn.Err = nil, nil
}

// Seal returns what was written and starts afresh; see Writer.
func (w *TypedWriter[T]) Seal(first, digest uint64) (journal.Output, *Batch) {
	n := len(w.values)
	sum := wire.Digest(digest)
	for i, crc := range w.crcs {
		sum = sum.Add(first+uint64(i), crc)
	}
	if w.keys != nil {
		for len(w.keys) < n {
			w.keys = append(w.keys, "")
		}
	}
	if w.copies != nil {
		w.times = append(w.times, make([]int64, n-len(w.times))...)
		w.copies = append(w.copies, make([]Original, n-len(w.copies))...)
	}
	out := journal.Output{
		Port: w.port, Type: w.typ.Name, First: first, Count: n,
		Journals: w.journals, Records: w.blob, Digest: uint64(sum),
	}
	b := &Batch{
		Type: w.typ.Name, First: first, N: n, Values: w.values,
		Raw: w.blob, Offs: w.offs, CRCs: w.crcs, Keys: w.keys, Times: w.times, Originals: w.copies, Digest: uint64(sum),
	}
	// The next batch is likely to be about as large.
	w.values = make([]T, 0, n)
	w.blob = make([]byte, 0, len(w.blob)+len(w.blob)/8)
	w.offs = make([]uint32, 0, 2*n)
	w.crcs = make([]uint32, 0, n)
	w.items, w.lasts = w.items[:0], w.lasts[:0]
	w.keys, w.times, w.copies, w.journals, w.err = nil, nil, nil, nil, nil
	return out, b
}
