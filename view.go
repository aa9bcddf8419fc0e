package weir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// status says how the last epoch of a run ended. It takes no ownership: to look
// at a run must not begin an epoch of it.
func (s *store) status(run string) (status Status, err error) {
	dir := filepath.Join(s.runs, run)
	m, err := segment.ReadManifest(s.fsys, dir)
	if err != nil {
		return "", err
	}
	if _, held, err := s.fsys.LockHolder(filepath.Join(dir, "LOCK")); err != nil || held {
		return Running, err // opening it will say who holds it
	}
	copied := vfs.NewMemory()
	if err := copyTree(copied, s.fsys, dir); err != nil {
		return "", fmt.Errorf("look at run %s: %w", run, err)
	}
	log, _, err := segment.Open(copied, dir, segment.Options{})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return statusOf(asManifest{log, m})
}

// asManifest is a log with the manifest that it had before it was opened.
type asManifest struct {
	*segment.Log
	m journal.Manifest
}

func (a asManifest) Manifest() journal.Manifest { return a.m }

func copyTree(to, from vfs.FS, dir string) error {
	entries, err := from.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := to.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			err = copyTree(to, from, name)
		case e.Name() != "LOCK":
			err = copyFile(to, from, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(to, from vfs.FS, name string) error {
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	out, err := to.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, in.Close(), out.Close())
}
