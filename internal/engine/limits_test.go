package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// A wordy handler writes dead letters that are too large for the log.
type wordy struct {
	*handler
	dump []byte
}

func (h *wordy) Bury(_ int, b *plan.Batch, i int, _ *plan.Failure) {
	h.dead.emit(b.Values.([]int64)[i])
	h.dead.pad(h.dump)
}

// An input whose dead letter is too large as well fails the stage.
func TestTooLargeADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuild()
		b.source("numbers", 4, upTo(4)...)
		h := b.handle("big", nil, "numbers")
		dump := bytes.Repeat([]byte("0"), 65<<20)
		h.fn = func(h *handler, _ int, v int64) error {
			h.ports[0].emit(v)
			if v == 3 {
				h.ports[0].pad(dump)
			}
			return nil
		}
		h.node.Handler = &wordy{h, dump}
		b.sink("out", &world{}, "big")
		log := newLog(memory.Options{})
		res := wait(t, start(t, b, log), evidence.Failed)
		if !strings.Contains(res.Reason, "numbers.out:3") || !strings.Contains(res.Reason, "too large") {
			t.Errorf("reason %q", res.Reason)
		}
		if got := records(t, log, "big", "out"); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("wrote %.20q", got)
		}
	})
}

// A full writer takes three records in one transition.
type fullHandler struct{ *handler }

func (h *fullHandler) Handle(in int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	values := b.Values.([]int64)
	for i := from; i < to; i++ {
		h.node.Turn.Item = h.node.Turn.Base + i - from
		if h.ports[0].Len() >= 3 {
			return i, h.table.Changed() > 0, &plan.Failure{Err: fmt.Errorf("emit: %w", plan.ErrFull)}
		}
		if f := h.one(in, values[i]); f != nil {
			return i, h.table.Changed() > 0, f
		}
	}
	return to, false, nil
}

// An input that finds its writers full is not at fault: it has a transition with
// fewer inputs.
func TestFullWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		b.source("numbers", 20, upTo(40)...)
		h := b.fold("sums", "numbers")
		plain := h.fn
		h.fn = func(h *handler, in int, v int64) error {
			h.ports[0].emit(v)
			return plain(h, in, v)
		}
		h.node.Handler = &fullHandler{&h.handler}
		b.sink("out", w, "sums")
		res := wait(t, start(t, b, log), evidence.Completed)
		if res.Dead != 0 || !slices.Equal(w.values(), upTo(40)) {
			t.Errorf("%d dead letters, delivered %v", res.Dead, w.values())
		}
		if got := h.table.get(3); got != 3+13+23+33 {
			t.Errorf("sum %d", got)
		}
	})
}

// The stack of a panic of user code is told once.
func TestPanicsAreToldWithTheirStack(t *testing.T) {
	fall := func(bad int64) func(int64) {
		return func(v int64) {
			if v == bad {
				panic("fell over")
			}
		}
	}
	for _, tc := range []struct {
		name string
		flow func(b *build)
	}{
		{"a handler's, fails the stage", func(b *build) {
			b.source("numbers", 4, upTo(4)...)
			h := b.handle("h", func(h *handler, _ int, v int64) error { fall(3)(v); return nil }, "numbers")
			b.sink("out", &world{}, h.node.Name)
		}},
		{"a handler's, a dead letter", func(b *build) {
			b.source("numbers", 4, upTo(4)...)
			h := b.handle("h", func(h *handler, _ int, v int64) error { fall(3)(v); return nil }, "numbers")
			h.node.OnError.Panic = plan.DeadLetter
			b.sink("out", &world{}, h.node.Name)
		}},
		{"a sink's, fails the stage", func(b *build) {
			b.source("numbers", 4, upTo(4)...)
			b.sink("out", &world{}, "numbers").refuse = func(_ context.Context, _ int, vs []int64) error { fall(1)(vs[0]); return nil }
		}},
		{"a sink's, dead letters", func(b *build) {
			b.source("numbers", 4, upTo(4)...)
			s := b.sink("out", &world{}, "numbers")
			s.refuse = func(_ context.Context, _ int, vs []int64) error { fall(1)(vs[0]); return nil }
			s.node.OnError.Panic = plan.DeadLetter
		}},
		{"a source's", func(b *build) {
			b.source("numbers", 4, upTo(8)...).hold = func(_ context.Context, at int) error { fall(4)(int64(at)); return nil }
			b.sink("out", &world{}, "numbers")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBuild()
				tc.flow(b)
				var told bytes.Buffer
				r := start(t, b, newLog(memory.Options{}), func(c *engine.Config) { c.Logger = slog.New(slog.NewJSONHandler(&told, nil)) })
				_, _ = r.Wait()
				if n := strings.Count(told.String(), "TestPanicsAreToldWithTheirStack."); n == 0 || strings.Count(told.String(), `"stack":`) != 1 {
					t.Errorf("told:\n%s", told.String())
				}
			})
		})
	}
}

// A record that failed and would have been tried again when the run was cancelled
// is neither delivered nor dead: it comes again.
func TestCancelledRetryIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := &world{}, newLog(memory.Options{})
		broken := true
		flow := func() *build {
			b := newBuild()
			b.source("numbers", 4, upTo(4)...)
			s := b.sink("out", w, "numbers")
			s.node.Guards.Retry = &plan.Retry{Max: 5, Delay: time.Hour}
			s.fail = func(v int64, _ int) error {
				if broken && v == 3 {
					return errors.New("busy")
				}
				return nil
			}
			return b
		}
		r := start(t, flow(), log)
		synctest.Wait()
		if err := r.Cancel(); err != nil {
			t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		broken = false
		res := wait(t, start(t, flow(), log), evidence.Completed)
		if res.Dead != 0 || !slices.Contains(w.values(), 3) {
			t.Errorf("%d dead letters, delivered %v", res.Dead, w.values())
		}
	})
}
