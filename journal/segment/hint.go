package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	hintMagic = "\xf7WEIRDUR"
	hintSize  = 64
	// Flags.
	hintSync   = 1 // a sync covers it
	hintSealed = 2 // the segment has its footer and no successor: the log was closed
)

// A hint is the content of log/durable: how far the log is durable, for other
// processes and for recovery.
type hint struct {
	proven bool // by a sync
	sealed bool // the log was closed
	epoch  uint64
	lsn    journal.LSN
	number uint64
	off    int64
}

func (l *layout) appendHint(b []byte, h *hint) []byte {
	start := len(b)
	b = append(b, hintMagic...)
	b = wire.AppendUint32(b, journal.FormatVersion)
	flags := uint32(0)
	if h.proven {
		flags = hintSync
	}
	if h.sealed {
		flags |= hintSealed
	}
	b = wire.AppendUint32(b, flags)
	b = wire.AppendUint64(b, h.epoch)
	b = wire.AppendUint64(b, uint64(h.lsn))
	b = wire.AppendUint64(b, h.number)
	b = wire.AppendUint64(b, uint64(h.off))
	b = append(b, make([]byte, 12)...)
	return wire.AppendUint32(b, wire.Extend(l.seed, b[start:]))
}

// readHint returns what log/durable says; nothing is as good as anything that
// does not fit.
func (l *layout) readHint() (hint, bool, error) {
	b, err := vfs.ReadFile(l.fsys, l.durable(), 4096)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrTooLarge) {
		return hint{}, false, nil
	}
	if err != nil {
		return hint{}, false, fmt.Errorf("read %s: %w", l.durable(), err)
	}
	le := binary.LittleEndian
	if len(b) != hintSize || string(b[:8]) != hintMagic || le.Uint32(b[60:]) != wire.Extend(l.seed, b[:60]) || le.Uint32(b[8:]) != journal.FormatVersion {
		return hint{}, false, nil
	}
	h := hint{
		proven: le.Uint32(b[12:])&hintSync != 0,
		sealed: le.Uint32(b[12:])&hintSealed != 0,
		epoch:  le.Uint64(b[16:]),
		lsn:    journal.LSN(le.Uint64(b[24:])),
		number: le.Uint64(b[32:]),
		off:    int64(le.Uint64(b[40:])),
	}
	return h, true, nil
}

// openHint opens log/durable for writing.
func (l *layout) openHint() (vfs.File, error) {
	return l.fsys.OpenFile(l.durable(), os.O_RDWR|os.O_CREATE, filePerm)
}
