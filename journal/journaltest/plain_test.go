package journaltest_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

const (
	plainDir  = "/run/log"
	plainSize = 3 << 10 // of a segment, about
)

// mistake is one that a plain log makes, for the suite to find.
type mistake int

const (
	none            mistake = iota
	acknowledges            // says durable before the sync
	keepsParts              // does not cut the parts of a transition that is not whole
	forgetsNames            // does not sync the directory after it created a segment
	trustsPages             // does not sync what it found before it goes on
	forgetsSnapshot         // does not sync snapshots
	ignoresFailure          // goes on after a failed sync
)

// plain is the simplest log on files that survives a crash: everything in
// memory, each frame one write, each wait one sync. It has what the campaigns
// need; it is here to test them.
type plain struct {
	fs      vfs.FS
	mistake mistake
	lock    io.Closer
	tails   map[string]journal.Tail

	mu       sync.Mutex
	manifest journal.Manifest
	entries  []journal.Entry
	file     vfs.File // the last segment
	size     int64
	segments int
	durable  journal.LSN
	failed   error
}

func openPlain(m mistake) func(vfs.FS) (journal.Log, error) {
	return func(fsys vfs.FS) (journal.Log, error) {
		l := &plain{fs: fsys, mistake: m, tails: map[string]journal.Tail{}}
		if err := l.open(); err != nil {
			if l.lock != nil {
				_ = l.lock.Close()
			}
			return nil, err
		}
		return l, nil
	}
}

func (l *plain) open() error {
	if err := vfs.EnsureDir(l.fs, plainDir, 0o755); err != nil {
		return err
	}
	lock, err := l.fs.Lock("/run/LOCK", "{}")
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("%w: %w", journal.ErrInUse, err)
	}
	if err != nil {
		return err
	}
	l.lock = lock
	l.manifest = journal.Manifest{Format: journal.FormatVersion, Run: "plain"}
	switch data, err := vfs.ReadFile(l.fs, "/run/manifest.json", 1<<20); {
	case err == nil:
		if err := json.Unmarshal(data, &l.manifest); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := l.recover(); err != nil {
		return err
	}
	e := journal.Epoch{Number: uint64(len(l.manifest.Epochs) + 1), First: l.Head() + 1}
	e.ID[0] = byte(e.Number)
	l.manifest.Epochs = append(l.manifest.Epochs, e)
	data, err := json.Marshal(l.manifest)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(l.fs, "/run/manifest.json", data, 0o644)
}

func segmentName(n int) string { return fmt.Sprintf("%s/%04d.seg", plainDir, n) }

// recover reads all segments up to the first frame that is not valid, cuts there
// and makes what is left durable.
func (l *plain) recover() error {
	var cutFile vfs.File
	var cutAt int64 // where the last whole transition ends
	whole := 0
	for n := 1; ; n++ {
		f, err := l.fs.OpenFile(segmentName(n), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if cutFile == nil {
			cutFile = f
		}
		data, err := vfs.ReadFile(l.fs, segmentName(n), 1<<20)
		if err != nil {
			return err
		}
		at, broken := int64(0), false
		for at < int64(len(data)) {
			e, stage, check, size := parsePlain(data[at:])
			if size == 0 || e.LSN != journal.LSN(len(l.entries)+1) {
				broken = true
				break
			}
			at += int64(size)
			l.entries = append(l.entries, e)
			t := l.tails[stage]
			if t.Last = e.LSN; check {
				t.Checkpoint = e.LSN
			}
			if !e.More || l.mistake == keepsParts {
				whole, cutFile, cutAt = len(l.entries), f, at
				l.tails[stage] = t
			}
		}
		l.segments = n
		if broken {
			break
		}
	}
	if l.segments == 0 {
		return l.roll()
	}
	l.entries = l.entries[:whole]
	return l.cut(cutFile, cutAt)
}

// cut ends the log at an offset of a segment and removes the segments after it.
func (l *plain) cut(f vfs.File, at int64) error {
	list, err := l.fs.ReadDir(plainDir)
	if err != nil {
		return err
	}
	for i, e := range slices.Backward(list) {
		name := plainDir + "/" + e.Name()
		if name == f.Name() {
			l.segments = i + 1
			break
		}
		if err := l.fs.Remove(name); err != nil {
			return err
		}
	}
	if err := f.Truncate(at); err != nil {
		return err
	}
	// Written again, because pages that a dead owner or a failed sync left behind
	// need not be on the disk.
	data, err := vfs.ReadFile(l.fs, f.Name(), 1<<20)
	if err != nil {
		return err
	}
	if l.mistake != trustsPages {
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := l.fs.SyncDir(plainDir); err != nil {
		return err
	}
	l.file, l.size, l.durable = f, at, journal.LSN(len(l.entries))
	return nil
}

// roll syncs the last segment and begins the next.
func (l *plain) roll() error {
	if l.file != nil {
		if err := l.file.Sync(); err != nil {
			return err
		}
	}
	f, err := l.fs.OpenFile(segmentName(l.segments+1), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if l.mistake != forgetsNames {
		if err := l.fs.SyncDir(plainDir); err != nil {
			return err
		}
	}
	l.file, l.size = f, 0
	l.segments++
	return nil
}

// A frame is length, CRC of the rest, LSN, epoch, flags, length of the stage's
// name, name, body.
func appendPlain(dst []byte, e journal.Entry, f journal.Frame) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(26+len(f.Stage)+len(f.Body)))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.LSN))
	dst = binary.LittleEndian.AppendUint64(dst, e.Epoch)
	var flags byte
	if e.More {
		flags |= 1
	}
	if f.Check {
		flags |= 2
	}
	dst = append(dst, flags, byte(len(f.Stage)))
	dst = append(append(dst, f.Stage...), f.Body...)
	binary.LittleEndian.PutUint32(dst[start+4:], crc32.ChecksumIEEE(dst[start+8:]))
	return dst
}

