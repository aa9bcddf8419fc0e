package vfs

import (
	"errors"
	"os"
	"syscall"
)

// syncData leaves out times of access and change; it includes the size.
func syncData(f *os.File) error { return control(f, "fdatasync", syscall.Fdatasync) }

func allocate(f *os.File, off, n int64) error {
	err := control(f, "fallocate", func(fd int) error { return syscall.Fallocate(fd, 0, off, n) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return fill(f, off, n)
	}
	return err
}
