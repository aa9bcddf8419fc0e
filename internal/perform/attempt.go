package perform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// Why an attempt is given up.
var (
	errTimeout = errors.New("no answer within the timeout")
	errSilent  = errors.New("no sign of life within the heartbeat")
)

// errEnd says that the execution shall end.
var errEnd = errors.New("the execution shall end")

// attempt makes one attempt, no earlier than at, and returns its outcome, which is
// not recorded, with the error it was.
func (c *caller) attempt(at time.Time) ([]plan.Entry, error, error) {
	if err := c.wait(at); err != nil {
		return nil, nil, err
	}
	ctx := c.x.Context()
	leave := func(error, time.Duration) {}
	if c.g.Gate != nil {
		l, err := c.g.Gate.Enter(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil, errEnd
			}
			os := c.one(plan.EntryOutcome, c.x.Now())
			o := &os[0]
			o.Outcome, o.Kind, o.Reason, o.Attempt = plan.OutcomeRejected, event.KindRejected, ReasonOf(err), c.k.tried
			o.RetryAfter = resilience.After(err, o.At)
			return os, err, nil
		}
		leave = l
	}
	n := c.k.tried + 1
	if in := c.intent(n); in != nil {
		if err := c.record(in...); err != nil {
			leave(resilience.ErrCut, 0)
			return nil, nil, err
		}
	}
	if err := c.x.Durable(); err != nil {
		leave(resilience.ErrCut, 0)
		return nil, nil, err
	}
	if ctx.Err() != nil {
		leave(resilience.ErrCut, 0)
		return nil, nil, errEnd
	}
	start := c.x.Now()
	c.alive = start
	res, err := c.reach(ctx, plan.Call{Key: c.key, Attempt: n})
	now := c.x.Now()
	took := now.Sub(start)
	known := (*plan.RefusedError)(nil)
	if err != nil && !errors.As(err, &known) && ctx.Err() != nil {
		leave(resilience.ErrCut, took)
		return nil, nil, errEnd // cut off: open
	}
	leave(err, took)
	os := c.one(plan.EntryOutcome, now)
	o := &os[0]
	o.Attempt, o.Took = n, took
	if err == nil {
		c.done(o, res)
		return os, nil, nil
	}
	o.Reason = ReasonOf(err)
	if known != nil {
		o.Outcome, o.Final, o.RetryAfter = plan.OutcomeNotDone, known.Final, known.After
		o.Kind = kindOf(err, event.KindRemote)
		if known.Final {
			o.Kind = kindOf(err, event.KindPermanent)
		}
		return os, err, nil
	}
	o.Outcome, o.Kind = plan.OutcomeUnknown, kindOf(err, event.KindRemote)
	if errors.Is(err, errTimeout) || errors.Is(err, errSilent) {
		o.Kind = event.KindTimeout
	}
	return os, err, nil
}

// done makes o the outcome of a call that was answered.
func (c *caller) done(o *plan.Entry, res any) {
	c.known = false
	data, err := c.e.AppendRes(make([]byte, 0, len(c.data)+slack), res)
	if err == nil {
		err = fits("result", data)
	}
	if err == nil {
		o.Outcome, o.Result, o.Final = plan.OutcomeDone, data, true
		if c.e.Decoded != nil {
			c.res, c.known = c.e.Decoded(res)
		}
		return
	}
	o.Outcome, o.Kind = plan.OutcomeUnknown, event.KindOf(err)
	o.Reason = ReasonOf(fmt.Errorf("it happened, and its result cannot be recorded: %w", err))
	o.Final = c.e.Safety != plan.AtMostOnce // which is left to a person
}

// fits refuses what is too long to be recorded.
func fits(what string, data []byte) error {
	if len(data) <= plan.MaxValue {
		return nil
	}
	return event.Mark(event.KindTooLarge, fmt.Errorf("the %s is %d bytes long, the limit is %d", what, len(data), plan.MaxValue))
}

// wait returns at a time, at once if it has passed. A stop does not wait for it.
func (c *caller) wait(at time.Time) error {
	if d := at.Sub(c.x.Now()); !at.IsZero() && d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.x.Waiting().Done():
			return errEnd
		}
	}
	if c.x.Context().Err() != nil {
		return errEnd
	}
	return nil
}

