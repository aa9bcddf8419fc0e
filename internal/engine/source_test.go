package engine_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

func TestReadIsRetried(t *testing.T) {
	for _, tc := range []struct {
		name   string
		retry  *plan.Retry
		status string
		took   time.Duration
		out    int
	}{
		{"not at all", nil, evidence.Failed, 0, 4},
		{"often enough", &plan.Retry{Max: 4, Delay: time.Second, Factor: 2}, evidence.Completed, 7 * time.Second, 10},
		{"not often enough", &plan.Retry{Max: 3, Delay: time.Second, Factor: 2}, evidence.Failed, 3 * time.Second, 4},
		{"not long enough", &plan.Retry{Max: 9, Delay: time.Second, Factor: 2, Within: 2 * time.Second}, evidence.Failed, time.Second, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, w := newBuild(), &world{}
				src := b.source("numbers", 2, upTo(10)...)
				failures := 0
				src.hold = func(_ context.Context, at int) error {
					if at == 4 && failures < 3 {
						failures++
						return errors.New("connection reset")
					}
					return nil
				}
				src.node.Guards.Retry = tc.retry
				b.sink("out", w, "numbers")
				began := time.Now()
				res := wait(t, start(t, b, newLog(memory.Options{})), tc.status)
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if res.In != uint64(tc.out) {
					t.Errorf("read %d, want %d", res.In, tc.out)
				}
				if tc.status == evidence.Completed && !slices.Equal(w.values(), upTo(10)) {
					t.Errorf("delivered %v", w.values())
				}
				if tc.status == evidence.Failed && !strings.Contains(res.Reason, "connection reset") {
					t.Errorf("reason %q", res.Reason)
				}
			})
		})
	}
}

func TestRateOfSourcesAndSinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		b.source("numbers", 10, upTo(100)...).node.Guards.Rate = &plan.Rate{PerSecond: 10, Burst: 10}
		b.sink("out", w, "numbers").node.Guards.Rate = &plan.Rate{PerSecond: 5, Burst: 5}
		began := time.Now()
		wait(t, start(t, b, newLog(memory.Options{})), evidence.Completed)
		if took := time.Since(began); took < 19*time.Second || took > 20*time.Second {
			t.Errorf("100 records at 5 a second took %v", took)
		}
	})
}

func TestSourceContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			expect int64
			mode   engine.SourceContract
			status string
		}{
			{5, engine.AbortRun, evidence.Completed},
			{6, engine.AbortRun, evidence.Failed},
			{6, engine.WarnOnly, evidence.Completed},
		} {
			b, w, log := newBuild(), &world{}, newLog(memory.Options{})
			b.source("numbers", 2, upTo(5)...).expect = tc.expect
			b.sink("out", w, "numbers")
			res := wait(t, start(t, b, log, func(c *engine.Config) { c.SourceContract = tc.mode }), tc.status)
			if tc.status == evidence.Failed && !strings.Contains(res.Reason, "expected 6, found 5") {
				t.Errorf("reason %q", res.Reason)
			}
			found := false
			for _, c := range contracts(t, log, "numbers") {
				if c.Contract == "source" {
					found = true
					if c.Passed != (tc.expect == 5) || c.Gates != (tc.mode == engine.AbortRun) {
						t.Errorf("expect %d: evidence %+v", tc.expect, c)
					}
				}
			}
			if !found {
				t.Errorf("expect %d: no evidence", tc.expect)
			}
		}
	})
}

// A source whose code does not listen is left behind in the end.
func TestSourceThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuild()
		src := b.source("numbers", 2, upTo(10)...)
		release := make(chan struct{})
		src.hold = func(context.Context, int) error { <-release; return nil }
		b.sink("out", &world{}, "numbers")
		r := start(t, b, newLog(memory.Options{}))
		synctest.Wait()
		began := time.Now()
		_ = r.Cancel()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("cancelled after %v", took)
		}
		wait(t, r, evidence.Cancelled)
		close(release)
	})
}

// A batch that the log did not take, because the disk was full until the run was
// cancelled, is read again: the last words of its source do not have the position
// after it.
func TestPositionOfABatchThatWasNotPlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLog(memory.Options{}), &world{}
		flow := func() *build {
			b := newBuild()
			b.source("numbers", 2, upTo(10)...)
			b.sink("out", w, "numbers")
			return b
		}
		log.Pause(errors.New("no space left on device"))
		r := start(t, flow(), log)
		synctest.Wait() // the first batch waits for room
		_ = r.Cancel()
		wait(t, r, evidence.Cancelled)
		log.Pause(nil)
		log = again(t, log)
		wait(t, start(t, flow(), log), evidence.Completed)
		if got := w.values(); !slices.Equal(got, upTo(10)) {
			t.Errorf("delivered %v, want 1 to 10", got)
		}
	})
}

// A batch that is too large for the log fails its source, and its position is not
// recorded: the run cannot go on past it.
func TestPositionOfABatchThatIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLog(memory.Options{}), &world{}
		flow := func(large bool) *build {
			b := newBuild()
			src := b.source("numbers", 2, upTo(10)...)
			if large {
				src.pad = bytes.Repeat([]byte("0"), 80<<20)
			}
			b.sink("out", w, "numbers")
			return b
		}
		wait(t, start(t, flow(true), log), evidence.Failed)
		log = again(t, log)
		wait(t, start(t, flow(false), log), evidence.Completed)
		if got := w.values(); !slices.Equal(got, upTo(10)) {
			t.Errorf("delivered %v, want 1 to 10", got)
		}
	})
}

// again closes a log and opens it for the next epoch.
func again(t *testing.T, log *memory.Log) *memory.Log {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// What was recorded and not acknowledged when the process died is acknowledged
// when the run goes on, before more is read: a queue would send it again.
func TestRecordedPositionIsAcknowledgedAtResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLog(memory.Options{}), &world{}
		b := newBuild()
		src := b.source("numbers", 2, upTo(4)...)
		src.acks, src.open = true, true
		b.sink("out", w, "numbers")
		log.Hold()
		r := start(t, b, log)
		synctest.Wait()
		if len(src.acked) != 0 {
			t.Errorf("acknowledged %v though nothing is durable", src.acked)
		}
		log.Kill()
		if _, err := r.Wait(); err == nil {
			t.Error("the run outlived its log")
		}
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		b = newBuild()
		again := b.source("numbers", 2, upTo(6)...)
		again.acks = true
		again.hold = func(_ context.Context, at int) error {
			again.mu.Lock()
			defer again.mu.Unlock()
			if want := []string{"4"}; at == 4 && !slices.Equal(again.acked, want) {
				t.Errorf("acknowledged %v before reading on, want %v", again.acked, want)
			}
			return nil
		}
		b.sink("out", w, "numbers")
		wait(t, start(t, b, log), evidence.Completed)
		if want := []string{"4", "6"}; !slices.Equal(again.acked, want) {
			t.Errorf("acknowledged %v, want %v", again.acked, want)
		}
	})
}
