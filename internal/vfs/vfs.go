// Package vfs is the seam between Weir and file systems. Whatever touches a
// file goes through an [FS], so that a test can cut the power, fill the disk
// or fail a sync at any operation and see what is left.
//
//   - [OS] is the file system of the machine.
//   - [Memory] lives in memory and knows what a disk would hold: [Memory.Crash]
//     is a power cut, [Memory.Kill] the death of the process.
//   - [Faults] wraps an FS and makes chosen operations fail, or stops the world.
//   - [Trace] wraps an FS and writes down, or only counts, what it is asked.
//
// What is durable is stated once, here, and holds for every implementation:
//
//   - [File.Sync] makes the content and size of the file durable, not its name.
//   - [FS.SyncDir] makes the names in one directory durable: files created,
//     renamed and removed in it, directories made in it. Nothing else does.
//   - A rename is atomic: after a crash the file has its old name or its new
//     one. Between two directories it is durable once the new one is synced.
//   - Everything else may or may not have happened after a power cut, in any
//     combination: of two writes the later may survive without the earlier.
//   - After a failed Sync nothing written before it may be relied on, even if
//     it can be read and even if a later Sync succeeds, until it is written again.
//
// [WriteFileAtomic] and [EnsureDir] put these rules together; [Watch] waits for
// what other processes do.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// FS is a file system. Names are those of the operating system (package
// path/filepath). Implementations are safe for concurrent use and hold no lock
// while they wait. Errors wrap those of io/fs (fs.ErrNotExist, fs.ErrExist …)
// and name the file.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenFile opens a file with the flags of package os: O_RDONLY, O_WRONLY or
	// O_RDWR with O_CREATE, O_EXCL, O_TRUNC. O_APPEND is not supported.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename gives a file another name, replacing the file that had it.
	Rename(oldname, newname string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// MkdirAll creates a directory and those above it that are missing. It
	// syncs nothing; see [EnsureDir].
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes a file; see [IdentityOf].
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
	// Lock takes the exclusive lock on a file, creating it if needed, and holds
	// it until Close or the end of the process, whatever other handles on the
	// file are closed meanwhile. The note, JSON that says who holds it, is
	// written into the file for people. If anybody holds the lock, this process
	// included, the error is a [LockedError]. Lock never waits for a holder.
	Lock(name, note string) (io.Closer, error)
	// LockHolder tells whether the lock on a file is held, and the holder's
	// note (empty in the instant before the holder has written it). It does not
	// take the lock and does not make a concurrent Lock fail. A file that does
	// not exist is not held.
	LockHolder(name string) (note string, held bool, err error)
}

// File is an open file. ReadAt and WriteAt may be used concurrently; Read,
// Write and Seek share one offset and belong to one goroutine.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Seeker
	io.Closer
	// Name returns the name the file was opened with.
	Name() string
	// Sync makes content and size durable: fdatasync on Linux, F_FULLFSYNC on
	// macOS. It covers all that was written before it was called, through any
	// handle.
	Sync() error
	// Truncate sets the size. What it adds reads as zeros.
	Truncate(size int64) error
	// Size returns the current size.
	Size() (int64, error)
	// Allocate reserves space for n bytes at off and extends the file to hold
	// them, so that later writes there do not fail for want of space. Bytes
	// that are there are kept, new ones read as zeros. If it fails, the file
	// may have been extended in part. Nobody may write to the range meanwhile.
	Allocate(off, n int64) error
}

// ErrCrashed is what every operation returns on a [Memory] that has crashed
// and on [Faults] that have stopped, through handles opened before as well.
var ErrCrashed = errors.New("the file system has crashed")

// ErrTooLarge is returned by [ReadFile] for a file above the caller's limit.
var ErrTooLarge = errors.New("file too large")

// ErrLocked matches a [LockedError] in errors.Is.
var ErrLocked = errors.New("locked by another owner")

// LockedError says that a lock is held, and by whom.
type LockedError struct {
	Name string // the lock file
	Note string // the holder's note; may be empty
}

func (e *LockedError) Error() string {
	if e.Note == "" {
		return fmt.Sprintf("lock %s: %v", e.Name, ErrLocked)
	}
	return fmt.Sprintf("lock %s: %v: %s", e.Name, ErrLocked, e.Note)
}

// Unwrap returns [ErrLocked].
func (e *LockedError) Unwrap() error { return ErrLocked }

// IsNoSpace tells whether err says that the disk or the user's share of it is
// full: conditions that pass, unlike every other error of a write.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// maxNote bounds what is read of a lock file.
const maxNote = 4 << 10
