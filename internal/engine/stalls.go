package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/contract"
)

// stalls is what the pipeline knows of edges that make no progress.
type stalls struct {
	told   map[*edge]bool
	next   time.Time // when to look again; zero while nothing happens
	logged int64     // size of the log at the last look
}

// look reports edges that stall and those that no longer do, and returns when to
// look again. Once nothing is pending and nothing was placed since the last look,
// the next transition wakes the pipeline, and not time.
func (st *stalls) look(r *Run, now time.Time) time.Time {
	if !st.next.IsZero() && now.Before(st.next) {
		return st.next
	}
	st.next = time.Time{}
	soonest := time.Duration(0)
	for _, e := range r.edges {
		used, _ := e.used()
		since := r.since(e)
		stalled := contract.Liveness(used > 0, since, now, r.c.Stall) >= contract.Suspect
		if stalled != st.told[e] {
			st.tell(r, e, stalled)
		}
		if d := contract.NextLook(used > 0, since, now, r.c.Stall); d > 0 && (soonest == 0 || d < soonest) {
			soonest = d
		}
	}
	logged := r.logged.Load()
	switch {
	case soonest > 0:
		st.next = now.Add(soonest)
	case logged != st.logged:
		st.next = now.Add(r.c.Stall)
	default:
		r.watching.Store(false)
		if r.logged.Load() != logged { // placed while it was watched
			st.next = now.Add(r.c.Stall)
		}
	}
	st.logged = logged
	return st.next
}

func (st *stalls) tell(r *Run, e *edge, stalled bool) {
	if st.told == nil {
		st.told = map[*edge]bool{}
	}
	st.told[e] = stalled
	var chain []string
	if stalled {
		chain = r.waitsFor(e)
		r.log.Warn("an edge makes no progress", attr("edge", e.name), attr("waits_for", strings.Join(chain, " waits for ")))
	} else {
		r.log.Info("an edge makes progress again", attr("edge", e.name))
	}
	if fn := r.c.Observer.Stalled; fn != nil {
		fn(e.name, chain)
	}
}

// waitsFor follows from the reader of a stalled edge the edges that it has no
// credit on, to the stage that holds everything up.
func (r *Run) waitsFor(e *edge) []string {
	var chain []string
	for s := e.to; s != nil && !slices.Contains(chain, s.name); {
		chain = append(chain, s.name)
		var next *stage
		for _, p := range s.ports {
			for _, out := range p.edges {
				if out.blocked.Load() && next == nil {
					next = out.to
				}
			}
		}
		s = next
	}
	return chain
}
