package perform_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

type (
	order   struct{ ID string }
	receipt struct{ Text string }
)

// A fate is what becomes of an attempt at the provider.
type fate string

const (
	works    fate = "works"
	lost     fate = "done, and the answer is lost"
	dropped  fate = "not done, and nobody says so"
	slow     fate = "done when the caller has given up"
	refused  fate = "refused"
	forever  fate = "refused for good"
	panics   fate = "done, and the code panics"
	hanging  fate = "done, and the code ignores its context"
	slowdown fate = "asked to come back later"
)

const timeout = time.Second

// A world is a provider, and what a process has on record: it outlives processes.
// Each process dies at a step of its own.
type world struct {
	mu     sync.Mutex // of everything below: attempts may be in flight
	safety plan.Safety
	fates  []fate // of the attempts, in order; then it works
	policy plan.Guards
	code   string // part of the request that the code computes now

	gate     perform.Gate
	nobody   bool  // can be asked
	fallback bool  // the effect has one
	to, from error // of the adapter

	lives   int // processes so far
	dieAt   int // step of the first process; zero means it does not
	keep    bool
	durable []plan.Entry

	calls  []string // key and request of each attempt that reached the provider
	keys   map[string]int
	closed bool // the key was refused for good
	acted  int  // times that something happened, as the provider counts
	faults []string
}

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// remembers reports whether the provider answers a key as it did before.
func (w *world) remembers() bool {
	return w.safety == plan.Keyed || w.safety == plan.KeyedByInput || w.safety == plan.Transactional
}

// act is what the provider does with a call that takes effect.
func (w *world) act(key string) receipt {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.remembers() && (w.keys[key] > 0 || w.closed) || w.safety == plan.Idempotent && w.keys[key] > 0 {
		return receipt{"for " + key}
	}
	w.keys[key]++
	w.acted++
	return receipt{"for " + key}
}

func (w *world) happened(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.keys[key] > 0
}

var errLost = errors.New("connection reset")

// A process executes an input until it ends or dies.
type process struct {
	w      *world
	ctx    context.Context
	die    context.CancelFunc
	steps  int
	dead   bool
	placed []plan.Entry // not durable
	began  []plan.Entry
}

// step counts; the process dies at the step it is to die at.
func (p *process) step() bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.steps++
	if p.w.lives == 1 && p.steps == p.w.dieAt {
		p.dead = true
		if p.w.keep {
			p.w.durable = append(p.w.durable, p.placed...)
		}
		p.die()
	}
	return !p.dead
}

var errDead = errors.New("the process is dead")

func (p *process) Context() context.Context { return p.ctx }
func (p *process) Waiting() context.Context { return p.ctx }
func (p *process) History() []plan.Entry    { return p.began }
func (p *process) Now() time.Time           { return time.Now() }
func (p *process) Asked(plan.Entry) error   { return nil }

func (p *process) Input() *plan.Accepted {
	return &plan.Accepted{
		ID: 1, Run: "01JZ0000000000000000000000", Stage: "charge", Data: []byte(`{"ID":"7 ` + p.w.code + `"}`), Resumed: p.w.lives > 1,
	}
}

func (p *process) Record(emit func(), entries ...plan.Entry) error {
	if !p.step() {
		return errDead
	}
	if emit != nil {
		emit()
	}
	for _, e := range entries {
		data, err := plan.AppendEntry(nil, &e)
		if err != nil {
			return err
		}
		again, err := plan.ParseEntry(e.Type, data)
		if err != nil {
			return err
		}
		p.placed = append(p.placed, again)
	}
	if !p.step() {
		return errDead
	}
	return nil
}

func (p *process) Durable() error {
	if !p.step() {
		return errDead
	}
	p.w.mu.Lock()
	p.w.durable = append(p.w.durable, p.placed...)
	p.w.mu.Unlock()
	p.placed = nil
	if !p.step() {
		return errDead
	}
	return nil
}

