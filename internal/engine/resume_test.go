package engine_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

var errDied = errors.New("the process died")

// numbers is a flow with a fan-out, a fan-in of dead letters, a stateful stage
// that emits at its end, and two sinks.
func numbers(w, dead *world) *build {
	b := newBuild()
	b.source("numbers", 3, upTo(20)...)
	b.handle("odd", func(h *handler, _ int, v int64) error {
		if v%5 == 0 {
			return errors.New("a multiple of five")
		}
		h.ports[0].emit(v)
		return nil
	}, "numbers").node.OnError.Budget = plan.Budget{InARow: 100}
	b.fold("sums", "odd")
	b.handle("plus", add(100), "sums")
	b.sink("out", w, "plus").holds = true
	b.sink("rest", dead, "odd.dead")
	return b
}

// journals returns what the run holds, without what belongs to supervisors.
func journals(t *testing.T, log *memory.Log) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, j := range [][2]string{{"numbers", "out"}, {"odd", "out"}, {"odd", "dead"}, {"sums", "out"}, {"plus", "out"}} {
		all[j[0]+"."+j[1]] = records(t, log, j[0], j[1])
	}
	return all
}

// A run that dies before any one of its transitions, and is resumed, must hold
// what a run holds that never died, and have delivered it.
func TestResumeAfterDeathAtEveryTransition(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*engine.Config)
	}{
		{"defaults", func(*engine.Config) {}},
		{"one record at a time", func(c *engine.Config) { c.Window.Records, c.Batch = 1, 1 }},
		{"checkpoints everywhere", func(c *engine.Config) { c.Checkpoint.Bytes, c.Batch = 1, 4 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, dead, log := &world{}, &world{}, newLog(memory.Options{})
				wait(t, start(t, numbers(w, dead), log, tc.change), evidence.Completed)
				want, wantOut, wantDead := journals(t, log), w.values(), dead.values()
				if len(wantOut) != 8 || len(wantDead) != 4 {
					t.Fatalf("without a crash: delivered %v and %v", wantOut, wantDead)
				}
				died := 0
				for at := journal.LSN(1); at <= log.Head()+5; at++ {
					w, dead := &world{}, &world{}
					fatal := at
					log := newLog(memory.Options{Fault: func(next journal.LSN) error {
						if next == fatal {
							return errDied
						}
						return nil
					}})
					r := start(t, numbers(w, dead), log, tc.change)
					res, err := r.Wait()
					if res.Status == evidence.Interrupted {
						died++
						if !errors.Is(err, errDied) {
							t.Fatalf("death at %d: error %v", at, err)
						}
						if n := len(terminals(t, log)); n != 0 {
							t.Fatalf("death at %d: %d terminal records", at, n)
						}
						fatal = 0
						var reopen error
						if log, reopen = log.Reopen(); reopen != nil {
							t.Fatal(reopen)
						}
						wait(t, start(t, numbers(w, dead), log, tc.change), evidence.Completed)
					}
					if n := len(terminals(t, log)); n != 1 {
						t.Errorf("death at %d: %d terminal records, want 1", at, n)
					}
					got := journals(t, log)
					for name, records := range want {
						if !slices.Equal(got[name], records) {
							t.Errorf("death at %d: %s holds %v, want %v", at, name, got[name], records)
						}
					}
					for _, d := range []struct{ got, want []int64 }{{w.values(), wantOut}, {dead.values(), wantDead}} {
						slices.Sort(d.got)
						if got := slices.Compact(d.got); !slices.Equal(got, slices.Sorted(slices.Values(d.want))) {
							t.Errorf("death at %d: delivered %v, want %v", at, got, d.want)
						}
					}
					if t.Failed() {
						return
					}
				}
				if died < 10 {
					t.Errorf("only %d deaths", died)
				}
			})
		})
	}
}

// A loss of power takes what was not durable: a sink must not have delivered it.
func TestNothingLeavesBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(memory.Options{Manual: true})
		b, w := newBuild(), &world{}
		src := b.source("numbers", 1, 1, 2, 3)
		src.acks = true
		b.sink("out", w, "numbers")
		w.durableOK = func(b *plan.Batch) {
			if b.LSN > log.Durable() {
				t.Errorf("delivered %s:%d at %d, durable is %d", b.Journal, b.First, b.LSN, log.Durable())
			}
		}
		r := start(t, b, log)
		synctest.Wait()
		if got := w.values(); len(got) != 0 || len(src.acked) != 0 {
			t.Fatalf("delivered %v and acknowledged %v before anything was durable", got, src.acked)
		}
		for range 20 {
			log.Sync()
			synctest.Wait()
		}
		wait(t, r, evidence.Completed)
		if got := w.values(); !slices.Equal(got, []int64{1, 2, 3}) {
			t.Errorf("delivered %v", got)
		}
		if n := len(src.acked); n == 0 || src.acked[n-1] != "3" {
			t.Errorf("acknowledged %v, want up to 3", src.acked)
		}
	})
}

// Power is lost again and again, each time a little later.
func TestResumeAfterLossOfPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, dead, log := &world{}, &world{}, newLog(memory.Options{Manual: true})
		for epoch := 1; ; epoch++ {
			r := start(t, numbers(w, dead), log, func(c *engine.Config) { c.Batch = 2 })
			for range epoch {
				synctest.Wait()
				log.Sync()
			}
			synctest.Wait()
			select {
			case <-r.Done():
			default:
				log.Crash()
			}
			if res, _ := r.Wait(); res.Status == evidence.Completed {
				break
			}
			var err error
			if log, err = log.Reopen(); err != nil {
				t.Fatal(err)
			}
			if epoch > 200 {
				t.Fatal("no progress")
			}
		}
		got := slices.Compact(slices.Sorted(slices.Values(w.values())))
		var want []int64
		for d := range int64(10) {
			if d%5 != 0 {
				want = append(want, 100+d+d+10)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("delivered %v, want %v", got, want)
		}
		if n := len(records(t, log, "odd", "dead")); n != 4 {
			t.Errorf("%d dead letters, want 4", n)
		}
	})
}

// A stage whose natural end is recorded is not started again, and its journals
// stay readable to readers that are behind.
func TestReaderBehindFinishedWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(memory.Options{})
		broken := true
		flow := func() (*build, *world) {
			b, w := newBuild(), &world{}
			b.source("numbers", 10, upTo(100)...)
			b.handle("inc", func(h *handler, _ int, v int64) error {
				if broken && v == 42 {
					panic("broken code")
				}
				h.ports[0].emit(v)
				return nil
			}, "numbers")
			b.sink("out", w, "inc")
			return b, w
		}
		b, _ := flow()
		res := wait(t, start(t, b, log), evidence.Failed)
		if res.Stage != "inc" || res.Kind != "panic" {
			t.Errorf("result %+v, want a panic of inc", res)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		broken = false
		b, w := flow()
		res = wait(t, start(t, b, log), evidence.Completed)
		got := w.values()
		if len(got) == 0 || got[len(got)-1] != 100 || !slices.Contains(got, 42) {
			t.Errorf("second epoch delivered %v", got)
		}
		want := make([]string, 0, 100)
		for _, v := range upTo(100) {
			want = append(want, strconv.FormatInt(v, 10))
		}
		if got := records(t, log, "inc", "out"); !slices.Equal(got, want) {
			t.Errorf("inc wrote %v", got)
		}
		if res.In != 100 || res.Out != 100 {
			t.Errorf("totals of the run: %+v", res)
		}
	})
}
