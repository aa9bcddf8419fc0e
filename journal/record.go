package journal

import (
	"slices"

	"github.com/weirflow/weir/internal/wire"
)

// MaxPayload is the largest payload of one record, in bytes, MaxName the
// longest name of a stage, port, type, table or journal (which is that of a stage
// and a port, joined), MaxForeign that of a journal of another run, MaxKey the
// longest encoded key, position or id.
const (
	MaxPayload = 64 << 20
	MaxName    = 2*128 + 1
	MaxForeign = MaxName + 2 + 32 + 64
	MaxKey     = 64 << 10
)

// A Ref is an absolute cause of a record: one that the transition did not
// consume, such as a table's row, or a record of another run ([Foreign]).
type Ref struct {
	Journal int // index in Output.Journals
	Seq     uint64
}

// A Record is one entry of a journal. Its sequence is implicit.
//
// In the log a record is
//
//	flags    1 byte: bits 0–2 the form of the causes, bit 3 key follows, bit 4
//	         event time follows, bit 5 the payload is the hash of a blob, bit 6
//	         the record was emitted from the state entry of its key
//	causes   form 0: the item after the previous record's; 1: the same item as
//	         the previous record's; 2: uvarint item; 3: uvarint count, uvarint
//	         items, uvarint count, refs (uvarint journal, uvarint sequence);
//	         4: none; 5: as 0, and one ref; 6: as 1, and one ref
//	key      length-prefixed
//	time     varint, nanoseconds since 1970
//	payload  length-prefixed
//
// The item before the first record of an Output is −1.
type Record struct {
	Items   []int // causes: indexes among the items that the transition consumed
	Refs    []Ref // causes: absolute
	FromKey bool  // cause: the state entry of Key
	Key     []byte
	HasTime bool
	Time    int64 // event time, nanoseconds since 1970
	Blob    bool  // Payload is the SHA-256 of a blob
	Payload []byte
}

const (
	formNext = iota
	formSame
	formItem
	formList
	formNone
	formNextRef
	formSameRef

	formMask   = 7
	flagKey    = 1 << 3
	flagTime   = 1 << 4
	flagBlob   = 1 << 5
	flagOfKey  = 1 << 6
	flagsKnown = 1<<7 - 1
)

// AppendRecord appends r to dst. last is the item of the record before it in the
// same Output, −1 for the first; the new one is returned.
func AppendRecord(dst []byte, last int, r *Record) ([]byte, int) {
	form, next := formOf(last, r)
	flags := byte(form)
	if r.Key != nil {
		flags |= flagKey
	}
	if r.HasTime {
		flags |= flagTime
	}
	if r.Blob {
		flags |= flagBlob
	}
	if r.FromKey {
		flags |= flagOfKey
	}
	dst = append(dst, flags)
	switch form {
	case formItem:
		dst = wire.AppendUvarint(dst, uint64(next))
	case formNextRef, formSameRef:
		dst = appendRef(dst, r.Refs[0])
	case formList:
		dst = wire.AppendUvarint(dst, uint64(len(r.Items)))
		for _, item := range r.Items {
			dst = wire.AppendUvarint(dst, uint64(item))
		}
		dst = wire.AppendUvarint(dst, uint64(len(r.Refs)))
		for _, ref := range r.Refs {
			dst = appendRef(dst, ref)
		}
	}
	if r.Key != nil {
		dst = wire.AppendBytes(dst, r.Key)
	}
	if r.HasTime {
		dst = wire.AppendVarint(dst, r.Time)
	}
	return wire.AppendBytes(dst, r.Payload), next
}

func appendRef(dst []byte, ref Ref) []byte {
	return wire.AppendUvarint(wire.AppendUvarint(dst, uint64(ref.Journal)), ref.Seq)
}

