package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/policy"
)

// A payee is what effects act on. It outlives runs.
type payee struct {
	mu    sync.Mutex
	calls []string // "key#attempt", in order
	keys  map[string]bool
	do    func(ctx context.Context, c effect.Call, v int) (string, error)
}

func (b *payee) act(ctx context.Context, c effect.Call, v int) (string, error) {
	b.mu.Lock()
	b.calls = append(b.calls, fmt.Sprintf("%d#%d", v, c.Attempt))
	if b.keys == nil {
		b.keys = map[string]bool{}
	}
	b.keys[c.Key] = true
	b.mu.Unlock()
	if b.do != nil {
		return b.do(ctx, c, v)
	}
	return fmt.Sprintf("paid %d", v), nil
}

func (b *payee) called() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.calls)
}

// payOut is a flow of one effect.
func payOut(e effect.Effect[int, string], paid *memo[string], failed *memo[weir.Failed[int]], inputs []int, opts ...weir.EffectOption) *weir.Definition {
	return weir.Define("payout", func(f *weir.Flow) {
		done, not := weir.Perform(weir.From(f, "in", weir.Slice(inputs)), "pay", e, opts...)
		weir.Each(done, "paid", paid.add)
		weir.Each(not, "failed", failed.add)
	})
}

func TestPerform(t *testing.T) {
	lost := errors.New("connection lost")
	answers := func(ctx context.Context, c effect.Call, v int) (string, error) {
		switch v {
		case 2:
			return "", effect.Permanent(errors.New("no such account"))
		case 3:
			if c.Attempt < 3 {
				return "", effect.DidNotHappen(errors.New("busy"))
			}
		case 4:
			return "", lost
		case 5:
			panic("broken client")
		}
		return fmt.Sprintf("paid %d", v), nil
	}
	for _, tc := range []struct {
		name   string
		effect func(b *payee) effect.Effect[int, string]
		calls  []string
		failed string
	}{
		{"keyed", func(b *payee) effect.Effect[int, string] {
			return effect.Keyed("pay.v1", func(v int) string { return fmt.Sprint("k", v) }, b.act)
		}, []string{"1#1", "2#1", "3#1", "3#2", "3#3", "4#1", "4#2", "4#3", "5#1", "5#2", "5#3", "6#1"}, "2 1 ; 4 3 unknown; 5 3 unknown"},
		{"keyed by input", func(b *payee) effect.Effect[int, string] {
			return effect.KeyedByInput("pay.v1", b.act)
		}, []string{"1#1", "2#1", "3#1", "3#2", "3#3", "4#1", "4#2", "4#3", "5#1", "5#2", "5#3", "6#1"}, "2 1 ; 4 3 unknown; 5 3 unknown"},
		{"at least once", func(b *payee) effect.Effect[int, string] {
			return effect.AtLeastOnce("pay.v1", b.act)
		}, []string{"1#1", "2#1", "3#1", "3#2", "3#3", "4#1", "4#2", "4#3", "5#1", "5#2", "5#3", "6#1"}, "2 1 ; 4 3 unknown; 5 3 unknown"},
		{"at most once", func(b *payee) effect.Effect[int, string] {
			return effect.AtMostOnce("pay.v1", b.act, func(_ context.Context, _ effect.Call, v int) (string, effect.State, error) {
				if v == 4 {
					return "paid after all", effect.Done, nil
				}
				return "", effect.NotDone, nil
			})
		}, []string{"1#1", "2#1", "3#1", "3#2", "3#3", "4#1", "5#1", "5#2", "5#3", "6#1"}, "2 1 ; 5 3 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &payee{do: answers}
				var paid memo[string]
				var failed memo[weir.Failed[int]]
				sum, err := payOut(tc.effect(b), &paid, &failed, []int{1, 2, 3, 4, 5, 6}, policy.Retry{Max: 3, Delay: time.Second}, policy.Timeout(time.Minute)).
					Run(t.Context(), weir.Options{Logger: silent})
				if err != nil || sum.Status != weir.Completed || sum.Failed != uint64(len(failed.all)) || sum.Dead != 0 || sum.Open != 0 || sum.InDoubt != 0 {
					t.Fatalf("%+v, %v", sum, err)
				}
				if got := b.called(); !slices.Equal(got, tc.calls) {
					t.Errorf("calls %v, want %v", got, tc.calls)
				}
				var got []string
				for _, f := range failed.all {
					got = append(got, fmt.Sprintf("%d %d %s", f.Input, f.Attempts, f.Happened))
					if f.Ref.String() != fmt.Sprintf("in.out:%d", f.Input) || f.Reason == "" {
						t.Errorf("failed: %+v", f)
					}
				}
				if got := strings.Join(got, "; "); got != tc.failed {
					t.Errorf("failed: %s, want %s", got, tc.failed)
				}
				if len(paid.all)+len(failed.all) != 6 || !slices.IsSortedFunc(paid.all, func(a, b string) int { return strings.Compare(a[len(a)-1:], b[len(b)-1:]) }) && tc.name != "at most once" {
					t.Errorf("paid %v", paid.all)
				}
				if len(b.keys) != 6 {
					t.Errorf("%d keys, want one for each call", len(b.keys))
				}
			})
		})
	}
}

