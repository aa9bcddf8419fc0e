package weir_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

// A hasty log changes before its first snapshot is read.
type hasty struct {
	*segment.View
	before func()
}

func (h *hasty) ReadSnapshot(name string) ([]byte, error) {
	if first := h.before; first != nil {
		h.before = nil
		first()
	}
	return h.View.ReadSnapshot(name)
}

// A run that is looked at while it is written may remove the snapshot that was the
// newest a moment ago.
func TestInspectWhileSnapshotsAreReplaced(t *testing.T) {
	values, seen := make(chan int), make(chan int)
	def := weir.Define("sums", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Chan(values))
		sums := weir.Reduce(weir.KeyBy(in, func(v int) int { return v % 3 }), "sum", weir.Zero,
			func(sum *int, v int) error { *sum += v; return nil }, weir.EmitAlways())
		weir.Each(sums, "out", func(_ context.Context, v int) error { seen <- v; return nil })
	})
	r, err := def.Start(t.Context(), weir.Options{Dir: filepath.Join(t.TempDir(), "data"), Logger: silent, CheckpointBytes: 1, CheckpointEvery: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	more := func() {
		n++
		values <- n
		<-seen
	}
	snapshots := func() map[string]bool {
		names := map[string]bool{}
		entries, err := os.ReadDir(filepath.Join(r.Dir(), "snap"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "sum-") && !strings.HasSuffix(e.Name(), ".tmp") {
				names[e.Name()] = true
			}
		}
		return names
	}
	for len(snapshots()) == 0 {
		more()
	}
	for _, look := range []struct {
		name string
		at   func(h *history.Run) error
	}{
		{"summary", func(h *history.Run) error { _, err := h.Summary(t.Context()); return err }},
		{"journal", func(h *history.Run) error { _, err := h.Journal("sum"); return err }},
		{"check", func(h *history.Run) error {
			report, err := h.Check(t.Context())
			if err == nil && len(report.Problems) > 0 {
				t.Errorf("check finds %v", report.Problems)
			}
			return err
		}},
	} {
		view, err := segment.OpenView(vfs.OS, r.Dir())
		if err != nil {
			t.Fatal(err)
		}
		h, err := history.Of(&hasty{View: view, before: func() {
			before := snapshots()
			for gone := false; !gone; {
				more()
				now := snapshots()
				gone = !slices.ContainsFunc(slices.Collect(maps.Keys(before)), func(name string) bool { return now[name] })
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if err := look.at(h); err != nil {
			t.Errorf("%s: %v", look.name, err)
		}
		if err := view.Close(); err != nil {
			t.Error(err)
		}
	}
	close(values)
	if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
		t.Errorf("%+v, %v", sum, err)
	}
}
