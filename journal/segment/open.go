package segment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Create makes a new run in dir, durably, and returns its log in epoch 1. The
// directory is created; one that is left of a Create that was cut short, and so
// has no manifest, is used. m says what the run is: Run and Flow are needed,
// Epochs must be empty. If dir holds a run the error wraps [fs.ErrExist].
func Create(fsys vfs.FS, dir string, m journal.Manifest, o Options) (*Log, error) {
	o = o.withDefaults()
	if m.Format == 0 {
		m.Format = journal.FormatVersion
	}
	if m.Run == "" || len(m.Run) > maxRunID || len(m.Epochs) != 0 || m.Format != journal.FormatVersion {
		return nil, fmt.Errorf("create run %q: want an id of 1 to %d bytes, format %d and no epochs", m.Run, maxRunID, journal.FormatVersion)
	}
	if err := vfs.EnsureDir(fsys, dir, dirPerm); err != nil {
		return nil, fmt.Errorf("create run %s: %w", m.Run, err)
	}
	lock, err := takeLock(fsys, dir)
	if err != nil {
		return nil, err
	}
	l, err := create(fsys, dir, m, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create run %s: %w", m.Run, err), lock.Close())
	}
	l.lock = lock
	l.start()
	return l, nil
}

func create(fsys vfs.FS, dir string, m journal.Manifest, o Options) (*Log, error) {
	if _, err := fsys.Stat(manifestFile(dir)); err == nil {
		return nil, fmt.Errorf("%s: there is a run already: %w", dir, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, sub := range []string{"log", "snap", "blob", "inbox"} {
		if err := vfs.EnsureDir(fsys, filepath.Join(dir, sub), dirPerm); err != nil {
			return nil, err
		}
	}
	r := recovery{layout: newLayout(fsys, dir, m.Run), o: &o}
	if numbers, err := r.segments(); err != nil || len(numbers) > 0 {
		return nil, fmt.Errorf("%s has no manifest but %d segments: it holds what is left of a run: %w", dir, len(numbers), cmpErr(err, fs.ErrExist))
	}
	m, err := o.enter(m, spotValue{chain: origin(m.Run)}, 0, nil)
	if err != nil {
		return nil, err
	}
	if err := writeManifest(fsys, dir, &m); err != nil {
		return nil, err
	}
	r.manifest, r.idx = m, newIndex()
	if err := r.begin(&tail{prev: r.seed, chain: origin(m.Run)}); err != nil {
		return nil, errors.Join(err, r.close())
	}
	l, err := r.log()
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return l, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// Open takes the ownership of the run in dir: it recovers the log, makes what is
// kept durable, and enters a new epoch. The report says what was cut. If the run
// has an owner the error wraps [journal.ErrInUse]; if there is no run,
// [fs.ErrNotExist]; what was confirmed and is damaged is a [CorruptError]. Unless
// Open succeeds, nothing that a later Open needs was changed.
func Open(fsys vfs.FS, dir string, o Options) (*Log, Report, error) {
	o = o.withDefaults()
	began := o.Now()
	if _, err := fsys.Stat(manifestFile(dir)); err != nil {
		return nil, Report{}, fmt.Errorf("open run in %s: %w", dir, err)
	}
	lock, err := takeLock(fsys, dir)
	if err != nil {
		return nil, Report{}, err
	}
	l, report, err := recoverLog(fsys, dir, o)
	if err != nil {
		return nil, report, errors.Join(fmt.Errorf("open run in %s: %w", dir, err), lock.Close())
	}
	l.lock = lock
	l.start()
	report.Took = o.Now().Sub(began)
	return l, report, nil
}

// holder is the note in LOCK.
type holder struct {
	PID  int    `json:"pid"`
	Host string `json:"host"`
}

func takeLock(fsys vfs.FS, dir string) (io.Closer, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	note, err := json.Marshal(holder{PID: os.Getpid(), Host: host})
	if err != nil {
		return nil, err
	}
	lock, err := fsys.Lock(lockFile(dir), string(note))
	if locked, ok := errors.AsType[*vfs.LockedError](err); ok {
		return nil, fmt.Errorf("run in %s: %w by %s: stop that process, or wait until it has ended", dir, journal.ErrInUse, describe(locked.Note))
	}
	if err != nil {
		return nil, fmt.Errorf("lock run in %s: %w", dir, err)
	}
	return lock, nil
}

// describe puts the note of a holder into words.
func describe(note string) string {
	var h holder
	if err := json.Unmarshal([]byte(note), &h); err != nil || h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s", h.PID, h.Host)
}

func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	return err
}

// start begins to serve the log.
func (l *Log) start() {
	l.stopped.Add(3)
	go l.write()
	go l.sync()
	go l.prepare()
}

// Close makes everything placed durable, seals the last segment and gives the log
// up. If it cannot, the error says why, and what is missing was never said to be
// durable. Closing again does nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	l.stir()
	l.mu.Unlock()
	close(l.close)
	l.stopped.Wait()

	l.mu.Lock()
	failed, ready := l.failed, l.ready
	l.ready = nil
	l.mu.Unlock()
	if failed == nil {
		l.turn <- struct{}{}
		if l.syncWritten() {
			l.discard()
			failed = l.sealLast()
		}
		<-l.turn
		l.mu.Lock()
		if l.failed != nil {
			failed = l.failed
		} else {
			l.end(journal.ErrClosed)
		}
		l.mu.Unlock()
	}
	errs := []error{failed}
	if ready != nil {
		errs = append(errs, ready.file.Close(), l.fsys.Remove(l.temp(ready.number)))
	}
	if f := l.writer.seg.file; f != nil {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, l.hints.Close(), l.lock.Close())...)
}

// sealLast gives the last segment its footer, or, if it has no frames, takes the
// space back. Without either the log is as whole; so a full disk is no error.
func (l *Log) sealLast() error {
	l.mu.Lock()
	seg, at := l.placed.seg, l.placed
	empty := seg.last < seg.first
	l.mu.Unlock()
	var err error
	if empty {
		err = seg.file.Truncate(headerSize)
	} else {
		t, footer := l.footer(seg)
		if err = writeFooter(seg.file, footer, t.end); err == nil {
			l.tell(at, true)
		}
	}
	if err != nil && !passes(err) {
		return fmt.Errorf("seal the last segment: %w", err)
	}
	return nil
}
