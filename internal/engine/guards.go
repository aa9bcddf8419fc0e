package engine

import (
	"context"
	"errors"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// again waits as the policy asks and reports whether to try once more after err.
func again(ctx context.Context, a *resilience.Attempts, err error) bool {
	return mayPass(err) && a.Again(ctx, err)
}

// mayPass reports whether a failure can be over at the next attempt.
func mayPass(err error) bool {
	if panicked := (*PanicError)(nil); errors.As(err, &panicked) {
		return false
	}
	if refused, ok := errors.AsType[*plan.RefusedError](err); ok && refused.Final {
		return false
	}
	switch event.KindOf(err) {
	case event.KindPermanent, event.KindValidation, event.KindDomain, event.KindDecode, event.KindTooLarge, event.KindPanic:
		return false
	default:
		return true
	}
}
