package engine_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// slowly lets a source take a second for each batch.
func slowly(ctx context.Context, _ int) error {
	select {
	case <-time.After(time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func endless(w *world) (*build, *source) {
	b := newBuild()
	src := b.source("numbers", 2, upTo(10)...)
	src.open, src.acks = true, true
	b.handle("inc", add(1), "numbers")
	b.fold("sums", "inc")
	b.sink("out", w, "inc")
	b.sink("total", &world{}, "sums")
	return b, src
}

func TestStop(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*engine.Config)
		before func(t *testing.T, r *engine.Run, log *memory.Log)
		all    bool // everything was read
	}{
		{"at once", nil, func(*testing.T, *engine.Run, *memory.Log) {}, false},
		{"running", nil, func(*testing.T, *engine.Run, *memory.Log) { synctest.Wait() }, true},
		{"waiting to begin", func(c *engine.Config) { c.Manual = true }, func(*testing.T, *engine.Run, *memory.Log) { synctest.Wait() }, false},
		{"paused", nil, func(t *testing.T, r *engine.Run, _ *memory.Log) {
			synctest.Wait()
			if err := r.Pause(t.Context()); err != nil {
				t.Errorf("Pause: %v", err)
			}
		}, true},
		{"twice", nil, func(_ *testing.T, r *engine.Run, _ *memory.Log) {
			synctest.Wait()
			go r.Stop(context.Background()) //nolint:errcheck // the second is looked at
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, log := &world{}, newLog(memory.Options{})
				b, src := endless(w)
				if tc.change == nil {
					tc.change = func(*engine.Config) {}
				}
				r := start(t, b, log, tc.change)
				tc.before(t, r, log)
				if err := r.Stop(t.Context()); err != nil {
					t.Errorf("Stop: %v", err)
				}
				res := wait(t, r, evidence.Stopped)
				if res.Reason != "stop" || res.Out != res.In {
					t.Errorf("result %+v", res)
				}
				if tc.all && (res.In != 10 || len(src.acked) == 0 || src.acked[len(src.acked)-1] != "10") {
					t.Errorf("read %d, acknowledged %v", res.In, src.acked)
				}
				if got := records(t, log, "sums", "out"); len(got) != 0 {
					t.Errorf("a stop made the stage emit its end: %v", got)
				}
				if got := terminals(t, log); len(got) != 1 || got[0].Status != evidence.Stopped {
					t.Errorf("terminal records %+v", got)
				}
				if err := r.Stop(t.Context()); err != nil {
					t.Errorf("Stop after the end: %v", err)
				}

				// A stopped run goes on, and its end is the natural one.
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
				log, err := log.Reopen()
				if err != nil {
					t.Fatal(err)
				}
				b, src = endless(w)
				src.open = false
				res = wait(t, start(t, b, log), evidence.Completed)
				if res.In != 10 || !slices.Equal(w.values(), []int64{2, 3, 4, 5, 6, 7, 8, 9, 10, 11}) {
					t.Errorf("resumed: %+v, delivered %v", res, w.values())
				}
				if got := records(t, log, "sums", "out"); len(got) != 10 {
					t.Errorf("sums at the end: %v", got)
				}
			})
		})
	}
}

// An expired stop cuts the run short, whatever holds it up.
func TestStopDeadline(t *testing.T) {
	for _, tc := range []struct {
		name string
		hold func(b *build, s *sink, log *memory.Log)
	}{
		{"a sink hangs", func(_ *build, s *sink, _ *memory.Log) {
			s.refuse = func(ctx context.Context, _ int, _ []int64) error { <-ctx.Done(); return ctx.Err() }
		}},
		{"a sink is retried for ever", func(_ *build, s *sink, _ *memory.Log) {
			s.node.Guards.Retry = &plan.Retry{Max: 1 << 30, Delay: time.Second, Factor: 1}
			s.refuse = func(context.Context, int, []int64) error { return errRefused }
		}},
		{"the disk is full", func(_ *build, _ *sink, log *memory.Log) { log.Pause(errors.New("no space left")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, log := &world{}, newLog(memory.Options{})
				b := newBuild()
				b.source("numbers", 2, upTo(10)...).open = true
				s := b.sink("out", w, "numbers")
				tc.hold(b, s, log)
				r := start(t, b, log)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := r.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Stop: %v", err)
				}
				if res := wait(t, r, evidence.Cancelled); res.Reason != "stop_timeout" {
					t.Errorf("result %+v", res)
				}
				if len(w.values()) != 0 {
					t.Errorf("delivered %v", w.values())
				}
			})
		})
	}
}

