package weir

import (
	"reflect"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// An Out is one named output of a [Split]: the handler emits to it, and in the
// flow it is read like a [Stream].
type Out[T any] struct{ o *outbound[T] }

type outbound[T any] struct {
	w *plan.TypedWriter[T]
	s Stream[T]
}

// Emit hands one payload to the port; see [Emit].
func (o Out[T]) Emit(v T) { o.o.w.Emit(v) }

func (o Out[T]) stream() Stream[T] {
	if o.o == nil {
		return Stream[T]{}
	}
	return o.o.s
}

// bind makes o the output of a stage under a port name.
func (o *Out[T]) bind(s *stage, name string) outlet {
	w := addPort[T](s, name)
	o.o = &outbound[T]{w, port[T](s, len(s.node.Ports)-1)}
	return w
}

// Split has as many outputs as the struct P has fields of type [Out]; the names
// of the fields, in snake case, are the ports. fn is pure.
//
//	type checked struct {
//		Valid   weir.Out[Order]
//		Invalid weir.Out[Order]
//	}
//
//	out := weir.Split(orders, "check", func(o Order, to checked) error { … })
//	weir.Each(out.Valid, "ship", ship)
func Split[In, P any](in Input[In], name string, fn func(In, P) error, opts ...StageOption) P {
	s, set := transform("split", name, in, fn != nil, opts)
	if set.Ports != nil {
		s.problem("Ports is for Split2 and Split3; the fields of %s name the ports here", bareType(reflect.TypeFor[P]()))
	}
	var to P
	handle(s, outputs(s, reflect.ValueOf(&to).Elem()), func(_ *plan.Batch, _ int, v In) error { return fn(v, to) })
	return to
}

// outputs binds the fields of the struct that p is.
func outputs(s *stage, p reflect.Value) []outlet {
	if p.Kind() != reflect.Struct || p.NumField() == 0 {
		s.problem("the outputs of Split are %s; use a struct with fields of type weir.Out", bareType(p.Type()))
		return nil
	}
	var outs []outlet
	for i := range p.NumField() {
		field := p.Type().Field(i)
		if !field.IsExported() {
			s.problem("field %s of %s is unexported; export it, so that it can be an output", field.Name, bareType(p.Type()))
			continue
		}
		o, ok := reflect.TypeAssert[interface {
			bind(s *stage, name string) outlet
		}](p.Field(i).Addr())
		if !ok {
			s.problem("field %s of %s is a %s, not a weir.Out", field.Name, bareType(p.Type()), bareType(field.Type))
			continue
		}
		outs = append(outs, o.bind(s, payload.SnakeCase(field.Name)))
	}
	return outs
}
