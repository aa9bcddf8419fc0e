package weir_test

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A driver runs the stages of a flow one after the other, without engine or
// log, the way the engine calls them. It decodes what every stage wrote and
// compares with the values that readers get.
type driver struct {
	t     *testing.T
	flow  *plan.Flow
	size  int // records in a transition
	lsn   journal.LSN
	ports map[string]*written // by journal
	text  []string            // of what was written to the log, for comparisons
}

type written struct {
	port    *plan.Port
	batches []*plan.Batch
	count   uint64
	digest  uint64
	outputs []journal.Output
}

func drive(t *testing.T, def *weir.Definition, size int) *driver {
	t.Helper()
	flow, err := def.Plan()
	if err != nil {
		t.Fatal(err)
	}
	d := &driver{t: t, flow: flow, size: size, ports: map[string]*written{}}
	for _, n := range flow.Nodes {
		for _, p := range append([]*plan.Port{n.Dead}, n.Ports...) {
			d.ports[n.Name+"."+p.Name] = &written{port: p}
		}
		switch {
		case n.Source != nil:
			d.source(n)
		case n.Handler != nil:
			d.handler(n)
		case n.Sink != nil:
			d.sink(n)
		}
	}
	return d
}

func (d *driver) source(n *plan.Node) {
	err := n.Source.Read(context.Background(), "", func(r *plan.Read) bool {
		n.Source.Emit(r)
		d.commit(n)
		return true
	})
	if err != nil {
		d.t.Fatalf("source %s: %v", n.Name, err)
	}
}

// inputs yields the batches of a node's inputs, tables first.
func (d *driver) inputs(n *plan.Node, yield func(in int, b *plan.Batch)) {
	for _, role := range []plan.Role{plan.TableAtEnd, plan.Stream} {
		for i, in := range n.Inputs {
			if in.Role != role {
				continue
			}
			from := d.flow.Nodes[in.From.Node]
			port := from.Dead
			if in.From.Port != plan.DeadPort {
				port = from.Ports[in.From.Port]
			}
			for _, b := range d.ports[from.Name+"."+port.Name].batches {
				if port.Mode == plan.Copied {
					b = port.Decoder.Private(b)
				}
				if in.Adapt != nil {
					b = in.Adapt(b)
				}
				yield(i, b)
			}
		}
	}
}

func (d *driver) handler(n *plan.Node) {
	d.inputs(n, func(in int, b *plan.Batch) {
		for from := 0; from < b.N; {
			to := min(from+d.size, b.N)
			d.transition(n, in, b, from, to)
			from = to
		}
	})
	if e, ok := n.Handler.(plan.Ender); ok {
		var after []byte
		for done := false; !done; {
			left := d.size
			var f *plan.Failure
			after, done, f = e.AtEnd(after, func() bool { left--; return left <= 0 })
			if f != nil {
				d.t.Fatalf("stage %s at its end: %v", n.Name, f.Err)
			}
			d.commit(n)
		}
	}
}

// transition handles records and buries what fails.
func (d *driver) transition(n *plan.Node, in int, b *plan.Batch, from, to int) {
	doomed := make([]*plan.Failure, to-from)
again:
	n.Turn.Base = 0
	for i := from; i < to; {
		if f := doomed[i-from]; f != nil {
			n.Turn.Item = n.Turn.Base
			n.Handler.Bury(in, b, i, f)
			n.Turn.Base++
			i++
			continue
		}
		end := i + 1
		for end < to && doomed[end-from] == nil {
			end++
		}
		next, dirty, f := n.Handler.Handle(in, b, i, end)
		n.Turn.Base += next - i
		i = next
		if f == nil {
			continue
		}
		doomed[next-from] = f
		if dirty {
			for _, t := range n.Tables {
				if err := t.Revert(); err != nil {
					d.t.Fatal(err)
				}
			}
			for _, p := range append([]*plan.Port{n.Dead}, n.Ports...) {
				p.Writer.Rollback(0)
			}
			goto again
		}
	}
	d.commit(n)
}

