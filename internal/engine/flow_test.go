package engine_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// The flows of these tests carry integers, written as decimal text.

// A port is a plan.Writer and plan.Decoder of integers.
type port struct {
	turn   *plan.Turn
	values []int64
	raw    []byte
	offs   []uint32
	crcs   []uint32
	starts []int // of each record in raw
	items  []int // of each record
	err    error
	from   []string // journals that refs count in
	rec    journal.Record
	item   [1]int
	text   [20]byte
}

// errOdd is what a value below -1000 fails with when it is written.
var errUnwritable = errors.New("a value that cannot be written")

func (p *port) emit(v int64) {
	if v < -1000 {
		p.err = cmp.Or(p.err, errUnwritable)
		return
	}
	last := -1
	if n := len(p.items); n > 0 {
		last = p.items[n-1]
	}
	p.starts = append(p.starts, len(p.raw))
	payload := strconv.AppendInt(p.text[:0], v, 10)
	p.rec.Items, p.rec.Payload = p.rec.Items[:0], payload
	if p.turn.Item >= 0 {
		p.item[0] = p.turn.Item
		p.rec.Items = p.item[:]
	}
	p.rec.Refs = p.rec.Refs[:0]
	for _, o := range p.turn.From {
		p.from = append(p.from, o.Journal)
		p.rec.Refs = append(p.rec.Refs, journal.Ref{Journal: len(p.from) - 1, Seq: o.Seq})
	}
	p.raw, last = journal.AppendRecord(p.raw, last, &p.rec)
	p.items = append(p.items, last)
	p.offs = append(p.offs, uint32(len(p.raw)-len(payload)), uint32(len(p.raw)))
	p.crcs = append(p.crcs, wire.Checksum(payload))
	p.values = append(p.values, v)
}

// pad writes a zero in very many digits.
func (p *port) pad(zeros []byte) {
	last := p.items[len(p.items)-1]
	p.starts = append(p.starts, len(p.raw))
	p.rec.Items = append(p.rec.Items[:0], p.turn.Item)
	p.rec.Payload = zeros
	p.raw, last = journal.AppendRecord(p.raw, last, &p.rec)
	p.items = append(p.items, last)
	p.offs = append(p.offs, uint32(len(p.raw)-len(zeros)), uint32(len(p.raw)))
	p.crcs = append(p.crcs, wire.Checksum(zeros))
	p.values = append(p.values, 0)
}

func (p *port) Len() int   { return len(p.values) }
func (p *port) Size() int  { return len(p.raw) }
func (p *port) Err() error { return p.err }

func (p *port) Rollback(n int) {
	p.err = nil
	if n < len(p.values) {
		p.raw = p.raw[:p.starts[n]]
		p.values, p.starts, p.items, p.crcs, p.offs = p.values[:n], p.starts[:n], p.items[:n], p.crcs[:n], p.offs[:2*n]
	}
}

func (p *port) Seal(first, digest uint64) (journal.Output, *plan.Batch) {
	d := wire.Digest(digest)
	for i, crc := range p.crcs {
		d = d.Add(first+uint64(i), crc)
	}
	n := len(p.values)
	b := &plan.Batch{First: first, N: n, Values: p.values, Raw: p.raw, Offs: p.offs, CRCs: p.crcs, Digest: uint64(d)}
	o := journal.Output{First: first, Count: n, Journals: p.from, Records: p.raw, Digest: uint64(d)}
	p.from = nil
	p.values, p.raw = make([]int64, 0, n), make([]byte, 0, len(p.raw))
	p.offs, p.crcs = make([]uint32, 0, 2*n), make([]uint32, 0, n)
	p.starts, p.items = p.starts[:0], p.items[:0]
	return o, b
}

func (p *port) Decode(name string, o *journal.Output, from, _ uint64) (*plan.Batch, error) {
	b := &plan.Batch{Journal: name, Raw: o.Records, Digest: o.Digest}
	var values []int64
	var rec journal.Record
	rs := journal.NewRecords(o)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			break
		}
		if seq < from {
			continue
		}
		v, err := strconv.ParseInt(string(rec.Payload), 10, 64)
		if err != nil {
			return nil, err
		}
		if b.N == 0 {
			b.First = seq
		}
		b.N++
		values = append(values, v)
		b.CRCs = append(b.CRCs, wire.Checksum(rec.Payload))
	}
	b.Values = values
	return b, rs.Err()
}

func (p *port) Of(plan.Past) plan.Decoder { return p }

func (p *port) Private(b *plan.Batch) *plan.Batch {
	c := *b
	c.Values = slices.Clone(b.Values.([]int64))
	return &c
}

// A table is keyed state.
type table struct {
	turn    *plan.Turn
	entries map[int64]entry
	undo    map[int64]entry
	order   []int64
}

