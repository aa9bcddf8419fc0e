package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	snapshotMagic  = "\xf7WEIRSNP"
	snapshotHeader = 64
	// maxSnapshot bounds what is read into memory.
	maxSnapshot = 16 << 30
	// maxFileName is what common file systems allow, less the suffix of a
	// temporary file.
	maxFileName = 250
)

// snapshot returns the file of a snapshot.
func (l *layout) snapshot(name string) (string, error) {
	file := url.PathEscape(name)
	if name == "" || strings.HasPrefix(file, ".") || len(file) > maxFileName || strings.HasSuffix(file, ".tmp") {
		return "", fmt.Errorf("snapshot name %q: want 1 to %d bytes, escaped, that do not begin with a dot or end in .tmp", name, maxFileName)
	}
	return filepath.Join(l.snapDir(), file), nil
}

func (l *layout) snapshotSum(header []byte, name string) uint32 {
	return wire.Extend(wire.Extend(l.seed, []byte(name)), header[:60])
}

// WriteSnapshot stores data under name; it is durable on return.
func (l *Log) WriteSnapshot(name string, data []byte) error {
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	if failed != nil {
		return failed
	}
	file, err := l.snapshot(name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	b := make([]byte, 0, snapshotHeader+len(data))
	b = append(b, snapshotMagic...)
	b = wire.AppendUint32(b, journal.FormatVersion)
	b = wire.AppendUint32(b, 0)
	b = wire.AppendUint64(b, uint64(len(data)))
	b = append(b, sum[:]...)
	b = wire.AppendUint32(b, 0)
	b = wire.AppendUint32(b, l.snapshotSum(b, name))
	b = append(b, data...)
	if err := vfs.WriteFileAtomic(l.fsys, file, b, filePerm); err != nil {
		return fmt.Errorf("snapshot %s: %w", name, err)
	}
	return nil
}

// ReadSnapshot returns what was stored under name; the error wraps
// [fs.ErrNotExist] if there is none and is a [CorruptError] if it is damaged.
func (l *Log) ReadSnapshot(name string) ([]byte, error) {
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	if errors.Is(failed, journal.ErrClosed) {
		return nil, failed
	}
	return l.readSnapshot(name)
}

func (l *layout) readSnapshot(name string) ([]byte, error) {
	file, err := l.snapshot(name)
	if err != nil {
		return nil, err
	}
	b, err := vfs.ReadFile(l.fsys, file, maxSnapshot)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", name, err)
	}
	corrupt := func(off int64, expected, found string) ([]byte, error) {
		return nil, &CorruptError{File: file, Offset: off, Expected: expected, Found: found}
	}
	if len(b) < snapshotHeader {
		return corrupt(0, "a snapshot", fmt.Sprintf("%d bytes", len(b)))
	}
	le := binary.LittleEndian
	if string(b[:8]) != snapshotMagic {
		return corrupt(0, "the magic of a snapshot", quote(b[:8]))
	}
	if got, want := le.Uint32(b[60:]), l.snapshotSum(b, name); got != want {
		return corrupt(0, fmt.Sprintf("header CRC %08x of snapshot %s of run %s", want, name, l.run), fmt.Sprintf("%08x", got))
	}
	if v := le.Uint32(b[8:]); v != journal.FormatVersion {
		return nil, &FormatError{File: file, Found: fmt.Sprintf("snapshot format %d", v)}
	}
	data := b[snapshotHeader:]
	if size := le.Uint64(b[16:]); size != uint64(len(data)) {
		return corrupt(snapshotHeader, fmt.Sprintf("%d bytes of data", size), strconv.Itoa(len(data)))
	}
	if sum := sha256.Sum256(data); sum != [32]byte(b[24:56]) {
		return corrupt(snapshotHeader, fmt.Sprintf("data with SHA-256 %x", b[24:56]), hex.EncodeToString(sum[:]))
	}
	return data, nil
}

// snapshotOf returns the snapshot that a transition's checkpoint names, empty if
// there is none.
func snapshotOf(frames []journal.Frame) (string, error) {
	name := ""
	for i := range frames {
		if !frames[i].Check {
			continue
		}
		var t journal.Transition
		if err := journal.Parse(frames[i].Body, &t); err != nil {
			return "", fmt.Errorf("append: frame with a checkpoint: %w", err)
		}
		if t.Check != nil {
			name = t.Check.Snapshot
		}
	}
	return name, nil
}

// An outdated snapshot is removed once the checkpoint that names its successor
// is durable.
type outdated struct {
	lsn  journal.LSN
	name string
}

// supersede notes that the checkpoint at lsn names a snapshot. The caller holds
// mu.
func (l *Log) supersede(stage, snapshot string, lsn journal.LSN) {
	old, known := l.named[stage]
	if known && old == snapshot {
		return
	}
	l.named[strings.Clone(stage)] = snapshot
	if old != "" {
		l.outdated = append(l.outdated, outdated{lsn, old})
	}
}

// discard removes the snapshots that are outdated by now. A failure leaves a file
// behind that the next owner removes.
func (l *Log) discard() {
	for {
		l.mu.Lock()
		if len(l.outdated) == 0 || l.outdated[0].lsn > l.synced.lsn || l.failed != nil {
			l.mu.Unlock()
			return
		}
		name := l.outdated[0].name
		l.outdated = l.outdated[1:]
		l.mu.Unlock()
		if file, err := l.snapshot(name); err == nil {
			_ = l.fsys.Remove(file)
		}
	}
}

// removeUnnamed removes all snapshots but those in use.
func (l *layout) removeUnnamed(named map[string]string) error {
	keep := map[string]bool{}
	for _, name := range named {
		keep[url.PathEscape(name)] = true
	}
	entries, err := l.fsys.ReadDir(l.snapDir())
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, e := range entries {
		if keep[e.Name()] || e.IsDir() {
			continue
		}
		if err := l.fsys.Remove(filepath.Join(l.snapDir(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove snapshot that no checkpoint names: %w", err)
		}
	}
	return nil
}
