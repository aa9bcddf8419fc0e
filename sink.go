package weir

import (
	"context"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// A Delivery is one payload on its way out.
type Delivery[T any] struct {
	event.Record[T]
	ID         string // the same on every attempt, in every epoch, when it is redriven, and used for nothing else
	Attempt    int    // from 1
	Redelivery bool   // an earlier epoch may have delivered it
}

// At is what a sink is told when it opens.
type At struct {
	Flow, Stage string
	Run         string // root of the run: the same after resume
	Redrives    string // the run whose dead letters this one processes again: what was written for that must not be replaced; empty if it is none
	Epoch       uint64 // a later owner has a greater one; use it to fence
	EpochID     string // random: what tells this owner from one with the same number, that has a copy of the run
	Note        string // what a Noter or Finisher noted last, empty at first
}

// A Sink delivers at least once: after a crash, what has no receipt comes again
// with the same ID. Open is called once per epoch, when the stage starts, and
// not on replay.
type Sink[T any] interface {
	Open(ctx context.Context, at At) (Writer[T], error)
}

// A Writer delivers batches, in order. Its methods are called by one goroutine
// at a time. Everything that a delivery follows from is durable before Deliver is
// called.
type Writer[T any] interface {
	// Deliver takes a batch, which it may keep. On nil the batch has its receipt,
	// unless the Writer is a Flusher: then Flush gives it. A *PartialError settles
	// part of the batch; with any other error none of it is delivered as far as
	// the log knows, and policy decides whether it is tried again.
	Deliver(ctx context.Context, batch []Delivery[T]) error

	// Close is called once, last, also after an error.
	Close() error
}

// A Limiter is a [Writer] that takes so many deliveries at once at most, at least
// one, such as a service that takes one record with each request. It is asked once,
// after Open. What comes behind a batch waits until that is delivered, or given up,
// so with a limit of one, retries keep the order, and a pause that the other side
// asks for (effect.RetryAfter) is one for all.
type Limiter interface {
	Limit() int
}

// A Flusher is a [Writer] that settles later: on nil, Flush has settled
// everything that Deliver took.
type Flusher interface {
	Flush(ctx context.Context) error
}

// A Noter is a [Writer] that keeps a note in the log, such as the length of a
// file. Note is called after an Open that was given none; if there is one it is
// durable before the first Deliver, so that what a dead process delivered without
// a receipt can be told from what was there before it. From then on Note is called
// when deliveries are settled; the note is recorded with
// their receipt, atomically, and the last one is given to the next Open. It is
// at most 4 KiB.
type Noter interface {
	Note() string
}

// A Finisher is a [Writer] that puts its result in place once its input has come
// to a natural end, such as renaming a file.
//
// Prepare is called when everything has its receipt, and returns a note. When
// that note is durable, Finish does the deed and returns the final note; the
// stage has then ended for good and is not opened again. A process that dies in
// between is followed by an Open with Prepare's note, and by Prepare and Finish
// again, in a stage that has no more input: both must find out how far they were.
type Finisher interface {
	Prepare(ctx context.Context) (note string, err error)
	Finish(ctx context.Context) (note string, err error)
}

// A PartialError says which of a batch failed; the rest was delivered.
type PartialError struct {
	Failed map[int]error // by index in the batch
}

// Error says how many failed and shows the error of the first.
func (e *PartialError) Error() string {
	first := -1
	for i := range e.Failed {
		if first < 0 || i < first {
			first = i
		}
	}
	if first < 0 {
		return "no delivery failed"
	}
	return fmt.Sprintf("%d deliveries failed, the first at index %d: %v", len(e.Failed), first, e.Failed[first])
}

// Into adds a sink.
func Into[T any](in Input[T], name string, sink Sink[T], opts ...SinkOption) {
	s, dead := sinkStage(in, "sink", name, opts)
	s.require(sink != nil, "sink")
	s.node.Sink = &delivering[T]{sink: sink, dead: dead}
}

// Each is a sink as a function, at least once: after a crash fn may be called
// again with a payload that it was given before. For the ref of the payload,
// which is then the same, read [Records].
func Each[T any](in Input[T], name string, fn func(context.Context, T) error, opts ...SinkOption) {
	s, dead := sinkStage(in, "each", name, opts)
	s.require(fn != nil, "function")
	s.node.Sink = &calling[T]{fn: fn, dead: dead}
}

func sinkStage[T any](in Input[T], op, name string, opts []SinkOption) (*stage, morgue[T]) {
	src := streamOf(in)
	s := src.f.add(topology.Sink, op, name)
	s.read(src.ports, 0, plan.Stream, "")
	var set plan.SinkSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplySink(&set)
	}
	s.f.faults(s.node.Name, s.node.Caller, set.Faults)
	s.node.Guards, s.node.Flush = set.Guards, set.Flush
	s.f.share(s.node.Name, s.node.Caller, &s.node.Guards)
	if set.OnError != nil {
		s.node.OnError = *set.OnError
	}
	return s, addDead[T](s)
}
