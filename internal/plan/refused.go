package plan

import "time"

// RefusedError is the error of an action that is known not to have happened. It says
// what the error it wraps says. Package effect's markers make it.
type RefusedError struct {
	Err   error
	Final bool          // and that never will
	After time.Duration // the service's wish for a pause before the next attempt; zero means none
}

func (r *RefusedError) Error() string { return r.Err.Error() }
func (r *RefusedError) Unwrap() error { return r.Err }
