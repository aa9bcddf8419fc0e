package segment

import (
	"time"

	"github.com/weirflow/weir/journal"
)

// latest is how long frames stay written and not durable when nobody waits.
const latest = 100 * time.Millisecond

// sync is the syncer's goroutine: it makes what is written durable as soon as
// someone waits for it, or after a while.
func (l *Log) sync() {
	defer l.stopped.Done()
	delay := latest
	if l.o.Sync.Mode == journal.Interval && l.o.Sync.Every > 0 {
		delay = l.o.Sync.Every
	}
	var (
		timer  = time.NewTimer(delay)
		due    <-chan time.Time // nil while the timer is not set
		passed bool
	)
	timer.Stop()
	for {
		behind, urgent := l.behind()
		switch {
		case behind && (urgent || passed):
			timer.Stop()
			due, passed = nil, false
			if !l.catchUp() {
				return
			}
			continue
		case behind && due == nil:
			timer.Reset(delay)
			due = timer.C
		case !behind && due != nil:
			timer.Stop()
			due = nil
		}
		passed = false
		select {
		case <-l.toSync:
		case <-due:
			due, passed = nil, true
		case <-l.close:
			return
		}
	}
}

// behind tells whether there is something written that is not durable, and
// whether someone waits for it. Who waits for what is not written waits for the
// writer first, unless that waits for space: a sync before would bring nothing.
func (l *Log) behind() (behind, urgent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return false, false
	}
	switch l.o.Sync.Mode {
	case journal.None:
		return l.written.lsn > l.hinted, false
	case journal.Interval:
		return l.written.lsn > l.synced.lsn, false
	default:
		return l.written.lsn > l.synced.lsn, len(l.wants) > 0 && (l.wants[0] <= l.written.lsn || l.hindered[0] != nil)
	}
}

// catchUp makes what is written durable, or, in mode None, known.
func (l *Log) catchUp() bool {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	if l.o.Sync.Mode != journal.None {
		return l.syncWritten()
	}
	l.mu.Lock()
	at := l.written
	l.mu.Unlock()
	l.writeHint(at)
	return true
}

// syncWritten makes everything written durable and says so. The caller has the
// turn. After a failed sync there is no other: it would succeed and prove
// nothing.
func (l *Log) syncWritten() bool {
	l.mu.Lock()
	at := l.written
	done, failed := l.synced.lsn >= at.lsn, l.failed != nil
	l.mu.Unlock()
	if failed || done {
		return !failed
	}
	if err := at.seg.file.Sync(); err != nil {
		l.fail(err)
		return false
	}
	l.mu.Lock()
	l.synced = at
	discard := len(l.outdated) > 0 && l.outdated[0].lsn <= at.lsn
	l.mu.Unlock()
	l.writeHint(at)
	l.announce(at.lsn)
	if discard {
		wake(l.toPrepare)
	}
	return true
}

// writeHint rewrites log/durable. It is a hint: if it cannot be written, others
// see less until the next one. The caller has the turn.
func (l *Log) writeHint(at spot) { l.tell(at, false) }

// tell is writeHint, for a log that was closed if sealed.
func (l *Log) tell(at spot, sealed bool) {
	h := hint{sealed: sealed, proven: l.o.Sync.Mode != journal.None, epoch: uint64(l.epoch), lsn: at.lsn, number: at.seg.number, off: at.off}
	l.hintBuf = l.appendHint(l.hintBuf[:0], &h)
	_, _ = l.hints.WriteAt(l.hintBuf, 0)
	l.mu.Lock()
	l.hinted = at.lsn
	l.mu.Unlock()
}
