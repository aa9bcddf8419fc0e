package segment

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"sort"
	"sync"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Read returns a reader. See [journal.Log].
func (l *Log) Read(from journal.LSN) (journal.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readable(); err != nil {
		return nil, err
	}
	if from != 0 && from < l.segs[0].first {
		return nil, fmt.Errorf("read from LSN %d: %w: the log begins at %d", from, journal.ErrTrimmed, l.segs[0].first)
	}
	r := &reader{log: l, from: max(from, l.segs[0].first), begins: true}
	return r, nil
}

// readable says why the log cannot be read; a poisoned log still can. The caller
// holds mu.
func (l *Log) readable() error {
	if errors.Is(l.failed, journal.ErrClosed) {
		return l.failed
	}
	return nil
}

// A reader reads what is placed: from files what is written, from memory what is
// not.
type reader struct {
	log    *Log
	from   journal.LSN
	src    *liveSource
	scan   scanner
	begins bool // the next frame begins a transition
	wanted bool // its transition is at or after from
	done   bool
}

// Next returns the next frame. See [journal.Reader].
func (r *reader) Next() (journal.Entry, error) {
	for {
		if ok, err := r.advance(); err != nil {
			return journal.Entry{}, err
		} else if !ok {
			return journal.Entry{}, io.EOF
		}
		f, body, bad, err := r.scan.next()
		if err != nil {
			return journal.Entry{}, err
		}
		if bad != nil {
			return journal.Entry{}, r.scan.corrupt(bad)
		}
		if r.begins {
			r.wanted = f.lsn >= r.from
		}
		r.begins = !f.more()
		if r.wanted {
			return journal.Entry{LSN: f.lsn, Epoch: uint64(f.epoch), More: f.more(), Body: body}, nil
		}
	}
}

// advance makes the scanner ready to read a frame, false at the head.
func (r *reader) advance() (bool, error) {
	if r.done {
		return false, journal.ErrClosed
	}
	l := r.log
	next := max(r.scan.lsn, r.from)
	l.mu.Lock()
	if err := l.readable(); err != nil || next > l.head() {
		l.mu.Unlock()
		return false, err
	}
	if r.src != nil && r.scan.lsn <= r.src.seg.last {
		r.scan.end = r.src.seg.end
		l.mu.Unlock()
		return true, nil
	}
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].last >= next })
	seg := l.segs[i]
	l.mu.Unlock()

	scan := scanner{
		name: l.segment(seg.number), sums: summer{seed: l.seed}, epochs: l.manifest.Epochs,
		number: seg.number, off: headerSize, lsn: seg.first, buf: r.scan.buf[:0],
	}
	if r.src == nil {
		m, ok, err := l.markBefore(seg, next)
		if err != nil {
			return false, err
		}
		if ok {
			scan.off, scan.lsn = m.off, m.lsn
		}
	} else {
		scan.prev, scan.sure = r.scan.prev, r.scan.sure
		if err := r.src.Close(); err != nil {
			return false, err
		}
	}
	r.src = &liveSource{log: l, seg: seg}
	r.scan = scan
	r.scan.src = r.src
	l.mu.Lock()
	r.scan.end = seg.end
	l.mu.Unlock()
	return true, nil
}

// Close ends the reader.
func (r *reader) Close() error {
	if r.done {
		return nil
	}
	r.done = true
	if r.src == nil {
		return nil
	}
	return r.src.Close()
}

// A liveSource is the content of a segment as placed.
type liveSource struct {
	log  *Log
	seg  *segment
	file vfs.File
}

