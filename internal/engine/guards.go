package engine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/time/rate"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// attempts counts the attempts of one action by a policy; nil policy means one.
type attempts struct {
	policy *plan.Retry
	made   int
	first  time.Time
}

func newAttempts(policy *plan.Retry) *attempts { return &attempts{policy: policy} }

func (a *attempts) reset() { a.made = 0 }

// again waits as the policy asks and reports whether to try once more after err.
func (a *attempts) again(ctx context.Context, err error) bool {
	p := a.policy
	if a.made++; a.made == 1 {
		a.first = time.Now()
	}
	if p == nil || a.made >= p.Max || !mayPass(err) {
		return false
	}
	delay := float64(p.Delay)
	for range a.made - 1 {
		delay = min(delay*max(p.Factor, 1), float64(time.Hour))
	}
	if p.Within > 0 && time.Since(a.first)+time.Duration(delay) > p.Within {
		return false
	}
	return pause(ctx, time.Duration(delay))
}

// pause sleeps and reports whether ctx let it.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// mayPass reports whether a failure can be over at the next attempt.
func mayPass(err error) bool {
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		return false
	}
	switch event.KindOf(err) {
	case event.KindPermanent, event.KindValidation, event.KindDomain, event.KindDecode, event.KindTooLarge, event.KindPanic:
		return false
	default:
		return true
	}
}

// A limiter spaces records out; nil does not.
type limiter struct{ bucket *rate.Limiter }

// limiter returns the bucket for a policy; stages with the same name for theirs
// share one. Called by the goroutines of stages.
func (r *Run) limiter(p *plan.Rate) *limiter {
	if p == nil || p.PerSecond <= 0 {
		return nil
	}
	fresh := &limiter{bucket: rate.NewLimiter(rate.Limit(p.PerSecond), max(p.Burst, 1))}
	if p.Name == "" {
		return fresh
	}
	shared, _ := r.buckets.LoadOrStore(p.Name, fresh)
	return shared.(*limiter)
}

// wait returns when n records may pass, at once if ctx is done. It sleeps once,
// however many they are: a timer is late by up to a millisecond.
func (l *limiter) wait(ctx context.Context, n int) {
	if l == nil {
		return
	}
	now := time.Now()
	var delay time.Duration
	for n > 0 {
		part := min(n, l.bucket.Burst())
		delay = l.bucket.ReserveN(now, part).DelayFrom(now)
		n -= part
	}
	pause(ctx, delay)
}
