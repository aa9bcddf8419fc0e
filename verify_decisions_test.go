package weir_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/policy"
)

// A run in which people decided is verified and replayed like any other, whatever
// they said, while it ran or between two processes.
func TestVerifyDecisions(t *testing.T) {
	verdicts := []string{"done", "not done", "retry", "failed"}
	for _, stop := range []bool{false, true} {
		for _, orchestrated := range []bool{false, true} {
			t.Run(fmt.Sprintf("orchestrated=%t/stopped=%t", orchestrated, stop), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					calls := map[int]int{}
					book := effect.Adapt(
						effect.AtMostOnce("book", func(_ context.Context, _ effect.Call, v int) (string, error) {
							if calls[v]++; calls[v] <= 1+v%2 {
								return "", errors.New("connection lost")
							}
							return fmt.Sprint("booked ", v), nil
						}, effect.AskAPerson[int, string]),
						func(v int) (int, error) { return v + 100, nil }, func(v int, s string) (string, error) { return fmt.Sprint(v, s), nil })
					def := weir.Define("decided", func(f *weir.Flow) {
						in := weir.From(f, "in", weir.Slice([]int{0, 1, 2, 3, 4, 5, 6, 7}))
						retry := policy.Retry{Max: 3, Delay: time.Second}
						var done weir.Stream[string]
						var failed weir.Stream[weir.Failed[int]]
						if orchestrated {
							done, failed = weir.Orchestrate(in, "act", func(s *weir.Steps, v int, emit weir.Emit[string]) error {
								emit("begun")
								res, err := weir.Do(s, "book", book, v)
								if err != nil {
									return err
								}
								emit(res)
								return nil
							}, weir.Using(book, retry), weir.Concurrency(1))
						} else {
							done, failed = weir.Perform(in, "act", book, retry)
						}
						weir.Each(done, "done", func(context.Context, string) error { return nil })
						weir.Each(failed, "failed", func(context.Context, weir.Failed[int]) error { return nil })
					})
					waits := make(chan struct{}, 1)
					o := weir.Options{
						Dir: "/data", Harness: &plan.Harness{FS: vfs.NewMemory()},
						Logger: slog.New(&listener{"waiting for decisions", func() { waits <- struct{}{} }}),
					}
					dir := ""
					decide := func() (n int) {
						view, err := segment.OpenView(o.Harness.FS, dir)
						if err != nil {
							t.Fatal(err)
						}
						defer view.Close()
						h, err := history.Of(view)
						if err != nil {
							t.Fatal(err)
						}
						for c, err := range h.Open(t.Context()) {
							if err != nil {
								t.Fatal(err)
							}
							if !c.Waits() {
								continue
							}
							d := inbox.Decision{Stage: c.Stage, Input: *c.InputID, Step: c.Step, Verdict: verdicts[int(c.Input.Seq-1)/2]}
							if d.Verdict == "done" {
								d.Result = []byte(`"says ann"`)
							}
							n++
							by := []string{"ann", ""}[c.Input.Seq%2] // who it is need not be known
							if _, err := inbox.Put(o.Harness.FS, dir, inbox.Message{At: time.Now(), By: by, Decision: &d}); err != nil {
								t.Fatal(err)
							}
						}
						return n
					}
					for sum := (weir.Summary{}); sum.Status != weir.Completed; {
						r, err := def.Start(t.Context(), o)
						if err != nil {
							t.Fatal(err)
						}
						dir = r.Dir()
						for running := true; running; {
							select {
							case <-waits:
								if !stop {
									decide()
									continue
								}
								if err := r.Stop(t.Context()); err != nil {
									t.Fatal(err)
								}
								decide()
							case <-r.Done():
							}
							running = false
						}
						if sum, err = r.Wait(); err != nil {
							t.Fatal(err)
						}
					}
					v, err := def.Verify(t.Context(), dir, weir.VerifyOptions{Harness: o.Harness, Logger: silent})
					if err != nil || v.Outcome != weir.Identical {
						t.Errorf("verify: %v", err)
						for _, d := range v.Differences {
							t.Errorf("  %s %s:%d %+v", d.Kind, d.Journal, d.Seq, d.Fields)
						}
					}
					if sum, err := def.Replay(t.Context(), dir, weir.Options{Harness: o.Harness, Logger: silent}); err != nil || sum.Status != weir.Completed {
						t.Errorf("replay: %+v, %v", sum, err)
					}
				})
			})
		}
	}
}
