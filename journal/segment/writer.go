package segment

import (
	"errors"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// A writer is what the goroutine that writes groups keeps for itself.
type writer struct {
	seg   *segment
	chain chain
	prev  uint32 // CRC of the last frame written
}

// write is the writer's goroutine: it writes group after group until the log is
// closed and all are written, or it has failed.
func (l *Log) write() {
	defer l.stopped.Done()
	for {
		g := l.take()
		if g == nil {
			select {
			case <-l.toWrite:
			case <-l.close:
				if g = l.take(); g == nil {
					return
				}
			}
		}
		if g == nil {
			continue
		}
		if g.seg != l.writer.seg && !l.roll(g.seg) {
			return
		}
		l.writer.chain.add(g.buf)
		l.writer.prev = g.prev
		if !l.persist(func() error { return writeGroup(g) }) {
			return
		}
		l.wrote(g)
	}
}

// take returns the first group that is not written, nil if there is none.
func (l *Log) take() *group {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || l.failed != nil {
		return nil
	}
	l.queue[0].taken = true
	return l.queue[0]
}

// writeGroup writes a group, or leaves the file as it was before.
func writeGroup(g *group) error {
	_, err := g.seg.file.WriteAt(g.buf, g.off)
	if err == nil {
		return nil
	}
	if cut := g.seg.file.Truncate(g.off); cut != nil {
		return cut
	}
	return err
}

// wrote takes a group off the queue.
func (l *Log) wrote(g *group) {
	l.mu.Lock()
	l.queue = l.queue[1:]
	l.written.total += int64(len(g.buf))
	l.written.seg, l.written.off, l.written.lsn = g.seg, g.end(), g.last
	if len(l.spare) < 2 && cap(g.buf) <= 16<<20 {
		l.spare = append(l.spare, g.buf[:0])
	}
	l.stir()
	lsn := l.written.lsn
	l.mu.Unlock()
	if l.o.Sync.Mode == journal.None {
		l.announce(lsn)
	}
	wake(l.toSync)
}

// Backoff while there is no space.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
)

// persist does what must be on disk before the writer goes on. While there is no
// space it tries again, when someone asks for room and from time to time; any
// other error, and being closed meanwhile, poisons the log and is false.
func (l *Log) persist(do func() error) bool {
	delay := retryFirst
	for {
		err := do()
		if err == nil {
			if delay > retryFirst {
				l.hinder(0, nil)
			}
			return true
		}
		if !passes(err) || l.isClosing() {
			l.fail(err)
			return false
		}
		l.hinder(0, err)
		l.pause(delay, l.retry[0])
		delay = min(2*delay, retryLast)
	}
}

// passes tells whether what failed may be tried again: there was no space, and
// nothing was left in doubt.
func passes(err error) bool {
	var sync failedSyncError
	return vfs.IsNoSpace(err) && !errors.As(err, &sync)
}

// A failedSyncError is final whatever its cause: what is on the disk is unknown.
type failedSyncError struct{ cause error }

func (e failedSyncError) Error() string { return e.cause.Error() }
func (e failedSyncError) Unwrap() error { return e.cause }

// pause waits for a time, at most until someone asks for room or the log is
// closed.
func (l *Log) pause(d time.Duration, retry <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-retry:
	case <-l.close:
	}
}

func (l *Log) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// roll seals the writer's segment and gives the next its header and its name.
func (l *Log) roll(next *segment) bool {
	full := l.writer.seg
	if !l.seal(full) {
		return false
	}
	h := header{number: next.number, first: next.first, prev: l.writer.prev, chain: full.trailer.chain}
	if !l.persist(func() error { return l.name(next.file, &h) }) {
		return false
	}
	l.writer = writer{seg: next, chain: chain{before: h.chain}, prev: h.prev}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written.seg, l.written.off = next, headerSize
	l.synced.seg, l.synced.off = next, headerSize
	return true
}

// seal syncs the frames of the writer's segment, which is full, and writes and
// syncs its footer.
func (l *Log) seal(full *segment) bool {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if !l.syncWritten() {
		return false
	}
	t, footer := l.footer(full)
	if !l.persist(func() error { return writeFooter(full.file, footer, t.end) }) {
		return false
	}
	if err := full.file.Close(); err != nil {
		l.fail(err)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	full.file, full.index, full.footed, full.trailer = nil, nil, true, t
	return true
}

// footer returns the footer of the writer's segment.
func (l *Log) footer(full *segment) (trailer, []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	index := full.index
	if index == nil {
		index = l.idx.encode()
	}
	t := trailer{
		prev: l.writer.prev, number: full.number, first: full.first, last: full.last, end: full.end, chain: l.writer.chain.sum(),
	}
	b := l.encodeFooter(index, &t)
	return t, b
}

// writeFooter seals a segment whose frames are durable.
func writeFooter(f vfs.File, footer []byte, at int64) error {
	if _, err := f.WriteAt(footer, at); err != nil {
		return err
	}
	if err := f.Truncate(at + int64(len(footer))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return failedSyncError{err}
	}
	return nil
}

// name makes a prepared file the segment that follows.
func (l *layout) name(f vfs.File, h *header) error {
	if _, err := f.WriteAt(l.encodeHeader(h), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return failedSyncError{err}
	}
	if err := l.fsys.Rename(l.temp(h.number), l.segment(h.number)); err != nil {
		return err
	}
	if err := l.fsys.SyncDir(l.logDir()); err != nil {
		return failedSyncError{err}
	}
	return nil
}
