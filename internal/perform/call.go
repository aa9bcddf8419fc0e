package perform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// A Gate is what policies say before and after an attempt. Enter returns when an
// attempt may be made; leave is then called once, with what it ended with. An error
// while ctx is not done means that a policy refuses the attempt. A Gate with the
// method Spare of resilience.Guard is asked before each further call of a hedge.
type Gate interface {
	Enter(ctx context.Context) (leave func(err error, took time.Duration), err error)
}

// Guarded is an effect under its policies. A nil Gate lets everything pass.
type Guarded struct {
	Effect *plan.Effect
	Guards plan.Guards
	Gate   Gate
}

// A State says how a call came back.
type State uint8

// How calls come back.
const (
	Answered    State = iota + 1 // Out is the flow's result
	Failed                       // given up: Failure says why, Happened what is known
	Parked                       // in doubt, or diverged: Failure says what is not known
	Interrupted                  // the execution shall end; the call goes on when the input is executed again
)

// An Answer is how a call came back. Entries are its end and not recorded yet: the
// caller records them in one transition with what follows from the answer.
type Answer struct {
	State    State
	Out      any
	Failure  *plan.Failure
	Parked   string // what for: plan.ParkedInDoubt and the others
	Happened Happened
	Attempts int // that were made, as far as is on record
	Entries  []plan.Entry
}

// Happened says whether a failed call happened; see effect.Happened.
type Happened string

// What may be known.
const (
	No    Happened = ""
	Maybe Happened = "unknown"
	Yes   Happened = "yes" // and its result could not be used
)

// Do makes the call of a step within x, for the flow's value in, or brings the one
// to its end that history tells of: entries about other steps are skipped. What is
// recorded as the call's end is returned without calling. It returns only when the
// call has come to its end, is parked, or the execution must end.
func Do(x plan.Execution, g Guarded, step string, in any, history []plan.Entry) Answer {
	c := &caller{x: x, g: g, e: g.Effect, step: step, in: in, k: fold(step, history)}
	if g.Guards.Alive > 0 {
		c.alive = x.Now()
	}
	c.k.doubt = c.k.doubt || x.Input().Resumed && g.Effect.Safety == plan.Idempotent // of which nothing is on record
	a, err := c.run()
	if err != nil {
		return Answer{State: Interrupted}
	}
	a.Attempts = c.k.tried
	return a
}

// Abandoned returns how a call ends whose input cannot be read, and which a person
// gave up; nil if nobody did.
func Abandoned(x plan.Execution) *Answer {
	c := &caller{x: x, e: &plan.Effect{}, k: fold("", x.History())}
	if d := c.k.decided; d == nil || d.Outcome != DecideFailed {
		return nil
	}
	if asked := c.k.asked; asked != nil {
		c.e.Name, c.e.Version, c.key, c.hash = asked.Effect, asked.Version, asked.Key, asked.Hash
	}
	a := c.giveUp(nil, nil)
	a.Attempts = c.k.tried
	return &a
}

// A caller brings one logical call to its end.
type caller struct {
	x    plan.Execution
	g    Guarded
	e    *plan.Effect
	step string
	in   any
	k    known

	req  any    // to be sent
	data []byte // of req
	hash string
	key  string

	res   any  // of the latest call that was answered, as decoding it gives it
	known bool // res is there

	alive   time.Time    // the last sign of life of an attempt; of one of another process, when this one began
	unclear error        // why asking did not help
	running atomic.Int32 // calls that have not returned
}

// run returns an error when the execution shall end.
func (c *caller) run() (Answer, error) {
	if a, ended, err := c.prepare(); ended || err != nil {
		return a, err
	}
	var asked *plan.CallState
	for {
		a := next(&c.k, c.e, &c.g.Guards, asked)
		switch a.do {
		case answer:
			return c.answer(c.k.final, nil), nil
		case take:
			return c.take(), nil
		case park:
			return c.parked(plan.ParkedInDoubt, c.doubt()), nil
		case giveUp:
			return c.giveUp(nil, nil), nil
		case ask:
			o, err := c.ask()
			if err != nil {
				return Answer{}, err
			}
			if o == nil {
				asked = new(plan.CallState) // unknown
				continue
			}
			if o.Final {
				return c.answer(o, []plan.Entry{*o}), nil
			}
			if err := c.record(*o); err != nil {
				return Answer{}, err
			}
		case call:
			o, cause, err := c.attempt(a.at)
			if err != nil {
				return Answer{}, err
			}
			if end, ok := c.ends(o, cause); ok {
				return end, nil
			}
			if err := c.record(o...); err != nil {
				return Answer{}, err
			}
			asked = nil
		}
	}
}

// record records entries and takes them into account.
func (c *caller) record(entries ...plan.Entry) error {
	if err := c.x.Record(nil, entries...); err != nil {
		return err
	}
	for i := range entries {
		c.k.add(&entries[i])
	}
	return nil
}

// entry begins an entry of the call.
func (c *caller) entry(typ string) *plan.Entry { return &c.one(typ, c.x.Now())[0] }

// one is an entry as it will be recorded, alone.
func (c *caller) one(typ string, at time.Time) []plan.Entry {
	return []plan.Entry{{Type: typ, Step: c.step, Effect: c.e.Name, Version: c.e.Version, Key: c.key, Hash: c.hash, At: at}}
}

