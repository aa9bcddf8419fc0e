package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Kind says what an operation does.
type Kind string

// The kinds of operations.
const (
	KindOpen     Kind = "open"
	KindCreate   Kind = "create" // OpenFile with O_CREATE or O_TRUNC, whether the file exists or not
	KindRead     Kind = "read"
	KindWrite    Kind = "write"
	KindSync     Kind = "sync"
	KindTruncate Kind = "truncate"
	KindAllocate Kind = "allocate"
	KindClose    Kind = "close"
	KindRename   Kind = "rename"
	KindRemove   Kind = "remove"
	KindMkdir    Kind = "mkdir"
	KindSyncDir  Kind = "syncdir"
	KindReadDir  Kind = "readdir"
	KindStat     Kind = "stat" // and the size of an open file
	KindLock     Kind = "lock" // and asking for the holder
)

// Mutating tells whether an operation of this kind changes what the disk
// holds. Locks do not count: they end with their process.
func (k Kind) Mutating() bool {
	switch k {
	case KindCreate, KindWrite, KindSync, KindTruncate, KindAllocate, KindRename, KindRemove, KindMkdir, KindSyncDir:
		return true
	default:
		return false
	}
}

// Op is one operation, as [Faults] and [Trace] see it.
type Op struct {
	Kind   Kind
	Name   string // the file or directory
	To     string // the new name, of a rename
	Offset int64  // of a read, write or allocation
	Size   int64  // bytes asked for; the new size, of a truncation
	Number int    // counts mutating operations from 1, 0 for all others; set by Faults
}

// gate stands before and behind every operation of a wrapped file system.
type gate interface {
	before(op *Op) Fault
	after(op Op, n int64, err error)
}

// wrapped passes every operation of an FS through a gate.
type wrapped struct {
	fs   FS
	gate gate
}

// do runs an operation that transfers no bytes.
func do(g gate, op Op, run func() error) error {
	err := g.before(&op).failure(op)
	if err == nil {
		err = run()
	}
	g.after(op, 0, err)
	return err
}

// transfer runs an operation on up to size bytes; a fault may let some through.
func transfer(g gate, op Op, run func(size int64) (int64, error)) (n int64, err error) {
	fault := g.before(&op)
	size, err := op.Size, fault.failure(op)
	if err != nil {
		size = min(max(fault.Bytes, 0), op.Size)
	}
	if size > 0 || err == nil {
		var done error
		n, done = run(size)
		if err == nil {
			err = done
		}
	}
	g.after(op, n, err)
	return n, err
}

// watch watches what is wrapped: that is no operation.
func (w *wrapped) watch(name string) *Watcher { return Watch(w.fs, name) }

// Open implements [FS].
func (w *wrapped) Open(name string) (File, error) { return w.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile implements [FS].
func (w *wrapped) OpenFile(name string, flag int, perm fs.FileMode) (file File, err error) {
	op := Op{Kind: KindOpen, Name: name}
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		op.Kind = KindCreate
	}
	err = do(w.gate, op, func() error {
		f, err := w.fs.OpenFile(name, flag, perm)
		if err == nil {
			file = &wrappedFile{file: f, gate: w.gate}
		}
		return err
	})
	return file, err
}

// Rename implements [FS].
func (w *wrapped) Rename(oldname, newname string) error {
	return do(w.gate, Op{Kind: KindRename, Name: oldname, To: newname}, func() error { return w.fs.Rename(oldname, newname) })
}

// Remove implements [FS].
func (w *wrapped) Remove(name string) error {
	return do(w.gate, Op{Kind: KindRemove, Name: name}, func() error { return w.fs.Remove(name) })
}

// MkdirAll implements [FS].
func (w *wrapped) MkdirAll(name string, perm fs.FileMode) error {
	return do(w.gate, Op{Kind: KindMkdir, Name: name}, func() error { return w.fs.MkdirAll(name, perm) })
}

// ReadDir implements [FS].
func (w *wrapped) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = do(w.gate, Op{Kind: KindReadDir, Name: name}, func() (err error) {
		list, err = w.fs.ReadDir(name)
		return err
	})
	return list, err
}

