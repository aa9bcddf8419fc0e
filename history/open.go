package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// disk is where runs are.
var disk vfs.FS = vfs.OS

// A Listed run is one of a data directory.
type Listed struct {
	Flow    string    `json:"flow"`
	Run     string    `json:"run"`
	Dir     string    `json:"dir"`
	Created time.Time `json:"created"`
	Epochs  int       `json:"epochs"`

	Replays  string `json:"replays,omitempty"`  // the run that it replays
	Redrives string `json:"redrives,omitempty"` // the run whose letters it processes again

	Err error `json:"-"` // why its manifest cannot be read; then only Flow, Run and Dir are known
}

// List returns the runs of a data directory by flow, the newest first. The error
// wraps [fs.ErrNotExist] if there is no such directory.
func List(data string) ([]Listed, error) {
	flows, err := dirs(data)
	if err != nil {
		return nil, err
	}
	var all []Listed
	for _, flow := range flows {
		runs, err := dirs(filepath.Join(data, flow))
		if err != nil {
			return nil, err
		}
		from := len(all)
		for _, run := range runs {
			l := Listed{Flow: flow, Run: run, Dir: filepath.Join(data, flow, run)}
			m, err := segment.ReadManifest(disk, l.Dir)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // no run: another's directory, or one that is being made or removed
			case err != nil:
				l.Err = err
			default:
				l.Flow, l.Run, l.Created, l.Epochs, l.Replays = m.Flow, m.Run, m.Created, len(m.Epochs), m.Baseline
				if m.Redrive != nil {
					l.Redrives = m.Redrive.Run
				}
			}
			all = append(all, l)
		}
		slices.SortStableFunc(all[from:], func(a, b Listed) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.Run, a.Run))
		})
	}
	return all, nil
}

func dirs(name string) ([]string, error) {
	entries, err := disk.ReadDir(name)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Find returns the directory of the run that a person names: a path, if name has
// a separator or is "."; the id of a run in the data directory, or its beginning
// if only one begins so; a flow, which means its newest run. The error is a
// [*NotFoundError] if there is none, or several.
func Find(data, name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) || name == "." || name == ".." {
		return filepath.Clean(name), nil
	}
	runs, err := List(data)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &NotFoundError{What: name, Why: "there is no data directory " + data}
	}
	if err != nil {
		return "", err
	}
	var begin []string
	for _, r := range runs {
		if r.Run == name || r.Flow == name {
			return r.Dir, nil
		}
		if len(name) >= 4 && strings.HasPrefix(r.Run, strings.ToUpper(name)) {
			begin = append(begin, r.Dir)
		}
	}
	if len(begin) == 1 {
		return begin[0], nil
	}
	e := &NotFoundError{What: name, Why: "no run or flow has this name in " + data}
	if len(begin) > 1 {
		e.Why = "several runs begin so"
	}
	counts := map[string]int{}
	for _, r := range runs {
		counts[r.Flow]++
		if counts[r.Flow] == 1 {
			e.Have = append(e.Have, r.Flow)
		}
	}
	for i, flow := range e.Have {
		e.Have[i] = fmt.Sprintf("%s (%d runs)", flow, counts[flow])
		if counts[flow] == 1 {
			e.Have[i] = flow + " (1 run)"
		}
	}
	if len(runs) == 0 {
		e.Have = []string{"no run there"}
	}
	return "", e
}

// A NoRunError says that a directory is not that of a run.
type NoRunError struct {
	Dir  string
	Data bool // it looks like a data directory, or a flow's in one
}

func (e *NoRunError) Error() string {
	if e.Data {
		return e.Dir + " is not the directory of a run but holds some: name one of those, or give this one with --data"
	}
	return e.Dir + " is not the directory of a run: it has no manifest.json (a run is in DATA/FLOW/RUN; weir ls --json shows where)"
}

// Open opens the run in dir for reading. It takes no lock: an owner may go on
// writing. The error is a [*NoRunError] if dir is not a run's.
func Open(dir string) (*Run, error) {
	v, err := segment.OpenView(disk, dir)
	if errors.Is(err, fs.ErrNotExist) {
		if _, missing := disk.Stat(filepath.Join(dir, "manifest.json")); errors.Is(missing, fs.ErrNotExist) {
			return nil, &NoRunError{Dir: dir, Data: holdsRuns(dir)}
		}
	}
	if err != nil {
		return nil, err
	}
	r := &Run{log: v, manifest: v.Manifest(), dir: dir, close: v.Close, wait: v.Wait}
	r.owner = func() (string, bool, error) {
		o, held, err := v.Owner()
		return describe(o), held, err
	}
	if err := r.parse(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return r, nil
}

// holdsRuns tells whether runs are in dir or in a directory of it.
func holdsRuns(dir string) bool {
	subs, err := dirs(dir)
	if err != nil {
		return false
	}
	for _, sub := range subs {
		if _, err := disk.Stat(filepath.Join(dir, sub, "manifest.json")); err == nil {
			return true
		}
	}
	runs, err := List(dir)
	return err == nil && len(runs) > 0
}

// describe puts an owner into words.
func describe(o segment.Owner) string {
	if o.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s", o.PID, o.Host)
}

// ErrUnfinished says that a run was not removed because it could be resumed.
var ErrUnfinished = errors.New("the run is not finished and could be resumed")

// Remove removes the run in dir for good. A run that has an owner is refused with
// an error that wraps [journal.ErrInUse], and one that is not finished with
// [ErrUnfinished] unless force is set. A removal that is cut short leaves no
// manifest, so what is left of it is no run any more.
func Remove(dir string, force bool) (err error) {
	if _, err := disk.Stat(filepath.Join(dir, "manifest.json")); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return &NoRunError{Dir: dir, Data: holdsRuns(dir)}
		}
		return err
	}
	lock, err := disk.Lock(filepath.Join(dir, "LOCK"), `{}`)
	if held, ok := errors.AsType[*vfs.LockedError](err); ok {
		var o segment.Owner
		_ = json.Unmarshal([]byte(held.Note), &o) // for people; it may not be written yet
		return fmt.Errorf("%s: %w by %s: stop it first", dir, journal.ErrInUse, describe(o))
	}
	if err != nil {
		return err
	}
	defer func() {
		if e := lock.Close(); err == nil && !errors.Is(e, fs.ErrNotExist) {
			err = e
		}
	}()
	if !force {
		if err := finished(dir); err != nil {
			return err
		}
	}
	if err := disk.Remove(filepath.Join(dir, "manifest.json")); err != nil {
		return err
	}
	if err := disk.SyncDir(dir); err != nil {
		return err
	}
	return removeAll(dir)
}

// finished returns an error unless the run in dir is completed, or a replay that was
// cut short, which nobody goes on with.
func finished(dir string) error {
	r, err := Open(dir)
	if err != nil {
		return err
	}
	if m := r.Manifest(); m.Baseline != "" && len(m.Epochs) < 2 {
		return r.Close()
	}
	r.owner = func() (string, bool, error) { return "", false, nil } // it is ours
	s, err := r.Status()
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !s.Finished() {
		return fmt.Errorf("%s: %w (it is %s)", dir, ErrUnfinished, s.Name)
	}
	return nil
}

func removeAll(dir string) error {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = removeAll(name)
		} else {
			err = disk.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return disk.Remove(dir)
}

// Size returns how many bytes the files in dir have.
func Size(dir string) (n int64, err error) {
	entries, err := disk.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if e.IsDir() {
			sub, err := Size(filepath.Join(dir, e.Name()))
			if err != nil {
				return 0, err
			}
			n += sub
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}

var _ io.Closer = (*Run)(nil)
