package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/policy"
)

// A service answers one call after the other as it is told, and notes when it was called.
type service struct {
	mu    sync.Mutex
	began time.Time
	calls []string // "input at time"
	down  bool
	takes time.Duration
	under int
	most  int
}

func (s *service) call(ctx context.Context, v int) (string, error) {
	s.mu.Lock()
	s.calls = append(s.calls, fmt.Sprintf("%d at %v", v, time.Since(s.began)))
	s.under++
	s.most = max(s.most, s.under)
	down, takes := s.down, s.takes
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.under--
		s.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	if down {
		return "", errors.New("503")
	}
	return fmt.Sprintf("answer %d", v), nil
}

func (s *service) effect() effect.Effect[int, string] { return effect.Idempotent("ask.v1", s.call) }

// source yields 1 to n, one every ten seconds since the service began.
func (s *service) source(n int) weir.SourceFunc[int] {
	return func(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			for at := len(after); at < n; at++ {
				select {
				case <-time.After(time.Until(s.began.Add(time.Duration(at) * 10 * time.Second))):
				case <-ctx.Done():
					return
				}
				if !yield(weir.Batch[int]{Values: []int{at + 1}, Position: weir.Position(strings.Repeat(".", at+1))}, nil) {
					return
				}
			}
		}
	}
}

// outcomes returns what became of a stage's calls, as is on record.
func outcomes(t *testing.T, log *memory.Log, stage string) (all []plan.Entry) {
	t.Helper()
	in, err := log.Read(1)
	if err != nil {
		t.Fatal(err)
	}
	trs := journal.Transitions(in)
	var p journal.Placed
	for {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if p.Stage != stage || o.Port != journal.PortFx || o.Type != plan.EntryOutcome {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				e, err := plan.ParseEntry(o.Type, slices.Clone(rec.Payload))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, e)
			}
		}
	}
}

// A breaker that opened stays open for the rest of its time when the run goes on
// in another process; what it refuses is on record, and says why.
func TestBreakerSurvivesResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{began: time.Now(), down: true}
		var answers memo[string]
		var failed memo[weir.Failed[int]]
		def := weir.Define("asking", func(f *weir.Flow) {
			in := weir.From(f, "in", s.source(9))
			done, not := weir.Perform(in, "ask", s.effect(), policy.Breaker{Failures: 2, OpenFor: time.Minute, Name: "backend"})
			weir.Each(done, "answers", answers.add)
			weir.Each(not, "failed", failed.add)
		})
		log := newMemory(nil)
		options := weir.Options{Logger: silent, Harness: &plan.Harness{Batch: 1, Log: func(journal.Manifest) journal.Log { return log }}}
		run, err := def.Start(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second) // 1 and 2 failed, at 0 and 10 s; 3 was refused
		if err := run.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := run.Wait(); err != nil {
			t.Fatal(err)
		}
		if log, err = log.Reopen(); err != nil {
			t.Fatal(err)
		}
		s.down = false
		sum, err := def.Run(t.Context(), options)
		if err != nil || sum.Status != weir.Completed || sum.Epoch != 2 {
			t.Fatalf("%+v, %v", sum, err)
		}
		want := []string{"1 at 0s", "2 at 10s", "8 at 1m10s", "9 at 1m20s"}
		if diff := cmp.Diff(want, s.calls); diff != "" {
			t.Errorf("calls, of which none leaves from 10s to 1m10s (-want +got):\n%s", diff)
		}
		if len(failed.all) != 7 || len(answers.all) != 2 {
			t.Fatalf("failed %+v, answers %v", failed.all, answers.all)
		}
		why := "breaker backend is open until " + s.began.Add(70*time.Second).UTC().Format("2006-01-02T15:04:05.000Z") + ": 2 failures in a row"
		for _, f := range failed.all[2:] {
			if f.Kind != event.KindRejected || !strings.Contains(f.Reason, why) || f.Happened != effect.No {
				t.Errorf("refused: %+v, want %s", f, why)
			}
		}
		if log, err = log.Reopen(); err != nil {
			t.Fatal(err)
		}
		rejected := 0
		for _, e := range outcomes(t, log, "ask") {
			if e.Outcome == plan.OutcomeRejected && strings.Contains(e.Reason, why) && e.RetryAfter == s.began.Add(70*time.Second).Sub(e.At) {
				rejected++
			}
		}
		if rejected != 5 {
			t.Errorf("%d refusals are on record, want those of 3 to 7", rejected)
		}
	})
}

