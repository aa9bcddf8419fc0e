package weir

import (
	"reflect"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// A Stream is a typed handle to what a stage puts out. Passing it to a stage is
// the edge; passing it to several sends every payload to each of them.
type Stream[T any] struct {
	f     *Flow
	ports []feed // more than one after Merge
}

// A Keyed stream knows the key of each payload. It is a view: keying writes
// nothing and adds no stage.
type Keyed[K comparable, T any] struct {
	in  Stream[T]
	key func(T) K
}

// An Input is what a stage reads: a [Stream], a [Keyed] or the [Out] of a split.
// Stages that look at one payload at a time take any of them.
type Input[T any] interface{ stream() Stream[T] }

func (s Stream[T]) stream() Stream[T]   { return s }
func (k Keyed[K, T]) stream() Stream[T] { return k.in }

// Flow returns the flow that the stream belongs to, for functions that build a
// part of a flow out of streams they were given.
func (s Stream[T]) Flow() *Flow { return s.f }

// A feed is one port as a reader sees it.
type feed struct {
	f          *Flow
	node, port int // node is negative if the port does not exist
	view       string
	adapt      func(*plan.Batch) *plan.Batch
}

// streamOf returns the stream of an input.
func streamOf[T any](in Input[T]) Stream[T] {
	if in == nil {
		panic(wiringPanic{callerOutside(), "a stage reads nil; use what a stage returned"})
	}
	return in.stream()
}

// Merge reads several streams of one type as one. It waits for none of them: a
// stage takes what is there, and the order in which it did is recorded.
func Merge[T any](ins ...Input[T]) Stream[T] {
	if len(ins) == 0 {
		panic(wiringPanic{callerOutside(), "Merge of nothing; give it at least one stream"})
	}
	var out Stream[T]
	for i, in := range ins {
		s := streamOf(in)
		if i == 0 {
			out.f = s.f
		}
		out.ports = append(out.ports, s.ports...)
	}
	return out
}

// KeyBy gives each payload a key. Keys are strings, integers, booleans, and
// arrays and structs of those. key is pure.
func KeyBy[K comparable, T any](in Input[T], key func(T) K) Keyed[K, T] {
	return Keyed[K, T]{in: streamOf(in), key: key}
}

// Whole is the key of a stream that is not divided.
type Whole struct{}

// All puts every payload under one key, so that a keyed stage works on the whole
// stream.
func All[T any](in Input[T]) Keyed[Whole, T] {
	return Keyed[Whole, T]{in: streamOf(in), key: func(T) Whole { return Whole{} }}
}

// Records reads payloads together with their ref, key and times.
func Records[T any](in Input[T]) Stream[event.Record[T]] {
	s := streamOf(in)
	out := Stream[event.Record[T]]{f: s.f, ports: make([]feed, len(s.ports))}
	for i, p := range s.ports {
		inner := p.adapt
		p.adapt = func(b *plan.Batch) *plan.Batch {
			if inner != nil {
				b = inner(b)
			}
			return recordsOf[T](b)
		}
		p.view = joinViews(p.view, "records")
		out.ports[i] = p
	}
	return out
}

func recordsOf[T any](b *plan.Batch) *plan.Batch {
	values := b.Values.([]T)
	records := make([]event.Record[T], len(values))
	stage, port := splitJournal(b.Journal)
	recorded := time.Unix(0, b.Recorded).UTC()
	for i := range values {
		r := &records[i]
		r.Value = values[i]
		r.Ref = event.Ref{Stage: stage, Port: port, Seq: b.First + uint64(i)}
		if of := b.Original(i); of.Run != "" {
			r.Ref.Stage, r.Ref.Port = splitJournal(of.ID.Journal)
			r.Ref.Seq = of.ID.Seq
		}
		r.Time, r.Recorded = recorded, recorded
		if b.Keys != nil {
			r.Key = b.Keys[i]
		}
		if b.Times != nil {
			r.Time = time.Unix(0, b.Times[i]).UTC()
		}
	}
	c := *b
	c.Type, c.Values = "", records
	return &c
}

// splitJournal takes stage.port apart.
func splitJournal(name string) (stage, port string) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, ""
	}
	return name[:i], name[i+1:]
}

// via says for people, and for the fingerprint, how a keyed stage reads.
func (k Keyed[K, T]) via() string {
	t := reflect.TypeFor[K]()
	if t == reflect.TypeFor[Whole]() {
		return "all"
	}
	return "key by " + keyName(t)
}

// keyType compiles K for a stage and notes it in the graph; nil, with a
// problem, if it cannot be a key.
func keyType[K comparable](s *stage) *payload.KeyType[K] {
	t, err := payload.KeyFor[K]()
	if err != nil {
		s.problem("%v", err)
		return nil
	}
	s.f.stages[s.at].Key = &topology.Type{Name: keyName(reflect.TypeFor[K]())}
	return t
}
