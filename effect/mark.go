package effect

import (
	"time"

	"github.com/weirflow/weir/internal/plan"
)

// Permanent marks an error as final: the action did not happen, and no further
// attempt is made. nil stays nil.
func Permanent(err error) error { return mark(plan.RefusedError{Err: err, Final: true}) }

// DidNotHappen marks an error after which the action is certain not to have
// happened, so that it may be attempted again whatever the safety class. nil stays
// nil.
func DidNotHappen(err error) error { return mark(plan.RefusedError{Err: err}) }

// RetryAfter is [DidNotHappen] with the service's wish for a pause: the next
// attempt is made no earlier. A negative d counts as zero.
func RetryAfter(err error, d time.Duration) error {
	return mark(plan.RefusedError{Err: err, After: max(d, 0)})
}

func mark(r plan.RefusedError) error {
	if r.Err == nil {
		return nil
	}
	return &r
}
