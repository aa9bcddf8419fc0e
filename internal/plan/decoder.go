package plan

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A TypedDecoder is the Decoder of a port whose payloads are Ts.
type TypedDecoder[T any] struct {
	typ  *payload.Type[T]
	past Past
}

var (
	_ Decoder    = (*TypedDecoder[int])(nil)
	_ Rememberer = (*TypedDecoder[int])(nil)
)

// NewDecoder returns the decoder of ports whose payloads are of typ.
func NewDecoder[T any](typ *payload.Type[T]) *TypedDecoder[T] { return &TypedDecoder[T]{typ: typ} }

// Remember says what the port's payloads were in earlier epochs; see Rememberer.
func (d *TypedDecoder[T]) Remember(past Past) { d.past = past }

// Of returns a decoder of what another run recorded; see Decoder.
func (d *TypedDecoder[T]) Of(past Past) Decoder { return &TypedDecoder[T]{d.typ, past} }

// Reads tells how payloads are read that were recorded as was; see Rememberer.
func (d *TypedDecoder[T]) Reads(was topology.Type) Reading {
	switch d.typ.Reads(payload.Recorded{Name: was.Name, Schema: was.Schema}) {
	case payload.Upcast:
		return Upcast
	case payload.AsIs:
		switch {
		case hex.EncodeToString(d.typ.SchemaHash[:]) == was.Schema:
			return Same
		case d.typ.Widens(was.Shape):
			return Widened
		}
	case payload.Unreadable:
	}
	return Unreadable
}

// Decode makes a batch from what the log holds; see Decoder. It keeps nothing
// of o.
func (d *TypedDecoder[T]) Decode(name string, o *journal.Output, from, epoch uint64) (*Batch, error) {
	b := &Batch{Journal: name, Type: o.Type, Digest: o.Digest}
	was := payload.Recorded{Name: o.Type}
	if t := d.past.At(epoch); t != nil {
		was.Schema = t.Schema
		b.Schema = t.Schema
	}
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
		if err := d.typ.DecodeAs(was, rec.Payload, &values[len(values)-1]); err != nil {
			if _, ok := errors.AsType[*payload.UpcastError](err); !ok {
				return nil, fmt.Errorf("%s:%d: %w", name, seq, err)
			}
			b.Bad = append(b.Bad, make([]error, len(values)-1-len(b.Bad))...)
			b.Bad = append(b.Bad, err)
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
		if len(o.Journals) > 0 {
			if original := OriginalOf(o, &rec); original.Run != "" || b.Originals != nil {
				b.Originals = append(b.Originals, make([]Original, b.N-1-len(b.Originals))...)
				b.Originals = append(b.Originals, original)
			}
		}
	}
	if err := records.Err(); err != nil {
		return nil, fmt.Errorf("records of %s from %d: %w", name, o.First, err)
	}
	if b.N == 0 {
		return nil, nil
	}
	if b.Bad != nil {
		b.Bad = append(b.Bad, make([]error, b.N-len(b.Bad))...)
	}
	b.Values = values
	return b, nil
}

// Private returns b for one more reader; see Decoder.
func (d *TypedDecoder[T]) Private(b *Batch) *Batch {
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
		if len(b.Bad) > i && b.Bad[i] != nil {
			continue
		}
		if err := d.typ.DecodeAs(payload.Recorded{Name: b.Type, Schema: b.Schema}, b.Payload(i), &to[i]); err != nil {
			// The writer read it back when it wrote it.
			panic(fmt.Sprintf("weir: %s:%d was read once and cannot be read again: %v", b.Journal, b.First+uint64(i), err))
		}
	}
	c := *b
	c.Values = to
	return &c
}
