package journaltest_test

import (
	"path/filepath"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/journaltest"
)

func TestCrash(t *testing.T) { journaltest.Crash(t, openPlain(none)) }
func TestKill(t *testing.T)  { journaltest.Kill(t, openPlain(none)) }

// The campaigns find the mistakes that they are for.
func TestMistakes(t *testing.T) {
	for m, name := range map[mistake]string{
		acknowledges:    "durable before the sync",
		keepsParts:      "parts kept without their whole",
		forgetsNames:    "no sync of the directory for a new segment",
		trustsPages:     "no sync of what recovery found",
		forgetsSnapshot: "no sync of a snapshot",
		ignoresFailure:  "goes on after a failed sync",
	} {
		t.Run(name, func(t *testing.T) { journaltest.MustFail(t, openPlain(m), nil) })
	}
}

// So do they when the file system leaves out one kind of sync.
func TestDroppedSyncs(t *testing.T) {
	for name, drop := range map[string]journaltest.Drop{
		"of segments": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSync && filepath.Ext(op.Name) == ".seg"
		},
		"of segments in recovery": func(owner int, op vfs.Op) bool {
			return owner > 1 && op.Kind == vfs.KindSync && filepath.Ext(op.Name) == ".seg"
		},
		"of the directory of segments": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSyncDir && op.Name == plainDir
		},
		"of the directory of manifest and snapshots": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSyncDir && op.Name == filepath.Dir(plainDir)
		},
		"of manifest and snapshots": func(_ int, op vfs.Op) bool {
			return op.Kind == vfs.KindSync && filepath.Ext(op.Name) == ".tmp"
		},
	} {
		t.Run(name, func(t *testing.T) { journaltest.MustFail(t, openPlain(none), drop) })
	}
}

func TestLives(t *testing.T) { journaltest.Lives(t, openPlain(none)) }
