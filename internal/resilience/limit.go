package resilience

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/weirflow/weir/internal/plan"
)

// A bucket limits how often. Nil does not. It holds as many tokens as the policy's
// burst, and gains PerSecond of them in a second.
type bucket struct {
	policy plan.Rate

	tokens atomic.Pointer[rate.Limiter] // restore puts another in its place

	mu   sync.Mutex
	past []attempt // what was recorded by all that share it
}

func newBucket(p *plan.Rate) *bucket {
	b := &bucket{policy: *p}
	b.tokens.Store(b.full())
	return b
}

func (b *bucket) full() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(b.policy.PerSecond), max(b.policy.Burst, 1))
}

// take reserves n tokens and returns how long they take to come.
func (b *bucket) take(now time.Time, n int) (wait time.Duration, last *rate.Reservation) {
	tokens := b.tokens.Load()
	for n > 0 {
		part := min(n, tokens.Burst())
		last = tokens.ReserveN(now, part)
		wait = last.DelayFrom(now)
		n -= part
	}
	return wait, last
}

// spare takes a token if there is one.
func (b *bucket) spare(now time.Time) bool {
	if b == nil {
		return true
	}
	return b.tokens.Load().AllowN(now, 1)
}

// wait returns when n tokens were taken, at once if ctx is done; then the last part
// of what was taken is given back. It sleeps once, however many they are: a timer
// is late by up to a millisecond.
func (b *bucket) wait(ctx context.Context, now func() time.Time, n int) error {
	if b == nil || n <= 0 {
		return ctx.Err()
	}
	wait, last := b.take(now(), n)
	if !sleep(ctx, wait) {
		last.CancelAt(now())
		return context.Cause(ctx)
	}
	return nil
}

// A bulkhead bounds calls under way. Nil does not.
type bulkhead struct {
	places chan struct{} // who enters sends, who leaves receives; capacity is the bound; nobody closes
}

func newBulkhead(p *plan.Bulkhead) *bulkhead {
	return &bulkhead{places: make(chan struct{}, p.Max)}
}

// enter waits for a place, in the order of arrival.
func (b *bulkhead) enter(ctx context.Context) error {
	if b == nil {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case b.places <- struct{}{}:
		return nil
	}
}

// spare takes a place if there is one.
func (b *bulkhead) spare() bool {
	if b == nil {
		return true
	}
	select {
	case b.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (b *bulkhead) leave() {
	if b != nil {
		<-b.places
	}
}
