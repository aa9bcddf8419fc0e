package plan

// CallError is the error of a call that was given up. It says what the error it
// wraps says.
type CallError struct {
	Err      error
	Happened string // "" known not to have, "unknown", or "yes" and its result could not be used
	Attempts int
}

func (e *CallError) Error() string { return e.Err.Error() }
func (e *CallError) Unwrap() error { return e.Err }

// UndoError is the error of a durable function that failed, and of which a
// compensation was given up. It says what the error it wraps says.
type UndoError struct {
	Err      error
	Happened string // "yes": something that it did stands; "unknown": may stand
}

func (e *UndoError) Error() string { return e.Err.Error() }
func (e *UndoError) Unwrap() error { return e.Err }