var silent = slog.New(slog.DiscardHandler)

// What is in doubt holds up nothing but the end of the run, and a stop leaves it
// for the next epoch, which does not call again.
func TestPerformInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &payee{do: func(_ context.Context, _ effect.Call, v int) (string, error) {
			if v == 2 {
				return "", errors.New("connection lost")
			}
			return "paid", nil
		}}
		var paid memo[string]
		var failed memo[weir.Failed[int]]
		log := newMemory(nil)
		def := payOut(effect.AtMostOnce("pay.v1", b.act, effect.AskAPerson[int, string]), &paid, &failed, []int{1, 2, 3}, weir.Concurrency(2))
		for epoch := range uint64(2) {
			waits := make(chan struct{})
			r, err := def.Start(t.Context(), weir.Options{
				Logger:  slog.New(&listener{text: "waiting for decisions", heard: func() { close(waits) }}),
				Harness: &plan.Harness{Log: func(journal.Manifest) journal.Log { return log }},
			})
			if err != nil {
				t.Fatal(err)
			}
			<-waits
			synctest.Wait()
			if p := r.Progress(); p.Phase != "waiting for decisions" || p.Stages[1].InDoubt != 1 {
				t.Errorf("progress %+v", p)
			}
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			sum, err := r.Wait()
			if err != nil || sum.Status != weir.Stopped || sum.InDoubt != 1 || sum.Open != 1 || sum.Epoch != epoch+1 || sum.Out != 2 {
				t.Errorf("%+v, %v", sum, err)
			}
			if log, err = log.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.called(); len(got) != 3 || len(failed.all) != 0 || len(paid.all) != 2 {
			t.Errorf("calls %v, paid %v, failed %v", got, paid.all, failed.all)
		}
	})
}

func newMemory(fault func(journal.LSN) error) *memory.Log {
	return memory.New(journal.Manifest{Format: journal.FormatVersion, Run: "01JZ0000000000000000000000", Flow: "payout"}, memory.Options{Fault: fault})
}

// A listener is told of a message that is logged.
type listener struct {
	text  string
	heard func()
}

func (l *listener) Enabled(context.Context, slog.Level) bool { return true }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *listener) WithGroup(string) slog.Handler            { return l }

func (l *listener) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.text {
		l.heard()
	}
	return nil
}

// HoldInDoubt ends the run and says what to do.
func TestPerformHoldInDoubt(t *testing.T) { synctest.Test(t, performHoldInDoubt) }

func performHoldInDoubt(t *testing.T) {
	b := &payee{do: func(context.Context, effect.Call, int) (string, error) { return "", errors.New("connection lost") }}
	var paid memo[string]
	var failed memo[weir.Failed[int]]
	def := payOut(effect.AtMostOnce("pay.v1", b.act, effect.AskAPerson[int, string]), &paid, &failed, []int{1, 2, 3}, weir.HoldInDoubt())
	sum, err := def.Run(t.Context(), weir.Options{Logger: silent})
	if sum.Status != weir.Failing || sum.InDoubt != 1 || err == nil || !strings.Contains(err.Error(), "in.out:1") || !strings.Contains(err.Error(), "effects resolve") {
		t.Errorf("%+v, %v", sum, err)
	}
	if got := b.called(); !slices.Equal(got, []string{"1#1"}) {
		t.Errorf("calls %v", got)
	}
}

