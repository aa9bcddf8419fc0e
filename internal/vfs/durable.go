package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// WriteFileAtomic makes data the content of a file, durably: it writes
// name.tmp, syncs it, renames it over name and syncs the directory. Whatever
// happens, name holds the old content or all of the new, never a mixture. On
// return without an error the new content is durable under its name; with an
// error either may be there, and name.tmp may be left, which the next call
// overwrites. One caller at a time may write a given name.
func WriteFileAtomic(fsys FS, name string, data []byte, perm fs.FileMode) error {
	temp := name + ".tmp"
	if err := writeSynced(fsys, temp, data, perm); err != nil {
		_ = fsys.Remove(temp) // a leftover does no harm, the first error says more
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeSynced(fsys FS, name string, data []byte, perm fs.FileMode) (err error) {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}

// EnsureDir makes sure that a directory exists durably: it creates what is
// missing from the top down and syncs each new directory into its parent
// before it makes the next. The lowest directory that existed is synced into
// its parent as well, because whoever made it may have died before that; so,
// if all directories are made by EnsureDir, path is durable on return.
func EnsureDir(fsys FS, path string, perm fs.FileMode) error {
	path = filepath.Clean(path)
	var missing []string // lowest first
	existing := path
	for {
		info, err := fsys.Stat(existing)
		if err == nil {
			if !info.IsDir() {
				return fmt.Errorf("make directory %s: %s is not a directory: %w", path, existing, syscall.ENOTDIR)
			}
			break
		}
		parent := filepath.Dir(existing)
		if !errors.Is(err, fs.ErrNotExist) || parent == existing {
			return fmt.Errorf("make directory %s: %w", path, err)
		}
		missing = append(missing, existing)
		existing = parent
	}
	if parent := filepath.Dir(existing); parent != existing {
		if err := fsys.SyncDir(parent); err != nil && !notOurs(err) {
			return fmt.Errorf("make directory %s: %w", path, err)
		}
	}
	for _, m := range slices.Backward(missing) {
		if err := fsys.MkdirAll(m, perm); err != nil {
			return fmt.Errorf("make directory %s: %w", path, err)
		}
		if err := fsys.SyncDir(filepath.Dir(m)); err != nil {
			return fmt.Errorf("make directory %s: %w", path, err)
		}
	}
	return nil
}

// notOurs tells whether a directory that exists cannot be synced into its
// parent for a reason that says it is older than us: the parent may not be
// read, is mounted read-only or of a kind that knows no sync.
func notOurs(err error) bool {
	for _, reason := range []error{fs.ErrPermission, syscall.EROFS, syscall.EINVAL} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// ReadFile returns the content of a file of at most limit bytes. For a larger
// one it returns [ErrTooLarge] without reading it.
func ReadFile(fsys FS, name string, limit int64) (data []byte, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if size > limit || size > math.MaxInt {
		return nil, fmt.Errorf("read %s: %d bytes where at most %d are allowed: %w", name, size, limit, ErrTooLarge)
	}
	data = make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: it became shorter meanwhile
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return data[:n], nil
}