// formOf chooses the shortest form for r's causes and returns the item that the
// next record is compared with.
func formOf(last int, r *Record) (form, item int) {
	if len(r.Items) == 1 && len(r.Refs) <= 1 {
		item = r.Items[0]
		switch {
		case item == last+1:
			return formNext + len(r.Refs)*formNextRef, item
		case item == last && last >= 0:
			return formSame + len(r.Refs)*(formSameRef-formSame), item
		case len(r.Refs) == 0:
			return formItem, item
		}
	}
	if len(r.Items)+len(r.Refs) == 0 {
		return formNone, last
	}
	if n := len(r.Items); n > 0 {
		last = r.Items[n-1]
	}
	return formList, last
}

// Records reads the records of an Output.
type Records struct {
	in   wire.Reader
	left int
	last int
	from int // offset of the present record
	seq  uint64
}

// NewRecords returns a reader of o's records.
func NewRecords(o *Output) *Records {
	return &Records{in: wire.NewReader(o.Records), left: o.Count, last: -1, seq: o.First}
}

// Next reads the next record into r and returns its sequence; false at the end
// or on an error, see Err. The slices of r are reused; Key and Payload share
// memory with the Output.
func (rs *Records) Next(r *Record) (seq uint64, ok bool) {
	if rs.left == 0 || rs.in.Err() != nil {
		return 0, false
	}
	rs.from = rs.in.Offset()
	flags := rs.in.Byte("record flags")
	if flags&^flagsKnown != 0 || flags&formMask > formSameRef {
		rs.in.Fail(rs.from, "known record flags", "others")
		return 0, false
	}
	r.Items, r.Refs = r.Items[:0], r.Refs[:0]
	rs.causes(int(flags&formMask), r)
	r.FromKey, r.Blob, r.HasTime = flags&flagOfKey != 0, flags&flagBlob != 0, flags&flagTime != 0
	r.Key, r.Time = nil, 0
	if flags&flagKey != 0 {
		r.Key = rs.in.Bytes("key", MaxKey)
	}
	if r.HasTime {
		r.Time = rs.in.Varint("event time")
	}
	r.Payload = rs.in.Bytes("payload", MaxPayload)
	if rs.in.Err() != nil {
		return 0, false
	}
	seq = rs.seq
	rs.seq++
	rs.left--
	return seq, true
}

func (rs *Records) causes(form int, r *Record) {
	switch form {
	case formNext, formNextRef:
		rs.last++
		r.Items = append(r.Items, rs.last)
	case formSame, formSameRef:
		if rs.last < 0 {
			rs.in.Fail(rs.from, "a first record with an item of its own", "none")
			return
		}
		r.Items = append(r.Items, rs.last)
	case formItem:
		rs.last = rs.item()
		r.Items = append(r.Items, rs.last)
	case formList:
		for range rs.in.Count("causes", 1) {
			rs.last = rs.item()
			r.Items = append(r.Items, rs.last)
		}
		for range rs.in.Count("refs", 2) {
			r.Refs = append(r.Refs, rs.ref())
		}
	}
	if form == formNextRef || form == formSameRef {
		r.Refs = append(r.Refs, rs.ref())
	}
}

// maxItem bounds an index among consumed items, so that it fits an int and the
// one after it does too.
const maxItem = 1<<31 - 2

func (rs *Records) item() int {
	at := rs.in.Offset()
	v := rs.in.Uvarint("cause")
	if v > maxItem {
		rs.in.Fail(at, "a cause below 2³¹", "a greater one")
		return 0
	}
	return int(v)
}

func (rs *Records) ref() Ref {
	at := rs.in.Offset()
	j := rs.in.Uvarint("ref journal")
	if j > maxItem {
		rs.in.Fail(at, "a journal index below 2³¹", "a greater one")
		return Ref{}
	}
	return Ref{Journal: int(j), Seq: rs.in.Uvarint("ref sequence")}
}

