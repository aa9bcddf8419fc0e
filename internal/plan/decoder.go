package plan

import (
	"fmt"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A TypedDecoder is the Decoder of a port whose payloads are Ts.
type TypedDecoder[T any] struct{ typ *payload.Type[T] }

var _ Decoder = TypedDecoder[int]{}

// NewDecoder returns the decoder of ports whose payloads are of typ.
func NewDecoder[T any](typ *payload.Type[T]) TypedDecoder[T] { return TypedDecoder[T]{typ} }

// Decode makes a batch from what the log holds; see Decoder. It keeps nothing
// of o.
func (d TypedDecoder[T]) Decode(name string, o *journal.Output, from uint64) (*Batch, error) {
	b := &Batch{Journal: name, Type: o.Type, Digest: o.Digest}
	var values []T
	var rec journal.Record
	records := journal.NewRecords(o)
	for {
		seq, ok := records.Next(&rec)
		if !ok {
			break
		}
		if seq < from {
			continue
		}
		if values == nil {
			left := o.Count - int(seq-o.First)
			values = make([]T, 0, left)
			b.First = seq
			b.Raw = make([]byte, 0, len(o.Records))
			b.Offs, b.CRCs = make([]uint32, 0, 2*left), make([]uint32, 0, left)
		}
		if rec.Blob {
			return nil, fmt.Errorf("%s:%d: the payload is in a blob, which this release does not read", name, seq)
		}
		var v T
		values = append(values, v)
		if err := d.typ.DecodeAs(o.Type, rec.Payload, &values[len(values)-1]); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, seq, err)
		}
		b.CRCs = append(b.CRCs, wire.Checksum(rec.Payload))
		b.Offs = append(b.Offs, uint32(len(b.Raw)), uint32(len(b.Raw)+len(rec.Payload)))
		b.Raw = append(b.Raw, rec.Payload...)
		b.N++
		if rec.Key != nil || b.Keys != nil {
			b.Keys = append(b.Keys, make([]string, b.N-1-len(b.Keys))...)
			b.Keys = append(b.Keys, string(rec.Key))
		}
		if rec.HasTime || b.Times != nil {
			b.Times = append(b.Times, make([]int64, b.N-1-len(b.Times))...)
			b.Times = append(b.Times, rec.Time)
		}
	}
	if err := records.Err(); err != nil {
		return nil, fmt.Errorf("records of %s from %d: %w", name, o.First, err)
	}
	if b.N == 0 {
		return nil, nil
	}
	b.Values = values
	return b, nil
}

// Private returns b for one more reader; see Decoder.
func (d TypedDecoder[T]) Private(b *Batch) *Batch {
	if d.typ.Mode == payload.Share {
		return b
	}
	from := b.Values.([]T)
	to := make([]T, len(from))
	for i := range from {
		if d.typ.Mode == payload.Clone {
			d.typ.CloneTo(&to[i], &from[i])
			continue
		}
		if err := d.typ.DecodeAs(b.Type, b.Payload(i), &to[i]); err != nil {
			// The writer read it back when it wrote it.
			panic(fmt.Sprintf("weir: %s:%d was read once and cannot be read again: %v", b.Journal, b.First+uint64(i), err))
		}
	}
	c := *b
	c.Values = to
	return &c
}
