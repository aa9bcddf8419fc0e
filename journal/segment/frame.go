package segment

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	frameMagic  = "\xf7WF\x1e"
	frameHeader = 36
	// maxBody is more than the longest body that journal.Encoder writes: one
	// record of MaxPayload with its names and causes.
	maxBody = 2 * journal.MaxBytes
)

// Flags of a frame.
const (
	flagCompressed = 1 << iota // reserved
	flagEncrypted              // reserved
	flagMore
	flagCheck
	flagsKnown = flagMore | flagCheck
)

// A frame is the header of one.
type frame struct {
	crc    uint32
	flags  byte
	length int
	lsn    journal.LSN
	epoch  uint32
	synced uint32
	prev   uint32
}

func (f *frame) more() bool  { return f.flags&flagMore != 0 }
func (f *frame) check() bool { return f.flags&flagCheck != 0 }
func (f *frame) size() int64 { return frameHeader + int64(f.length) }

// A summer computes the CRCs of frames, which depend on run, segment and offset.
type summer struct {
	seed  uint32
	place [16]byte // scratch; a field because what is handed to the CRC escapes
}

func seedOf(run string) uint32 { return wire.Checksum([]byte(run)) }

// sum returns the CRC of an encoded frame that lies at off in segment number.
func (s *summer) sum(encoded []byte, number uint64, off int64) uint32 {
	binary.LittleEndian.PutUint64(s.place[:8], number)
	binary.LittleEndian.PutUint64(s.place[8:], uint64(off))
	return wire.Extend(wire.Extend(s.seed, s.place[:]), encoded[8:])
}

// appendFrame appends the encoded frame at off in segment number, and sets f.crc.
func (s *summer) appendFrame(dst []byte, f *frame, body []byte, number uint64, off int64) []byte {
	start := len(dst)
	dst = append(dst, frameMagic...)
	dst = append(dst, 0, 0, 0, 0, journal.FormatVersion, f.flags, 0, 0)
	dst = wire.AppendUint32(dst, uint32(len(body)))
	dst = wire.AppendUint64(dst, uint64(f.lsn))
	dst = wire.AppendUint32(dst, f.epoch)
	dst = wire.AppendUint32(dst, f.synced)
	dst = wire.AppendUint32(dst, f.prev)
	dst = append(dst, body...)
	f.length = len(body)
	f.crc = s.sum(dst[start:], number, off)
	binary.LittleEndian.PutUint32(dst[start+4:], f.crc)
	return dst
}

// parseFrame reads the header at the start of b, which has frameHeader bytes. A
// header without its CRC is worth nothing: the caller takes length for a guess.
func parseFrame(b []byte) (frame, *fault) {
	if string(b[:4]) != frameMagic {
		return frame{}, &fault{expected: "the magic of a frame", found: quote(b[:4])}
	}
	le := binary.LittleEndian
	f := frame{
		crc:    le.Uint32(b[4:]),
		flags:  b[9],
		length: int(le.Uint32(b[12:])),
		lsn:    journal.LSN(le.Uint64(b[16:])),
		epoch:  le.Uint32(b[24:]),
		synced: le.Uint32(b[28:]),
		prev:   le.Uint32(b[32:]),
	}
	if f.length > maxBody {
		return frame{}, &fault{expected: fmt.Sprintf("a body of at most %d bytes", maxBody), found: strconv.Itoa(f.length)}
	}
	return f, nil
}

// A fault is what is wrong with bytes; whether that is corruption, the end of
// the log or a frame in the making is for the caller to say.
type fault struct {
	expected, found string
}

func quote(b []byte) string { return fmt.Sprintf("% x", b) }
