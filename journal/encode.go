package journal

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/internal/wire"
)

// Limits of a transition. One that would not fit a frame of PartBytes or
// PartRecords is written as several parts.
const (
	PartBytes   = 768 << 10
	PartRecords = 4096
	MaxParts    = 1000
	MaxBytes    = 64 << 20
)

// ErrTooLarge says that a transition is beyond MaxParts or MaxBytes.
var ErrTooLarge = errors.New("journal: transition too large")

// Sections of a frame body, one bit each.
const (
	secConsumed = 1 << iota
	secPosition
	secOutputs
	secState
	secOpen
	secTimers
	secEnds
	secMarks
	secCheck
	secOrigin
	secAll = 1<<iota - 1
)

// An Encoder turns transitions into frames, reusing its memory. The zero value
// is ready. It is used by one goroutine.
//
// The body of a frame is
//
//	names      uvarint count, then each length-prefixed: every stage, port,
//	           journal, type and table name in the body; "name" below is a
//	           uvarint index into them
//	stage      name
//	number     uvarint
//	code       length-prefixed
//	time       varint, nanoseconds since 1970
//	sections   uvarint, one bit for each section that follows, in this order:
//	consumed   count; each: kind byte; then by kind
//	           run: name, uvarint from, uvarint to−from; mark: name, uvarint
//	           from, varint time; ended: name, kind byte; timer, signal,
//	           decision: length-prefixed id; resumed: nothing
//	position   length-prefixed value, length-prefixed part
//	outputs    count; each: port name, type name, uvarint first, uvarint count,
//	           journals (count, names; one of another run as Foreign.Text), digest
//	           (8 bytes), records length-prefixed
//	state      count; each: table name, uvarint count, changes length-prefixed
//	open       count; each: op byte, uvarint id; for an addition epoch (16
//	           bytes), journal name, uvarint sequence; data length-prefixed
//	timers     count; each: id, key, varint at, reason, length-prefixed
//	ends       count; each: port name, kind byte, uvarint count, digest
//	marks      count; each: port name, uvarint after, varint time
//	checkpoint cursors (count; each: journal name, uvarint seq, kind byte), ports
//	           (as ends), bool position and position, snapshot name, its SHA-256,
//	           uvarint at, uvarint redo, varint watermark
//	origin     the epoch (16 bytes)
//
// Integers are little endian. Counts are uvarints.
type Encoder struct {
	buf    []byte
	names  []string
	head   []byte
	frames []Frame
	spans  []Span
	err    error // what is longer than Parse takes
}

// Encode returns the frames of t: one, or several parts when t is large. They
// are valid until the next call. The error is ErrTooLarge, wrapped, a fault of t's
// records, or a name, position or id beyond its limit, which nobody could read.
func (e *Encoder) Encode(t *Transition) ([]Frame, error) {
	e.frames, e.spans, e.buf, e.err = e.frames[:0], e.spans[:0], e.buf[:0], nil
	size, records := t.weight()
	if size <= PartBytes && records <= PartRecords {
		e.part(t)
		return e.frames, e.err
	}
	if size > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, MaxBytes)
	}
	parts, err := split(t)
	if err != nil {
		return nil, err
	}
	for i := range parts {
		e.part(&parts[i])
	}
	return e.frames, e.err
}

// bounded notes that something is too long to be read back.
func (e *Encoder) bounded(what string, length, limit int) {
	if length > limit && e.err == nil {
		e.err = fmt.Errorf("encode: a %s of %d bytes, limit %d", what, length, limit)
	}
}

// weight is about how many bytes t encodes to, and its records and changes.
func (t *Transition) weight() (size, records int) {
	size = 64 + 24*len(t.Consumed)
	for i := range t.Outputs {
		size += 32 + len(t.Outputs[i].Records)
		records += t.Outputs[i].Count
	}
	for i := range t.State {
		size += 16 + len(t.State[i].Changes)
		records += t.State[i].Count
	}
	for i := range t.Open {
		size += 48 + len(t.Open[i].Data)
	}
	records += len(t.Open)
	return size + 64*len(t.Timers), records
}