func parsePlain(b []byte) (e journal.Entry, stage string, check bool, size int) {
	if len(b) < 26 {
		return e, "", false, 0
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if n < 26 || n > int64(len(b)) || binary.LittleEndian.Uint32(b[4:]) != crc32.ChecksumIEEE(b[8:n]) {
		return e, "", false, 0
	}
	e.LSN, e.Epoch = journal.LSN(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint64(b[16:])
	e.More, check = b[24]&1 != 0, b[24]&2 != 0
	name := 26 + int(b[25])
	stage, e.Body = string(b[26:name]), b[name:n]
	return e, stage, check, int(n)
}

func (l *plain) Append(ctx context.Context, _ journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return 0, l.failed
	}
	if l.size > plainSize {
		if err := l.again(ctx, l.roll); err != nil {
			return 0, l.poison(err)
		}
	}
	var b []byte
	entries := l.entries
	for i, f := range frames {
		e := journal.Entry{
			LSN: journal.LSN(len(entries) + 1), Epoch: uint64(len(l.manifest.Epochs)),
			More: i+1 < len(frames), Body: append([]byte(nil), f.Body...),
		}
		b, entries = appendPlain(b, e, f), append(entries, e)
	}
	err := l.again(ctx, func() error {
		_, err := l.file.WriteAt(b, l.size)
		return err
	})
	if err != nil {
		return 0, l.poison(err)
	}
	l.size += int64(len(b))
	l.entries = entries
	return journal.LSN(len(entries)), nil
}

// again does what needs space until there is some.
func (l *plain) again(ctx context.Context, do func() error) error {
	for {
		err := do()
		if !vfs.IsNoSpace(err) {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *plain) poison(cause error) error {
	l.failed = fmt.Errorf("%w: %w", journal.ErrPoisoned, cause)
	return l.failed
}

func (l *plain) Await(_ context.Context, lsn journal.LSN) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sync(lsn)
}

func (l *plain) sync(lsn journal.LSN) error {
	if lsn <= l.durable {
		return nil
	}
	if l.failed != nil {
		return l.failed
	}
	if l.mistake == acknowledges {
		l.durable = journal.LSN(len(l.entries))
		return nil
	}
	if err := l.file.Sync(); err != nil && (l.mistake != ignoresFailure || errors.Is(err, vfs.ErrCrashed)) {
		return l.poison(err)
	}
	l.durable = journal.LSN(len(l.entries))
	return nil
}

func (l *plain) Head() journal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return journal.LSN(len(l.entries))
}

func (l *plain) Durable() journal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

func (l *plain) Read(from journal.LSN) (journal.Reader, error) {
	return &plainReader{l, int(max(from, 1)) - 1}, nil
}

type plainReader struct {
	l    *plain
	next int
}

func (r *plainReader) Next() (journal.Entry, error) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if r.next >= len(r.l.entries) {
		return journal.Entry{}, io.EOF
	}
	r.next++
	return r.l.entries[r.next-1], nil
}

func (r *plainReader) Close() error { return nil }

func (l *plain) WriteSnapshot(name string, data []byte) error {
	if l.mistake != forgetsSnapshot {
		return vfs.WriteFileAtomic(l.fs, "/run/"+name, data, 0o644)
	}
	f, err := l.fs.OpenFile("/run/"+name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return l.fs.SyncDir("/run")
}

func (l *plain) ReadSnapshot(name string) ([]byte, error) {
	return vfs.ReadFile(l.fs, "/run/"+name, 1<<20)
}

func (l *plain) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.sync(journal.LSN(len(l.entries)))
	if errors.Is(err, journal.ErrClosed) {
		return nil
	}
	l.failed = journal.ErrClosed
	return errors.Join(err, l.lock.Close())
}

func (l *plain) Want(journal.LSN)                         {}
func (l *plain) Watch(func(journal.LSN, error)) func()    { return func() {} }
func (l *plain) Find(string, uint64) (journal.LSN, error) { return 1, nil }
func (l *plain) Tails() map[string]journal.Tail           { return maps.Clone(l.tails) }
func (l *plain) Manifest() journal.Manifest               { return l.manifest }
func (l *plain) Stats() journal.Stats                     { return journal.Stats{Segments: l.segments} }
