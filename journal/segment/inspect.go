package segment

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/internal/vfs"
)

// A found segment is what its header and footer say.
type found struct {
	header  header
	sealed  bool
	trailer trailer
	index   *index // only of the last segment, if it is sealed
}

// inspect reads header and footer of a segment and holds them to where the one
// before it ends. For the first one that is kept there is none before: at is set
// to what its header says. Without a footer the last segment is open; any other
// is damaged.
func (l *layout) inspect(number uint64, first, last bool, at *tail) (s found, err error) {
	f, err := l.fsys.Open(l.segment(number))
	if err != nil {
		return found{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if s.header, err = l.readHeader(f, number); err != nil {
		return found{}, err
	}
	h := &s.header
	if first {
		*at = tail{number: number - 1, lsn: h.first - 1, prev: h.prev, chain: h.chain}
	}
	if h.first != at.lsn+1 || h.prev != at.prev || h.chain != at.chain {
		return found{}, &CorruptError{
			File: f.Name(), Offset: 12, LSN: h.first,
			Expected: fmt.Sprintf("a segment that goes on after LSN %d, CRC %08x, chain value %x", at.lsn, at.prev, at.chain),
			Found:    fmt.Sprintf("one that goes on after LSN %d, CRC %08x, chain value %x", h.first-1, h.prev, h.chain),
		}
	}
	t, bad, err := l.readTrailer(f, h)
	if err != nil {
		return found{}, err
	}
	if bad == nil && last {
		if s.index, bad, err = l.readIndex(f, &t); err != nil {
			return found{}, err
		}
	}
	if bad != nil {
		if last {
			return s, nil
		}
		return found{}, l.noFooter(f, bad)
	}
	s.sealed, s.trailer = true, t
	return s, nil
}

// noFooter is the error for a segment that has a successor but no footer.
func (l *layout) noFooter(f vfs.File, bad *fault) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	return &CorruptError{
		File: f.Name(), Offset: max(0, size-trailerSize),
		Expected: bad.expected + ", for the segment was sealed", Found: bad.found,
	}
}
