package engine_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// A run has not ended before its terminal record is durable, and a sink's result
// is not put in place before it is on durable record that it will be.
func TestEndsWaitUntilTheyAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{Manual: true})
		b.source("numbers", 5, upTo(5)...)
		s := b.sink("out", w, "numbers")
		s.finishes = true
		s.crash = func(step string) {
			if step == "finish" && log.Durable() != log.Head() {
				t.Errorf("put in place at %d, durable is %d", log.Head(), log.Durable())
			}
		}
		r := start(t, b, log)
		for {
			synctest.Wait()
			select {
			case <-r.Done():
				t.Fatal("the run ended before its terminal record was durable")
			default:
			}
			if len(terminals(t, log)) > 0 {
				break
			}
			log.Sync()
		}
		log.Sync()
		wait(t, r, evidence.Completed)
		if w.renamed != 1 {
			t.Errorf("put in place %d times", w.renamed)
		}
	})
}

// What has no receipt when the process dies is delivered again, is said to be,
// and the sink learns what it noted with its last receipt.
func TestRedelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := &world{}, newLog(memory.Options{})
		flow := func(dies bool) *build {
			b := newBuild()
			b.source("numbers", 5, upTo(15)...)
			s := b.sink("out", w, "numbers")
			s.finishes = true // it keeps notes
			s.fail = func(v int64, _ int) error {
				if v == 8 && dies {
					log.Kill()
				}
				return nil
			}
			return b
		}
		r := start(t, flow(true), log, narrow)
		wait(t, r, evidence.Interrupted)
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		first := len(w.values())
		wait(t, start(t, flow(false), log, narrow), evidence.Completed)
		if len(w.opened) != 2 || w.opened[1].Note != "n5" {
			t.Errorf("opened %+v, want the note n5", w.opened)
		}
		if w.again != 5 && w.again != 10 {
			t.Errorf("%d records were said to come again", w.again)
		}
		if got := slices.Compact(slices.Sorted(slices.Values(w.values()))); !slices.Equal(got, upTo(15)) || first != 10 {
			t.Errorf("delivered %v, %d of them at first", w.values(), first)
		}
	})
}

// A reader of values that cannot be shared may change its own.
func TestCopiesArePrivate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, all := newBuild(), &world{}, &world{}
		b.source("numbers", 5, upTo(20)...).node.Ports[0].Mode = plan.Copied
		for _, name := range []string{"spoil", "spoil_too"} {
			h := b.handle(name, nil, "numbers")
			h.node.Handler = &spoiler{handler: h}
		}
		b.sink("out", w, "spoil")
		b.sink("all", all, "spoil_too")
		wait(t, start(t, b, newLog(memory.Options{})), evidence.Completed)
		if !slices.Equal(w.values(), upTo(20)) || !slices.Equal(all.values(), upTo(20)) {
			t.Errorf("delivered %v and %v", w.values(), all.values())
		}
	})
}

// A spoiler passes values on and overwrites them.
type spoiler struct{ *handler }

func (h *spoiler) Handle(_ int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	values := b.Values.([]int64)
	for i := from; i < to; i++ {
		h.node.Turn.Item = h.node.Turn.Base + i - from
		h.ports[0].emit(values[i])
		values[i] = -1
	}
	return to, false, nil
}
