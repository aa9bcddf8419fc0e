package journaltest

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/journal"
)

// Model compares logs of a factory with a slice of what was placed, over random
// operations by owners that end in every way. It opens each of many logs many
// times, so the segments of a log on files should be small.
func Model(t *testing.T, f Factory) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t, f)
		var durable journal.LSN // never goes back
		dies := func(die func()) {
			durable = max(durable, b.log.Durable())
			die()
			_ = b.log.Close() // the owner is dead, this only ends its goroutines
			b.open()
			b.survived(durable)
			durable = b.log.Durable()
		}
		snapshots := 0
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				b.put(shape{
					stage: rapid.SampledFrom([]string{"orders", "validate", "ship"}).Draw(t, "stage"),
					parts: rapid.IntRange(1, 4).Draw(t, "parts"),
					bytes: rapid.IntRange(0, 2000).Draw(t, "bytes"),
				})
			},
			"snapshot": func(*rapid.T) {
				snapshots++
				b.snapshot(fmt.Sprintf("orders-%d", snapshots), 50*snapshots)
			},
			"want": func(*rapid.T) { b.log.Want(b.log.Head()) },
			"await": func(t *rapid.T) {
				b.await(journal.LSN(rapid.IntRange(0, len(b.author.log)).Draw(t, "lsn")))
			},
			"read": func(t *rapid.T) {
				if err := readsFrom(b.log, b.author.log, rapid.IntRange(0, len(b.author.log)+1).Draw(t, "from")); err != nil {
					t.Fatal(err)
				}
			},
			"find": func(t *rapid.T) {
				if err := finds(b.log, b.author.log, rapid.IntRange(0, 20).Draw(t, "frame"), 20); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				b.reopen()
				if err := tails(b.log, b.author.log); err != nil {
					t.Fatal(err)
				}
			},
			"kill":  func(*rapid.T) { dies(b.store.Kill) },
			"crash": func(*rapid.T) { dies(b.store.Crash) },
			"": func(t *rapid.T) {
				d, h := b.log.Durable(), b.log.Head()
				if d < durable || d > h || h != journal.LSN(len(b.author.log)) {
					t.Fatalf("durable %d and head %d after durable %d and %d frames placed", d, h, durable, len(b.author.log))
				}
				durable = d
			},
		})
		b.holds()
	})
}
