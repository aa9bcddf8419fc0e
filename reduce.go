package weir

import (
	"slices"
	"strconv"

	"github.com/weirflow/weir/internal/plan"
)

// Zero starts an accumulator from its zero value: an argument for [Reduce].
func Zero[K comparable, Acc any](K) (acc Acc) { return acc }

// Reduce folds the payloads of a key into an accumulator that start makes from
// the key, and emits it when an [Emission] says so. start and step are pure.
//
// The accumulator is state: a payload type, logged whenever it changes.
func Reduce[K comparable, In, Acc any](in Keyed[K, In], name string, start func(K) Acc, step func(*Acc, In) error, opts ...EmitOption) Stream[Acc] {
	return fold[K, In, Acc, Acc]{
		start: start,
		step:  func(acc *Acc, v In, _ plan.Origin) error { return step(acc, v) },
		show:  func(acc *Acc) Acc { return *acc },
		kept:  keptAs[Acc](),
	}.add("reduce", name, in, opts, func(s *stage) {
		s.require(start != nil, "start function (use weir.Zero to start from nothing)")
		s.require(step != nil, "step function")
	})
}

// A Ranking is what [TopN] emits: payloads from the lowest to the highest.
type Ranking[T any] []T

// EventType returns the name of T in brackets: "Ranking[order.placed.v1]".
func (Ranking[T]) EventType() string { return "Ranking[" + payloadName[T]() + "]" }

// TopN keeps, for each key, the n items that compare lowest, the latest payload
// standing for each item, and emits them in order when an [Emission] says so.
// Among equals the one that came first is before. An item that was pushed out is
// forgotten until its next payload. item and compare are pure.
func TopN[K, I comparable, T any](in Keyed[K, T], name string, n int, item func(T) I, compare func(a, b T) int, opts ...EmitOption) Stream[Ranking[T]] {
	return fold[K, T, ranked[T], Ranking[T]]{
		start: func(K) ranked[T] { return ranked[T]{} },
		step: func(r *ranked[T], v T, from plan.Origin) error {
			id := item(v)
			r.Rows = slices.DeleteFunc(r.Rows, func(o origined[T]) bool { return item(o.Value) == id })
			at := len(r.Rows)
			for at > 0 && compare(v, r.Rows[at-1].Value) < 0 {
				at--
			}
			if at < n {
				r.Rows = slices.Insert(r.Rows, at, origined[T]{v, from.Journal, from.Seq})
				r.Rows = r.Rows[:min(n, len(r.Rows))]
			}
			return nil
		},
		show: func(r *ranked[T]) Ranking[T] {
			out := make(Ranking[T], len(r.Rows))
			for i := range r.Rows {
				out[i] = r.Rows[i].Value
			}
			return out
		},
		refs: func(r *ranked[T], dst []plan.Origin) []plan.Origin {
			for i := range r.Rows {
				dst = append(dst, r.Rows[i].origin())
			}
			return dst
		},
		kept: keptAs[T](),
	}.add("topn", name, in, opts, func(s *stage) {
		s.require(item != nil, "item function")
		s.require(compare != nil, "compare function")
		if n < 1 {
			s.problem("TopN keeps %d items; give it at least 1", n)
		}
		s.param("n", strconv.Itoa(n))
	})
}

// Latest keeps the latest payload of each key and emits it when an [Emission]
// says so: by default at the end of the input.
func Latest[K comparable, T any](in Keyed[K, T], name string, opts ...EmitOption) Stream[T] {
	return fold[K, T, origined[T], T]{
		start: func(K) (o origined[T]) { return o },
		step: func(o *origined[T], v T, from plan.Origin) error {
			*o = origined[T]{v, from.Journal, from.Seq}
			return nil
		},
		show: func(o *origined[T]) T { return o.Value },
		refs: func(o *origined[T], dst []plan.Origin) []plan.Origin { return append(dst, o.origin()) },
		kept: keptAs[T](),
	}.add("latest", name, in, opts, func(*stage) {})
}

// ranked is the state of TopN.
type ranked[T any] struct {
	Rows []origined[T] `json:"rows"`
}

// An origined value is a payload in state, with the record it came as.
type origined[T any] struct {
	Value   T      `json:"payload"`
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
}

func (o *origined[T]) origin() plan.Origin { return plan.Origin{Journal: o.Journal, Seq: o.Seq} }