// Stat implements [FS].
func (w *wrapped) Stat(name string) (info fs.FileInfo, err error) {
	err = do(w.gate, Op{Kind: KindStat, Name: name}, func() (err error) {
		info, err = w.fs.Stat(name)
		return err
	})
	return info, err
}

// SyncDir implements [FS].
func (w *wrapped) SyncDir(name string) error {
	return do(w.gate, Op{Kind: KindSyncDir, Name: name}, func() error { return w.fs.SyncDir(name) })
}

// Lock implements [FS].
func (w *wrapped) Lock(name, note string) (lock io.Closer, err error) {
	err = do(w.gate, Op{Kind: KindLock, Name: name}, func() (err error) {
		lock, err = w.fs.Lock(name, note)
		return err
	})
	return lock, err
}

// LockHolder implements [FS].
func (w *wrapped) LockHolder(name string) (note string, held bool, err error) {
	err = do(w.gate, Op{Kind: KindLock, Name: name}, func() (err error) {
		note, held, err = w.fs.LockHolder(name)
		return err
	})
	return note, held, err
}

// wrappedFile passes every operation of a File through a gate.
type wrappedFile struct {
	file File
	gate gate
}

// syncFailer is a File that can forget what it was to write, as a kernel does
// after a failed sync.
type syncFailer interface{ failSync() }

func (f *wrappedFile) failSync() {
	if s, ok := f.file.(syncFailer); ok {
		s.failSync()
	}
}

func (f *wrappedFile) Name() string { return f.file.Name() }

func (f *wrappedFile) op(kind Kind, off, size int64) Op {
	return Op{Kind: kind, Name: f.file.Name(), Offset: off, Size: size}
}

func (f *wrappedFile) Read(p []byte) (int, error) {
	off, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n, err := transfer(f.gate, f.op(KindRead, off, int64(len(p))), func(size int64) (int64, error) {
		n, err := f.file.Read(p[:size])
		return int64(n), err
	})
	return int(n), err
}

func (f *wrappedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := transfer(f.gate, f.op(KindRead, off, int64(len(p))), func(size int64) (int64, error) {
		n, err := f.file.ReadAt(p[:size], off)
		return int64(n), err
	})
	return int(n), err
}

func (f *wrappedFile) Write(p []byte) (int, error) {
	off, err := f.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	n, err := transfer(f.gate, f.op(KindWrite, off, int64(len(p))), func(size int64) (int64, error) {
		n, err := f.file.Write(p[:size])
		return int64(n), err
	})
	return int(n), err
}

func (f *wrappedFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := transfer(f.gate, f.op(KindWrite, off, int64(len(p))), func(size int64) (int64, error) {
		n, err := f.file.WriteAt(p[:size], off)
		return int64(n), err
	})
	return int(n), err
}

// Seek passes no gate: it asks nothing of the disk.
func (f *wrappedFile) Seek(offset int64, whence int) (int64, error) {
	return f.file.Seek(offset, whence)
}

func (f *wrappedFile) Sync() error {
	op := f.op(KindSync, 0, 0)
	err := f.gate.before(&op).failure(op)
	switch {
	case err == nil:
		err = f.file.Sync()
	case !errors.Is(err, ErrCrashed):
		f.failSync()
	}
	f.gate.after(op, 0, err)
	return err
}

func (f *wrappedFile) Truncate(size int64) error {
	return do(f.gate, f.op(KindTruncate, 0, size), func() error { return f.file.Truncate(size) })
}

func (f *wrappedFile) Size() (size int64, err error) {
	err = do(f.gate, f.op(KindStat, 0, 0), func() (err error) {
		size, err = f.file.Size()
		return err
	})
	return size, err
}

func (f *wrappedFile) Allocate(off, n int64) error {
	_, err := transfer(f.gate, f.op(KindAllocate, off, n), func(size int64) (int64, error) {
		return size, f.file.Allocate(off, size)
	})
	return err
}

// Close closes the file below in any case, so that no descriptor is lost.
func (f *wrappedFile) Close() error {
	op := f.op(KindClose, 0, 0)
	err := f.gate.before(&op).failure(op)
	if closed := f.file.Close(); err == nil {
		err = closed
	}
	f.gate.after(op, 0, err)
	return err
}