func TestCancel(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*engine.Config)
		before func(t *testing.T, r *engine.Run)
	}{
		{"at once", nil, func(*testing.T, *engine.Run) {}},
		{"running", nil, func(*testing.T, *engine.Run) { synctest.Wait() }},
		{"waiting to begin", func(c *engine.Config) { c.Manual = true }, func(*testing.T, *engine.Run) { synctest.Wait() }},
		{"paused", nil, func(t *testing.T, r *engine.Run) {
			if err := r.Pause(t.Context()); err != nil {
				t.Errorf("Pause: %v", err)
			}
		}},
		{"stopping", nil, func(_ *testing.T, r *engine.Run) { go r.Stop(context.Background()) }}, //nolint:errcheck // cut short
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, log := &world{}, newLog(memory.Options{})
				b, src := endless(w)
				src.hold = slowly
				if tc.change == nil {
					tc.change = func(*engine.Config) {}
				}
				r := start(t, b, log, tc.change)
				tc.before(t, r)
				if err := r.Cancel(); err != nil {
					t.Errorf("Cancel: %v", err)
				}
				res, _ := r.Wait()
				if res.Status != evidence.Cancelled && (tc.name != "stopping" || res.Status != evidence.Stopped) {
					t.Fatalf("result %+v", res)
				}
				if got := terminals(t, log); len(got) != 1 {
					t.Errorf("terminal records %+v", got)
				}
				_ = log.Close()
				log, err := log.Reopen()
				if err != nil {
					t.Fatal(err)
				}
				b, src = endless(w)
				src.open = false
				if res := wait(t, start(t, b, log), evidence.Completed); res.In != 10 || len(w.values()) != 10 {
					t.Errorf("resumed: %+v, delivered %v", res, w.values())
				}
			})
		})
	}
}

// The caller's context ends the run.
func TestContextCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := endless(&world{})
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := engine.Start(ctx, engine.Config{Flow: b.flow, Log: newLog(memory.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel(errors.New("the shift is over"))
		if res := wait(t, r, evidence.Cancelled); res.Reason != "the shift is over" {
			t.Errorf("result %+v", res)
		}
	})
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		src := b.source("numbers", 1, upTo(60)...)
		src.hold = slowly
		b.handle("inc", add(1), "numbers")
		b.sink("out", w, "inc")
		r := start(t, b, newLog(memory.Options{}))
		if err := r.Pause(t.Context()); err != nil { // before it runs
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := len(w.values()); got > 1 || r.Snapshot().Status != "paused" {
			t.Fatalf("paused: delivered %d, status %s", got, r.Snapshot().Status)
		}
		r.Unpause()
		time.Sleep(10*time.Second + soon/2)
		before := len(w.values())
		if before < 9 || r.Snapshot().Status != "running" {
			t.Fatalf("unpaused: delivered %d, status %s", before, r.Snapshot().Status)
		}
		if err := r.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		settled := len(w.values())
		time.Sleep(time.Minute)
		if got := len(w.values()); got > settled || settled > before+2 {
			t.Errorf("paused again at %d: settled at %d, then %d", before, settled, got)
		}
		r.Unpause()
		wait(t, r, evidence.Completed)
		if len(w.values()) != 60 {
			t.Errorf("delivered %d", len(w.values()))
		}
		if err := r.Pause(t.Context()); !errors.Is(err, engine.ErrNotPausable) {
			t.Errorf("Pause after the end: %v", err)
		}
	})
}

func TestManualWaitsForBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		b.source("numbers", 5, upTo(10)...)
		b.sink("out", w, "numbers")
		r := start(t, b, newLog(memory.Options{}), func(c *engine.Config) { c.Manual = true })
		time.Sleep(time.Minute)
		if len(w.values()) > 0 || r.Snapshot().Status != "waiting" || len(w.opened) != 1 {
			t.Fatalf("delivered %v, status %s, opened %v", w.values(), r.Snapshot().Status, w.opened)
		}
		r.Begin()
		wait(t, r, evidence.Completed)
	})
}
