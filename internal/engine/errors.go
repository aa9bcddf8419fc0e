package engine

import (
	"fmt"

	"github.com/weirflow/weir/event"
)

// A PanicError is a panic of user code, or of the engine, in a stage.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ErrorKind makes event.KindOf say panic.
func (e *PanicError) ErrorKind() event.Kind { return event.KindPanic }

// An InputError is a failed input that the stage's OnError does not let pass. It
// is not consumed; a resumed run begins with it.
type InputError struct {
	Input string // "orders.out:17"
	Kind  event.Kind
	Panic bool
	Stack []byte
	Err   error
}

func (e *InputError) Error() string {
	what := "failed on"
	if e.Panic {
		what = "panicked on"
	}
	return fmt.Sprintf("%s %s: %v", what, e.Input, e.Err)
}

func (e *InputError) Unwrap() error { return e.Err }

// ErrorKind returns the kind of the failure.
func (e *InputError) ErrorKind() event.Kind { return e.Kind }

// A BudgetError says that a stage gave up too many of its inputs. They are in
// its dead letters.
type BudgetError struct {
	InARow      int // so many in a row
	Given, Over int // or so many of the last Over
}

func (e *BudgetError) Error() string {
	if e.InARow > 0 {
		return fmt.Sprintf("error budget: %d inputs in a row became dead letters", e.InARow)
	}
	return fmt.Sprintf("error budget: %d of the last %d inputs became dead letters", e.Given, e.Over)
}