// ReadAt reads up to the point where file and memory meet, or to the end of what
// is placed. No frame lies across that point.
func (s *liveSource) ReadAt(p []byte, off int64) (int, error) {
	l := s.log
	l.mu.Lock()
	written := s.seg.end
	switch w := l.written.seg; {
	case w == s.seg:
		written = l.written.off
	case w.number < s.seg.number:
		written = headerSize
	}
	if off >= written {
		n := 0
		for _, g := range l.queue {
			if at := off + int64(n); g.seg == s.seg && at >= g.off && at < g.end() {
				n += copy(p[n:], g.buf[at-g.off:])
			}
		}
		l.mu.Unlock()
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	l.mu.Unlock()
	if s.file == nil {
		f, err := l.fsys.Open(l.segment(s.seg.number))
		if err != nil {
			return 0, err
		}
		s.file = f
	}
	n := min(int64(len(p)), written-off)
	got, err := s.file.ReadAt(p[:n], off)
	if err == nil && got < len(p) {
		err = io.EOF
	}
	return got, err
}

func (s *liveSource) Close() error {
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// markBefore returns the last mark of a segment that is not after lsn.
func (l *Log) markBefore(seg *segment, lsn journal.LSN) (mark, bool, error) {
	x, unlock, err := l.indexOf(seg)
	if err != nil {
		return mark{}, false, err
	}
	defer unlock()
	m, ok := x.before(lsn)
	return m, ok, nil
}

// indexOf returns the index of a segment, to be used until unlock.
func (l *Log) indexOf(seg *segment) (x *index, unlock func(), err error) {
	l.mu.Lock()
	if seg == l.segs[len(l.segs)-1] {
		return l.idx, l.mu.Unlock, nil
	}
	pending, t := seg.index, seg.trailer
	l.mu.Unlock()
	x, err = l.indexes.get(seg.number, func() (*index, error) {
		if pending != nil {
			return parseIndex(pending)
		}
		return l.loadIndex(&t)
	})
	return x, func() {}, err
}

// loadIndex reads the index of a sealed segment from its file.
func (l *layout) loadIndex(t *trailer) (x *index, err error) {
	f, err := l.fsys.Open(l.segment(t.number))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	x, bad, err := l.readIndex(f, t)
	if bad != nil {
		return nil, &CorruptError{File: l.segment(t.number), Offset: t.end, Expected: bad.expected, Found: bad.found}
	}
	return x, err
}

// An indexCache keeps the indexes used last.
type indexCache struct {
	mu    sync.Mutex
	used  []uint64 // numbers, the newest last
	index map[uint64]*index
}

const cachedIndexes = 8

func (c *indexCache) get(number uint64, load func() (*index, error)) (*index, error) {
	c.mu.Lock()
	x := c.index[number]
	c.mu.Unlock()
	if x != nil {
		return x, nil
	}
	x, err := load()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.index == nil {
		c.index = map[uint64]*index{}
	}
	if c.index[number] == nil {
		if len(c.used) == cachedIndexes {
			delete(c.index, c.used[0])
			c.used = c.used[1:]
		}
		c.used = append(c.used, number)
		c.index[number] = x
	}
	return x, nil
}

// Find returns the LSN of a transition at or before the one that holds record seq
// of a journal, within 32 KiB of log.
func (l *Log) Find(name string, seq uint64) (journal.LSN, error) {
	p := splitJournal(name)
	l.mu.Lock()
	if err := l.readable(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	segs := l.segs
	l.mu.Unlock()
	return findRecord(p, seq, segs[0].first, len(segs), func(i int) (*index, func(), error) { return l.indexOf(segs[i]) })
}

// findRecord looks for a record in the indexes of n segments. An index says how
// far each journal had come at its end, so few of them are looked at.
func findRecord(p port, seq uint64, first journal.LSN, n int, indexOf func(i int) (*index, func(), error)) (journal.LSN, error) {
	end := func(i int) (uint64, error) {
		x, unlock, err := indexOf(i)
		if err != nil {
			return 0, err
		}
		defer unlock()
		if j := x.journals[p]; j != nil {
			return j.last, nil
		}
		return 0, nil
	}
	last, err := end(n - 1)
	if err != nil || last == 0 {
		return first, err
	}
	seq = min(seq, last)
	var failed error
	i := sort.Search(n, func(i int) bool {
		last, err := end(i)
		failed = errors.Join(failed, err)
		return last >= seq
	})
	if failed != nil {
		return 0, failed
	}
	x, unlock, err := indexOf(i)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if m, ok := x.find(p, seq); ok {
		return m.lsn, nil
	}
	return first, nil // seq 0
}

// Tails says where each stage stood when this owner opened the log.
func (l *Log) Tails() map[string]journal.Tail {
	tails := make(map[string]journal.Tail, len(l.tails))
	maps.Copy(tails, l.tails)
	return tails
}
