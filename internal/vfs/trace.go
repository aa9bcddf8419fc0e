package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Counts sums up what was asked of a file system. Failed operations count,
// with the bytes they did.
type Counts struct {
	Reads        int64 // calls of Read and ReadAt
	BytesRead    int64
	Writes       int64 // calls of Write and WriteAt
	BytesWritten int64
	Syncs        int64 // of files
	DirSyncs     int64
	Mutations    int64 // operations that change the disk, those above included
}

// Trace is a file system that keeps an account of what it is asked.
type Trace struct {
	wrapped
	record bool

	mu     sync.Mutex
	lines  []string
	counts Counts
}

var _ FS = (*Trace)(nil)

// NewTrace returns fsys with an account of lines and counts.
func NewTrace(fsys FS) *Trace { return newTrace(fsys, true) }

// NewMeter returns fsys with counts only, which take no memory.
func NewMeter(fsys FS) *Trace { return newTrace(fsys, false) }

func newTrace(fsys FS, record bool) *Trace {
	t := &Trace{record: record}
	t.wrapped = wrapped{fs: fsys, gate: t}
	return t
}

// Lines returns one line for each operation that changes the disk, in the
// order they ended, with base names only:
//
//	create run.tmp
//	write run.tmp 0 512
//	allocate 0000000001.seg 0 1048576
//	truncate 0000000001.seg 4096
//	sync run.tmp
//	rename run.tmp run
//	syncdir data
//	remove run failed: input/output error
func (t *Trace) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines)
}

// Counts returns the sums since the start or the last Reset.
func (t *Trace) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// Reset starts the account afresh.
func (t *Trace) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines, t.counts = nil, Counts{}
}

func (t *Trace) before(*Op) Fault { return Fault{} }

func (t *Trace) after(op Op, n int64, err error) {
	line := ""
	if t.record && op.Kind.Mutating() {
		line = op.line(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if line != "" {
		t.lines = append(t.lines, line)
	}
	if op.Kind.Mutating() {
		t.counts.Mutations++
	}
	switch op.Kind {
	case KindRead:
		t.counts.Reads++
		t.counts.BytesRead += n
	case KindWrite:
		t.counts.Writes++
		t.counts.BytesWritten += n
	case KindSync:
		t.counts.Syncs++
	case KindSyncDir:
		t.counts.DirSyncs++
	default:
	}
}

func (op Op) line(err error) string {
	line := string(op.Kind) + " " + filepath.Base(op.Name)
	switch op.Kind {
	case KindWrite, KindAllocate:
		line += fmt.Sprintf(" %d %d", op.Offset, op.Size)
	case KindTruncate:
		line += fmt.Sprintf(" %d", op.Size)
	case KindRename:
		line += " " + filepath.Base(op.To)
	default:
	}
	if err != nil {
		line += " failed: " + cause(err).Error()
	}
	return line
}

// cause takes the names of files off an error: they differ from test to test.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
