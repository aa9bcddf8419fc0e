package campaign_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// straight is a flow without a merge: the order of every journal is promised.
func straight(things []thing) *weir.Definition {
	return weir.Define("straight", func(f *weir.Flow) {
		f.Defaults(weir.OnError{Panic: weir.DeadLetter, Budget: weir.Budget{InARow: 1000, Share: 1}})
		in := weir.From(f, "things", few[thing]{things, 5})
		odd, even := weir.Split2(in, "halves", func(v thing, odd, even weir.Emit[thing]) error {
			if v.Poison {
				odd(v)
				panic("poison")
			}
			if v.N%2 == 1 {
				odd(v)
			}
			even(v)
			return nil
		}, weir.Ports("odd", "even"))
		letters := weir.FlatMap(even, "letters", func(v thing, emit weir.Emit[thing]) error {
			for _, p := range v.Parts {
				emit(thing{Key: p, N: v.N, Parts: v.Parts})
			}
			return nil
		})
		by := weir.KeyBy(letters, func(v thing) string { return v.Key })
		sums := weir.Reduce(by, "sums", weir.Zero, func(d *deep, v thing) error {
			d.add(v)
			if v.N%13 == 0 {
				return fmt.Errorf("number %d", v.N)
			}
			return nil
		}, weir.EmitEvery(3), weir.EmitAtEnd())
		weir.TopN(by, "top", 3, func(v thing) int { return v.N }, func(a, b thing) int { return b.N%17 - a.N%17 }, weir.EmitOnChange())
		last := weir.Latest(by, "last")
		weir.Join(weir.KeyBy(odd, func(v thing) string { return v.Key }), weir.TableOf(weir.KeyBy(last, func(v thing) string { return "k" + v.Key[:0] + strconv.Itoa(v.N%3) })), "join",
			func(v, row thing) (string, error) { return fmt.Sprint(v.N, row.N), nil })
		weir.Each(sums, "sums_sink", none[deep])
		weir.Each(weir.DeadLetters(even, "letters"), "dead_sink", none[weir.Failed[thing]])
	})
}

// What a flow writes does not depend on how it is run: batches, windows, logs,
// syncs and checkpoints.
func TestSameJournalsHoweverItRuns(t *testing.T) {
	t.Parallel()
	var things []thing
	for i := range 60 {
		things = append(things, thing{Key: fmt.Sprint("k", i%4), N: i, Parts: []string{"a", "b", "c"}[:i%4], Poison: i%10 == 7})
	}
	def := straight(things)
	want, err := inMemory(t, def, plan.Harness{Paranoid: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(want.ports["halves.dead"]) != 6 || len(want.ports["sums.dead"]) == 0 || len(want.ports["join.out"])+len(want.ports["join.unmatched"]) == 0 || len(want.ports["top.out"]) == 0 {
		t.Errorf("the flow does not do everything that it should: %v", want.ports)
	}
	for _, p := range want.ports["halves.odd"] { // emitted before the panic
		if strings.Contains(p, `"Poison":true`) {
			t.Errorf("halves.odd holds what a failed input emitted: %s", p)
		}
	}
	compare := func(how string, got *outcome, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", how, err)
			return
		}
		for name := range want.types { // in any order: each is judged by itself
			if strings.HasPrefix(want.types[name], "weir.") {
				continue
			}
			if diff := gocmp.Diff(want.ports[name], got.ports[name]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", how, name, diff)
			}
		}
		if len(got.problems) > 0 {
			t.Errorf("%s: check: %v", how, got.problems)
		}
	}
	runs := 0
	batches := []int{1, 7, 1024}
	if testing.Short() {
		batches = batches[1:2]
	}
	for _, batch := range batches {
		for _, window := range []int{1, 6, 0} {
			how := fmt.Sprintf("batch %d, window %d", batch, window)
			got, err := inMemory(t, def, plan.Harness{Batch: batch, Window: window})
			compare(how+", memory", got, err)
			for i, sync := range []journal.Sync{{Mode: journal.Group}, {Mode: journal.Always}, {Mode: journal.Interval, Every: time.Millisecond}, {Mode: journal.None}} {
				o := weir.Options{
					Dir: "/data", Logger: quiet, Sync: sync, CheckpointBytes: []int64{1, 4 << 10, 0, 64 << 10}[i],
					SegmentSize: []int64{0, 16 << 10}[i%2], Harness: &plan.Harness{FS: vfs.NewMemory(), Batch: batch, Window: window},
				}
				runs++
				how := fmt.Sprintf("%s, disk, sync %v, checkpoint %d", how, sync, o.CheckpointBytes)
				sum, err := def.Run(t.Context(), o)
				if err != nil {
					t.Errorf("%s: %v", how, err)
					continue
				}
				got, err := inspect(t.Context(), o.Harness.FS, sum.Dir)
				compare(how, got, err)
			}
		}
	}
	t.Logf("%d runs on disk, %d in memory, all the same", runs, runs/4+1)
}