// An ended attempt is what Do returned.
type ended struct {
	res any
	err error
}

// reach calls the service, under the timeout, the heartbeat and the hedge.
func (c *caller) reach(ctx context.Context, id plan.Call) (any, error) {
	g := &c.g.Guards
	if g.Timeout <= 0 && g.Alive <= 0 && g.Hedge == nil {
		e := c.do(ctx, id)
		return e.res, e.err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var more, late, silent <-chan time.Time
	most := 1
	if g.Hedge != nil {
		most = max(g.Hedge.Max, 1)
		t := time.NewTicker(max(g.Hedge.After, 1))
		defer t.Stop()
		more = t.C
	}
	if g.Timeout > 0 {
		t := time.NewTimer(g.Timeout)
		defer t.Stop()
		late = t.C
	}
	beats := make(chan struct{}, 1) // a sign of life; calls send without waiting
	hush := &time.Timer{}
	if g.Alive > 0 {
		hush = time.NewTimer(g.Alive)
		defer hush.Stop()
		silent = hush.C
		ctx = plan.WithBeat(ctx, func() {
			select {
			case beats <- struct{}{}:
			default:
			}
		})
	}
	back := make(chan ended, most) // nobody blocks who comes too late
	begin := func(leave func()) {
		c.running.Add(1)
		go func() {
			defer c.running.Add(-1)
			e := c.do(ctx, id)
			leave()
			back <- e
		}()
	}
	begin(func() {})
	under := 1
	var unclear error // of a call that may have happened
	var over error    // why the attempt is given up
	giveUp := func(why error) {
		over = why
		cancel()
		more, silent, late = nil, nil, time.After(grace)
	}
	for {
		select {
		case last := <-back:
			under--
			if known := (*plan.RefusedError)(nil); last.err != nil && !errors.As(last.err, &known) {
				unclear = cmp.Or(unclear, last.err)
			}
			if last.err == nil {
				return last.res, nil
			}
			if under == 0 {
				err := cmp.Or(unclear, last.err) // what one says of itself does not hold for the others
				if over != nil {
					err = fmt.Errorf("%w: %w", over, err)
				}
				return nil, err
			}
		case <-more:
			if under == most {
				continue
			}
			if leave, ok := c.spare(); ok {
				begin(leave)
				under++
			}
		case <-beats:
			c.alive = c.x.Now()
			hush.Reset(g.Alive)
		case <-silent:
			giveUp(fmt.Errorf("%w of %v", errSilent, g.Alive))
		case <-late:
			if over != nil { // and it does not return: whatever it does now is not known
				return nil, fmt.Errorf("%w, and the call does not return although its context is cancelled", over)
			}
			giveUp(fmt.Errorf("%w of %v", errTimeout, g.Timeout))
		}
	}
}

// spare asks the policies whether one more call may be made at once; leave is then
// called when it has returned.
func (c *caller) spare() (leave func(), ok bool) {
	if g, bounded := c.g.Gate.(interface{ Spare() (func(), bool) }); bounded {
		return g.Spare()
	}
	return func() {}, true
}

// grace is how long a call may take to return once its context is cancelled. An
// answer that comes meanwhile counts.
const grace = time.Second

// do calls Do. A panic is an error like any other: it is unknown what happened.
func (c *caller) do(ctx context.Context, id plan.Call) (e ended) {
	defer recovered(&e.err)
	e.res, e.err = c.e.Do(ctx, id, c.req)
	return e
}

// recovered makes an error of a panic.
func recovered(err *error) {
	if v := recover(); v != nil {
		*err = event.Mark(event.KindPanic, fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	}
}

func kindOf(err error, otherwise event.Kind) event.Kind {
	if k := event.KindOf(err); k != event.KindUnknown {
		return k
	}
	return otherwise
}

// ReasonOf is an error's text, not too long to be recorded with every attempt.
func ReasonOf(err error) string {
	const most = 2 << 10
	s := err.Error()
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
