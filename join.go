package weir

import (
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// A Table is a keyed stream read as the latest row of each key. It is a view:
// each join keeps the rows that it needs.
type Table[K comparable, Row any] struct {
	in   Keyed[K, Row]
	gone func(Row) bool
}

// TableOf reads in as a table. A row replaces the one before with its key.
func TableOf[K comparable, Row any](in Keyed[K, Row]) Table[K, Row] { return Table[K, Row]{in: in} }

// DeleteIf returns t in which a row for which gone is true removes its key. gone
// is pure.
func (t Table[K, Row]) DeleteIf(gone func(Row) bool) Table[K, Row] {
	t.gone = gone
	return t
}

// Join pairs each payload with its row. A payload without a row is the second
// result. fn is pure.
//
// The table is read to its natural end before the first payload of in, so each
// sees every row; a table that has no end is refused when the flow is built.
// Both the payload and the row are causes of the result.
func Join[K comparable, In, Row, Out any](in Keyed[K, In], table Table[K, Row], name string, fn func(In, Row) (Out, error), opts ...StateOption) (joined Stream[Out], unmatched Stream[In]) {
	s, t := joinStage("join", name, in, table, fn != nil, opts)
	w, rest := addPort[Out](s, "out"), addPort[In](s, "unmatched")
	var cause plan.Cause
	joinHandler(s, in, table, t, []outlet{w, rest}, func(v In, row *origined[Row]) error {
		if row == nil {
			rest.Emit(v)
			return nil
		}
		out, err := fn(v, row.Value)
		if err == nil {
			cause.Refs = append(cause.Refs[:0], row.origin())
			w.EmitFrom(out, &cause)
		}
		return err
	})
	return port[Out](s, 0), port[In](s, 1)
}

// LeftJoin is [Join] with fn called for every payload; found tells whether there
// is a row.
func LeftJoin[K comparable, In, Row, Out any](in Keyed[K, In], table Table[K, Row], name string, fn func(v In, row Row, found bool) (Out, error), opts ...StateOption) Stream[Out] {
	s, t := joinStage("leftjoin", name, in, table, fn != nil, opts)
	w := addPort[Out](s, "out")
	var cause plan.Cause
	joinHandler(s, in, table, t, []outlet{w}, func(v In, row *origined[Row]) error {
		cause.Refs = cause.Refs[:0]
		var none origined[Row]
		found := row != nil
		if found {
			cause.Refs = append(cause.Refs, row.origin())
		} else {
			row = &none
		}
		out, err := fn(v, row.Value, found)
		if err == nil {
			w.EmitFrom(out, &cause)
		}
		return err
	})
	return port[Out](s, 0)
}

// joinStage adds the stage of a join with its inputs and table.
func joinStage[K comparable, In, Row any](op, name string, in Keyed[K, In], table Table[K, Row], hasFn bool, opts []StateOption) (*stage, *plan.TypedTable[K, origined[Row]]) {
	s := keyedStage(topology.Join, op, name, in)
	s.require(hasFn, "function")
	s.require(table.in.key != nil, "key function of the table")
	via := joinViews(table.in.via(), "table")
	if table.gone != nil {
		via += " with deletes"
	}
	s.read(table.in.in.ports, 1, plan.TableAtEnd, via)
	ports := table.in.in.ports
	s.f.atEnd = append(s.f.atEnd, func() { s.endless(ports) })
	var set plan.StateSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplyState(&set)
	}
	s.state(set)
	keys := keyType[K](s)
	if keys == nil {
		return s, nil
	}
	return s, newTable[K, origined[Row]](s, "rows", keys, keptAs[Row]())
}

// joinHandler makes the handler: pair gets each payload of in with its row, nil
// if there is none.
func joinHandler[K comparable, In, Row any](s *stage, in Keyed[K, In], table Table[K, Row], t *plan.TypedTable[K, origined[Row]], outs []outlet, pair func(In, *origined[Row]) error) {
	turn := s.node.Turn
	j := &joining[In, Row]{streams: len(in.in.ports)}
	j.stream = handler[In]{turn: turn, outs: outs, dead: addDead[In](s)}
	s.node.Handler = j
	if t == nil {
		return // the problem was told
	}
	var row origined[Row]
	j.stream.step = func(_ *plan.Batch, _ int, v In) error {
		r, ok := t.Get(in.key(v))
		if !ok {
			return pair(v, nil)
		}
		row = r
		return pair(v, &row)
	}
	j.rows = handler[Row]{turn: turn, rows: t}
	j.rows.step = func(b *plan.Batch, i int, v Row) error {
		k := table.in.key(v)
		if table.gone != nil && table.gone(v) {
			return t.Delete(k)
		}
		return t.Put(k, origined[Row]{v, b.Journal, b.First + uint64(i)})
	}
}

// A joining is the plan.Handler of a join: one handler for each side.
type joining[In, Row any] struct {
	streams int // inputs below it are of the stream, the others of the table
	stream  handler[In]
	rows    handler[Row]
}

// Handle works on a batch of one side; see plan.Handler.
func (j *joining[In, Row]) Handle(in int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	if in < j.streams {
		return j.stream.Handle(in, b, from, to)
	}
	return j.rows.Handle(in, b, from, to)
}

// Bury writes a record of either side to the dead letters; see plan.Handler.
func (j *joining[In, Row]) Bury(in int, b *plan.Batch, i int, f *plan.Failure) {
	j.stream.dead.bury(b, i, f, in < j.streams)
}

// endless reports a table that is read to its end and has none.
func (s *stage) endless(ports []feed) {
	seen := map[int]bool{}
	var todo []int
	for _, p := range ports {
		if p.f == s.f && p.node >= 0 {
			todo = append(todo, p.node)
		}
	}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		if seen[n] {
			continue
		}
		seen[n] = true
		node := s.f.plan.Nodes[n]
		if node.Source != nil && !node.Source.Bounded() {
			s.problem("its table is read to its end before the stream, but source %s (%s) does not say that it ends; give it a method Bounded() bool that returns true, or use a Slice", node.Name, node.Caller)
		}
		for _, in := range node.Inputs {
			todo = append(todo, in.From.Node)
		}
	}
}
