package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirflow/weir/journal"
)

// epochs are those of a manifest.
type epochs []journal.Epoch

// at returns the number of the epoch that the frame with this LSN belongs to:
// the last one that began no later.
func (e epochs) at(lsn journal.LSN) uint64 {
	for _, v := range slices.Backward(e) {
		if v.First <= lsn {
			return v.Number
		}
	}
	return 0
}

// A scanner reads the frames of one segment in order. It holds a frame to what
// came before it: LSN, epoch, previous CRC.
type scanner struct {
	src    io.ReaderAt
	name   string // of the file, for errors
	sums   summer
	epochs epochs
	number uint64

	off  int64       // of the next frame
	end  int64       // no frame goes beyond it
	lsn  journal.LSN // of the next frame
	prev uint32      // CRC of the frame before it, if known
	sure bool        // prev is known

	raw []byte // the frame that next returned, header and body
	buf []byte // bytes of the file from at on
	at  int64
}

const scanChunk = 128 << 10

// window returns n bytes of the file from off on, fewer at the end.
func (s *scanner) window(off int64, n int) ([]byte, error) {
	if lo, hi := off-s.at, off-s.at+int64(n); lo >= 0 && hi <= int64(len(s.buf)) {
		return s.buf[lo:hi], nil
	}
	want := min(int64(max(n, scanChunk)), s.end-off)
	if want <= 0 {
		return nil, nil
	}
	if int64(cap(s.buf)) < want {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:want]
	got, err := s.src.ReadAt(s.buf, off)
	s.buf, s.at = s.buf[:got], off
	if err != nil && !errors.Is(err, io.EOF) {
		s.buf = s.buf[:0]
		return nil, err
	}
	return s.buf[:min(n, got)], nil
}

// forget drops what was read ahead.
func (s *scanner) forget() { s.buf = s.buf[:0] }

// intact returns the frame at off if its CRC says that it was written there. The
// body is valid until the next call. The error is of reading, or a FormatError.
func (s *scanner) intact(off int64) (frame, []byte, *fault, error) {
	b, err := s.window(off, frameHeader)
	if err != nil {
		return frame{}, nil, nil, err
	}
	if len(b) < frameHeader {
		return frame{}, nil, &fault{"a frame", fmt.Sprintf("the end of the segment after %d bytes", len(b))}, nil
	}
	f, bad := parseFrame(b)
	if bad != nil {
		return frame{}, nil, bad, nil
	}
	if off+f.size() > s.end {
		return frame{}, nil, &fault{"a frame within the segment", fmt.Sprintf("one of %d bytes where %d are left", f.size(), s.end-off)}, nil
	}
	b, err = s.window(off, int(f.size()))
	if err != nil {
		return frame{}, nil, nil, err
	}
	if int64(len(b)) < f.size() {
		return frame{}, nil, &fault{fmt.Sprintf("a frame of %d bytes", f.size()), fmt.Sprintf("%d bytes", len(b))}, nil
	}
	if want := s.sums.sum(b, s.number, off); want != f.crc {
		return frame{}, nil, &fault{fmt.Sprintf("frame CRC %08x", want), fmt.Sprintf("%08x", f.crc)}, nil
	}
	if b[8] != journal.FormatVersion {
		return frame{}, nil, nil, &FormatError{File: s.name, Found: fmt.Sprintf("a frame of format %d at offset %d", b[8], off)}
	}
	if f.flags&^flagsKnown != 0 || b[10] != 0 || b[11] != 0 {
		return frame{}, nil, nil, &FormatError{File: s.name, Found: fmt.Sprintf("a frame with flags %02x at offset %d", f.flags, off)}
	}
	s.raw = b
	return f, b[frameHeader:], nil, nil
}

// next returns the next frame and moves behind it, or says what is wrong with the
// bytes there and stays. The body is valid until the next call.
func (s *scanner) next() (frame, []byte, *fault, error) {
	f, body, bad, err := s.intact(s.off)
	if bad != nil || err != nil {
		return frame{}, nil, bad, err
	}
	switch want := s.epochs.at(f.lsn); {
	case f.lsn != s.lsn:
		return frame{}, nil, &fault{fmt.Sprintf("LSN %d", s.lsn), fmt.Sprintf("%d", f.lsn)}, nil
	case uint64(f.epoch) != want:
		return frame{}, nil, &fault{fmt.Sprintf("a frame of epoch %d", want), fmt.Sprintf("one of epoch %d", f.epoch)}, nil
	case s.sure && f.prev != s.prev:
		return frame{}, nil, &fault{fmt.Sprintf("CRC %08x of the frame before", s.prev), fmt.Sprintf("%08x", f.prev)}, nil
	}
	s.off += f.size()
	s.lsn++
	s.prev, s.sure = f.crc, true
	return f, body, nil, nil
}

// survivors looks through everything from off on for frames that were written
// where they lie, whatever came before them, and calls fn with each.
func (s *scanner) survivors(off int64, fn func(f frame, off int64)) error {
	for s.end-off >= frameHeader {
		b, err := s.window(off, int(min(scanChunk, s.end-off)))
		if err != nil {
			return err
		}
		if len(b) < frameHeader {
			return nil
		}
		i := bytes.Index(b, []byte(frameMagic))
		if i < 0 {
			off += int64(len(b) - len(frameMagic) + 1)
			continue
		}
		off += int64(i)
		if b = b[i:]; len(b) >= frameHeader && !s.plausible(b, off) {
			off++ // spares the CRC of what only looks like a frame
			continue
		}
		f, _, bad, err := s.intact(off)
		if format := (*FormatError)(nil); err != nil && !errors.As(err, &format) {
			return err
		}
		if bad != nil || err != nil {
			off++
			continue
		}
		fn(f, off)
		off += f.size()
	}
	return nil
}

// plausible tells whether the header in b may be that of a survivor at off, a
// frame behind those that are valid.
func (s *scanner) plausible(b []byte, off int64) bool {
	f, bad := parseFrame(b)
	return bad == nil && f.lsn >= s.lsn && uint64(f.lsn-s.lsn) <= uint64(s.end/frameHeader) && int64(f.synced) <= off
}

func (s *scanner) corrupt(bad *fault) error {
	return &CorruptError{File: s.name, Offset: s.off, LSN: s.lsn, Expected: bad.expected, Found: bad.found}
}
