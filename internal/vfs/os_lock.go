//go:build unix

package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"syscall"
)

// The lock is flock(2): it belongs to the open file, so that closing another
// handle of this process does not drop it, as it would with fcntl(2). It has
// no way to ask without taking; LockHolder therefore takes a shared lock for
// an instant. Lock tells that from a holder: beside an asker a shared lock can
// be had, beside a holder it cannot.

// lockAttempts bounds how often Lock tries again because of askers or because
// the file was replaced. One round is enough unless askers never pause.
const lockAttempts = 1000

func (osFS) Lock(name, note string) (io.Closer, error) {
	for range lockAttempts {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		got, err := tryLock(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if got {
			if err := writeNote(f, note); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return &osLock{f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		runtime.Gosched()
	}
	return nil, fmt.Errorf("lock %s: %d attempts met somebody asking for its holder: try again", name, lockAttempts)
}

// tryLock is false if the attempt has to be made again on a newly opened file.
func tryLock(f *os.File) (bool, error) {
	err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		shared := flock(f, syscall.LOCK_SH|syscall.LOCK_NB)
		if errors.Is(shared, syscall.EWOULDBLOCK) {
			note, err := readNote(f)
			if err != nil {
				return false, err
			}
			return false, &LockedError{Name: f.Name(), Note: note}
		}
		return false, shared
	}
	if err != nil {
		return false, err
	}
	// A lock on a file that has lost its name meanwhile excludes nobody.
	locked, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(locked, named), nil
}

func (osFS) LockHolder(name string) (note string, held bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = flock(f, syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		note, err = readNote(f)
		return note, true, err
	}
	return "", false, err
}

func flock(f *os.File, how int) error {
	return control(f, "flock", func(fd int) error { return syscall.Flock(fd, how) })
}

// writeNote replaces what an earlier holder left. A full disk does not keep
// anyone from continuing a run: the lock holds without its note.
func writeNote(f *os.File, note string) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(note), 0); err != nil && !IsNoSpace(err) {
		return err
	}
	return nil
}

func readNote(f *os.File) (string, error) {
	note, err := io.ReadAll(io.NewSectionReader(f, 0, maxNote))
	return string(note), err
}

type osLock struct{ f *os.File }

// Close takes the note away and releases the lock.
func (l *osLock) Close() error {
	return errors.Join(l.f.Truncate(0), l.f.Close())
}
