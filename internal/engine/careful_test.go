package engine_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal/memory"
)

// An input that kills the process whenever it is handled is found and given up;
// the others are handled.
func TestCrashLoop(t *testing.T) {
	for _, where := range []string{"handler", "sink"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, w := newLog(memory.Options{}), &world{}
				// The process dies when the others have done all that they can: how far
				// they get must not depend on who runs first.
				die := func() {
					synctest.Wait()
					log.Kill()
				}
				flow := func() *build {
					b := newBuild()
					b.source("numbers", 20, upTo(20)...)
					b.handle("inc", func(h *handler, _ int, v int64) error {
						if v == 7 && where == "handler" {
							die()
						}
						h.ports[0].emit(v)
						return nil
					}, "numbers")
					s := b.sink("out", w, "inc")
					s.refuse = func(_ context.Context, _ int, vs []int64) error {
						if slices.Contains(vs, 7) && where == "sink" {
							die()
						}
						return nil
					}
					return b
				}
				deaths := 0
				for ; ; deaths++ {
					res, _ := start(t, flow(), log).Wait()
					if res.Status == evidence.Completed {
						break
					}
					if res.Status != evidence.Interrupted || deaths > 10 {
						t.Fatalf("epoch %d: %+v", deaths+1, res)
					}
					var err error
					if log, err = log.Reopen(); err != nil {
						t.Fatal(err)
					}
				}
				if deaths != 6 { // one with progress, three without, two of one that was tried
					t.Errorf("%d deaths, want 6", deaths)
				}
				stage := map[string]string{"handler": "inc", "sink": "out"}[where]
				if got := records(t, log, stage, "dead"); !slices.Equal(got, []string{"7"}) {
					t.Errorf("dead letters %v", got)
				}
				want := slices.DeleteFunc(upTo(20), func(v int64) bool { return v == 7 && where == "handler" })
				if got := slices.Compact(slices.Sorted(slices.Values(w.values()))); !slices.Equal(got, want) {
					t.Errorf("delivered %v", got)
				}
			})
		})
	}
}

// What others were handling whenever the process died is not given up with the input
// that kills it: a sink that is slow, and an effect that is.
func TestCrashLoopAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w, s := newLog(memory.Options{}), &world{}, newService()
		flow := func() *build {
			b := acting(s, &world{}, 20, concurrency(4), func(p *performer) {
				p.repeats = true
				p.service.answer = func(ctx context.Context, _ int64) error {
					select {
					case <-time.After(2 * time.Second):
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				}
			})
			b.handle("inc", func(h *handler, _ int, v int64) error {
				if v == 7 {
					log.Kill()
				}
				h.ports[0].emit(v)
				return nil
			}, "numbers")
			b.sink("slow", w, "numbers").refuse = func(ctx context.Context, _ int, _ []int64) error {
				select {
				case <-time.After(time.Second):
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			b.sink("printed", &world{}, "inc")
			return b
		}
		deaths := 0
		for ; ; deaths++ {
			r := start(t, flow(), log)
			res, _ := r.Wait()
			if res.Status == evidence.Completed {
				break
			}
			if res.Status != evidence.Interrupted || deaths > 20 {
				t.Fatalf("epoch %d: %+v", deaths+1, res)
			}
			log = reopen(t, log)
		}
		t.Logf("%d deaths", deaths)
		for stage, want := range map[string][]string{"inc": {"7"}, "slow": nil, "printed": nil, "act": nil} {
			if got := records(t, log, stage, "dead"); !slices.Equal(got, want) {
				t.Errorf("dead letters of %s: %v, want %v", stage, got, want)
			}
		}
		if got := slices.Compact(slices.Sorted(slices.Values(w.values()))); !slices.Equal(got, upTo(20)) {
			t.Errorf("delivered %v", got)
		}
		if got := slices.Sorted(slices.Values(values(t, log, "act", "out"))); !slices.Equal(got, plus100(upTo(20))) {
			t.Errorf("outputs %v", got)
		}
	})
}

// An accepted input whose execution kills the process is put aside; the others
// are executed.
func TestCrashLoopOfAPerformer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		flow := func() *build {
			return acting(s, w, 20, concurrency(4), func(p *performer) {
				p.repeats = true
				p.service.answer = func(ctx context.Context, v int64) error {
					if v == 7 {
						<-time.After(soon) // the others have done all that they can
						log.Kill()
						<-ctx.Done()
						return context.Cause(ctx)
					}
					return nil
				}
			})
		}
		for epoch := 1; ; epoch++ {
			r := start(t, flow(), log)
			<-time.After(5 * soon)
			if doubts := r.InDoubt(); len(doubts) == 1 {
				if doubts[0].Input.Seq != 7 || epoch != 7 { // one with progress, three without, two of one that was tried
					t.Errorf("epoch %d: in doubt %+v", epoch, doubts)
				}
				decide(t, r, doubts[0], "d1", nil)
				wait(t, r, evidence.Completed)
				break
			}
			if res, _ := r.Wait(); res.Status != evidence.Interrupted || epoch > 10 {
				t.Fatalf("epoch %d: %+v", epoch, res)
			}
			log = reopen(t, log)
		}
		got := slices.Sorted(slices.Values(values(t, log, "act", "out")))
		if !slices.Equal(got, plus100(upTo(20))) {
			t.Errorf("outputs %v", got)
		}
	})
}
