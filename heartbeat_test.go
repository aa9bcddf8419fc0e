package weir_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/policy"
)

// A long call is one that gives signs of life so often, for so long, and then works
// in silence for a while.
type long struct {
	beats   int
	every   time.Duration
	silence time.Duration
	heeds   bool // its context
}

func (l long) call(ctx context.Context) error {
	for range l.beats {
		time.Sleep(l.every)
		if !effect.Heartbeat(ctx) {
			return context.Cause(ctx)
		}
	}
	if !l.heeds {
		time.Sleep(l.silence)
		return nil
	}
	select {
	case <-time.After(l.silence):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A call that says that it goes on may take its time; one that falls silent is given
// up, and it is not known whether it happened.
func TestHeartbeat(t *testing.T) {
	alive := policy.Heartbeat(10 * time.Second)
	for _, c := range []struct {
		call long
		opts []weir.EffectOption
		want string
		took time.Duration
	}{
		{long{60, 9 * time.Second, 9 * time.Second, true}, []weir.EffectOption{alive}, "done", 549 * time.Second},
		{long{6, 9 * time.Second, time.Hour, true}, []weir.EffectOption{alive}, "unknown timeout: no sign of life within the heartbeat of 10s", 64 * time.Second},
		{long{0, 0, time.Hour, false}, []weir.EffectOption{alive}, "does not return although its context is cancelled", 11 * time.Second},
		{long{0, 0, 10*time.Second + 900*time.Millisecond, false}, []weir.EffectOption{alive}, "done", 10*time.Second + 900*time.Millisecond}, // an answer that comes yet counts
		{long{60, 9 * time.Second, 0, true}, []weir.EffectOption{alive, policy.Timeout(time.Minute)}, "unknown timeout: no answer within the timeout of 1m0s", 61 * time.Second},
		{long{6, time.Minute, time.Minute, true}, nil, "done", 7 * time.Minute}, // nobody waits for it
	} {
		synctest.Test(t, func(t *testing.T) {
			e := effect.KeyedByInput("long", func(ctx context.Context, _ effect.Call, _ int) (string, error) { return "done", c.call.call(ctx) })
			var got []string
			began := time.Now()
			sum, err := weir.Define("long", func(f *weir.Flow) {
				done, failed := weir.Perform(weir.From(f, "in", weir.Slice([]int{1})), "act", e, c.opts...)
				weir.Each(done, "done", func(_ context.Context, s string) error { got = append(got, s); return nil })
				weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[int]) error {
					got = append(got, fmt.Sprintf("%s %s: %s", f.Happened, f.Kind, f.Reason))
					return nil
				})
			}).Run(t.Context(), weir.Options{Logger: silent})
			if took := time.Since(began); err != nil || sum.Status != weir.Completed || len(got) != 1 || !strings.Contains(got[0], c.want) || took != c.took {
				t.Errorf("%+v: %q after %v, %v; want %q after %v", c.call, got, took, err, c.want, c.took)
			}
			time.Sleep(2 * time.Hour) // what was left behind returns
		})
	}
}

// That a call did not happen is not believed before it has been silent for long
// enough, however long ago it began, and of one of another process from when this
// one looks.
func TestSettlingOfALongCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		began, calls := time.Now(), 0
		e := effect.AtMostOnce("long", func(ctx context.Context, _ effect.Call, _ int) (string, error) {
			if calls++; calls == 2 {
				return "done", nil
			}
			return "", long{100, 9 * time.Second, time.Hour, true}.call(ctx)
		}, func(context.Context, effect.Call, int) (string, effect.State, error) {
			asked = append(asked, time.Since(began))
			return "", effect.NotDone, nil
		})
		def := weir.Define("long", func(f *weir.Flow) {
			done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{1})), "act", e, policy.Heartbeat(10*time.Second), policy.Retry{Max: 2, Delay: time.Millisecond})
			weir.Each(done, "done", none[string])
		})
		disk := vfs.NewMemory()
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: disk}}
		sum, err := def.Run(t.Context(), o)
		if err != nil || sum.Status != weir.Completed || calls != 2 {
			t.Fatalf("%+v, %v, %d calls", sum, err, calls)
		}
		// Its last sign of life was after 900 s, it was given up after 910 s.
		if want := []time.Duration{910 * time.Second, 920 * time.Second}; !slices.Equal(asked, want) {
			t.Errorf("asked after %v, want %v", asked, want)
		}

		calls, asked = 0, nil
		o.Dir = "/other"
		r, err := def.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Second)
		r.Cancel()
		time.Sleep(time.Hour)
		began = time.Now()
		sum, err = def.Run(t.Context(), o)
		if err != nil || sum.Status != weir.Completed || calls != 2 {
			t.Fatalf("%+v, %v, %d calls", sum, err, calls)
		}
		if want := []time.Duration{0, 20 * time.Second}; !slices.Equal(asked, want) {
			t.Errorf("asked after %v, want %v", asked, want)
		}
	})
}

