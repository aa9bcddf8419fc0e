package weir

import (
	"context"
	"iter"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// A Position is what a source needs to continue after the last batch that was
// recorded. The empty Position is the beginning. It is opaque to Weir.
type Position string

// A Batch is what a source read and where it then stood. The runtime keeps
// nothing of it once it asks for the next. One without rows, and with the position
// of the one before, is not recorded: it says that there is nothing new, and that
// reading works.
type Batch[T any] struct {
	Values   []T
	Bad      []Bad    // rows that could not be decoded: dead letters, not lost
	Position Position // after Values and Bad
	Part     string   // the partition, empty if there is one
}

// Bad is one row that could not be decoded, as it came.
type Bad struct {
	Raw []byte
	Err error
}

// A Source yields batches.
//
// Read returns a single-use iterator over the batches after a position. The
// runtime appends a batch to the log, all of it in one transition with its
// position, before it asks for the next, so a source never runs ahead of the
// log. An error ends the iteration; policy then decides whether Read is called
// again, with the position of the last recorded batch. Its attempts are counted
// from the last batch. Returning without an
// error is the end of input, unless ctx is done: Read must return soon after
// that. Read runs in a goroutine of its own and is never called on replay.
type Source[T any] interface {
	Read(ctx context.Context, after Position) iter.Seq2[Batch[T], error]
}

// SourceFunc is a [Source] as a function.
type SourceFunc[T any] func(ctx context.Context, after Position) iter.Seq2[Batch[T], error]

// Read calls fn.
func (fn SourceFunc[T]) Read(ctx context.Context, after Position) iter.Seq2[Batch[T], error] {
	return fn(ctx, after)
}

// What a [Source] may also be. Weir asks once, when the flow is built.
type (
	// An Acknowledger is told a position once it is durable, in order and never
	// from two goroutines at once: push sources and queues acknowledge here. An
	// error is logged; a later position stands for this one too. A run that goes on
	// acknowledges the position that it recorded last before it reads: it may have
	// died between the two, so a position can be acknowledged twice.
	Acknowledger interface {
		Ack(ctx context.Context, upTo Position) error
	}
	// A Bounded source says whether it ends; others are taken for endless. The
	// table of a join is read to its end, so it needs a source that has one.
	Bounded interface{ Bounded() bool }
	// An Expecter knows how many records there should be in all; a run that got
	// another number does not complete.
	Expecter interface {
		Expect(ctx context.Context) (n int64, known bool, err error)
	}
)

// A RowDecoder is a [Source] that can make a payload of one row as it stands in
// [Bad]. Weir asks it for that when bad input is redriven ([Definition.Redrive]):
// DecodeRows is called once, in place of Read, and returns a function that is called
// for each row. What it needs of the outside it reads before it returns. A payload
// that is not acceptable is an error here, too, if it is one in Read.
type RowDecoder[T any] interface {
	DecodeRows(ctx context.Context) (decode func(raw []byte) (T, error), err error)
}

// From adds a source. Payloads with a Validate method that returns an error, and
// those that cannot be encoded, are dead letters like undecodable rows
// ([BadInput]).
func From[T any](f *Flow, name string, src Source[T], opts ...SourceOption) Stream[T] {
	s := f.add(topology.Source, "source", name)
	s.require(src != nil, "source")
	var set plan.SourceSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplySource(&set)
	}
	f.faults(s.node.Name, s.node.Caller, set.Faults)
	s.node.Guards = set.Guards
	f.share(s.node.Name, s.node.Caller, &s.node.Guards)
	r := &reader[T]{src: src, turn: s.node.Turn, typ: payloadType[T](s, "payload")}
	r.out = addPort[T](s, "out")
	r.dead = addDead[[]byte](s)
	s.node.Source = r
	if w, ok := src.(interface{ Warning() string }); ok {
		s.node.Warnings = append(s.node.Warnings, w.Warning())
	}
	return port[T](s, 0)
}
