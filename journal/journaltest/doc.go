// Package journaltest is the conformance suite that every implementation of
// [journal.Log] passes.
//
//   - [Run] checks the contract: order, atomicity, what is visible and what is
//     durable, waiting, backpressure, readers, owners, snapshots.
//   - [Model] compares a log with a slice of frames over random operations.
//   - [Crash] cuts the power before every operation that a workload asks of its
//     file system, and before every operation of the recovery after it, and
//     checks that what was acknowledged is there and nothing half is.
//   - [Kill] does the same for the death of the process.
//   - [Fault] makes every operation fail once, or many while the disk is full.
//   - [Lives] lets owner after owner die anywhere.
//
// Run and Model want a [Factory]; [Files] makes one for a log on an [vfs.FS], which is
// also what the campaigns run on.
//
//	func TestLog(t *testing.T) { journaltest.Run(t, journaltest.Files(open)) }
package journaltest
