package segment

import (
	"errors"
	"os"
	"time"

	"github.com/weirflow/weir/internal/vfs"
)

// quick is how fast a segment has to fill for the next one to be reserved only:
// then throughput counts, and zeros would double what is written. Otherwise it
// is filled with zeros, which makes each sync cheaper.
const quick = time.Second

// prepare is the preparer's goroutine: it keeps the next segment ready, and
// removes outdated snapshots.
func (l *Log) prepare() {
	defer l.stopped.Done()
	delay := retryFirst
	for {
		l.discard()
		number, size, zeros, needed := l.needed()
		if needed {
			seg, err := l.layout.prepare(number, size, zeros)
			switch {
			case err == nil:
				l.mu.Lock()
				l.ready = seg
				l.mu.Unlock()
				l.hinder(1, nil)
				delay = retryFirst
				continue
			case !vfs.IsNoSpace(err):
				l.fail(err)
				return
			}
			l.hinder(1, err)
			l.pause(delay, l.retry[1])
			delay = min(2*delay, retryLast)
			if l.isClosing() {
				return
			}
			continue
		}
		select {
		case <-l.toPrepare:
		case <-l.close:
			return
		}
	}
}

// needed tells which segment to prepare, if any, its size, and whether to write
// zeros.
func (l *Log) needed() (number uint64, size int64, zeros, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready != nil || l.failed != nil || l.closing {
		return 0, 0, false, false
	}
	n := len(l.segs)
	last := l.segs[n-1]
	zeros = n < 2 || last.begun.Sub(l.segs[n-2].begun) >= quick
	return last.number + 1, l.o.sizeAfter(last.limit), zeros, true
}

// sizeAfter is the planned size of a segment that follows one with so many bytes.
func (o *Options) sizeAfter(bytes int64) int64 {
	if o.SegmentSize > 0 {
		return max(o.SegmentSize, 2*headerSize)
	}
	size := int64(firstSize)
	for size < lastSize && size < 2*bytes {
		size *= 2
	}
	return size
}

// prepare makes a file of zeros, durable but for its name.
func (l *layout) prepare(number uint64, size int64, zeros bool) (*segment, error) {
	name := l.temp(number)
	f, err := l.fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return nil, err
	}
	err = f.Allocate(0, size)
	if zeros && err == nil {
		err = zero(f, 0, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		err = errors.Join(err, f.Close())
		_ = l.fsys.Remove(name) // gives back the space; the next owner removes what is left
		return nil, err
	}
	return &segment{number: number, limit: size, file: f}, nil
}

// zero writes zeros over [from, to) of f.
func zero(f vfs.File, from, to int64) error {
	if from >= to {
		return nil
	}
	chunk := make([]byte, min(to-from, 1<<20))
	for from < to {
		n := min(int64(len(chunk)), to-from)
		if _, err := f.WriteAt(chunk[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}
