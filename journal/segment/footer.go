package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	trailerMagic = "\xf7WEIREND"
	trailerSize  = 96
	// maxIndex bounds what is read for an index.
	maxIndex = 64 << 20
)

// A trailer ends a sealed segment: it proves that its frames are durable.
type trailer struct {
	prev        uint32 // CRC of the last frame
	number      uint64
	first, last journal.LSN
	end         int64    // behind the last frame: where the index begins
	chain       [32]byte // after the last frame
	index       uint32   // CRC of the index
	indexSize   int64    // not stored: it is what lies between
}

// encodeFooter returns index and trailer, and completes t.
func (l *layout) encodeFooter(index []byte, t *trailer) []byte {
	t.index = wire.Extend(l.seed, index)
	t.indexSize = int64(len(index))
	b := append(make([]byte, 0, len(index)+trailerSize), index...)
	start := len(b)
	b = append(b, trailerMagic...)
	b = wire.AppendUint32(b, journal.FormatVersion)
	b = wire.AppendUint32(b, t.prev)
	b = wire.AppendUint64(b, t.number)
	b = wire.AppendUint64(b, uint64(t.first))
	b = wire.AppendUint64(b, uint64(t.last))
	b = wire.AppendUint64(b, uint64(t.end))
	b = append(b, t.chain[:]...)
	b = wire.AppendUint32(b, t.index)
	b = append(b, make([]byte, 8)...)
	return wire.AppendUint32(b, wire.Extend(l.seed, b[start:]))
}

// readTrailer reads the trailer at the end of segment h. What is not one is a
// fault: the segment is open, or damaged if it has a successor.
func (l *layout) readTrailer(f vfs.File, h *header) (trailer, *fault, error) {
	size, err := f.Size()
	if err != nil {
		return trailer{}, nil, fmt.Errorf("size of segment %d: %w", h.number, err)
	}
	at := size - trailerSize
	if at < headerSize {
		return trailer{}, &fault{"a footer", fmt.Sprintf("a file of %d bytes", size)}, nil
	}
	b := make([]byte, trailerSize)
	n, err := f.ReadAt(b, at)
	if n < trailerSize {
		if err == nil || errors.Is(err, io.EOF) {
			return trailer{}, &fault{"a footer", "the end of the file"}, nil
		}
		return trailer{}, nil, fmt.Errorf("read footer of segment %d: %w", h.number, err)
	}
	if string(b[:8]) != trailerMagic {
		return trailer{}, &fault{"the magic of a footer", quote(b[:8])}, nil
	}
	le := binary.LittleEndian
	if got, want := le.Uint32(b[92:]), wire.Extend(l.seed, b[:92]); got != want {
		return trailer{}, &fault{fmt.Sprintf("footer CRC %08x", want), fmt.Sprintf("%08x", got)}, nil
	}
	if v := le.Uint32(b[8:]); v != journal.FormatVersion {
		return trailer{}, nil, &FormatError{File: f.Name(), Found: fmt.Sprintf("a footer of format %d", v)}
	}
	t := trailer{
		prev:   le.Uint32(b[12:]),
		number: le.Uint64(b[16:]),
		first:  journal.LSN(le.Uint64(b[24:])),
		last:   journal.LSN(le.Uint64(b[32:])),
		end:    int64(le.Uint64(b[40:])),
		chain:  [32]byte(b[48:80]),
		index:  le.Uint32(b[80:]),
	}
	t.indexSize = at - t.end
	if t.number != h.number || t.first != h.first || t.last < t.first || t.end < headerSize+frameHeader || t.end > at || t.indexSize > maxIndex {
		return trailer{}, &fault{"a footer that fits the header", fmt.Sprintf("that of segment %d, LSN %d to %d", t.number, t.first, t.last)}, nil
	}
	return t, nil, nil
}

// readIndex reads the index of a sealed segment.
func (l *layout) readIndex(f vfs.File, t *trailer) (*index, *fault, error) {
	b := make([]byte, t.indexSize)
	n, err := f.ReadAt(b, t.end)
	if n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, &fault{"an index", "the end of the file"}, nil
		}
		return nil, nil, fmt.Errorf("read index of segment %d: %w", t.number, err)
	}
	if got := wire.Extend(l.seed, b); got != t.index {
		return nil, &fault{fmt.Sprintf("index CRC %08x", t.index), fmt.Sprintf("%08x", got)}, nil
	}
	x, err := parseIndex(b)
	if err != nil {
		return nil, &fault{"an index", err.Error()}, nil //nolint:nilerr // the fault tells it
	}
	return x, nil, nil
}
