package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// A service is the outside world of a performer. It outlives runs and judges them.
type service struct {
	mu     sync.Mutex
	calls  map[int64]int // by input
	most   int           // in flight at once
	now    int
	order  []int64                                  // of calls, as they came
	answer func(ctx context.Context, v int64) error // nil means at once and well
	before func(x plan.Execution, v int64)          // sees each call before it is counted
	busy   map[string]bool                          // keys that are in flight
	twice  []string                                 // keys that were in flight twice at once
}

func newService() *service { return &service{calls: map[int64]int{}, busy: map[string]bool{}} }

func (s *service) called(v int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[v]
}

func (s *service) inOrder() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// call is one attempt.
func (s *service) call(x plan.Execution, v int64) error {
	key := x.Input().Key
	if s.before != nil {
		s.before(x, v)
	}
	s.mu.Lock()
	s.calls[v]++
	s.order = append(s.order, v)
	s.now++
	s.most = max(s.most, s.now)
	if key != "" && s.busy[key] {
		s.twice = append(s.twice, key)
	}
	s.busy[key] = true
	s.mu.Unlock()
	var err error
	if s.answer != nil {
		err = s.answer(x.Context(), v)
	}
	s.mu.Lock()
	s.now--
	s.busy[key] = false
	s.mu.Unlock()
	return err
}

// A performer acts once for each value: it records an attempt, waits until that
// is durable, calls the service and records the outcome. A call that was attempted
// and of which nothing is recorded is in doubt, unless it may be repeated.
type performer struct {
	node    *plan.Node
	out     *port
	dead    *port
	service *service
	repeats bool // calls may be repeated
	key     func(v int64) string
	execute func(p *performer, x plan.Execution, v int64) plan.Result // instead
	accept  func(v int64) *plan.Failure
	latest  []plan.Entry // what Restore was given
}

func (b *build) perform(name string, s *service, from ...string) *performer {
	n, ps := b.node(name, "effect", "out")
	p := &performer{node: n, out: ps[0], dead: ps[1], service: s}
	n.Performer = p
	n.Performing = plan.Performing{Concurrency: 1, MaxOpen: 1000}
	b.inputs(n, from)
	return p
}

func number(data []byte) int64 {
	v, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		panic(err)
	}
	return v
}

func (p *performer) Accept(b *plan.Batch, i int, in *plan.Accepted) (f *plan.Failure) {
	v := b.Values.([]int64)[i]
	if p.accept != nil {
		f = p.accept(v)
	}
	in.Data = strconv.AppendInt(nil, v, 10)
	in.Key, _ = p.Key(in.Data)
	return f
}

func (p *performer) Key(data []byte) (string, error) {
	if p.key == nil {
		return "", nil
	}
	return p.key(number(data)), nil
}

func (p *performer) Bury(in *plan.Accepted, _ *plan.Failure) { p.dead.emit(number(in.Data)) }
func (p *performer) Effects() []*plan.Effect                 { return nil }
func (p *performer) Restore(latest []plan.Entry)             { p.latest = latest }

// last returns the last entry of a type.
func last(entries []plan.Entry, typ string) *plan.Entry {
	for i := len(entries) - 1; i >= 0; i-- {
		if entries[i].Type == typ {
			return &entries[i]
		}
	}
	return nil
}

func (p *performer) Execute(x plan.Execution) plan.Result {
	v := number(x.Input().Data)
	if p.execute != nil {
		return p.execute(p, x, v)
	}
	return p.act(x, v)
}

func (p *performer) act(x plan.Execution, v int64) plan.Result {
	done := func(entries ...plan.Entry) plan.Result {
		return plan.Result{State: plan.Finished, Entries: entries, Emit: func() { p.out.emit(v + 100) }}
	}
	past := x.History()
	switch {
	case last(past, plan.EntryOutcome) != nil, last(past, plan.EntryDecision) != nil:
		return done()
	case last(past, plan.EntryAttempt) != nil && !p.repeats:
		return plan.Result{State: plan.Parked, Err: fmt.Errorf("what became of %d", v)}
	}
	if err := x.Record(nil, plan.Entry{Type: plan.EntryAttempt, Attempt: 1 + len(past), At: x.Now()}); err != nil {
		return plan.Result{State: plan.Interrupted}
	}
	if x.Durable() != nil {
		return plan.Result{State: plan.Interrupted}
	}
	if err := p.service.call(x, v); err != nil {
		if x.Context().Err() != nil {
			return plan.Result{State: plan.Interrupted}
		}
		return plan.Result{State: plan.Parked, Err: err}
	}
	return done(plan.Entry{Type: plan.EntryOutcome, Outcome: plan.OutcomeDone, Final: true})
}

func values(t *testing.T, log *memory.Log, stage, port string) []int64 {
	t.Helper()
	var out []int64
	for _, r := range records(t, log, stage, port) {
		out = append(out, number([]byte(r)))
	}
	return out
}

func plus100(vs []int64) []int64 {
	out := make([]int64, len(vs))
	for i, v := range vs {
		out[i] = v + 100
	}
	return out
}

func domain(err error) *plan.Failure { return &plan.Failure{Err: err, Kind: event.KindDomain} }
