package engine_test

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

var errRefused = errors.New("refused")

func TestFailures(t *testing.T) {
	refuse := func(bad ...int64) func(*handler, int, int64) error {
		return func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if slices.Contains(bad, v) {
				h.ports[0].emit(-v)
				return errRefused
			}
			return nil
		}
	}
	all := func(h *handler, _ int, v int64) error { return errRefused }
	for _, tc := range []struct {
		name    string
		fn      func(*handler, int, int64) error
		onError plan.OnError
		status  string
		out     []int64 // what came out
		dead    int
		reason  string
	}{
		{"an error is a dead letter", refuse(3, 4), plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail}, evidence.Completed, []int64{1, 2, 5, 6}, 2, ""},
		{"an error fails the stage", refuse(3), plan.OnError{Error: plan.Fail, Panic: plan.Fail}, evidence.Failed, []int64{1, 2}, 0, "numbers.out:3"},
		{"a panic fails the stage", func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if v == 4 {
				panic("oh")
			}
			return nil
		}, plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail}, evidence.Failed, []int64{1, 2, 3}, 0, "panicked on numbers.out:4"},
		{"a panic is a dead letter", func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if v == 4 {
				panic("oh")
			}
			return nil
		}, plan.OnError{Error: plan.Fail, Panic: plan.DeadLetter}, evidence.Completed, []int64{1, 2, 3, 5, 6}, 1, ""},
		{"a value that cannot be written", func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if v == 2 {
				h.ports[0].emit(-5000)
			}
			return nil
		}, plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail}, evidence.Completed, []int64{1, 3, 4, 5, 6}, 1, ""},
		{"too many in a row", all, plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail, Budget: plan.Budget{InARow: 3}}, evidence.Failed, nil, 3, "3 inputs in a row"},
		{"too many of the last", refuse(1, 3, 5), plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail, Budget: plan.Budget{InARow: 9, Share: 0.5, Over: 4}}, evidence.Completed, []int64{2, 4, 6}, 3, ""},
		{"a share too many", refuse(1, 3, 4, 6), plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail, Budget: plan.Budget{InARow: 9, Share: 0.5, Over: 4}}, evidence.Failed, []int64{2}, 3, "of the last 4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, w, log := newBuild(), &world{}, newLog(memory.Options{})
				b.source("numbers", 10, upTo(6)...)
				b.handle("check", tc.fn, "numbers").node.OnError = tc.onError
				b.sink("out", w, "check")
				r := start(t, b, log)
				res := wait(t, r, tc.status)
				var want []string
				for _, v := range tc.out {
					want = append(want, strconv.FormatInt(v, 10))
				}
				if got := records(t, log, "check", "out"); !slices.Equal(got, want) {
					t.Errorf("check wrote %v, want %v", got, want)
				}
				if got := records(t, log, "check", "dead"); len(got) != tc.dead || res.Dead != uint64(tc.dead) {
					t.Errorf("dead letters %v, counted %d, want %d", got, res.Dead, tc.dead)
				}
				if !strings.Contains(res.Reason, tc.reason) {
					t.Errorf("reason %q lacks %q", res.Reason, tc.reason)
				}
				if tc.status == evidence.Failed {
					if _, err := r.Wait(); err == nil || res.Stage != "check" {
						t.Errorf("error %v, stage %q", err, res.Stage)
					}
				}
			})
		})
	}
}

// A handler that fails after it changed state leaves nothing of it behind.
func TestHalfAChangeIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		b.source("numbers", 10, upTo(25)...)
		sums := b.fold("sums", "numbers")
		plain := sums.fn
		sums.node.OnError.Budget = plan.Budget{}
		sums.fn = func(h *handler, in int, v int64) error {
			if err := plain(h, in, v); err != nil {
				return err
			}
			if v%7 == 0 || v == 8 {
				return errRefused
			}
			return nil
		}
		b.sink("out", w, "sums")
		wait(t, start(t, b, log), evidence.Completed)
		want := map[int64]int64{}
		for _, v := range upTo(25) {
			if v%7 != 0 && v != 8 {
				want[v%10] += v
			}
		}
		for d := range int64(10) {
			if got := sums.table.get(d); got != want[d] {
				t.Errorf("sum of %d is %d, want %d", d, got, want[d])
			}
		}
		if got := records(t, log, "sums", "dead"); !slices.Equal(got, []string{"7", "8", "14", "21"}) {
			t.Errorf("dead letters %v", got)
		}
		if got := len(w.values()); got != 10 {
			t.Errorf("%d sums delivered, want 10", got)
		}
	})
}

// What follows from one transition is too large for the log: the transition is
// made smaller, and an input that is too large by itself is a dead letter.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		b.source("numbers", 10, upTo(4)...)
		big := b.handle("big", nil, "numbers")
		dump := bytes.Repeat([]byte("0"), 40<<20)
		big.fn = func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if v != 1 {
				h.ports[0].pad(dump)
			}
			if v == 3 {
				h.ports[0].pad(dump)
			}
			return nil
		}
		b.sink("out", w, "big")
		wait(t, start(t, b, log), evidence.Completed)
		if got := records(t, log, "big", "dead"); !slices.Equal(got, []string{"3"}) {
			t.Errorf("dead letters %v, want 3", got)
		}
		if got := w.values(); !slices.Equal(got, []int64{1, 2, 0, 4, 0}) {
			t.Errorf("delivered %v", got)
		}
	})
}

func TestFanInAndOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, all := newBuild(), &world{}, &world{}
		b.source("low", 2, 1, 2, 3)
		b.source("high", 2, 101, 102, 103)
		b.handle("inc", add(1), "low", "high")
		b.handle("neg", func(h *handler, _ int, v int64) error {
			if v%2 == 0 {
				return errRefused
			}
			h.ports[0].emit(-v)
			return nil
		}, "inc").node.OnError.Budget = plan.Budget{}
		b.sink("out", w, "neg")
		b.sink("all", all, "inc", "neg", "neg.dead")
		res := wait(t, start(t, b, newLog(memory.Options{}), func(c *engine.Config) { c.Paranoid = true }), evidence.Completed)
		got := w.values()
		slices.Sort(got)
		if !slices.Equal(got, []int64{-103, -3}) {
			t.Errorf("out got %v", got)
		}
		if n := len(all.values()); n != 6+2+4 {
			t.Errorf("all got %d records", n)
		}
		if res.In != 6 || res.Dead != 4 || res.Out != 14 {
			t.Errorf("result %+v", res)
		}
	})
}

// A join reads its table to the end before it reads the stream, however slow the
// table is and however narrow the window.
func TestTableIsReadFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, window := range []int{1, 8192} {
			b, w, log := newBuild(), &world{}, newLog(memory.Options{})
			rows := b.source("rows", 3, upTo(50)...)
			rows.hold = slowly
			b.source("stream", 10, upTo(500)...)
			rowsSeen, early := 0, 0
			join := b.handle("join", func(h *handler, in int, v int64) error {
				if in == 0 {
					rowsSeen++
					return nil
				}
				if rowsSeen < 50 {
					early++
				}
				h.ports[0].emit(v)
				return nil
			}, "rows", "stream")
			join.node.Inputs[0].Role = plan.TableAtEnd
			b.sink("out", w, "join")
			wait(t, start(t, b, log, func(c *engine.Config) { c.Window.Records = uint64(window) }), evidence.Completed)
			if early > 0 || !slices.Equal(w.values(), upTo(500)) {
				t.Errorf("window %d: %d records early, delivered %d", window, early, len(w.values()))
			}
		}
	})
}
