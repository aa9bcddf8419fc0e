package engine

import (
	"time"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/credit"
	"github.com/weirflow/weir/internal/evidence"
)

// stalls is what the pipeline knows of edges that make no progress.
type stalls struct {
	told   map[*edge]contract.Health // Healthy, too, stands for Idle
	next   time.Time                 // when to look again; zero while nothing happens
	logged int64                     // size of the log at the last look
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
		health := contract.Liveness(pending, since, now, r.c.Stall)
		if health == contract.Idle {
			health = contract.Healthy
		}
		if health != st.told[e] {
			st.tell(r, e, health)
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

// tell records that the health of an edge changed, and tells people when it begins
// to stall and when it no longer does.
func (st *stalls) tell(r *Run, e *edge, health contract.Health) {
	if st.told == nil {
		st.told = map[*edge]contract.Health{}
	}
	before := st.told[e]
	st.told[e] = health
	fn := r.c.Observer.Stalled
	if health == contract.Healthy {
		r.log.Info("an edge makes progress again", attr("edge", e.name))
		r.recordLiveness(e, true, false, "")
		if fn != nil {
			fn(e.name, nil)
		}
		return
	}
	why := credit.WaitsFor(e.to.name, r.waits())
	r.recordLiveness(e, false, false, health.String()+": "+why.String())
	if before == contract.Healthy {
		r.log.Warn("an edge makes no progress", attr("edge", e.name), attr("waits", why.String()))
		if fn != nil {
			fn(e.name, why.Stages())
		}
	}
}

// end records how the edges that stalled were in the end.
func (st *stalls) end(r *Run) {
	for _, e := range r.edges {
		if st.told[e] != contract.Healthy {
			if at := e.standing(); at.consumed < at.appended {
				r.recordLiveness(e, false, true, "the run ended with input that was not consumed")
			} else {
				r.recordLiveness(e, true, true, "")
			}
		}
	}
}

// recordLiveness writes a verdict to the pipeline's sys port: it is the pipeline
// that judges, and the reader may be stuck in user code.
func (r *Run) recordLiveness(e *edge, passed, final bool, reason string) {
	at := e.standing()
	c := evidence.Contract{
		Contract: string(contract.Live), From: e.journal, To: e.to.name, Passed: passed, Final: final, Reason: reason,
		Writer: evidence.Side{Count: at.appended, Last: at.appended},
		Reader: evidence.Side{Count: at.consumed, Last: at.consumed},
	}
	say(&r.pipe.author, &r.pipe.sys, evidence.TypeContract, c)
	if fn := r.c.Observer.Contract; fn != nil {
		fn(c)
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
