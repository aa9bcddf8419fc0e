package resilience

import (
	"context"
	"errors"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// ErrCut says that a call that was let out was not made after all, or cut short for
// a reason that has nothing to do with the service.
var ErrCut = errors.New("the call was cut short")

// judge says what a call that ended with err says about the service. counts
// is the policy's classifier, asked about what the service may be to blame for; by
// default all of it counts but a final answer.
func judge(err error, counts func(error) bool) verdict {
	if err == nil {
		return worked
	}
	if errors.Is(err, ErrCut) {
		return nothing
	}
	blamed := true
	switch kindOf(err) {
	case event.KindPanic, event.KindCrash, event.KindDecode, event.KindTooLarge, event.KindRejected:
		return nothing // ours
	case event.KindPermanent, event.KindValidation, event.KindDomain:
		blamed = false
	default:
	}
	if counts != nil {
		blamed = counts(err)
	}
	if blamed {
		return failed
	}
	return worked // it answered
}

// kindOf is the kind that err has on record: of an unmarked final refusal,
// permanent.
func kindOf(err error) event.Kind {
	kind := event.KindOf(err)
	if refused, ok := errors.AsType[*plan.RefusedError](err); ok && refused.Final && kind == event.KindUnknown {
		return event.KindPermanent
	}
	return kind
}

// judgeEnd is judge for a call under ctx, which says nothing if it was cut short.
func judgeEnd(ctx context.Context, err error, counts func(error) bool) verdict {
	if err != nil && ctx.Err() != nil {
		if _, answered := errors.AsType[*plan.RefusedError](err); !answered {
			return nothing
		}
	}
	return judge(err, counts)
}
