package vfs

import (
	"io"
	"io/fs"
	"syscall"
)

// maxMemoryFile bounds a file, so that a wild offset is an error and not the
// end of the process.
const maxMemoryFile = 4 << 30

func checkRange(off, n int64) error {
	switch {
	case off < 0 || n < 0:
		return fs.ErrInvalid
	case off > maxMemoryFile || n > maxMemoryFile-off:
		return syscall.EFBIG
	}
	return nil
}

// memoryFile is an open file of a Memory. The mutex of the Memory guards it.
type memoryFile struct {
	fs     *Memory
	node   *node
	name   string
	off    int64 // of Read and Write
	reads  bool
	writes bool
	closed bool
}

// enter takes the lock; the caller unlocks, with an error as well.
func (f *memoryFile) enter(op string, allowed bool) error {
	f.fs.mu.Lock()
	switch {
	case f.fs.dead:
		return pathError(op, f.name, ErrCrashed)
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case !allowed:
		return pathError(op, f.name, syscall.EBADF)
	case f.node.mode.IsDir() && op != "close" && op != "size":
		return pathError(op, f.name, syscall.EISDIR)
	}
	return nil
}

func (f *memoryFile) Name() string { return f.name }

func (f *memoryFile) Read(p []byte) (int, error) {
	err := f.enter("read", f.reads)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.readAt(p, f.off)
	f.off += int64(n)
	if n > 0 || len(p) == 0 {
		err = nil // the end is reported when nothing is left
	}
	return n, err
}

func (f *memoryFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.enter("read", f.reads)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, fs.ErrInvalid)
	}
	return f.readAt(p, off)
}

func (f *memoryFile) readAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Write(p []byte) (int, error) {
	err := f.enter("write", f.writes)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.writeAt(p, f.off)
	f.off += int64(n)
	return n, err
}

func (f *memoryFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.enter("write", f.writes)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return f.writeAt(p, off)
}

func (f *memoryFile) writeAt(p []byte, off int64) (int, error) {
	if err := checkRange(off, int64(len(p))); err != nil {
		return 0, pathError("write", f.name, err)
	}
	f.node.write(p, off)
	f.fs.touch(f.node)
	return len(p), nil
}

func (f *memoryFile) Seek(offset int64, whence int) (int64, error) {
	err := f.enter("seek", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += int64(len(f.node.data))
	default:
		return 0, pathError("seek", f.name, fs.ErrInvalid)
	}
	if offset < 0 {
		return 0, pathError("seek", f.name, fs.ErrInvalid)
	}
	f.off = offset
	return offset, nil
}

func (f *memoryFile) Sync() error {
	err := f.enter("sync", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	f.node.sync()
	return nil
}

// failSync implements syncFailer.
func (f *memoryFile) failSync() {
	err := f.enter("sync", true)
	defer f.fs.mu.Unlock()
	if err == nil {
		f.node.failSync()
	}
}

func (f *memoryFile) Truncate(size int64) error {
	err := f.enter("truncate", f.writes)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if err := checkRange(size, 0); err != nil {
		return pathError("truncate", f.name, err)
	}
	f.node.truncate(size)
	f.fs.touch(f.node)
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	err := f.enter("size", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return int64(len(f.node.data)), nil
}

func (f *memoryFile) Allocate(off, n int64) error {
	err := f.enter("allocate", f.writes)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	if n == 0 {
		return pathError("allocate", f.name, fs.ErrInvalid)
	}
	if err := checkRange(off, n); err != nil {
		return pathError("allocate", f.name, err)
	}
	if off+n > int64(len(f.node.data)) {
		f.node.resize(off + n)
		f.fs.touch(f.node)
	}
	return nil
}

func (f *memoryFile) Close() error {
	err := f.enter("close", true)
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	f.closed = true
	return nil
}
