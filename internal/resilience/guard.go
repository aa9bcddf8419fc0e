package resilience

import (
	"context"
	"sync"
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// A Set is the policies of one run. Its methods may be called by several
// goroutines.
type Set struct {
	now  func() time.Time
	rand func() float64

	mu        sync.Mutex
	breakers  map[string]*breaker
	buckets   map[string]*bucket
	bulkheads map[string]*bulkhead
}

// NewSet returns a set that knows nothing yet. now is the clock; rand is in [0, 1)
// and draws the pauses of [Attempts], nil draws zero. Both are called by several
// goroutines.
func NewSet(now func() time.Time, rand func() float64) *Set {
	return &Set{
		now: now, rand: rand,
		breakers: map[string]*breaker{}, buckets: map[string]*bucket{}, bulkheads: map[string]*bulkhead{},
	}
}

// Guard returns what stands before the calls of an effect in one stage. Policies
// of p that have a name are those of all guards of the set with that name; the
// first one's settings hold, except for the breaker's Counts, which is asked about
// this guard's own calls.
func (s *Set) Guard(effect string, p plan.Guards) *Guard {
	g := &Guard{set: s, effect: effect, retry: p.Retry}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Breaker != nil {
		name := p.Breaker.Name
		if name == "" {
			name = effect
		}
		g.counts = p.Breaker.Counts
		g.breaker = shared(s.breakers, p.Breaker.Name, func() *breaker { return newBreaker(p.Breaker, name) })
	}
	if p.Rate != nil && p.Rate.PerSecond > 0 {
		g.bucket = shared(s.buckets, p.Rate.Name, func() *bucket { return newBucket(p.Rate) })
	}
	if p.Bulkhead != nil && p.Bulkhead.Max > 0 {
		g.bulkhead = shared(s.bulkheads, p.Bulkhead.Name, func() *bulkhead { return newBulkhead(p.Bulkhead) })
	}
	return g
}

func shared[T any](all map[string]*T, name string, fresh func() *T) *T {
	if name == "" {
		return fresh()
	}
	if all[name] == nil {
		all[name] = fresh()
	}
	return all[name]
}

// A Guard stands before the calls of one effect in one stage. Its methods may be
// called by several goroutines.
type Guard struct {
	set    *Set
	effect string
	retry  *plan.Retry
	counts func(error) bool

	breaker  *breaker
	bucket   *bucket
	bulkhead *bulkhead
}

// Enter waits until a call may be made and lets it out. An error while ctx is
// alive is a [RejectedError]: the call must not be made. Otherwise leave must be
// called, once, with what the call ended with (ErrCut if it was not made) and how
// long it took. ctx ends when the call is to be cut short, in which case its failure
// counts for nothing; it is not the one that bounds the attempt.
func (g *Guard) Enter(ctx context.Context) (leave func(err error, took time.Duration), err error) {
	if g.breaker == nil {
		if err := g.queue(ctx); err != nil {
			return nil, err
		}
		return func(error, time.Duration) { g.bulkhead.leave() }, nil
	}
	for {
		if g.bulkhead != nil || g.bucket != nil {
			if changed, err := g.breaker.ask(g.set.now()); err != nil {
				return nil, err
			} else if changed != nil {
				if err := await(ctx, changed); err != nil {
					return nil, err
				}
				continue
			}
		}
		if err := g.queue(ctx); err != nil {
			return nil, err
		}
		round, changed, err := g.breaker.admit(g.set.now())
		if err == nil && changed == nil {
			return func(err error, took time.Duration) {
				g.breaker.end(g.set.now(), round, judgeEnd(ctx, err, g.counts), took)
				g.bulkhead.leave()
			}, nil
		}
		g.bulkhead.leave()
		if err == nil {
			err = await(ctx, changed)
		}
		if err != nil {
			return nil, err
		}
	}
}

// queue waits for a place and a token.
func (g *Guard) queue(ctx context.Context) error {
	if err := g.bulkhead.enter(ctx); err != nil {
		return err
	}
	if err := g.bucket.wait(ctx, g.set.now, 1); err != nil {
		g.bulkhead.leave()
		return err
	}
	return nil
}

func await(ctx context.Context, changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Take waits for the tokens of n records that a source read or a sink delivers,
// or until ctx ends.
func (g *Guard) Take(ctx context.Context, n int) { _ = g.bucket.wait(ctx, g.set.now, n) }

// Spare reports whether one more call may be made at once beside one that was let
// out: a place and a token were free and are now taken. It is for hedges. When
// the call has ended, leave must be called, once.
func (g *Guard) Spare() (leave func(), ok bool) {
	if !g.bulkhead.spare() {
		return nil, false
	}
	if !g.bucket.spare(g.set.now()) {
		g.bulkhead.leave()
		return nil, false
	}
	return g.bulkhead.leave, true
}
