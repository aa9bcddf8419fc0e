// Package memory is a run's log in memory, for tests and for runs that nobody
// will want to resume after the process has ended.
//
// [New] opens an empty [Log]. By default what is placed is durable at once. With
// [Options.Manual] nothing is durable before [Log.Sync], so that a test can hold
// durability back and see who acts too early.
//
// A log outlives its owner: after [Log.Close], [Log.Kill] (the process died:
// everything placed survives) or [Log.Crash] (the power went: what was not
// durable is gone) [Log.Reopen] gives it to the next owner in a new epoch, by
// the rules that a log on disk follows. [Log.Poison], [Log.Pause] and
// [Options.Fault] stand for failing and full disks.
//
// Everything is kept, in memory, for as long as the log is referenced: frames are
// never trimmed and snapshots go only at Reopen. An endless run belongs on disk.
//
// The package starts no goroutine and holds no lock while it waits, so a Log
// works inside a testing/synctest bubble.
package memory