// Results come in order, or as they come; of one key one after the other. What
// nobody reads of the failed counts as dead.
func TestPerformOrder(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []weir.EffectOption
		want string
	}{
		{"ordered", nil, "3 2 1"},
		{"as completed", []weir.EffectOption{weir.AsCompleted()}, "1 2 3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				sum, err := weir.Define("order", func(f *weir.Flow) {
					wait := effect.Idempotent("wait.v1", func(_ context.Context, v int) (string, error) {
						<-time.After(time.Duration(v) * time.Second)
						if v == 9 {
							return "", effect.Permanent(errors.New("no"))
						}
						return strconv.Itoa(v), nil
					})
					in := weir.From(f, "in", weir.Slice([]int{3, 2, 1, 9}))
					done, _ := weir.Perform(in, "wait", wait, append(tc.opts, weir.Concurrency(4))...)
					weir.Each(done, "keep", func(_ context.Context, s string) error { got = append(got, s); return nil })
				}).Run(t.Context(), weir.Options{Logger: silent})
				if err != nil || sum.Dead != 1 || sum.Failed != 1 {
					t.Errorf("%+v, %v", sum, err)
				}
				if s := strings.Join(got, " "); s != tc.want || sum.Took != 9*time.Second {
					t.Errorf("got %s after %v, want %s", s, sum.Took, tc.want)
				}
			})
		})
	}
	t.Run("by key", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sum, err := weir.Define("keys", func(f *weir.Flow) {
				wait := effect.Idempotent("wait.v1", func(_ context.Context, v int) (int, error) {
					<-time.After(time.Second)
					return v, nil
				})
				in := weir.From(f, "in", weir.Slice([]int{1, 1, 1, 2, 3, 4}))
				done, failed := weir.Perform(weir.KeyBy(in, func(v int) int { return v }), "wait", wait, weir.Concurrency(6))
				weir.Each(done, "keep", none[int])
				weir.Each(failed, "failed", none[weir.Failed[int]])
			}).Run(t.Context(), weir.Options{Logger: silent})
			if err != nil || sum.Took != 3*time.Second || sum.Out != 6 {
				t.Errorf("%+v, %v", sum, err)
			}
		})
	})
}

func none[T any](context.Context, T) error { return nil }

// A key function that panics fails the stage; a result that cannot be written is a
// matter of the call, and an answer that cannot be made is one too.
func TestPerformCodeThatFails(t *testing.T) {
	sum, err := weir.Define("keys", func(f *weir.Flow) {
		same := effect.Idempotent("same.v1", func(_ context.Context, v int) (int, error) { return v, nil })
		done, _ := weir.Perform(weir.KeyBy(weir.From(f, "in", weir.Slice([]int{1, 0})), func(v int) int { return 7 / v }), "same", same)
		weir.Each(done, "keep", none[int])
	}).Run(t.Context(), weir.Options{Logger: silent})
	if err == nil || sum.Status != weir.Failing || sum.Stage != "same" || !strings.Contains(err.Error(), "panicked on in.out:2") {
		t.Errorf("%+v, %v", sum, err)
	}
	var failed memo[weir.Failed[int]]
	sum, err = weir.Define("answers", func(f *weir.Flow) {
		e := effect.Adapt(effect.Idempotent("half.v1", func(_ context.Context, v int) (float64, error) {
			if v == 1 {
				return math.NaN(), nil
			}
			return 0.5, nil
		}), func(v int) (int, error) {
			if v == 2 {
				return 0, event.Invalid(errors.New("no two"))
			}
			return v, nil
		}, func(v int, half float64) (float64, error) {
			if v == 3 {
				panic("three")
			}
			return half, nil
		})
		done, not := weir.Perform(weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4})), "half", e)
		weir.Each(done, "keep", none[float64])
		weir.Each(not, "failed", failed.add)
	}).Run(t.Context(), weir.Options{Logger: silent})
	if err != nil || sum.Failed != 3 || sum.Out != 4 {
		t.Errorf("%+v, %v", sum, err)
	}
	for i, want := range []effect.Happened{effect.Maybe, effect.No, "yes"} {
		if i >= len(failed.all) || failed.all[i].Input != i+1 || failed.all[i].Happened != want {
			t.Errorf("failed: %+v, want number %d with %q", failed.all, i+1, want)
		}
	}
}

