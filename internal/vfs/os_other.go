//go:build unix && !linux

package vfs

import "os"

// syncData relies on package os, which asks macOS for F_FULLFSYNC: a plain
// fsync there does not empty the cache of the drive.
func syncData(f *os.File) error { return f.Sync() }

func allocate(f *os.File, off, n int64) error { return fill(f, off, n) }
