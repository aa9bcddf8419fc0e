package weir

import (
	"context"
	"errors"
	"unsafe"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// A reader is the plan.Source of a Source.
type reader[T any] struct {
	src  Source[T]
	turn *plan.Turn
	typ  *payload.Type[T]
	out  *plan.TypedWriter[T]
	dead morgue[[]byte]
}

// Read reads batches; see plan.Source.
func (r *reader[T]) Read(ctx context.Context, after string, take func(*plan.Read) bool) error {
	for b, err := range r.src.Read(ctx, Position(after)) {
		if err != nil {
			return err
		}
		var v T
		read := &plan.Read{
			Values: b.Values, N: len(b.Values), Bad: len(b.Bad),
			Bytes:    len(b.Values) * int(unsafe.Sizeof(v)),
			Position: string(b.Position), Part: b.Part, Batch: b.Bad,
		}
		for i := range b.Bad {
			read.Bytes += len(b.Bad[i].Raw)
		}
		if !take(read) {
			return nil
		}
	}
	// A source that stops because it was told to has not come to its end.
	return context.Cause(ctx)
}

// Emit writes a batch; see plan.Source.
func (r *reader[T]) Emit(read *plan.Read) {
	r.turn.Item = -1
	values := read.Values.([]T)
	written := r.out.Len()
	checked := r.typ.Validates()
	for i := range values {
		if checked {
			if err := r.typ.Validate(&values[i]); err != nil {
				r.refuse(&values[i], err, event.KindValidation)
				continue
			}
		}
		r.out.Emit(values[i])
		if err := r.turn.Err; err != nil {
			r.out.Forget()
			r.refuse(&values[i], err, event.KindDomain)
		}
	}
	bad, _ := read.Batch.([]Bad)
	for _, b := range bad {
		err := b.Err
		if err == nil {
			err = errors.New("the source could not decode it and did not say why")
		}
		r.bury(b.Raw, refused(err, event.KindDecode))
	}
	written = r.out.Len() - written
	read.N, read.Bad = written, read.N+read.Bad-written
}

// refuse writes a value that is not acceptable to the dead letters, encoded if
// it can be.
func (r *reader[T]) refuse(v *T, err error, unmarked event.Kind) {
	raw, _ := r.typ.Append(nil, v)
	r.bury(raw, refused(err, unmarked))
}

func (r *reader[T]) bury(raw []byte, f *plan.Failure) {
	r.dead.write(Failed[[]byte]{Input: raw, Kind: f.Kind, Reason: reason(f.Kind, f.Err)})
}

// Bounded tells whether the source ends by itself.
func (r *reader[T]) Bounded() bool {
	b, ok := r.src.(Bounded)
	return ok && b.Bounded()
}

// Expect returns how many records there should be, if that is known.
func (r *reader[T]) Expect(ctx context.Context) (n int64, known bool, err error) {
	e, ok := r.src.(Expecter)
	if !ok {
		return 0, false, nil
	}
	return e.Expect(ctx)
}

// Ack returns how the source is told that a position is durable.
func (r *reader[T]) Ack() func(ctx context.Context, upTo string) error {
	a, ok := r.src.(Acknowledger)
	if !ok {
		return nil
	}
	return func(ctx context.Context, upTo string) error { return a.Ack(ctx, Position(upTo)) }
}