func (d *driver) commit(n *plan.Node) {
	d.lsn++
	for _, p := range append([]*plan.Port{n.Dead}, n.Ports...) {
		if p.Writer.Len() == 0 {
			continue
		}
		name := n.Name + "." + p.Name
		w := d.ports[name]
		o, b := p.Writer.Seal(w.count+1, w.digest)
		b.Journal, b.LSN = name, d.lsn
		w.count += uint64(b.N)
		w.digest = b.Digest
		w.batches = append(w.batches, b)
		w.outputs = append(w.outputs, o)
		d.check(name, p, &o, b)
	}
	for _, t := range n.Tables {
		if t.Changed() == 0 {
			continue
		}
		st, err := t.Seal()
		if err != nil {
			d.t.Fatalf("stage %s: %v", n.Name, err)
		}
		var c journal.Change
		for cs := journal.NewChanges(&st); cs.Next(&c); {
			d.text = append(d.text, fmt.Sprintf("%s/%s %s=%s%v ← %d %v", n.Name, st.Table, c.Key, c.Value, c.Deleted, c.Previous, c.Items))
		}
		t.Commit(d.lsn)
	}
}

// check compares what readers get with what the log holds.
func (d *driver) check(name string, p *plan.Port, o *journal.Output, b *plan.Batch) {
	d.t.Helper()
	back, err := p.Decoder.Decode(name, o, o.First, 1)
	if err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
	if !reflect.DeepEqual(back.Values, b.Values) {
		d.t.Errorf("%s: readers get %+v, the log says %+v", name, b.Values, back.Values)
	}
	var rec journal.Record
	rs := journal.NewRecords(o)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			break
		}
		i := int(seq - o.First)
		if got := b.Payload(i); !bytes.Equal(got, rec.Payload) || b.CRCs[i] != wire.Checksum(rec.Payload) {
			d.t.Errorf("%s:%d: batch holds %q with CRC %d, the log %q", name, seq, got, b.CRCs[i], rec.Payload)
		}
		var refs []string
		for _, r := range rec.Refs {
			refs = append(refs, fmt.Sprintf("%s:%d", o.Journals[r.Journal], r.Seq))
		}
		key := ""
		if rec.Key != nil {
			key = fmt.Sprintf(" key %q from=%v", rec.Key, rec.FromKey)
		}
		d.text = append(d.text, fmt.Sprintf("%s:%d %s ← %v %v%s", name, seq, rec.Payload, rec.Items, refs, key))
	}
	if err := rs.Err(); err != nil {
		d.t.Fatalf("%s: %v", name, err)
	}
}

func (d *driver) sink(n *plan.Node) {
	w, err := n.Sink.Open(context.Background(), plan.At{Flow: d.flow.Name, Stage: n.Name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.inputs(n, func(_ int, b *plan.Batch) {
		failed, err := w.Deliver(context.Background(), b, 0, b.N, 1, false)
		if err != nil {
			d.t.Fatalf("sink %s: %v", n.Name, err)
		}
		for i := range b.N {
			if err := failed[i]; err != nil {
				n.Turn.Item = i
				n.Sink.Bury(b, i, &plan.Failure{Err: err})
			}
		}
		d.commit(n)
	})
	if err := w.Close(); err != nil {
		d.t.Error(err)
	}
}

// values returns all values of a port.
func values[T any](d *driver, name string) []T {
	d.t.Helper()
	w, ok := d.ports[name]
	if !ok {
		d.t.Fatalf("no port %s", name)
	}
	var out []T
	for _, b := range w.batches {
		out = append(out, b.Values.([]T)...)
	}
	return out
}

// lines returns what was written to journals and tables with a prefix.
func (d *driver) lines(prefix string) string {
	var out []string
	for _, l := range d.text {
		if strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}
