package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	headerMagic = "\xf7WEIRSEG"
	headerSize  = 512
	maxRunID    = 64

	firstSize = 1 << 20
	lastSize  = 64 << 20
	// maxSegment is what a segment may grow to by frames that could not wait for
	// the next one, so that offsets fit the frame's field.
	maxSegment = 1 << 31

	dirPerm  = 0o700
	filePerm = 0o600
)

// A layout knows where the files of one run are, and what its bytes are seeded
// with.
type layout struct {
	fsys vfs.FS
	dir  string
	run  string
	seed uint32
}

func newLayout(fsys vfs.FS, dir, run string) layout {
	return layout{fsys: fsys, dir: dir, run: run, seed: seedOf(run)}
}

func (l *layout) logDir() string     { return filepath.Join(l.dir, "log") }
func (l *layout) snapDir() string    { return filepath.Join(l.dir, "snap") }
func (l *layout) durable() string    { return filepath.Join(l.dir, "log", "durable") }
func manifestFile(dir string) string { return filepath.Join(dir, "manifest.json") }
func lockFile(dir string) string     { return filepath.Join(dir, "LOCK") }

func (l *layout) segment(number uint64) string {
	return filepath.Join(l.dir, "log", fmt.Sprintf("%010d.seg", number))
}

func (l *layout) temp(number uint64) string {
	return filepath.Join(l.dir, "log", fmt.Sprintf("%010d.tmp", number))
}

// segments lists the numbers of the segments there are, in order. They have no
// gaps.
func (l *layout) segments() ([]uint64, error) {
	entries, err := l.fsys.ReadDir(l.logDir())
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var numbers []uint64
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok || len(digits) != 10 {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || n == 0 {
			continue
		}
		if k := len(numbers); k > 0 && numbers[k-1]+1 != n {
			return nil, &CorruptError{
				File: l.segment(numbers[k-1] + 1), Expected: "a segment", Found: fmt.Sprintf("none, though there is segment %d", n),
			}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// A header begins a segment.
type header struct {
	number uint64
	first  journal.LSN
	prev   uint32   // CRC of the frame before
	chain  [32]byte // before the first frame
}

func (l *layout) encodeHeader(h *header) []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, headerMagic...)
	b = wire.AppendUint32(b, journal.FormatVersion)
	b = wire.AppendUint32(b, h.prev)
	b = wire.AppendUint64(b, h.number)
	b = wire.AppendUint64(b, uint64(h.first))
	b = append(b, h.chain[:]...)
	b = append(b, byte(len(l.run)))
	b = append(b, l.run...)
	b = append(b, make([]byte, headerSize-4-len(b))...)
	return wire.AppendUint32(b, wire.Extend(l.seed, b))
}

// readHeader reads the header of segment number from f. It was synced before the
// segment got its name: one that does not fit is corruption.
func (l *layout) readHeader(f vfs.File, number uint64) (header, error) {
	b := make([]byte, headerSize)
	corrupt := func(off int64, expected, found string) (header, error) {
		return header{}, &CorruptError{File: l.segment(number), Offset: off, Expected: expected, Found: found}
	}
	n, err := f.ReadAt(b, 0)
	if n < headerSize {
		if err != nil && !errors.Is(err, io.EOF) {
			return header{}, fmt.Errorf("read segment header: %w", err)
		}
		return corrupt(0, "a segment header of 512 bytes", fmt.Sprintf("%d bytes", n))
	}
	le := binary.LittleEndian
	if string(b[:8]) != headerMagic {
		return corrupt(0, "the magic of a segment", quote(b[:8]))
	}
	if got, want := le.Uint32(b[508:]), wire.Extend(l.seed, b[:508]); got != want {
		if id := b[65 : 65+min(int(b[64]), maxRunID)]; string(id) != l.run && le.Uint32(b[508:]) == wire.Extend(wire.Checksum(id), b[:508]) {
			return corrupt(64, "a segment of run "+l.run, fmt.Sprintf("one of run %q", id))
		}
		return corrupt(0, fmt.Sprintf("header CRC %08x", want), fmt.Sprintf("%08x", got))
	}
	if v := le.Uint32(b[8:]); v != journal.FormatVersion {
		return header{}, &FormatError{File: l.segment(number), Found: fmt.Sprintf("segment format %d", v)}
	}
	h := header{
		prev:   le.Uint32(b[12:]),
		number: le.Uint64(b[16:]),
		first:  journal.LSN(le.Uint64(b[24:])),
		chain:  [32]byte(b[32:64]),
	}
	if h.number != number {
		return corrupt(16, fmt.Sprintf("segment number %d", number), strconv.FormatUint(h.number, 10))
	}
	if h.first == 0 || h.first > math.MaxInt64 {
		return corrupt(24, "the LSN of the first frame", strconv.FormatUint(uint64(h.first), 10))
	}
	return h, nil
}

// removeTemp removes what was in preparation when an owner died.
func removeTemp(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lastNonZero returns the offset behind the last byte in [from, to) of f that is
// not zero, or from.
func lastNonZero(f io.ReaderAt, from, to int64) (int64, error) {
	buf := make([]byte, min(256<<10, max(to-from, 0)))
	for to > from {
		n := min(int64(len(buf)), to-from)
		got, err := f.ReadAt(buf[:n], to-n)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if rest := bytes.TrimRight(buf[:got], "\x00"); len(rest) > 0 {
			return to - n + int64(len(rest)), nil
		}
		to -= n
	}
	return from, nil
}
