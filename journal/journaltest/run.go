package journaltest

import (
	"testing"
	"testing/synctest"
)

// Run checks that the logs of a factory do what [journal.Log] says. Each test
// has a store of its own and runs in a testing/synctest bubble, where whoever
// waits must do so on something of the bubble; so a log that polls or sleeps
// does so in virtual time, and one that waits for ever is found out.
func Run(t *testing.T, f Factory) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*bench)
	}{
		{"Empty", testEmpty},
		{"OrderOfAppends", testOrder},
		{"OrderAmongStages", testConcurrentAppends},
		{"TransitionsWhole", testWhole},
		{"LargeTransition", testLarge},
		{"CancelledAppend", testCancelledAppend},
		{"ReadFromAnywhere", testReadFrom},
		{"ReaderGoesOn", testReaderGoesOn},
		{"ReadersBesideAppends", testConcurrentReaders},
		{"Find", testFind},
		{"PlacedIsVisible", testVisible},
		{"Want", testWant},
		{"Await", testAwait},
		{"AwaitWhatIsNotPlaced", testAwaitFuture},
		{"AwaitCancelled", testAwaitCancelled},
		{"Watch", testWatch},
		{"WatchEnds", testWatchEnds},
		{"Poison", testPoison},
		{"PoisonTellsWaiters", testPoisonTells},
		{"DiskFull", testDiskFull},
		{"NotDurableTooLong", testRoom},
		{"Close", testClose},
		{"CloseTellsWaiters", testCloseTells},
		{"OneOwner", testOneOwner},
		{"Epochs", testEpochs},
		{"KillKeepsDurable", testKill},
		{"CrashKeepsDurable", testCrash},
		{"Tails", testTails},
		{"Snapshots", testSnapshots},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.test(newBench(t, f)) })
		})
	}
}