// A run in which the process dies anywhere, whatever the safety class, calls
// nothing again that has an outcome.
func TestPerformAfterDeathAtEveryTransition(t *testing.T) {
	classes := map[string]func(b *payee) effect.Effect[int, string]{
		"idempotent": func(b *payee) effect.Effect[int, string] {
			return effect.Idempotent("pay.v1", func(ctx context.Context, v int) (string, error) { return b.act(ctx, effect.Call{}, v) })
		},
		"keyed": func(b *payee) effect.Effect[int, string] { return effect.KeyedByInput("pay.v1", b.act) },
		"at least once": func(b *payee) effect.Effect[int, string] {
			return effect.AtLeastOnce("pay.v1", b.act)
		},
		"at most once": func(b *payee) effect.Effect[int, string] {
			return effect.AtMostOnce("pay.v1", b.act, func(_ context.Context, _ effect.Call, v int) (string, effect.State, error) {
				return fmt.Sprintf("paid %d", v), effect.Done, nil
			})
		},
	}
	for name, class := range classes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deaths := 0
				for at, died := journal.LSN(1), true; died; at++ {
					died = false
					b := &payee{}
					var paid memo[string]
					var failed memo[weir.Failed[int]]
					fatal := at
					log := newMemory(func(next journal.LSN) error {
						if next == fatal {
							died = true
							return errors.New("the process died")
						}
						return nil
					})
					options := weir.Options{Logger: silent, CheckpointBytes: 600, Harness: &plan.Harness{Batch: 3, Log: func(journal.Manifest) journal.Log { return log }}}
					def := payOut(class(b), &paid, &failed, []int{1, 2, 3, 4, 5, 6, 7}, weir.Concurrency(3))
					sum, err := def.Run(t.Context(), options)
					if died {
						deaths++
						fatal = 0
						if log, err = log.Reopen(); err != nil {
							t.Fatal(err)
						}
						sum, err = def.Run(t.Context(), options)
					}
					if err != nil || sum.Status != weir.Completed || sum.Open != 0 || len(failed.all) != 0 {
						t.Fatalf("death at %d: %+v, %v, failed %+v", at, sum, err, failed.all)
					}
					calls := b.called()
					slices.Sort(calls)
					if name == "at most once" && len(slices.Compact(slices.Clone(calls))) != len(calls) {
						t.Fatalf("death at %d: calls %v", at, calls)
					}
					if len(calls) > 7+3 {
						t.Fatalf("death at %d: more was called again than slots are: %v", at, calls)
					}
					for i := range 7 {
						if want := fmt.Sprintf("paid %d", i+1); !slices.Contains(paid.all, want) {
							t.Fatalf("death at %d: %s is missing: %v", at, want, paid.all)
						}
					}
				}
				if deaths < 15 {
					t.Errorf("only %d deaths", deaths)
				}
			})
		})
	}
}

// Policies stand before calls, and a breaker that was open when the process died
// still is: the engine gives it what is on record.
func TestPerformPoliciesAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &payee{do: func(context.Context, effect.Call, int) (string, error) {
			return "", effect.DidNotHappen(errors.New("busy"))
		}}
		var paid memo[string]
		var failed memo[weir.Failed[int]]
		log := newMemory(nil)
		def := weir.Define("payout", func(f *weir.Flow) {
			done, not := weir.Perform(weir.From[int](f, "in", &stepwise{all: []int{1, 2, 3, 4, 5, 6}, log: func() *memory.Log { return log }}), "pay",
				effect.KeyedByInput("pay.v1", b.act), policy.Breaker{Failures: 2, OpenFor: time.Hour})
			weir.Each(done, "paid", paid.add)
			weir.Each(not, "failed", failed.add)
		})
		for _, status := range []weir.Status{weir.Interrupted, weir.Completed} {
			sum, _ := def.Run(t.Context(), weir.Options{Logger: silent, Harness: &plan.Harness{Log: func(journal.Manifest) journal.Log { return log }}})
			if sum.Status != status {
				t.Fatalf("%+v", sum)
			}
			var err error
			if log, err = log.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.called(); !slices.Equal(got, []string{"1#1", "2#1"}) {
			t.Errorf("calls %v, want none after two failures", got)
		}
		if n := len(failed.all); n != 6 || failed.all[5].Kind != event.KindRejected {
			t.Errorf("failed: %+v", failed.all)
		}
	})
}

// A stepwise source ends the first process after half of its values.
type stepwise struct {
	all []int
	log func() *memory.Log
}

func (s *stepwise) Bounded() bool { return true }

func (s *stepwise) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
	return func(yield func(weir.Batch[int], error) bool) {
		from, _ := strconv.Atoi(string(after))
		for i := from; i < len(s.all); i++ {
			if from == 0 && i == len(s.all)/2 {
				<-time.After(time.Minute) // all is done that can be
				s.log().Kill()
				<-ctx.Done()
				return
			}
			if !yield(weir.Batch[int]{Values: s.all[i : i+1], Position: weir.Position(strconv.Itoa(i + 1))}, nil) {
				return
			}
		}
	}
}
