package memory

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sort"

	"github.com/weirflow/weir/journal"
)

// Read returns a reader. See [journal.Log].
func (l *Log) Read(from journal.LSN) (journal.Reader, error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.readable(); err != nil {
		return nil, err
	}
	from = max(from, 1)
	for from <= l.store.head() && l.store.entries[from-1].first < from {
		from++ // a later part: its transition began before from
	}
	return &reader{log: l, next: from}, nil
}

// readable says why the log cannot be read; a poisoned log still can, until it
// has its next owner. The caller holds the store's mu.
func (l *Log) readable() error {
	if l.failed != nil && (errors.Is(l.failed, journal.ErrClosed) || l.store.owner != l) {
		return l.failed
	}
	return nil
}

// A reader copies each body into its own buffer, so that who keeps a body too
// long finds it overwritten, as with a log on disk.
type reader struct {
	log  *Log
	next journal.LSN
	body []byte
	done bool
}

func (r *reader) Next() (journal.Entry, error) {
	s := r.log.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.done {
		return journal.Entry{}, journal.ErrClosed
	}
	if err := r.log.readable(); err != nil {
		return journal.Entry{}, err
	}
	if r.next > s.head() {
		return journal.Entry{}, io.EOF
	}
	e := s.entries[r.next-1]
	r.body = append(r.body[:0], e.frame.Body...)
	out := journal.Entry{LSN: r.next, Epoch: e.epoch, More: e.more, Body: r.body}
	r.next++
	return out, nil
}

func (r *reader) Close() error {
	r.log.store.mu.Lock()
	defer r.log.store.mu.Unlock()
	r.done = true
	return nil
}

// Find returns the first frame of the transition that holds record seq of a
// journal, or of the last before it; 1 if the journal has none.
func (l *Log) Find(name string, seq uint64) (journal.LSN, error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.readable(); err != nil {
		return 0, err
	}
	marks := l.store.index[name]
	i := sort.Search(len(marks), func(i int) bool { return marks[i].seq > seq })
	if i == 0 {
		return 1, nil
	}
	return marks[i-1].lsn, nil
}

// Tails says where each stage stood when this owner opened the log.
func (l *Log) Tails() map[string]journal.Tail { return maps.Clone(l.tails) }

// WriteSnapshot stores data under name, in place of what was there.
func (l *Log) WriteSnapshot(name string, data []byte) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	l.store.snapshots[name] = bytes.Clone(data)
	return nil
}

// ReadSnapshot returns what was stored under name; the error wraps
// [fs.ErrNotExist] if there is none.
func (l *Log) ReadSnapshot(name string) ([]byte, error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if err := l.readable(); err != nil {
		return nil, err
	}
	data, ok := l.store.snapshots[name]
	if !ok {
		return nil, fmt.Errorf("snapshot %q: %w", name, fs.ErrNotExist)
	}
	return bytes.Clone(data), nil
}
