package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// A scribbler is a handler that may change its input in place.
type scribbler struct {
	*handler
	change func(h *handler, v *int64) error
}

func (h *scribbler) Handle(in int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	values := b.Values.([]int64)
	for i := from; i < to; i++ {
		h.node.Turn.Item = h.node.Turn.Base + i - from
		h.fn = func(hh *handler, _ int, _ int64) error { return h.change(hh, &values[i]) }
		if f := h.one(in, values[i]); f != nil {
			return i, h.table != nil && h.table.Changed() > 0, f
		}
	}
	return to, false, nil
}

// A handler that changes its input in place, as it may if the values are its own,
// never sees its own changes: not when a transition is run again because of half
// a change, nor because it was too large, nor does a dead letter.
func TestInputsAreAsTheyWereWritten(t *testing.T) {
	dump := bytes.Repeat([]byte("0"), 40<<20)
	for _, tc := range []struct {
		name   string
		state  bool
		change func(h *handler, v *int64) error
		out    []string
		dead   []string
	}{
		{"half a change", true, func(h *handler, v *int64) error {
			was := *v
			*v = -1
			h.table.set(was, was)
			h.ports[0].emit(was)
			if was == 3 || was == 5 {
				return errRefused
			}
			return nil
		}, []string{"1", "2", "4", "6"}, []string{"3", "5"}},
		{"no change but to the input", false, func(h *handler, v *int64) error {
			was := *v
			*v = -1
			h.ports[0].emit(was)
			if was == 3 || was == 5 {
				return errRefused
			}
			return nil
		}, []string{"1", "2", "4", "6"}, []string{"3", "5"}},
		{"too large together", false, func(h *handler, v *int64) error {
			was := *v
			*v = -1
			h.ports[0].emit(was)
			if was == 2 || was == 4 {
				h.ports[0].pad(dump)
			}
			if was == 5 {
				h.ports[0].pad(dump)
				h.ports[0].pad(dump)
			}
			return nil
		}, []string{"1", "2", string(dump), "3", "4", string(dump), "6"}, []string{"5"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, log := newBuild(), newLog(memory.Options{})
				b.source("numbers", 6, upTo(6)...).node.Ports[0].Mode = plan.Copied
				h := b.handle("scribble", nil, "numbers")
				h.node.Handler = &scribbler{h, tc.change}
				if tc.state {
					h.table = newTable(h.node)
					h.node.Tables = []plan.Table{h.table}
				}
				wait(t, start(t, b, log), evidence.Completed)
				if got := records(t, log, "scribble", "out"); !slices.Equal(got, tc.out) {
					t.Errorf("wrote %.60q", got)
				}
				if got := records(t, log, "scribble", "dead"); !slices.Equal(got, tc.dead) {
					t.Errorf("dead letters %v, want %v", got, tc.dead)
				}
			})
		})
	}
}

// The same goes for a sink that is asked again.
func TestDeliveriesAreAsTheyWereWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		b.source("numbers", 3, upTo(6)...).node.Ports[0].Mode = plan.Copied
		s := b.sink("out", w, "numbers")
		s.node.Guards.Retry = &plan.Retry{Max: 3, Delay: time.Second}
		tried := map[string]bool{}
		s.refuse = func(_ context.Context, attempt int, vs []int64) error {
			tried[fmt.Sprint(attempt, vs)] = true
			if vs[0] <= 3 && attempt == 3 {
				return nil
			}
			clear(vs)
			return errRefused
		}
		wait(t, start(t, b, log), evidence.Completed)
		if !slices.Equal(w.values(), upTo(3)) || !tried["3 [4 5 6]"] {
			t.Errorf("delivered %v, tried %v", w.values(), tried)
		}
		if got := records(t, log, "out", "dead"); !slices.Equal(got, []string{"4", "5", "6"}) {
			t.Errorf("dead letters %v", got)
		}
	})
}
