package perform

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// ends tells whether the outcome of an attempt, one that is not recorded, is the end
// of the call, and answers if so. cause is the error that the outcome was made of.
func (c *caller) ends(os []plan.Entry, cause error) (Answer, bool) {
	o := &os[0]
	if o.Outcome == plan.OutcomeDone {
		c.k.add(o)
		return c.answer(o, os), true
	}
	after := c.k
	after.add(o)
	if !o.Final && next(&after, c.e, &c.g.Guards, nil).do != giveUp {
		return Answer{}, false
	}
	// That a keyed service refuses for good is its answer to the key, and so to
	// every attempt.
	o.Final = !after.doubt || o.Outcome == plan.OutcomeUnknown ||
		o.Final && (c.e.Safety == plan.Keyed || c.e.Safety == plan.KeyedByInput)
	c.k = after
	return c.giveUp(o, cause), true
}

// giveUp ends a call of which no further attempt is made. o is the last attempt's
// outcome if it is not recorded yet, else nil.
func (c *caller) giveUp(o *plan.Entry, cause error) Answer {
	var entries []plan.Entry
	if o == nil || !o.Final {
		if o != nil {
			entries = append(entries, *o)
		}
		o = c.sum()
	}
	if c.e.Else != nil && (o.Outcome != plan.OutcomeUnknown || c.e.Safety == plan.Idempotent) {
		if cause == nil {
			cause = ErrorOf(o)
		}
		fallback, err := c.fallback(cause)
		if err == nil {
			o.Final = false
			entries = append(entries, *o, *fallback)
			return c.answer(fallback, entries)
		}
		o.Reason = ReasonOf(errors.Join(errors.New(o.Reason), err))
	}
	return c.answer(o, append(entries, *o))
}

// sum is the final outcome of a call whose attempts are all accounted for.
func (c *caller) sum() *plan.Entry {
	o := c.entry(plan.EntryOutcome)
	o.Outcome, o.Final, o.Attempt, o.By = plan.OutcomeNotDone, true, c.k.tried, byPolicy
	o.Kind, o.Reason = event.KindUnknown, "it was cut off"
	if l := c.k.last; l != nil && l.Outcome != plan.OutcomeFallback {
		o.Outcome = l.Outcome
	}
	if w := c.k.why; w != nil {
		o.Kind, o.Reason = w.Kind, w.Reason
	}
	if d := c.k.decided; d != nil {
		o.By, o.ID = d.By, d.ID
		if d.Reason != "" {
			o.Reason = d.Reason
		}
	}
	switch {
	case o.Outcome == plan.OutcomeDone: // and what it answered is given up
		o.Kind = event.KindDecode
	case c.k.doubt:
		o.Outcome = plan.OutcomeUnknown
	}
	return o
}

// fallback has OrElse answer.
func (c *caller) fallback(cause error) (_ *plan.Entry, err error) {
	defer recovered(&err)
	out, err := c.e.Else(c.in, cause)
	if err != nil {
		return nil, fmt.Errorf("the fallback: %w", err)
	}
	f := c.entry(plan.EntryOutcome)
	if f.Result, err = c.e.AppendOut(nil, out); err == nil {
		err = fits("answer", f.Result)
	}
	if err != nil {
		return nil, fmt.Errorf("the fallback's answer: %w", err)
	}
	f.Outcome, f.Final, f.Attempt, f.By = plan.OutcomeFallback, true, c.k.tried, byFallback
	return f, nil
}

// take makes a decision's result that of the call.
func (c *caller) take() Answer {
	d := c.k.decided
	o := c.entry(plan.EntryOutcome)
	o.Outcome, o.Final, o.Attempt, o.By, o.ID, o.Result = plan.OutcomeDone, true, c.k.tried, d.By, d.ID, d.Result
	if len(d.Result) == 0 { // none was given: the zero result
		data, err := c.e.AppendRes(nil, nil)
		if err != nil {
			return c.parked(c.parkedFor(), fmt.Errorf("decided as done without a result, and one is needed: %w", err))
		}
		o.Result = data
	}
	if _, err := c.e.DecodeRes(o.Result); err != nil {
		return c.parked(c.parkedFor(), fmt.Errorf("the result in the decision is not one of effect %s: %w", c.e.Name, err))
	}
	return c.answer(o, []plan.Entry{*o})
}

// answer makes a final outcome the flow's answer. It is a function of the record
// alone, so it is the same whenever the outcome is read again.
func (c *caller) answer(o *plan.Entry, entries []plan.Entry) Answer {
	a := Answer{State: Answered, Entries: entries}
	switch o.Outcome {
	case plan.OutcomeDone:
		if o.Kind != "" { // it could not be read, and a person gave it up
			a.State, a.Happened, a.Failure = Failed, Yes, &plan.Failure{Kind: o.Kind, Err: ErrorOf(o)}
			return a
		}
		res, err := c.res, error(nil)
		if !c.known {
			res, err = c.e.DecodeRes(o.Result)
		}
		if err != nil {
			return c.parked(plan.ParkedUnreadable, fmt.Errorf("the recorded result cannot be read by this code: %w", err))
		}
		if a.Out, err = c.convert(res); err != nil {
			a.State, a.Happened = Failed, Yes
			a.Failure = &plan.Failure{Kind: kindOf(err, event.KindDomain), Err: fmt.Errorf("it happened, and its answer cannot be used: %w", err)}
		}
	case plan.OutcomeFallback:
		if c.e.DecodeOut == nil {
			return c.parked(plan.ParkedDiverged, fmt.Errorf("diverged: a fallback is on record, and effect %s has none in the code", c.e.Name))
		}
		out, err := c.e.DecodeOut(o.Result)
		if err != nil {
			return c.parked(plan.ParkedUnreadable, fmt.Errorf("the recorded fallback cannot be read by this code: %w", err))
		}
		a.Out = out
	default:
		a.State = Failed
		a.Failure = &plan.Failure{Kind: o.Kind, Err: ErrorOf(o)}
		if o.Outcome == plan.OutcomeUnknown {
			a.Happened = Maybe
		}
	}
	return a
}

// convert makes the flow's result of the service's.
func (c *caller) convert(res any) (out any, err error) {
	defer recovered(&err)
	return c.e.Answer(c.in, res)
}

// ErrorOf is the error that an entry tells of.
func ErrorOf(o *plan.Entry) error {
	kind := o.Kind
	if kind == "" {
		kind = event.KindUnknown
	}
	return &recordedError{kind, o.Reason}
}

// A recordedError is an error as it is on record.
type recordedError struct {
	kind event.Kind
	text string
}

func (e *recordedError) Error() string         { return e.text }
func (e *recordedError) ErrorKind() event.Kind { return e.kind }

// parked leaves the call to a person.
func (c *caller) parked(what string, err error) Answer {
	return Answer{State: Parked, Parked: what, Failure: &plan.Failure{Kind: event.KindUnknown, Err: err}}
}

// parkedFor is what the call was parked for before.
func (c *caller) parkedFor() string { return cmp.Or(c.k.parked, plan.ParkedInDoubt) }

// doubt says what is not known.
func (c *caller) doubt() error {
	what := "it was cut off"
	if o := c.k.last; !c.k.open && o != nil && o.Reason != "" {
		what = o.Reason
	}
	err := fmt.Errorf("in doubt: it is not known whether attempt %d of %s happened: %s", c.k.tried, c.e.Name, what)
	if c.unclear != nil {
		err = fmt.Errorf("%w; %w", err, c.unclear)
	}
	return err
}
