package segment_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/journaltest"
	"github.com/weirflow/weir/journal/segment"
)

// opener opens the log of the one run on a file system, or creates it.
func opener(o segment.Options) journaltest.Opener {
	return func(fsys vfs.FS) (journal.Log, error) {
		l, _, err := segment.Open(fsys, dir, o)
		if errors.Is(err, fs.ErrNotExist) {
			l, err = segment.Create(fsys, dir, run, o)
		}
		if err != nil {
			return nil, err
		}
		return l, nil
	}
}

// The campaigns need a few segments for some 60 KiB.
var small = segment.Options{SegmentSize: 16 << 10}

func TestConformance(t *testing.T) {
	journaltest.Run(t, journaltest.Files(opener(segment.Options{SegmentSize: 96 << 10})))
}

func TestConformanceSmallSegments(t *testing.T) { journaltest.Run(t, journaltest.Files(opener(small))) }

func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	journaltest.Crash(t, opener(small))
}

func TestKillEverywhere(t *testing.T) {
	t.Parallel()
	journaltest.Kill(t, opener(small))
}

func TestFaultEverywhere(t *testing.T) {
	t.Parallel()
	journaltest.Fault(t, opener(small))
}