// Err returns why reading ended early, nil if every record was read and nothing
// follows.
func (rs *Records) Err() error {
	if rs.left == 0 {
		return rs.in.Done()
	}
	return rs.in.Err()
}

// A Change is one entry of a State. In the log it is
//
//	flags     1 byte: bit 0 deleted, bit 1 of an accepted input
//	key       length-prefixed
//	value     length-prefixed, absent if deleted
//	previous  uvarint LSN of the previous change of this key, 0 if none
//	causes    uvarint count, then each item as a uvarint distance from the one
//	          before it
//	input     length-prefixed journal, uvarint sequence, if of an accepted input
type Change struct {
	Key      []byte
	Value    []byte // nil if Deleted
	Deleted  bool
	Previous LSN
	Items    []int  // causes: indexes among the consumed items, ascending
	Journal  string // cause: record Seq of Journal, an accepted input that ended
	Seq      uint64
}

// AppendChange appends c to dst. c.Items must be ascending.
func AppendChange(dst []byte, c *Change) []byte {
	var flags byte
	if c.Deleted {
		flags |= changeDeleted
	}
	if c.Journal != "" {
		flags |= changeOfInput
	}
	dst = wire.AppendBytes(append(dst, flags), c.Key)
	if !c.Deleted {
		dst = wire.AppendBytes(dst, c.Value)
	}
	dst = wire.AppendUvarint(dst, uint64(c.Previous))
	dst = wire.AppendUvarint(dst, uint64(len(c.Items)))
	last := 0
	for _, item := range c.Items {
		dst = wire.AppendUvarint(dst, uint64(item-last))
		last = item
	}
	if c.Journal != "" {
		dst = wire.AppendUvarint(wire.AppendString(dst, c.Journal), c.Seq)
	}
	return dst
}

// Flags of a Change.
const (
	changeDeleted = 1 << iota
	changeOfInput
)

// Changes reads the changes of a State.
type Changes struct {
	in   wire.Reader
	left int
}

// NewChanges returns a reader of s's changes.
func NewChanges(s *State) *Changes {
	return &Changes{in: wire.NewReader(s.Changes), left: s.Count}
}

// Next reads the next change into c; false at the end or on an error, see Err.
// c.Items is reused; Key and Value share memory with the State.
func (cs *Changes) Next(c *Change) bool {
	if cs.left == 0 || cs.in.Err() != nil {
		return false
	}
	at := cs.in.Offset()
	flags := cs.in.Byte("flags")
	if flags&^(changeDeleted|changeOfInput) != 0 {
		cs.in.Fail(at, "known flags", "others")
		return false
	}
	c.Deleted = flags&changeDeleted != 0
	c.Key = cs.in.Bytes("key", MaxKey)
	c.Value = nil
	if !c.Deleted {
		c.Value = cs.in.Bytes("value", MaxPayload)
	}
	c.Previous = LSN(cs.in.Uvarint("previous change"))
	n := cs.in.Count("causes", 1)
	c.Items = slices.Grow(c.Items[:0], n)
	last := uint64(0)
	for range n {
		at := cs.in.Offset()
		step := cs.in.Uvarint("cause")
		if last += min(step, maxItem+1); last > maxItem {
			cs.in.Fail(at, "a cause below 2³¹", "a greater one")
			return false
		}
		c.Items = append(c.Items, int(last))
	}
	if c.Journal, c.Seq = "", 0; flags&changeOfInput != 0 {
		at := cs.in.Offset()
		c.Journal, c.Seq = cs.in.String("input", MaxName), cs.in.Uvarint("input's sequence")
		if c.Journal == "" && cs.in.Err() == nil {
			cs.in.Fail(at, "the journal of an input", "none")
		}
	}
	cs.left--
	return cs.in.Err() == nil
}

// Err returns why reading ended early, nil if every change was read and nothing
// follows.
func (cs *Changes) Err() error {
	if cs.left == 0 {
		return cs.in.Done()
	}
	return cs.in.Err()
}
