package weir

import (
	"context"
	"errors"
)

// A TransactionalSink stores what it delivered and how far that is in one
// transaction of its own, and so delivers exactly once. Make it a [Sink] with
// [ExactlyOnce].
type TransactionalSink[T any] interface {
	// OpenTx takes ownership for at.Epoch: on return no transaction of an earlier
	// epoch of the same run and stage can commit any more.
	OpenTx(ctx context.Context, at At) (TxWriter[T], error)
}

// A TxWriter commits batches together with a [Mark].
type TxWriter[T any] interface {
	// Mark returns the mark committed last for this run and stage, "" if none. It
	// is called once, before the first Commit.
	Mark(ctx context.Context) (Mark, error)

	// Commit delivers the batch and stores mark in one transaction. It must fail
	// if a later epoch has taken ownership.
	//
	// An error of a kind that no repetition mends, such as [event.Invalid] or
	// [effect.Permanent] make, says that a record is refused and that nothing was
	// committed. The batch is then committed in parts, until that record stands
	// alone and is a dead letter; the next mark passes over it.
	//
	// Any other error means that it is not known to have committed. Policy decides
	// whether the same batch is tried again with the same mark: if that is the one
	// stored, it was committed, and Commit returns nil. When there is no further
	// attempt the stage fails, and the run can be continued from the mark.
	Commit(ctx context.Context, batch []Delivery[T], mark Mark) error

	Close() error
}

// A Mark is how far a sink has delivered: opaque, at most 4 KiB.
type Mark string

// ExactlyOnce makes a [Sink] of a TransactionalSink. The call is explicit so
// that a method with a slightly wrong signature does not compile, instead of
// quietly delivering at least once.
func ExactlyOnce[T any](s TransactionalSink[T]) Sink[T] {
	if s == nil {
		return nil
	}
	return exactly[T]{s}
}

type exactly[T any] struct{ sink TransactionalSink[T] }

// Open is not how a transactional sink is opened; a Sink that wraps one would
// lose its guarantee.
func (exactly[T]) Open(context.Context, At) (Writer[T], error) {
	return nil, errors.New("a sink made by ExactlyOnce must be given to Into as it is")
}