// A stop waits for calls under way until its deadline, and then ends their contexts:
// what was cut stays open, and is made once more with the same key.
func TestStopOfLongCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		keys := map[string]int{}
		var cut error
		slow := true
		e := effect.KeyedByInput("long", func(ctx context.Context, c effect.Call, v int) (int, error) {
			mu.Lock()
			keys[c.Key]++
			mu.Unlock()
			if v == 2 && slow {
				cut = long{1 << 20, time.Second, 0, true}.call(ctx)
				return 0, cut
			}
			return v, long{4, 5 * time.Second, 0, true}.call(ctx)
		})
		var got []int
		def := weir.Define("long", func(f *weir.Flow) {
			done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{1, 2})), "act", e, policy.Heartbeat(10*time.Second), weir.Concurrency(2))
			weir.Each(done, "done", func(_ context.Context, v int) error { got = append(got, v); return nil })
		})
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: vfs.NewMemory()}}
		r, err := def.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := r.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 62*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		sum, _ := r.Wait()
		if sum.Open != 1 || cut == nil || !slices.Equal(got, []int{1}) {
			t.Errorf("%+v, the call ended with %v, done %v", sum, cut, got)
		}
		slow = false
		if sum, err = def.Run(t.Context(), o); err != nil || sum.Status != weir.Completed || !slices.Equal(got, []int{1, 2}) || len(keys) != 2 {
			t.Errorf("%+v, %v, done %v, keys %v", sum, err, got, keys)
		}
	})
}

// A stop does not wait for the next attempt of a call, which is made at its time by
// whoever continues the run.
func TestStopBetweenAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Duration
		began := time.Now()
		e := effect.AtMostOnce("moody", func(context.Context, effect.Call, int) (string, error) {
			if calls = append(calls, time.Since(began)); len(calls) == 1 {
				return "", effect.RetryAfter(errors.New("busy"), time.Hour)
			} else if len(calls) == 2 {
				return "", errors.New("lost")
			}
			return "done", nil
		}, func(context.Context, effect.Call, int) (string, effect.State, error) { return "", effect.NotDone, nil })
		var got []string
		def := weir.Define("moody", func(f *weir.Flow) {
			done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{1})), "act", e, policy.Retry{Max: 3, Delay: time.Millisecond}, policy.Settle(time.Hour))
			weir.Each(done, "done", func(_ context.Context, s string) error { got = append(got, s); return nil })
		})
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: vfs.NewMemory()}}
		for _, wait := range []time.Duration{time.Minute, 90 * time.Minute, 2 * time.Hour} { // before an attempt, while it settles, and no more
			r, err := def.Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-time.After(wait - time.Second):
			case <-r.Done():
			}
			stopped := time.Now()
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if sum, err := r.Wait(); err != nil || time.Since(stopped) > time.Minute || len(got) == 0 && (sum.Status != weir.Stopped || sum.Open != 1) {
				t.Errorf("%+v, %v, after %v", sum, err, time.Since(stopped))
			}
		}
		if len(calls) != 3 || calls[1] < time.Hour || calls[1] > time.Hour+time.Second || !slices.Equal(got, []string{"done"}) {
			t.Errorf("calls after %v, done %q", calls, got)
		}
	})
}
