package weir

import (
	"fmt"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// Emit hands one output to the runtime. What a handler emits for an input is
// committed with that input, or not at all; Emit cannot block or fail. It keeps
// nothing that the payload refers to, and must not be called after the handler
// has returned.
type Emit[T any] func(T)

// transform adds a stateless stage without ports.
func transform[In any](op, name string, in Input[In], hasFn bool, opts []StageOption) (*stage, plan.StageSettings) {
	src := streamOf(in)
	s := src.f.add(topology.Transform, op, name)
	s.require(hasFn, "function")
	s.read(src.ports, 0, plan.Stream, "")
	var set plan.StageSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplyStage(&set)
	}
	s.f.faults(s.node.Name, s.node.Caller, set.Faults)
	if set.OnError != nil {
		s.node.OnError = *set.OnError
	}
	return s, set
}

// handle makes step the work of a stateless stage.
func handle[In any](s *stage, outs []outlet, step func(*plan.Batch, int, In) error) {
	s.node.Handler = &handler[In]{turn: s.node.Turn, step: step, outs: outs, dead: addDead[In](s)}
}

// portNames returns the names of n ports: those given with [Ports], or byDefault.
func portNames(s *stage, given []string, byDefault ...string) []string {
	if given == nil {
		return byDefault
	}
	if len(given) != len(byDefault) {
		s.problem("Ports gives %d names (%q), the stage has %d outputs", len(given), given, len(byDefault))
		return byDefault
	}
	return given
}

// Map turns each payload into one other. fn is pure: it takes no context and
// gets the time from the record ([Records]).
func Map[In, Out any](in Input[In], name string, fn func(In) (Out, error), opts ...StageOption) Stream[Out] {
	s, set := transform("map", name, in, fn != nil, opts)
	w := addPort[Out](s, portNames(s, set.Ports, "out")[0])
	handle(s, []outlet{w}, func(_ *plan.Batch, _ int, v In) error {
		out, err := fn(v)
		if err == nil {
			w.Emit(out)
		}
		return err
	})
	return port[Out](s, 0)
}

// Filter keeps the payloads for which keep is true. keep is pure.
func Filter[T any](in Input[T], name string, keep func(T) (bool, error), opts ...StageOption) Stream[T] {
	s, set := transform("filter", name, in, keep != nil, opts)
	w := addPort[T](s, portNames(s, set.Ports, "out")[0])
	handle(s, []outlet{w}, func(_ *plan.Batch, _ int, v T) error {
		ok, err := keep(v)
		if ok && err == nil {
			w.Emit(v)
		}
		return err
	})
	return port[T](s, 0)
}

// FlatMap emits any number of payloads for each. fn is pure.
func FlatMap[In, Out any](in Input[In], name string, fn func(In, Emit[Out]) error, opts ...StageOption) Stream[Out] {
	s, set := transform("flatmap", name, in, fn != nil, opts)
	w := addPort[Out](s, portNames(s, set.Ports, "out")[0])
	emit := Emit[Out](w.Emit)
	handle(s, []outlet{w}, func(_ *plan.Batch, _ int, v In) error { return fn(v, emit) })
	return port[Out](s, 0)
}

// Flatten emits the elements of each payload.
func Flatten[T any, S ~[]T](in Input[S], name string, opts ...StageOption) Stream[T] {
	s, set := transform("flatten", name, in, true, opts)
	w := addPort[T](s, portNames(s, set.Ports, "out")[0])
	handle(s, []outlet{w}, func(_ *plan.Batch, _ int, v S) error {
		for _, e := range v {
			w.Emit(e)
		}
		return nil
	})
	return port[T](s, 0)
}

// Split2 has two typed outputs. Name them with [Ports]. fn is pure.
func Split2[In, A, B any](in Input[In], name string, fn func(In, Emit[A], Emit[B]) error, opts ...StageOption) (Stream[A], Stream[B]) {
	s, set := transform("split", name, in, fn != nil, opts)
	ports := portNames(s, set.Ports, numbered(2)...)
	a, b := addPort[A](s, ports[0]), addPort[B](s, ports[1])
	emitA, emitB := Emit[A](a.Emit), Emit[B](b.Emit)
	handle(s, []outlet{a, b}, func(_ *plan.Batch, _ int, v In) error { return fn(v, emitA, emitB) })
	return port[A](s, 0), port[B](s, 1)
}

// Split3 is [Split2] with three outputs.
func Split3[In, A, B, C any](in Input[In], name string, fn func(In, Emit[A], Emit[B], Emit[C]) error, opts ...StageOption) (Stream[A], Stream[B], Stream[C]) {
	s, set := transform("split", name, in, fn != nil, opts)
	ports := portNames(s, set.Ports, numbered(3)...)
	a, b, c := addPort[A](s, ports[0]), addPort[B](s, ports[1]), addPort[C](s, ports[2])
	emitA, emitB, emitC := Emit[A](a.Emit), Emit[B](b.Emit), Emit[C](c.Emit)
	handle(s, []outlet{a, b, c}, func(_ *plan.Batch, _ int, v In) error { return fn(v, emitA, emitB, emitC) })
	return port[A](s, 0), port[B](s, 1), port[C](s, 2)
}

// numbered are the names of n ports that were given none.
func numbered(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("out%d", i+1)
	}
	return names
}