// prepare settles what is sent: the recorded request, if there is one, else the
// one that follows from the input. It reports with ended that the answer ends the
// call.
func (c *caller) prepare() (a Answer, ended bool, err error) {
	if c.k.parked == plan.ParkedCrash && c.decidedUpon() {
		return Answer{}, false, nil // without a look at what the process died of
	}
	req, data, fault := c.request()
	c.req, c.data = req, data
	if fault == nil {
		c.hash = hashOf(data)
	}
	seen := c.seen()
	if err := c.asks(seen != nil, fault); err != nil {
		return Answer{}, false, err
	}
	if seen != nil {
		if seen.Effect != c.e.Name {
			return c.another(fmt.Errorf("diverged: effect %s is on record where the code has %s", seen.Effect, c.e.Name)), true, nil
		}
		if err := c.noteDrift(seen, fault); err != nil {
			return Answer{}, false, err
		}
	}
	switch asked := c.k.asked; {
	case c.k.final != nil || c.decidedUpon(): // nothing is sent
		if asked != nil {
			c.key = asked.Key
		}
		return Answer{}, false, nil
	case asked != nil:
		recorded := []byte(asked.Request)
		if in := c.x.Input().Data; len(recorded) == 0 && asked.Hash == hashOf(in) {
			recorded = in
		}
		if c.req, err = c.e.DecodeReq(recorded); err != nil {
			return c.parked(plan.ParkedUnreadable, fmt.Errorf("the recorded request cannot be read by this code: %w", err)), true, nil
		}
		c.data, c.hash, c.key = recorded, asked.Hash, asked.Key
		return Answer{}, false, nil
	case fault == nil:
		c.key, fault = c.callKey()
	}
	if fault == nil {
		return Answer{}, false, nil
	}
	os := c.one(plan.EntryOutcome, c.x.Now())
	o := &os[0]
	o.Outcome, o.Final, o.Kind, o.Reason = plan.OutcomeNotDone, true, kindOf(fault, event.KindValidation), ReasonOf(fault)
	a, ended = c.ends(os, fault)
	return a, ended, nil
}

// asks tells what the code asks for. The key is told where one is on record.
func (c *caller) asks(recorded bool, fault error) error {
	e := c.entry(plan.EntryIntent)
	if fault == nil {
		e.Request = c.data
		if recorded {
			e.Key, fault = c.callKey()
		}
	}
	if fault != nil {
		e.Kind, e.Reason = kindOf(fault, event.KindValidation), ReasonOf(fault)
	}
	return c.x.Asked(*e)
}

// another answers for a call that is on record as one of another effect: this one
// was not made.
func (c *caller) another(err error) Answer {
	switch d := c.k.decided; {
	case d != nil && d.Outcome == DecideDone:
		return c.take()
	case d != nil && d.Outcome == DecideFailed:
		o := c.entry(plan.EntryOutcome)
		o.Outcome, o.Final, o.Kind, o.By, o.ID, o.Reason = plan.OutcomeNotDone, true, event.KindUnknown, d.By, d.ID, ReasonOf(err)
		return c.answer(o, []plan.Entry{*o})
	default:
		return c.parked(plan.ParkedDiverged, err)
	}
}

// seen is the entry that says what was called, nil if nothing was.
func (c *caller) seen() *plan.Entry {
	for _, e := range []*plan.Entry{c.k.asked, c.k.final, c.k.last} {
		if e != nil && e.Effect != "" {
			return e
		}
	}
	return nil
}

// decidedUpon reports whether a person ended the call: it is not sent again.
func (c *caller) decidedUpon() bool {
	d := c.k.decided
	return d != nil && (d.Outcome == DecideDone || d.Outcome == DecideFailed)
}

// slack is added to the size that a request or a result is expected to have: that of
// what it follows from.
const slack = 16

// request makes the request that follows from the input.
func (c *caller) request() (req any, data []byte, err error) {
	defer recovered(&err)
	if req, err = c.e.Request(c.in); err != nil {
		return nil, nil, fmt.Errorf("make the request: %w", err)
	}
	data, err = c.e.AppendReq(make([]byte, 0, len(c.x.Input().Data)+slack), req)
	if err == nil && !bytes.Equal(data, c.x.Input().Data) {
		err = fits("request", data)
	}
	return req, data, err
}

// callKey returns the key to send.
func (c *caller) callKey() (key string, err error) {
	defer recovered(&err)
	if c.e.Key == nil {
		return Key(c.x.Input(), c.step), nil
	}
	switch key = c.e.Key(c.req); {
	case key == "":
		return "", errors.New("the call's key is empty")
	case len(key) > maxKey:
		return "", fmt.Errorf("the call's key is %d bytes long, the limit is %d", len(key), maxKey)
	case !utf8.ValidString(key):
		return "", fmt.Errorf("the call's key is not UTF-8: %q", key)
	}
	return key, nil
}

// maxKey is how long the key of a call may be, in bytes.
const maxKey = 4 << 10

// noteDrift records, once, that what the code would send is not what it sent.
func (c *caller) noteDrift(seen *plan.Entry, fault error) error {
	same := fault == nil && (seen.Hash == "" || seen.Hash == c.hash)
	if same && seen.Version == c.e.Version {
		return nil
	}
	if d := c.k.drift; d != nil && d.Hash == c.hash && d.Version == c.e.Version {
		return nil
	}
	d := c.entry(plan.EntryDrift)
	if fault != nil {
		d.Reason = ReasonOf(fault)
	}
	return c.record(*d)
}

// intent is what must be on record before an attempt, nil if nothing: the request
// with the first, and that there is one with each further.
func (c *caller) intent(attempt int) []plan.Entry {
	if c.e.Safety == plan.Idempotent {
		return nil
	}
	es := c.one(plan.EntryIntent, c.x.Now())
	e := &es[0]
	e.Attempt = attempt
	if c.e.Safety == plan.AtMostOnce || c.e.Safety == plan.AtLeastOnce || c.k.asked != nil {
		e.Type = plan.EntryAttempt
	}
	if c.k.asked == nil && !bytes.Equal(c.data, c.x.Input().Data) {
		e.Request = c.data
	}
	return es
}