// name returns the index of s among the body's names.
func (e *Encoder) name(dst []byte, s string) []byte {
	e.bounded("name", len(s), MaxName)
	return e.index(dst, s)
}

func (e *Encoder) index(dst []byte, s string) []byte {
	for i, n := range e.names {
		if n == s {
			return wire.AppendUvarint(dst, uint64(i))
		}
	}
	e.names = append(e.names, s)
	return wire.AppendUvarint(dst, uint64(len(e.names)-1))
}

// part encodes t as one frame. The names are known last but come first: the
// rest is written behind a gap and the two are joined.
func (e *Encoder) part(t *Transition) {
	e.names = e.names[:0]
	start := len(e.buf)
	b := e.name(e.buf, t.Stage)
	b = wire.AppendUvarint(b, t.Number)
	e.bounded("code version", len(t.Code), MaxName)
	b = wire.AppendString(b, t.Code)
	b = wire.AppendVarint(b, t.Time.UnixNano())
	b = wire.AppendUvarint(b, uint64(t.sections()))
	if len(t.Consumed) > 0 {
		b = e.consumed(b, t.Consumed)
	}
	if t.Position != nil {
		b = e.position(b, t.Position)
	}
	firstSpan := len(e.spans)
	if len(t.Outputs) > 0 {
		b = e.outputs(b, t)
	}
	if len(t.State) > 0 {
		b = wire.AppendUvarint(b, uint64(len(t.State)))
		for i := range t.State {
			s := &t.State[i]
			b = e.name(b, s.Table)
			b = wire.AppendUvarint(b, uint64(s.Count))
			b = wire.AppendBytes(b, s.Changes)
		}
	}
	if len(t.Open) > 0 {
		b = e.open(b, t.Open)
	}
	if len(t.Timers) > 0 {
		b = wire.AppendUvarint(b, uint64(len(t.Timers)))
		for i := range t.Timers {
			m := &t.Timers[i]
			e.bounded("timer's id", len(m.ID), MaxKey)
			e.bounded("timer's key", len(m.Key), MaxKey)
			e.bounded("timer's reason", len(m.Reason), MaxName)
			b = wire.AppendString(b, m.ID)
			b = wire.AppendBytes(b, m.Key)
			b = wire.AppendVarint(b, m.At)
			b = wire.AppendString(b, m.Reason)
		}
	}
	if len(t.Ends) > 0 {
		b = e.ends(b, t.Ends)
	}
	if len(t.Marks) > 0 {
		b = wire.AppendUvarint(b, uint64(len(t.Marks)))
		for _, m := range t.Marks {
			b = e.name(b, m.Port)
			b = wire.AppendUvarint(b, m.After)
			b = wire.AppendVarint(b, m.Time)
		}
	}
	if t.Check != nil {
		b = e.check(b, t.Check)
	}
	if t.Origin != (ID{}) {
		b = append(b, t.Origin[:]...)
	}

	e.head = wire.AppendUvarint(e.head[:0], uint64(len(e.names)))
	for _, n := range e.names {
		e.head = wire.AppendString(e.head, n)
	}
	body := len(b) - start
	b = append(b, e.head...) // make room, then put the head in front
	copy(b[start+len(e.head):], b[start:start+body])
	copy(b[start:], e.head)
	e.buf = b
	e.frames = append(e.frames, Frame{
		Stage: t.Stage,
		Body:  b[start:len(b):len(b)],
		Spans: e.spans[firstSpan:len(e.spans):len(e.spans)],
		Check: t.Check != nil,
	})
}

func (t *Transition) sections() int {
	s := 0
	set := func(bit int, there bool) {
		if there {
			s |= bit
		}
	}
	set(secConsumed, len(t.Consumed) > 0)
	set(secPosition, t.Position != nil)
	set(secOutputs, len(t.Outputs) > 0)
	set(secState, len(t.State) > 0)
	set(secOpen, len(t.Open) > 0)
	set(secTimers, len(t.Timers) > 0)
	set(secEnds, len(t.Ends) > 0)
	set(secMarks, len(t.Marks) > 0)
	set(secCheck, t.Check != nil)
	set(secOrigin, t.Origin != (ID{}))
	return s
}

