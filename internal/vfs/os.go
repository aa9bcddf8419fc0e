//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// OS is the file system of the machine.
var OS FS = osFS{}

type osFS struct{}

func (osFS) Open(name string) (File, error) { return wrapOS(os.Open(name)) }

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, pathError("open", name, errors.ErrUnsupported)
	}
	return wrapOS(os.OpenFile(name, flag, perm))
}

func (osFS) Rename(oldname, newname string) error         { return os.Rename(oldname, newname) }
func (osFS) Remove(name string) error                     { return os.Remove(name) }
func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync() // F_FULLFSYNC on macOS
	return errors.Join(err, d.Close())
}

// osFile adds to os.File what File asks beyond it.
type osFile struct{ *os.File }

func wrapOS(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Allocate(off, n int64) error {
	if off < 0 || n <= 0 {
		return pathError("allocate", f.Name(), fs.ErrInvalid)
	}
	return allocate(f.File, off, n)
}

// control runs a system call on the descriptor of f, again if a signal
// interrupts it, and names call and file in its error.
func control(f *os.File, call string, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	closed := conn.Control(func(fd uintptr) {
		for {
			failed = do(int(fd))
			if !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if closed != nil { // the only reason for which Control does not run
		failed = fs.ErrClosed
	}
	if failed != nil {
		return pathError(call, f.Name(), failed)
	}
	return nil
}

// fill takes up space by writing: what the range holds is written back, what
// it lacks is written as zeros. It serves where the system cannot reserve.
func fill(f *os.File, off, n int64) error {
	chunk := make([]byte, min(n, 1<<20))
	for n > 0 {
		p := chunk[:min(n, int64(len(chunk)))]
		have, err := f.ReadAt(p, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(p[have:])
		if _, err := f.WriteAt(p, off); err != nil {
			return err
		}
		off += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

func osInode(sys any) (device, inode uint64, ok bool) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return uint64(st.Dev), uint64(st.Ino), true //nolint:unconvert // Dev is int32 on macOS
}