// effect is the code of a process.
func (p *process) effect() *plan.Effect {
	w := p.w
	do := func(ctx context.Context, c effect.Call, o order) (receipt, error) { return p.call(ctx, c.Key, o) }
	ask := func(_ context.Context, c effect.Call, o order) (receipt, effect.State, error) {
		if !p.step() {
			return receipt{}, effect.Unknown, errDead
		}
		if w.nobody {
			return receipt{}, effect.Unknown, nil
		}
		if w.happened(c.Key) {
			return receipt{"for " + c.Key}, effect.Done, nil
		}
		return receipt{}, effect.NotDone, nil
	}
	var e effect.Effect[order, receipt]
	switch w.safety {
	case plan.Idempotent:
		e = effect.Idempotent("charge", func(ctx context.Context, o order) (receipt, error) { return p.call(ctx, "-", o) })
	case plan.Keyed:
		e = effect.Keyed("charge", func(order) string { return "seven" }, do)
	case plan.KeyedByInput:
		e = effect.KeyedByInput("charge", do)
	case plan.AtMostOnce:
		e = effect.AtMostOnce("charge", do, ask)
	case plan.AtLeastOnce:
		e = effect.AtLeastOnce("charge", do)
	case plan.Transactional:
		e = effect.Transactional("charge", &books{p}, func(_ context.Context, _ int, _ order) (receipt, error) { return receipt{}, nil })
	}
	e = effect.Adapt(e,
		func(o order) (order, error) { return order{o.ID + "!"}, w.to },
		func(_ order, r receipt) (receipt, error) { return r, w.from })
	if w.fallback {
		e = effect.OrElse(e, func(_ order, err error) (receipt, error) { return receipt{"instead: " + err.Error()}, nil })
	}
	pe, err := e.Plan(event.JSON)
	if err != nil {
		panic(err)
	}
	if w.safety == plan.Transactional { // the port's own fn runs in call
		pe.Do = func(ctx context.Context, c plan.Call, req any) (any, error) { return p.call(ctx, c.Key, req.(order)) }
	}
	return pe
}

// books are a port that looks keys up.
type books struct{ p *process }

func (b *books) Commit(context.Context, string, func(int) ([]byte, error)) error {
	return errors.New("not used")
}

func (b *books) Lookup(_ context.Context, key string) ([]byte, bool, error) {
	if !b.p.step() {
		return nil, false, errDead
	}
	return []byte(`{"Text":"for ` + key + `"}`), b.p.w.happened(key), nil
}

// call is an attempt at the provider.
func (p *process) call(ctx context.Context, key string, o order) (receipt, error) {
	w := p.w
	if !p.step() {
		return receipt{}, errDead
	}
	now := w.arrive(key, o)
	var r receipt
	var err error
	switch now {
	case works:
		r = w.act(key)
	case lost:
		w.act(key)
		err = errLost
	case dropped:
		err = errLost
	case slow:
		go func() { // in flight
			time.Sleep(timeout + timeout/2)
			w.act(key)
		}()
		<-ctx.Done()
		err = ctx.Err()
	case hanging:
		if time.Sleep(20 * timeout); !p.step() { // it ended with its process
			return receipt{}, errDead
		}
		r = w.act(key)
	case refused:
		err = effect.DidNotHappen(errors.New("busy"))
	case slowdown:
		err = effect.RetryAfter(errors.New("slow down"), 5*time.Second)
	case forever:
		err = effect.Permanent(errors.New("no such account"))
	case panics:
		w.act(key)
		panic("nil map")
	}
	if !p.step() {
		return receipt{}, errDead
	}
	return r, err
}

// arrive notes an attempt and returns what becomes of it.
func (w *world) arrive(key string, o order) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.judgeCall(key, o)
	now := works
	if n := len(w.calls); n < len(w.fates) {
		now = w.fates[n]
	}
	w.calls = append(w.calls, key+" "+o.ID)
	if w.closed {
		return forever
	}
	if now == forever && w.remembers() {
		if w.keys[key] > 0 {
			return works
		}
		w.closed = true
	}
	return now
}

// judgeCall says what no attempt may do.
func (w *world) judgeCall(key string, o order) {
	for _, e := range w.durable {
		if e.Final {
			w.fault("called although the outcome %q is on record", e.Outcome)
		}
	}
	if n := len(w.calls); n > 0 && w.safety != plan.Idempotent {
		if w.calls[n-1] != key+" "+o.ID {
			w.fault("called with %q after %q", key+" "+o.ID, w.calls[n-1])
		}
	}
	if w.safety != plan.AtMostOnce || len(w.calls) == 0 {
		return
	}
	for _, e := range slices.Backward(w.durable) {
		if e.Type == plan.EntryOutcome {
			if e.Outcome == plan.OutcomeNotDone {
				return
			}
			break
		}
	}
	w.fault("called again without a recorded \"not done\"")
}

// run has processes execute the input until it comes to its end.
func (w *world) run() perform.Answer {
	for {
		w.lives++
		ctx, die := context.WithCancel(context.Background())
		p := &process{w: w, ctx: ctx, die: die, began: slices.Clone(w.durable)}
		if w.lives > 1 {
			w.code = "changed"
		}
		in := order{"7 " + w.code}
		a := perform.Do(p, perform.Guarded{Effect: p.effect(), Guards: w.policy, Gate: w.gate}, "pay", in, p.began)
		if a.State != perform.Interrupted {
			if err := p.Record(nil, a.Entries...); err == nil && p.Durable() == nil {
				die()
				return a
			}
		}
		die()
		if w.lives > 5 {
			w.fault("the input does not come to its end")
			return a
		}
	}
}
