package segment_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/journaltest"
	"github.com/weirflow/weir/journal/segment"
)

// What was cut stays cut, and what was durable stays, over owners that die
// anywhere.
func TestLives(t *testing.T) {
	t.Parallel()
	journaltest.Lives(t, opener(segment.Options{SegmentSize: 4 << 10}))
}

// Without syncs what was written survives the process all the same, and a process
// that dies has told nobody of more than that.
func TestKillEverywhereWithoutSync(t *testing.T) {
	t.Parallel()
	o := small
	o.Sync.Mode = journal.None
	journaltest.Kill(t, opener(o))
}

// A log against a slice of frames.
func TestModel(t *testing.T) {
	t.Parallel()
	journaltest.Model(t, journaltest.Files(opener(small)))
}

// The campaigns notice when a sync that the crash argument of docs/format.md
// rests on is left out.
func TestCampaignsNoticeDroppedSyncs(t *testing.T) {
	ext := func(op vfs.Op, kind vfs.Kind, ext string) bool {
		return op.Kind == kind && filepath.Ext(op.Name) == ext
	}
	directory := func(op vfs.Op, name string) bool {
		return op.Kind == vfs.KindSyncDir && op.Name == name
	}
	for name, drop := range map[string]journaltest.Drop{
		"of segments in use": func(_ int, op vfs.Op) bool {
			// A segment keeps the name under which it was prepared.
			return op.Kind == vfs.KindSync && strings.HasPrefix(op.Name, dir+"/log/")
		},
		"of segments in recovery": func(owner int, op vfs.Op) bool {
			return owner > 1 && ext(op, vfs.KindSync, ".seg")
		},
		"of the directory of segments":  func(_ int, op vfs.Op) bool { return directory(op, dir+"/log") },
		"of the directory of snapshots": func(_ int, op vfs.Op) bool { return directory(op, dir+"/snap") },
		"of the directory of the run":   func(_ int, op vfs.Op) bool { return directory(op, dir) },
		"of the parent of the run":      func(_ int, op vfs.Op) bool { return directory(op, filepath.Dir(dir)) },
		"of the manifest": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSync && strings.HasPrefix(op.Name, dir+"/manifest.json")
		},
		"of snapshots": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSync && strings.HasPrefix(op.Name, dir+"/snap/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journaltest.MustFail(t, opener(small), drop)
		})
	}
}
