package weir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

// A store is where the runs of a flow are kept.
type store struct {
	fsys vfs.FS
	runs string // Dir/flow
}

// findStore finds the data directory; the error wraps [fs.ErrNotExist] if there is
// none, and the store says where it would be.
func findStore(o Options, flow string) (*store, error) {
	s := &store{fsys: o.Harness.FS}
	if s.fsys == nil {
		s.fsys = vfs.OS
	}
	data, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	s.runs = filepath.Join(data, flow)
	if _, err := s.fsys.Stat(data); err != nil {
		return s, fmt.Errorf("data directory: %w", err)
	}
	return s, nil
}

// openStore creates the data directory if it has to.
func openStore(o Options, flow string) (*store, error) {
	s, err := findStore(o, flow)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	data := filepath.Dir(s.runs)
	if o.RequireDir {
		return nil, fmt.Errorf("%w: %s", ErrNoDir, data)
	}
	if err := vfs.EnsureDir(s.fsys, data, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := ignore(s.fsys, filepath.Join(data, ".gitignore")); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	o.Logger.Info("created data directory", slog.String("dir", data))
	return s, nil
}

// ignore tells git to pass over the data directory. Flows that start at once may
// all try; the first writes it.
func ignore(fsys vfs.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("*\n"))
	return errors.Join(err, f.Close())
}

// find returns the run to go on with, "" to start a new one.
func (s *store) find(o Options) (run string, err error) {
	if o.Run != "" {
		m, err := segment.ReadManifest(s.fsys, filepath.Join(s.runs, o.Run))
		if err == nil && m.Baseline != "" && len(m.Epochs) < 2 && !o.replays { // the second is that of its deliveries
			return "", fmt.Errorf("%w: %s is a replay of %s, which does not go on in the world; replay that again", ErrNoRun, o.Run, m.Baseline)
		}
		status, err := s.status(o.Run)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%w: %s is not in %s", ErrNoRun, o.Run, s.runs)
		case err != nil:
			return "", err
		case status == Completed:
			return "", fmt.Errorf("%w: %s is completed", ErrNoRun, o.Run)
		}
		return o.Run, nil
	}
	if o.Continue == StartNew {
		return "", nil
	}
	run, err = s.newest()
	if run == "" || err != nil {
		return "", err
	}
	status, err := s.status(run)
	switch {
	case err != nil:
		return "", err
	case status == Completed:
		return "", nil
	case o.Continue == RefuseUnfinished:
		return "", fmt.Errorf("%w: run %s is %s; go on with it or start a new one", ErrUnfinished, run, status)
	}
	return run, nil
}

// newest returns the newest run that has a manifest and is neither a replay nor a
// redrive, "" if there is none. Ids are ULIDs, so they sort by age.
func (s *store) newest() (string, error) {
	entries, err := s.fsys.ReadDir(s.runs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list runs: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		if _, err := ulid.ParseStrict(e.Name()); err != nil || !e.IsDir() {
			continue
		}
		switch m, err := segment.ReadManifest(s.fsys, filepath.Join(s.runs, e.Name())); {
		case err == nil && (m.Baseline != "" || m.Redrive != nil):
		case err == nil:
			return e.Name(), nil
		case !errors.Is(err, fs.ErrNotExist): // else its making was cut short
			return "", err
		}
	}
	return "", nil
}
