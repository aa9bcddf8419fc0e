package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Error says where bytes stopped making sense.
type Error struct {
	Offset   int    // bytes from the start of the Reader's input to the start of the value
	Expected string // the value that was to be read, in the caller's words, with its encoding
	Found    string // what was there instead
}

func (e *Error) Error() string {
	return fmt.Sprintf("offset %d: expected %s, found %s", e.Offset, e.Expected, e.Found)
}

// Reader is a cursor over a byte slice it did not write. Its first error
// sticks: from then on every method returns a zero value and the cursor stays
// where the faulty value starts. Each method takes what it reads, in the
// caller's words, for the error ("LSN", "stage name").
//
// A Reader is used by one goroutine. The zero value reads nothing.
type Reader struct {
	buf []byte
	off int
	err *Error
}

// NewReader returns a Reader over b. The Reader keeps b and does not change it.
func NewReader(b []byte) Reader { return Reader{buf: b} }

// Err returns the first error, an [*Error], or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Done returns the first error; with none, it is an error if bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && r.off < len(r.buf) {
		r.fail("the end", "", fmt.Sprintf("%d more bytes", len(r.buf)-r.off))
	}
	return r.Err()
}

// Offset returns how many bytes have been read.
func (r *Reader) Offset() int { return r.off }

// Len returns how many bytes are left, 0 after an error.
func (r *Reader) Len() int {
	if r.err != nil {
		return 0
	}
	return len(r.buf) - r.off
}

// Fail records that the value at offset, as returned by Offset before it was
// read, is not what the format asks for. An earlier error is kept.
func (r *Reader) Fail(offset int, expected, found string) {
	if r.err == nil {
		r.err = &Error{Offset: offset, Expected: expected, Found: found}
	}
}

// Byte reads one byte.
func (r *Reader) Byte(what string) byte {
	p := r.take(what, "byte", 1)
	if p == nil {
		return 0
	}
	return p[0]
}

// Bool reads one byte that must be 0 or 1.
func (r *Reader) Bool(what string) bool {
	p := r.take(what, "bool", 1)
	if p == nil {
		return false
	}
	if p[0] > 1 {
		r.off--
		r.fail(what, "bool", fmt.Sprintf("byte 0x%02x", p[0]))
		return false
	}
	return p[0] == 1
}

// Uint32 reads four bytes, little endian.
func (r *Reader) Uint32(what string) uint32 {
	p := r.take(what, "uint32", 4)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(p)
}

// Uint64 reads eight bytes, little endian.
func (r *Reader) Uint64(what string) uint64 {
	p := r.take(what, "uint64", 8)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(p)
}

// Uvarint reads a uvarint. One that is longer than needed is an error.
func (r *Reader) Uvarint(what string) uint64 { return r.uvarint(what, "uvarint") }

// Varint reads a varint.
func (r *Reader) Varint(what string) int64 {
	u := r.uvarint(what, "varint")
	return int64(u>>1) ^ -int64(u&1)
}

// Count reads a uvarint that says how many items follow, each at least least
// bytes long (below 1 counts as 1). More items than the bytes that are
// left can hold is an error, so the caller may allocate for the result.
func (r *Reader) Count(what string, least int) int {
	start := r.off
	n := r.uvarint(what, "count")
	if r.err != nil {
		return 0
	}
	if room := uint64((len(r.buf) - r.off) / max(least, 1)); n > room {
		r.off = start
		r.fail(what, "count", fmt.Sprintf("%d where the bytes left hold at most %d", n, room))
		return 0
	}
	return int(n)
}

// Bytes reads length-prefixed bytes, at most limit of them. The result shares
// memory with the Reader's input, has no spare capacity and is never nil
// without an error.
func (r *Reader) Bytes(what string, limit int) []byte { return r.prefixed(what, "bytes", limit) }

// String reads a length-prefixed string of at most limit bytes. It is a copy.
// Whether it is UTF-8 is for the caller to ask.
func (r *Reader) String(what string, limit int) string {
	return string(r.prefixed(what, "string", limit))
}

// Raw reads exactly n bytes without a length before them. The result shares
// memory with the Reader's input and has no spare capacity.
func (r *Reader) Raw(what string, n int) []byte { return r.take(what, "raw bytes", n) }

// Rest reads all bytes that are left, sharing memory with the input; nil
// after an error.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	p := r.buf[r.off:len(r.buf):len(r.buf)]
	r.off = len(r.buf)
	return p
}

func (r *Reader) fail(what, kind, found string) {
	if r.err != nil {
		return
	}
	if kind != "" {
		what += " (" + kind + ")"
	}
	r.err = &Error{Offset: r.off, Expected: what, Found: found}
}

func (r *Reader) take(what, kind string, n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.buf)-r.off {
		r.fail(what, kind, fmt.Sprintf("%d of %d bytes", len(r.buf)-r.off, n))
		return nil
	}
	p := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return p
}

func (r *Reader) prefixed(what, kind string, limit int) []byte {
	start := r.off
	n := r.uvarint(what, kind)
	if r.err != nil {
		return nil
	}
	left := len(r.buf) - r.off
	switch {
	case limit < 0 || n > uint64(limit):
		r.off = start
		r.fail(what, kind, fmt.Sprintf("length %d above the limit of %d", n, limit))
		return nil
	case n > uint64(left):
		r.off = start
		r.fail(what, kind, fmt.Sprintf("%d of %d bytes", left, n))
		return nil
	}
	return r.take(what, kind, int(n))
}

func (r *Reader) uvarint(what, kind string) uint64 {
	if r.err != nil {
		return 0
	}
	// One byte is by far the most frequent length.
	if r.off < len(r.buf) && r.buf[r.off] < 0x80 {
		v := r.buf[r.off]
		r.off++
		return uint64(v)
	}
	v, n := binary.Uvarint(r.buf[r.off:])
	switch {
	case n == 0:
		r.fail(what, kind, fmt.Sprintf("the end after %d bytes", len(r.buf)-r.off))
		return 0
	case n < 0:
		r.fail(what, kind, fmt.Sprintf("a value above %d", uint64(math.MaxUint64)))
		return 0
	case r.buf[r.off+n-1] == 0:
		r.fail(what, kind, fmt.Sprintf("%d in %d bytes where %d are enough", v, n, UvarintLen(v)))
		return 0
	}
	r.off += n
	return v
}
