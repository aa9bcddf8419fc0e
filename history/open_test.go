package history_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/sample"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// onDisk begins a run in data and returns its directory.
func onDisk(t *testing.T, data, id string, w *sample.Writer) string {
	t.Helper()
	dir := filepath.Join(data, "payments", id)
	log, err := segment.Create(vfs.OS, dir, sample.Manifest(id), segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Begin(log), log.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// reopen takes the run in dir for the time of the test.
func reopen(t *testing.T, dir string) *segment.Log {
	t.Helper()
	log, _, err := segment.Open(vfs.OS, dir, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	return log
}

func open(t *testing.T, dir string) *history.Run {
	t.Helper()
	r, err := history.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestListAndFind(t *testing.T) {
	data := t.TempDir()
	first := onDisk(t, data, "01JZ0000000000000000000001", sample.New())
	second := onDisk(t, data, "01JZ1000000000000000000002", sample.New())
	if err := os.MkdirAll(filepath.Join(data, "payments", "notes"), 0o700); err != nil {
		t.Fatal(err)
	}
	runs, err := history.List(data)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range runs {
		got = append(got, r.Dir)
	}
	if diff := cmp.Diff([]string{second, first}, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"payments":                   second,
		"01JZ0000000000000000000001": first,
		"01jz0":                      first,
		first:                        first,
		"./x/../y":                   "y",
	} {
		if got, err := history.Find(data, name); err != nil || got != want {
			t.Errorf("Find(%s) = %s, %v; want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"01JZ", "orders", "01J"} {
		var gone *history.NotFoundError
		if got, err := history.Find(data, name); !errors.As(err, &gone) {
			t.Errorf("Find(%s) = %s, %v; want nothing", name, got, err)
		}
	}
	if _, err := history.List(filepath.Join(data, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List of nothing = %v, want fs.ErrNotExist", err)
	}
}

func TestOpenWhatIsNoRun(t *testing.T) {
	data := t.TempDir()
	dir := onDisk(t, data, "01JZ0000000000000000000001", sample.New())
	for name, holds := range map[string]bool{data: true, filepath.Dir(dir): true, filepath.Join(dir, "log"): false, filepath.Join(data, "nothing"): false} {
		_, err := history.Open(name)
		var no *history.NoRunError
		if !errors.As(err, &no) || no.Data != holds {
			t.Errorf("Open(%s) = %v, want a NoRunError (data %v)", name, err, holds)
		}
	}
}

// A run is read while it is owned, after its owner died, and to its end.
func TestOpenThroughALife(t *testing.T) {
	w := sample.New()
	dir := onDisk(t, t.TempDir(), run, w)
	status := func(want string) *history.Summary {
		t.Helper()
		s, err := open(t, dir).Summary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != want {
			t.Errorf("status %s, want %s", s.Name, want)
		}
		return s
	}
	status("interrupted")
	log := reopen(t, dir)
	if s := status(history.Running); !strings.HasPrefix(s.Owner, "process ") {
		t.Errorf("owner %q, want a process", s.Owner)
	}
	if err := w.Finish(log); err != nil {
		t.Fatal(err)
	}
	if err := log.Await(t.Context(), log.Head()); err != nil {
		t.Fatal(err)
	}
	status("completed") // though the process still has it
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	s := status("completed")
	if s.Owner != "" || s.Out != 5 || s.Durable != s.Head {
		t.Errorf("at the end: owner %q, out %d, durable %d of %d", s.Owner, s.Out, s.Durable, s.Head)
	}
	rep, err := open(t, dir).Check(t.Context())
	if err != nil || len(rep.Problems) > 0 {
		t.Errorf("Check = %+v, %v", rep, err)
	}
}

// Following shows each record once, in order, across the end of an owner and the
// beginning of the next, and ends when the run is completed.
func TestFollowOnDisk(t *testing.T) {
	w := sample.New()
	dir := onDisk(t, t.TempDir(), run, w)
	r := open(t, dir)
	got := make(chan uint64)
	done := make(chan error, 1) // how following ended
	go func() {
		defer close(got)
		for rec, err := range r.Records(t.Context(), "ship", history.Range{Follow: true}) {
			if err != nil {
				done <- err
				return
			}
			got <- rec.Ref.Seq
		}
		done <- nil
	}()
	if n := <-got; n != 1 {
		t.Errorf("first %d, want 1", n)
	}
	log := reopen(t, dir)
	if err := errors.Join(w.Finish(log), log.Await(t.Context(), log.Head())); err != nil {
		t.Fatal(err)
	}
	var rest []uint64
	for n := range got {
		rest = append(rest, n)
	}
	if err := <-done; err != nil {
		t.Errorf("following ended with %v", err)
	}
	if diff := cmp.Diff([]uint64{2, 3}, rest); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
}

func TestRemove(t *testing.T) {
	w := sample.New()
	dir := onDisk(t, t.TempDir(), run, w)
	if err := history.Remove(dir, false); !errors.Is(err, history.ErrUnfinished) {
		t.Errorf("Remove of an unfinished run = %v", err)
	}
	log := reopen(t, dir)
	if err := history.Remove(dir, true); !errors.Is(err, journal.ErrInUse) {
		t.Errorf("Remove of a run in use = %v", err)
	}
	if err := errors.Join(w.Finish(log), log.Close()); err != nil {
		t.Fatal(err)
	}
	if n, err := history.Size(dir); err != nil || n < 1000 {
		t.Errorf("Size = %d, %v", n, err)
	}
	if err := history.Remove(dir, false); err != nil {
		t.Errorf("Remove of a completed run = %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	var no *history.NoRunError
	if err := history.Remove(dir, false); !errors.As(err, &no) {
		t.Errorf("Remove again = %v, want a NoRunError", err)
	}
}