func (e *Encoder) consumed(b []byte, cs []Consumed) []byte {
	b = wire.AppendUvarint(b, uint64(len(cs)))
	for i := range cs {
		c := &cs[i]
		b = append(b, byte(c.Kind))
		switch c.Kind {
		case Run:
			b = e.name(b, c.Journal)
			b = wire.AppendUvarint(b, c.From)
			b = wire.AppendUvarint(b, c.To-c.From)
		case Mark:
			b = e.name(b, c.Journal)
			b = wire.AppendUvarint(b, c.From)
			b = wire.AppendVarint(b, c.Time)
		case Ended:
			b = e.name(b, c.Journal)
			b = append(b, byte(c.End))
		case TimerDue, Signalled, Decided:
			e.bounded("consumed id", len(c.ID), MaxKey)
			b = wire.AppendString(b, c.ID)
		case Resumed: // says nothing more
		}
	}
	return b
}

func (e *Encoder) position(b []byte, p *Position) []byte {
	e.bounded("position", len(p.Value), MaxKey)
	e.bounded("position's part", len(p.Part), MaxKey)
	return wire.AppendString(wire.AppendString(b, p.Value), p.Part)
}

func (e *Encoder) outputs(b []byte, t *Transition) []byte {
	b = wire.AppendUvarint(b, uint64(len(t.Outputs)))
	for i := range t.Outputs {
		o := &t.Outputs[i]
		b = e.name(b, o.Port)
		b = e.name(b, o.Type)
		b = wire.AppendUvarint(b, o.First)
		b = wire.AppendUvarint(b, uint64(o.Count))
		b = wire.AppendUvarint(b, uint64(len(o.Journals)))
		for _, j := range o.Journals {
			e.bounded("name", len(j), MaxForeign)
			b = e.index(b, j)
		}
		b = wire.AppendUint64(b, o.Digest)
		b = wire.AppendBytes(b, o.Records)
		e.spans = append(e.spans, Span{Stage: t.Stage, Port: o.Port, First: o.First, Count: o.Count})
	}
	return b
}

func (e *Encoder) open(b []byte, work []OpenWork) []byte {
	b = wire.AppendUvarint(b, uint64(len(work)))
	for i := range work {
		w := &work[i]
		b = append(b, byte(w.Op))
		b = wire.AppendUvarint(b, w.ID)
		if w.Op == OpenAdd {
			b = append(b, w.Epoch[:]...)
			b = e.name(b, w.Journal)
			b = wire.AppendUvarint(b, w.Seq)
		}
		b = wire.AppendBytes(b, w.Data)
	}
	return b
}

func (e *Encoder) ends(b []byte, ends []End) []byte {
	b = wire.AppendUvarint(b, uint64(len(ends)))
	for i := range ends {
		b = e.name(b, ends[i].Port)
		b = append(b, byte(ends[i].Kind))
		b = wire.AppendUvarint(b, ends[i].Count)
		b = wire.AppendUint64(b, ends[i].Digest)
	}
	return b
}

func (e *Encoder) check(b []byte, c *Checkpoint) []byte {
	b = wire.AppendUvarint(b, uint64(len(c.Cursors)))
	for i := range c.Cursors {
		b = e.name(b, c.Cursors[i].Journal)
		b = wire.AppendUvarint(b, c.Cursors[i].Seq)
		b = append(b, byte(c.Cursors[i].End))
	}
	b = e.ends(b, c.Ports)
	b = wire.AppendBool(b, c.Position != nil)
	if c.Position != nil {
		b = e.position(b, c.Position)
	}
	e.bounded("snapshot's name", len(c.Snapshot), 2*MaxName)
	b = wire.AppendString(b, c.Snapshot)
	b = append(b, c.Sum[:]...)
	b = wire.AppendUvarint(b, uint64(c.At))
	b = wire.AppendUvarint(b, uint64(c.Redo))
	return wire.AppendVarint(b, c.Watermark)
}
