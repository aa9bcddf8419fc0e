package journaltest

import "github.com/weirflow/weir/journal"

// A Store holds the log of one run for one test and stands for the machine
// beneath it.
type Store interface {
	// Open opens the log for its next owner. The first call creates the log; a
	// call while there is an owner returns journal.ErrInUse, wrapped.
	Open() (journal.Log, error)

	// Hold keeps what is placed from becoming durable, until Release. The suite
	// places only a little meanwhile, but for the test of backpressure.
	Hold()
	Release()

	// Fill makes the disk full, until Space.
	Fill()
	Space()

	// Break makes the next write or sync fail with cause. It may poison the log
	// at once.
	Break(cause error)

	// Kill ends the present owner as the death of its process does, Crash as a
	// loss of power. Whatever the owner still tries fails.
	Kill()
	Crash()
}

// A Factory returns the store of a new run. It is called inside of the
// testing/synctest bubble in which the store is used.
type Factory func() Store