type entry struct {
	v  int64
	ok bool
	at journal.LSN
}

func (t *table) get(k int64) int64 { return t.entries[k].v }

func (t *table) set(k, v int64) {
	if _, changed := t.undo[k]; !changed {
		t.undo[k] = t.entries[k]
		t.order = append(t.order, k)
	}
	e := t.entries[k]
	t.entries[k] = entry{v: v, ok: true, at: e.at}
}

func (t *table) Name() string { return "sums" }
func (t *table) Len() int     { return len(t.entries) }
func (t *table) Changed() int { return len(t.order) }

func (t *table) Seal() (journal.State, error) {
	s := journal.State{Table: "sums"}
	for _, k := range t.order {
		s.Changes = journal.AppendChange(s.Changes, &journal.Change{
			Key: fmt.Append(nil, k), Value: fmt.Append(nil, t.entries[k].v), Previous: t.undo[k].at,
		})
		s.Count++
	}
	return s, nil
}

func (t *table) Commit(lsn journal.LSN) {
	for _, k := range t.order {
		e := t.entries[k]
		e.at = lsn
		t.entries[k] = e
	}
	t.order = t.order[:0]
	clear(t.undo)
}

func (t *table) Revert() error {
	for _, k := range t.order {
		if t.undo[k].ok {
			t.entries[k] = t.undo[k]
		} else {
			delete(t.entries, k)
		}
	}
	t.order = t.order[:0]
	clear(t.undo)
	return nil
}

func (t *table) Apply(c journal.Change, lsn journal.LSN, _ uint64) error {
	k, err := strconv.ParseInt(string(c.Key), 10, 64)
	if err != nil {
		return err
	}
	v, err := strconv.ParseInt(string(c.Value), 10, 64)
	t.entries[k] = entry{v: v, ok: true, at: lsn}
	return err
}

func (t *table) keys() []int64 {
	return slices.SortedFunc(maps.Keys(t.entries), func(a, b int64) int {
		return cmp.Compare(strconv.FormatInt(a, 10), strconv.FormatInt(b, 10))
	})
}

func (t *table) Snapshot(yield func(key, value []byte, at journal.LSN) error) error {
	for _, k := range t.keys() {
		if err := yield(fmt.Append(nil, k), fmt.Append(nil, t.entries[k].v), t.entries[k].at); err != nil {
			return err
		}
	}
	return nil
}

// A handler calls fn with each value.
type handler struct {
	node  *plan.Node
	fn    func(h *handler, in int, v int64) error
	ports []*port
	dead  *port
	table *table
	calls int
}

func (h *handler) Handle(in int, b *plan.Batch, from, to int) (next int, dirty bool, f *plan.Failure) {
	values := b.Values.([]int64)
	for i := from; i < to; i++ {
		h.node.Turn.Item = h.node.Turn.Base + i - from
		if f := h.one(in, values[i]); f != nil {
			return i, h.table != nil && h.table.Changed() > 0, f
		}
	}
	return to, false, nil
}

func (h *handler) one(in int, v int64) (f *plan.Failure) {
	marks := make([]int, len(h.ports))
	for i, p := range h.ports {
		marks[i] = p.Len()
	}
	defer func() {
		if r := recover(); r != nil {
			f = &plan.Failure{Err: fmt.Errorf("%v", r), Kind: event.KindPanic, Panic: true, Stack: debug.Stack()}
		}
		for i, p := range h.ports {
			if p.Err() != nil && f == nil {
				f = &plan.Failure{Err: p.Err(), Kind: event.KindValidation}
			}
			if f != nil {
				p.Rollback(marks[i])
			}
		}
	}()
	h.calls++
	if err := h.fn(h, in, v); err != nil {
		return &plan.Failure{Err: err, Kind: event.KindDomain}
	}
	return nil
}

func (h *handler) Bury(_ int, b *plan.Batch, i int, _ *plan.Failure) {
	h.dead.emit(b.Values.([]int64)[i])
}

// A folder is a handler that emits its table at the end.
type folder struct{ handler }

func (h *folder) AtEnd(after []byte, full func() bool) (last []byte, done bool, f *plan.Failure) {
	for _, k := range h.table.keys() {
		key := fmt.Append(nil, k)
		if after != nil && string(key) <= string(after) {
			continue
		}
		if last != nil && (full() || len(h.ports[0].values) >= 2) {
			return last, false, nil
		}
		h.ports[0].emit(h.table.get(k))
		last = key
	}
	if last == nil {
		last = after
	}
	return last, true, nil
}

// A source reads a slice in batches; its position is an index.
type source struct {
	node   *plan.Node
	out    *port
	dead   *port
	values []int64
	batch  int
	expect int64 // zero means unknown
	hold   func(ctx context.Context, at int) error
	acks   bool
	mu     sync.Mutex
	acked  []string
	open   bool   // it waits for ctx after the last value
	pad    []byte // zeros that each batch ends with
}

