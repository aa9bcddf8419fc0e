package engine

import (
	"time"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/credit"
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
		pending, since := e.standing().pending, r.since(e)
		stalled := contract.Liveness(pending, since, now, r.c.Stall) >= contract.Suspect
		if stalled != st.told[e] {
			st.tell(r, e, stalled)
		}
		if d := contract.NextLook(pending, since, now, r.c.Stall); d > 0 && (soonest == 0 || d < soonest) {
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
		why := credit.WaitsFor(e.to.name, r.waits())
		chain = why.Stages()
		r.log.Warn("an edge makes no progress", attr("edge", e.name), attr("waits", why.String()))
	} else {
		r.log.Info("an edge makes progress again", attr("edge", e.name))
	}
	if fn := r.c.Observer.Stalled; fn != nil {
		fn(e.name, chain)
	}
}

// waits lists whom each stage waits for: the readers that hold it, or else, if
// there is nothing that it could read, the writers that have not ended.
func (r *Run) waits() []credit.Wait {
	var all []credit.Wait
	for _, s := range r.stages {
		held := false
		for _, o := range s.ports {
			if e := o.blocking(); e != nil {
				held = true
				all = append(all, credit.Wait{Stage: s.name, On: e.to.name, Edge: e.name, Why: credit.ForCredit})
			}
		}
		if held || s.pendingInput() {
			continue
		}
		for _, e := range s.inputs {
			if e.port.ending().kind == 0 && !e.standing().declined {
				all = append(all, credit.Wait{Stage: s.name, On: e.from.name, Edge: e.name, Why: credit.ForInput})
			}
		}
	}
	return all
}
