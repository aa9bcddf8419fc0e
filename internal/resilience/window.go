package resilience

import (
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// A tally counts calls.
type tally struct{ calls, failed, slow int }

func (t *tally) add(o tally, sign int) {
	t.calls += sign * o.calls
	t.failed += sign * o.failed
	t.slow += sign * o.slow
}

// parts is how many steps a window by time moves on in.
const parts = 10

// A window sums the latest calls up: the last so many, or those of the last so
// long in steps of a tenth of that. Its memory is fixed.
type window struct {
	sum   tally
	cells []tally
	at    int           // index of the newest cell
	step  time.Duration // by time: what a cell covers; zero means that a cell is one call
	cell  int64         // by time: number of the newest cell since 1970
}

func newWindow(p *plan.Breaker) window {
	switch {
	case p.Over > 0:
		return window{cells: make([]tally, parts), step: max(p.Over/parts, 1)}
	case p.Window > 0:
		return window{cells: make([]tally, p.Window)}
	default:
		return window{}
	}
}

// add takes a call in that ended at now, which never goes back.
func (w *window) add(now time.Time, call tally) {
	if len(w.cells) == 0 {
		return
	}
	if w.step == 0 {
		w.next()
	} else {
		w.advance(now)
	}
	w.cells[w.at].add(call, 1)
	w.sum.add(call, 1)
}

// advance drops what is too old at now.
func (w *window) advance(now time.Time) {
	cell := now.UnixNano() / int64(w.step)
	for range min(cell-w.cell, int64(len(w.cells))) {
		w.next()
	}
	w.cell = cell
}

func (w *window) next() {
	w.at = (w.at + 1) % len(w.cells)
	w.sum.add(w.cells[w.at], -1)
	w.cells[w.at] = tally{}
}

func (w *window) clear() {
	clear(w.cells)
	w.sum = tally{}
}
