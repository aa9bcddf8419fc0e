package perform

import (
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// What a decision about a parked input says; see package plan.
const (
	DecideDone     = plan.DecideDone
	DecideNotDone  = plan.DecideNotDone
	DecideRetry    = plan.DecideRetry
	DecideFailed   = plan.DecideFailed
	DecideContinue = plan.DecideContinue
)

// known is what the record says about one logical call.
type known struct {
	asked   *plan.Entry // that holds the request: the first intent or attempt
	open    bool        // an attempt was begun after the last outcome
	doubt   bool        // an attempt may have happened that the last outcome does not tell of
	began   time.Time   // when the first attempt since the last decision was
	latest  time.Time   // when the latest attempt on record was
	tried   int         // attempts
	ended   int         // attempts that came to an end, since the last decision
	last    *plan.Entry // the last outcome
	why     *plan.Entry // the last outcome that has a reason
	final   *plan.Entry
	parked  string      // what for, the last time
	decided *plan.Entry // a decision that nothing followed
	drift   *plan.Entry // the last that was noted
}

// fold reads the entries of a step, and skips others.
func fold(step string, history []plan.Entry) known {
	var k known
	for i := range history {
		if e := &history[i]; e.Step == step {
			k.add(e)
		}
	}
	return k
}

func (k *known) add(e *plan.Entry) {
	switch e.Type {
	case plan.EntryIntent, plan.EntryAttempt:
		if k.asked == nil {
			k.asked = e
		}
		if k.began.IsZero() {
			k.began = e.At
		}
		k.doubt = k.doubt || k.open // the one before was cut off
		k.open, k.latest, k.decided = true, e.At, nil
		k.tried = max(k.tried, e.Attempt)
	case plan.EntryOutcome:
		k.outcome(e)
	case plan.EntryParked:
		k.parked = e.Outcome
	case plan.EntryDecision:
		k.decide(e)
	case plan.EntryDrift:
		k.drift = e
	}
}

// decide takes in what a person decided. What cannot be decided about a call that
// is parked for what it is has it executed again, as the record says.
func (k *known) decide(e *plan.Entry) {
	switch {
	case e.Outcome == DecideDone, e.Outcome == DecideFailed:
		k.final = nil // which could not be read
	case k.parked == plan.ParkedDiverged && e.Outcome == DecideContinue:
		*k = known{tried: k.tried}
		return
	case e.Outcome == DecideContinue, k.parked != "" && k.parked != plan.ParkedInDoubt:
		return
	}
	k.doubt = (k.doubt || k.open || k.unknown()) && e.Outcome != DecideNotDone
	k.decided, k.open, k.ended, k.began = e, false, 0, time.Time{}
}

func (k *known) outcome(e *plan.Entry) {
	switch e.By {
	case "": // of an attempt, or of a policy that did not let one out
		k.ended++
		if k.began.IsZero() {
			k.began = e.At.Add(-e.Took)
		}
		k.doubt = k.doubt || e.Outcome == plan.OutcomeUnknown || k.open && e.Outcome == plan.OutcomeRejected
	case byReconcile:
		k.doubt = false
	case byLookup:
		k.doubt = true
	}
	if e.Final {
		k.final = e
	}
	if e.Reason != "" {
		k.why = e
	}
	k.last, k.open, k.decided = e, false, nil
	k.tried = max(k.tried, e.Attempt)
}

// unknown reports whether the last attempt that ended may have happened.
func (k *known) unknown() bool { return k.last != nil && k.last.Outcome == plan.OutcomeUnknown }

// Who says an outcome that is not an attempt's.
const (
	byReconcile = "reconcile" // and no attempt can take effect any more
	byLookup    = "lookup"    // a transactional port, which may yet commit an earlier attempt
	byFallback  = "fallback"
	byPolicy    = "retries used up"
)
