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

	decode func(raw []byte) (T, error) // a row; nil until one is read again
}

// besides is what a plan.Read of a reader holds besides values.
type besides struct {
	bad []Bad
	// Of rows that are read again: where they are on record, first of those that
	// became values, then of bad; and how the former came.
	from []plan.Origin
	raw  [][]byte
}

// cause is what row i follows from, nil if the world gave it.
func (r *besides) cause(i int) *plan.Cause {
	if r.from == nil {
		return nil
	}
	return &plan.Cause{Refs: r.from[i : i+1]}
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
			Position: string(b.Position), Part: b.Part, Batch: besides{bad: b.Bad},
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
	rest, _ := read.Batch.(besides)
	written := r.out.Len()
	checked := r.typ.Validates()
	for i := range values {
		if checked {
			if err := r.typ.Validate(&values[i]); err != nil {
				r.refuse(&rest, values, i, err, event.KindValidation)
				continue
			}
		}
		r.out.EmitFrom(values[i], rest.cause(i))
		if err := r.turn.Err; err != nil {
			r.out.Forget()
			r.refuse(&rest, values, i, err, event.KindDomain)
		}
	}
	for i, b := range rest.bad {
		err := b.Err
		if err == nil {
			err = errors.New("the source could not decode it and did not say why")
		}
		r.bury(b.Raw, refused(err, event.KindDecode), rest.cause(len(values)+i))
	}
	written = r.out.Len() - written
	read.N, read.Bad = written, read.N+read.Bad-written
}

// refuse writes a value that is not acceptable to the dead letters: the row as it
// came if that is at hand, else encoded if it can be.
func (r *reader[T]) refuse(rest *besides, values []T, i int, err error, unmarked event.Kind) {
	var raw []byte
	if rest.raw != nil {
		raw = rest.raw[i]
	} else {
		raw, _ = r.typ.Append(nil, &values[i])
	}
	r.bury(raw, refused(err, unmarked), rest.cause(i))
}

func (r *reader[T]) bury(raw []byte, f *plan.Failure, c *plan.Cause) {
	r.dead.writeFrom(Failed[[]byte]{Input: raw, Kind: f.Kind, Reason: reason(f.Kind, f.Err)}, c)
}

// Rereads says whether rows that were refused for a reason can be read again; see
// plan.Rereader.
func (r *reader[T]) Rereads(kind event.Kind) error {
	if _, ok := r.src.(RowDecoder[T]); !ok && kind == event.KindDecode {
		return errors.New("its source cannot decode a row by itself: it has no method DecodeRows")
	}
	return nil
}

// Reread makes a batch of rows; see plan.Rereader.
func (r *reader[T]) Reread(ctx context.Context, again []plan.Row) (*plan.Read, error) {
	if d, ok := r.src.(RowDecoder[T]); ok && r.decode == nil {
		var err error
		if r.decode, err = d.DecodeRows(ctx); err != nil {
			return nil, err
		}
	}
	values := make([]T, 0, len(again))
	var rest besides
	var of []plan.Origin // the bad ones
	for i := range again {
		row := &again[i]
		if v, err := r.row(row); err != nil {
			rest.bad, of = append(rest.bad, Bad{Raw: row.Raw, Err: err}), append(of, row.Cause)
		} else {
			values, rest.raw, rest.from = append(values, v), append(rest.raw, row.Raw), append(rest.from, row.Cause)
		}
	}
	rest.from = append(rest.from, of...)
	return &plan.Read{Values: values, N: len(values), Bad: len(rest.bad), Batch: rest}, nil
}

// row makes a payload of a row. What is not acceptable though it could be decoded is
// on record as it came or, from sources that leave that to others, encoded.
func (r *reader[T]) row(row *plan.Row) (v T, err error) {
	if row.Kind != event.KindDecode {
		v, err = r.typ.Decode(row.Raw)
		if err == nil || r.decode == nil {
			return v, err
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p).Err
		}
	}()
	return r.decode(row.Raw)
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
