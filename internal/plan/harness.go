package plan

import (
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// A Harness lets tests put their hands between the parts of a run.
type Harness struct {
	// Edit changes the flow after it was built. Nil changes nothing.
	Edit func(*Flow) error
	// Log makes the log of a run in memory. Nil means package memory.
	Log func(journal.Manifest) journal.Log
	// FS is the file system of a run on disk, and of its connectors ([vfs.From]).
	// Nil means the machine's.
	FS vfs.FS
	// Window and Batch are how many records a writer may be ahead of a reader, and
	// a stage takes into one transition. Zero means what the engine does.
	Window, Batch int
	// Paranoid decodes everything that is written and compares.
	Paranoid bool
}
