package journaltest

import (
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// An Opener opens the log of one run on a file system, and creates it if it does
// not exist or was not created to the end. It must place the log below "/".
type Opener func(fsys vfs.FS) (journal.Log, error)

// Files returns a factory of logs on file systems in memory.
func Files(open Opener) Factory {
	return func() Store {
		return &files{open: open, disk: vfs.NewMemory(), rng: rand.New(rand.NewPCG(1, 2))}
	}
}

// files is a machine with one disk.
type files struct {
	open Opener
	disk *vfs.Memory
	rng  *rand.Rand

	mu     sync.Mutex    // guards what follows
	held   chan struct{} // syncs wait until it is closed, by Release; nil if they need not
	full   bool
	broken error // of the next write or sync
}

func (s *files) Open() (journal.Log, error) {
	disk := s.disk
	return s.open(vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault { return s.fault(disk, op) }))
}

// fault says what happens to an operation.
func (s *files) fault(disk *vfs.Memory, op vfs.Op) vfs.Fault {
	s.mu.Lock()
	held, full, broken := s.held, s.full, s.broken
	if broken != nil && (op.Kind == vfs.KindWrite || op.Kind == vfs.KindSync) {
		s.broken = nil
		s.mu.Unlock()
		return vfs.Fault{Err: broken}
	}
	s.mu.Unlock()
	if held != nil && op.Kind == vfs.KindSync {
		<-held
		return s.fault(disk, op) // the disk may have been broken meanwhile
	}
	if full {
		return noSpace(disk, op)
	}
	return vfs.Fault{}
}

// noSpace is what a full disk does: what a file has room for can be written,
// nothing else.
func noSpace(disk vfs.FS, op vfs.Op) vfs.Fault {
	var has int64
	if info, err := disk.Stat(op.Name); err == nil {
		has = info.Size()
	}
	switch op.Kind {
	case vfs.KindWrite, vfs.KindAllocate:
		if op.Offset+op.Size > has {
			return vfs.Fault{Err: syscall.ENOSPC, Bytes: max(has-op.Offset, 0)}
		}
	case vfs.KindCreate, vfs.KindMkdir:
		if has == 0 {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
	case vfs.KindTruncate:
		if op.Size > has {
			return vfs.Fault{Err: syscall.ENOSPC}
		}
	default:
	}
	return vfs.Fault{}
}

func (s *files) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(chan struct{})
	}
}

func (s *files) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		close(s.held)
		s.held = nil
	}
}

func (s *files) Fill()  { s.setFull(true) }
func (s *files) Space() { s.setFull(false) }

func (s *files) setFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

func (s *files) Break(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = cause
}

func (s *files) Kill()  { s.disk = s.disk.Kill(); s.Break(nil); s.Release() }
func (s *files) Crash() { s.disk = s.disk.Crash(s.rng); s.Break(nil); s.Release() }