// A retry waits for an open breaker, and for its probe, so a backlog waits for its
// service and does not run through into the failed.
func TestRetryWaitsForTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{began: time.Now(), down: true, takes: 10 * time.Second}
		var answers memo[string]
		time.AfterFunc(50*time.Second, func() {
			s.mu.Lock()
			s.down = false
			s.mu.Unlock()
		})
		sum, err := weir.Define("asking", func(f *weir.Flow) {
			in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5}))
			done, not := weir.Perform(in, "ask", s.effect(), weir.Concurrency(3),
				policy.Breaker{Failures: 1, OpenFor: time.Minute}, policy.Retry{Max: 3, Delay: time.Second})
			weir.Each(done, "answers", answers.add)
			weir.Each(not, "failed", none[weir.Failed[int]])
		}).Run(t.Context(), weir.Options{Logger: silent})
		if err != nil || sum.Failed != 0 || len(answers.all) != 5 {
			t.Errorf("%+v, %v, answers %v, calls %v", sum, err, answers.all, s.calls)
		}
		// Three are under way when it opens at 10s, one probe leaves at 1m10s, and the others when that is answered.
		var at []string
		for _, c := range s.calls {
			at = append(at, c[2:])
		}
		if diff := cmp.Diff([]string{"at 0s", "at 0s", "at 0s", "at 1m10s", "at 1m20s", "at 1m20s", "at 1m20s", "at 1m30s"}, at); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// A bucket is as empty after a resume as the calls before left it.
func TestRateSurvivesResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{began: time.Now()}
		def := weir.Define("asking", func(f *weir.Flow) {
			done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4})), "ask", s.effect(), policy.Rate{PerSecond: 0.01, Burst: 2})
			weir.Each(done, "answers", none[string])
		})
		log := newMemory(nil)
		options := weir.Options{Logger: silent, Harness: &plan.Harness{Log: func(journal.Manifest) journal.Log { return log }}}
		run, err := def.Start(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		run.Cancel()
		if _, err := run.Wait(); err != nil {
			t.Fatal(err)
		}
		if log, err = log.Reopen(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if sum, err := def.Run(t.Context(), options); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if diff := cmp.Diff([]string{"1 at 0s", "2 at 0s", "3 at 1m40s", "4 at 3m20s"}, s.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// Stages that give a bulkhead the same name have that many calls at once together.
func TestBulkheadIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{began: time.Now(), takes: time.Second}
		sum, err := weir.Define("asking", func(f *weir.Flow) {
			in := weir.From(f, "in", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
			one, _ := weir.Perform(in, "one", s.effect(), weir.Concurrency(4), policy.Bulkhead{Max: 3, Name: "backend"})
			two, _ := weir.Perform(in, "two", s.effect(), weir.Concurrency(4), policy.Bulkhead{Max: 3, Name: "backend"})
			weir.Each(one, "ones", none[string])
			weir.Each(two, "twos", none[string])
		}).Run(t.Context(), weir.Options{Logger: silent})
		if err != nil || s.most != 3 || len(s.calls) != 12 || sum.Took != 4*time.Second {
			t.Errorf("%+v, %v, at most %d at once, calls %v", sum, err, s.most, s.calls)
		}
	})
}

// A hedge calls again when a call is slow, takes the first answer, and makes no
// call for which there is no place.
func TestHedge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opts  []weir.EffectOption
		calls []string
		took  time.Duration
	}{
		{"room", nil, []string{"1 at 0s", "1 at 2s"}, 3 * time.Second},
		{"no room", []weir.EffectOption{policy.Bulkhead{Max: 1}}, []string{"1 at 0s"}, time.Minute},
		{"no token", []weir.EffectOption{policy.Rate{PerSecond: 0.001}}, []string{"1 at 0s"}, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{began: time.Now(), takes: time.Minute}
				time.AfterFunc(time.Second, func() {
					s.mu.Lock()
					s.takes = time.Second
					s.mu.Unlock()
				})
				sum, err := weir.Define("asking", func(f *weir.Flow) {
					done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{1})), "ask", s.effect(), append(tt.opts, policy.Hedge{After: 2 * time.Second})...)
					weir.Each(done, "answers", none[string])
				}).Run(t.Context(), weir.Options{Logger: silent})
				synctest.Wait() // for the call that was told to end
				if diff := cmp.Diff(tt.calls, s.calls); diff != "" || err != nil || sum.Took != tt.took || s.under != 0 {
					t.Errorf("%+v, %v, %d under way, want %v; calls (-want +got):\n%s", sum, err, s.under, tt.took, diff)
				}
			})
		})
	}
}

// A sink's failure that is final is not retried, and one that asks for time is
// given it.
func TestSinkFailuresSayWhatTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []int
		sum, err := weir.Define("sinking", func(f *weir.Flow) {
			weir.Each(weir.From(f, "in", weir.Slice([]int{1, 2})), "put", func(_ context.Context, v int) error {
				calls = append(calls, v)
				switch {
				case v == 1:
					return effect.Permanent(errors.New("gone"))
				case len(calls) == 2:
					return effect.RetryAfter(errors.New("busy"), time.Hour)
				}
				return nil
			}, policy.Retry{Max: 3, Delay: time.Second})
		}).Run(t.Context(), weir.Options{Logger: silent})
		if diff := cmp.Diff([]int{1, 2, 2}, calls); diff != "" || err != nil || sum.Dead != 1 || sum.Took != time.Hour {
			t.Errorf("%+v, %v, calls (-want +got):\n%s", sum, err, diff)
		}
	})
}