func (s *source) Read(ctx context.Context, after string, take func(*plan.Read) bool) error {
	at := 0
	if after != "" {
		var err error
		if at, err = strconv.Atoi(after); err != nil {
			return err
		}
	}
	for at < len(s.values) {
		if s.hold != nil {
			if err := s.hold(ctx, at); err != nil {
				return err
			}
		}
		end := min(at+s.batch, len(s.values))
		if !take(&plan.Read{Values: s.values[at:end], N: end - at, Position: strconv.Itoa(end)}) {
			return nil
		}
		at = end
	}
	if s.open {
		<-ctx.Done()
	}
	return nil
}

func (s *source) Emit(r *plan.Read) {
	for _, v := range r.Values.([]int64) {
		s.out.emit(v)
	}
	if s.pad != nil {
		s.out.pad(s.pad)
	}
}

func (s *source) Bounded() bool { return !s.open }

func (s *source) Expect(context.Context) (int64, bool, error) { return s.expect, s.expect > 0, nil }

func (s *source) Ack() func(context.Context, string) error {
	if !s.acks {
		return nil
	}
	return func(_ context.Context, upTo string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.acked = append(s.acked, upTo)
		return nil
	}
}

// A build puts a flow together.
type build struct{ flow *plan.Flow }

func newBuild() *build { return &build{flow: &plan.Flow{Name: "numbers"}} }

func (b *build) node(name, kind string, ports ...string) (*plan.Node, []*port) {
	n := &plan.Node{
		Name: name, Kind: kind, Turn: &plan.Turn{},
		OnError: plan.OnError{Error: plan.DeadLetter, Panic: plan.Fail, Budget: plan.Budget{InARow: 100, Share: 0.1, Over: 1000}},
	}
	var ps []*port
	for _, name := range append(ports, journal.PortDead) {
		p := &port{turn: n.Turn}
		ps = append(ps, p)
		pp := &plan.Port{Name: name, Type: "int", Writer: p, Decoder: p}
		if name == journal.PortDead {
			n.Dead = pp
		} else {
			n.Ports = append(n.Ports, pp)
		}
	}
	b.flow.Nodes = append(b.flow.Nodes, n)
	return n, ps
}

func (b *build) source(name string, batch int, values ...int64) *source {
	n, ps := b.node(name, "source", "out")
	s := &source{node: n, out: ps[0], dead: ps[1], values: values, batch: batch}
	n.Source = s
	return s
}

// from is "stage" or "stage.port".
func (b *build) input(from string) *plan.Input {
	for i, n := range b.flow.Nodes {
		for j, p := range n.Ports {
			if from == n.Name && j == 0 || from == n.Name+"."+p.Name {
				return &plan.Input{From: plan.PortRef{Node: i, Port: j}}
			}
		}
		if from == n.Name+".dead" {
			return &plan.Input{From: plan.PortRef{Node: i, Port: plan.DeadPort}}
		}
	}
	panic("no port " + from)
}

func (b *build) inputs(n *plan.Node, from []string) {
	for _, f := range from {
		n.Inputs = append(n.Inputs, b.input(f))
	}
}

func (b *build) handle(name string, fn func(h *handler, in int, v int64) error, from ...string) *handler {
	n, ps := b.node(name, "map", "out")
	h := &handler{node: n, fn: fn, ports: ps[:1], dead: ps[1]}
	n.Handler = h
	b.inputs(n, from)
	return h
}

// fold sums up values by their last digit and emits the sums at the end.
func (b *build) fold(name string, from ...string) *folder {
	n, ps := b.node(name, "reduce", "out")
	h := &folder{handler{node: n, ports: ps[:1], dead: ps[1]}}
	h.table = newTable(n)
	h.fn = func(h *handler, _ int, v int64) error {
		h.table.set(v%10, h.table.get(v%10)+v)
		return nil
	}
	n.Handler, n.Tables = h, []plan.Table{h.table}
	b.inputs(n, from)
	return h
}

func newTable(n *plan.Node) *table {
	return &table{turn: n.Turn, entries: map[int64]entry{}, undo: map[int64]entry{}}
}

func (b *build) sink(name string, w *world, from ...string) *sink {
	n, ps := b.node(name, "sink")
	s := &sink{node: n, dead: ps[0], w: w}
	n.Sink = s
	b.inputs(n, from)
	return s
}

func add(d int64) func(h *handler, in int, v int64) error {
	return func(h *handler, _ int, v int64) error {
		h.ports[0].emit(v + d)
		return nil
	}
}

func upTo(n int) []int64 {
	vs := make([]int64, n)
	for i := range vs {
		vs[i] = int64(i + 1)
	}
	return vs
}

const soon = time.Second
