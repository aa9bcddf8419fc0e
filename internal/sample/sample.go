// Package sample writes a small run of payments into a log, transition by
// transition, for the tests of what reads runs. No flow runs: it shows what the
// log of one looks like.
//
// Six orders are read. validate rejects order 3 and gives up on order 5; totals
// keeps a sum for each customer and tells it after each order, and all sums at
// the end; ship delivers what totals tells, but for what it rejects.
package sample

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// Created is when the run was made; each transition is a second later.
var Created = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// Manifest returns the manifest of a run of the sample flow, without epochs.
func Manifest(run string) journal.Manifest {
	typ := func(name string) topology.Type { return topology.Type{Name: name, Schema: "0"} }
	g, err := topology.New(
		"payments",
		[]topology.Stage{
			{Name: "orders", Kind: topology.Source, Ports: []topology.Port{{Name: "out", Type: typ("order")}}},
			{Name: "validate", Kind: topology.Transform, Ports: []topology.Port{{Name: "rejected", Type: typ("rejection")}, {Name: "valid", Type: typ("order")}}},
			{Name: "totals", Kind: topology.Stateful, Key: &topology.Type{Name: "string"}, State: &topology.Type{Name: "Total", Schema: "0"}, Ports: []topology.Port{{Name: "out", Type: typ("total")}}},
			{Name: "ship", Kind: topology.Sink, Guarantee: "at least once"},
		},
		[]topology.Edge{
			{From: "orders", Port: "out", To: "validate"},
			{From: "validate", Port: "valid", To: "totals", Via: "key by customer"},
			{From: "totals", Port: "out", To: "ship"},
		},
	)
	if err != nil {
		panic(err) // the graph above is right
	}
	def, err := g.MarshalJSON()
	if err != nil {
		panic(err)
	}
	return journal.Manifest{
		Format: journal.FormatVersion, Run: run, Flow: "payments", Created: Created,
		Fingerprint: g.Fingerprint(), Definition: def,
	}
}

// A Writer plays the stages. Its zero value is not ready; see New.
type Writer struct {
	log    journal.Log
	clock  time.Time
	frames map[string]uint64
	ports  map[string]*port
	sums   map[string]int
	last   map[string]journal.LSN // of each customer's sum
}

type port struct {
	count  uint64
	digest wire.Digest
}

// New returns a writer that begins the run.
func New() *Writer {
	return &Writer{
		clock: Created, frames: map[string]uint64{}, ports: map[string]*port{},
		sums: map[string]int{}, last: map[string]journal.LSN{},
	}
}

// Port adds records to a port of the open transition.
func (w *Writer) port(t *journal.Transition, name, typ string, records ...journal.Record) {
	key := t.Stage + "." + name
	p := w.ports[key]
	if p == nil {
		p = &port{}
		w.ports[key] = p
	}
	o := journal.Output{Port: name, Type: typ, First: p.count + 1, Count: len(records)}
	item := -1
	for i := range records {
		o.Records, item = journal.AppendRecord(o.Records, item, &records[i])
		p.count++
		p.digest = p.digest.Add(p.count, wire.Checksum(records[i].Payload))
	}
	o.Digest = uint64(p.digest)
	t.Outputs = append(t.Outputs, o)
}

// end ends ports of the open transition.
func (w *Writer) end(t *journal.Transition, kind journal.EndKind, ports ...string) {
	for _, name := range ports {
		e := journal.End{Port: name, Kind: kind}
		if p := w.ports[t.Stage+"."+name]; p != nil {
			e.Count, e.Digest = p.count, uint64(p.digest)
		}
		t.Ends = append(t.Ends, e)
	}
}

func (w *Writer) put(t *journal.Transition) (journal.LSN, error) {
	w.clock = w.clock.Add(time.Second)
	t.Number, t.Time, t.Code = w.frames[t.Stage]+1, w.clock, "v1"
	var enc journal.Encoder
	frames, err := enc.Encode(t)
	if err != nil {
		return 0, err
	}
	w.frames[t.Stage] += uint64(len(frames))
	return w.log.Append(context.Background(), journal.Normal, frames...)
}

func say[E evidence.Moved | evidence.Terminal | evidence.Contract | evidence.Receipt | evidence.Trying | evidence.Refused](w *Writer, t *journal.Transition, port, typ string, e E) {
	w.port(t, port, typ, journal.Record{Payload: evidence.Append(nil, e)})
}

func (w *Writer) moved(stage, from, to, event string) error {
	t := &journal.Transition{Stage: stage}
	say(w, t, journal.PortSys, evidence.TypeMoved, evidence.Moved{From: from, To: to, Event: event})
	_, err := w.put(t)
	return err
}

// order is the payload of order n.
func order(n int) string {
	return fmt.Sprintf(`{"id":"o-%d","customer":%q,"cents":%d}`, n, customer(n), 100*n)
}

func customer(n int) string { return []string{"ann", "bob"}[n%2] }

func run(name string, from, to uint64) journal.Consumed {
	return journal.Consumed{Kind: journal.Run, Journal: name, From: from, To: to}
}

// Begin writes the first epoch into log, which has no end: all orders are read
// and validated, four are summed, two are delivered.
func (w *Writer) Begin(log journal.Log) error {
	w.log = log
	for _, s := range []string{evidence.Pipeline, "orders", "validate", "totals", "ship"} {
		if err := w.moved(s, "created", "running", "Run"); err != nil {
			return err
		}
	}
	for _, first := range []int{1, 4} {
		t := &journal.Transition{Stage: "orders", Position: &journal.Position{Value: fmt.Sprint("row ", first+2)}}
		var records []journal.Record
		for n := first; n < first+3; n++ {
			records = append(records, journal.Record{Payload: []byte(order(n)), HasTime: true, Time: Created.Add(time.Duration(n) * time.Minute).UnixNano()})
		}
		w.port(t, "out", "order", records...)
		if _, err := w.put(t); err != nil {
			return err
		}
	}
	if err := w.validate(); err != nil {
		return err
	}
	for i, n := range []int{1, 2, 4, 6} {
		if err := w.sum(uint64(i+1), n); err != nil {
			return err
		}
	}
	if err := w.checkpoint(4); err != nil {
		return err
	}
	return w.deliver(1, 2, nil)
}

func (w *Writer) validate() error {
	t := &journal.Transition{Stage: "validate", Consumed: []journal.Consumed{run("orders.out", 1, 6)}}
	var valid []journal.Record
	for _, n := range []int{1, 2, 4, 6} {
		valid = append(valid, journal.Record{Items: []int{n - 1}, Payload: []byte(order(n))})
	}
	w.port(t, "valid", "order", valid...)
	w.port(t, "rejected", "rejection", journal.Record{Items: []int{2}, Payload: []byte(`{"id":"o-3","reason":"amount above the limit"}`)})
	w.port(t, journal.PortDead, "Failed[order]", journal.Record{Items: []int{4}, Payload: fmt.Appendf(nil, `{"input":%s,"ref":"orders.out:5","kind":"domain","reason":"no such customer"}`, order(5))})
	_, err := w.put(t)
	return err
}

// sum adds order n, record seq of its input.
func (w *Writer) sum(seq uint64, n int) error {
	who := customer(n)
	w.sums[who] += 100 * n
	total := fmt.Sprintf(`{"customer":%q,"cents":%d}`, who, w.sums[who])
	t := &journal.Transition{Stage: "totals", Consumed: []journal.Consumed{run("validate.valid", seq, seq)}}
	w.port(t, "out", "total", journal.Record{Items: []int{0}, Key: []byte(who), Payload: []byte(total)})
	t.State = []journal.State{{
		Table: "totals", Count: 1,
		Changes: journal.AppendChange(nil, &journal.Change{Key: []byte(who), Value: []byte(total), Previous: w.last[who], Items: []int{0}}),
	}}
	lsn, err := w.put(t)
	w.last[who] = lsn
	return err
}

// sums is the table of totals.
type sums struct{ w *Writer }

func (s sums) Name() string { return "totals" }

func (s sums) Snapshot(yield func(key, value []byte, at journal.LSN) error) error {
	for _, who := range []string{"ann", "bob"} {
		if err := yield([]byte(who), fmt.Appendf(nil, `{"customer":"%s","cents":%d}`, who, s.w.sums[who]), s.w.last[who]); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint has totals write one, after it consumed so many records.
func (w *Writer) checkpoint(consumed uint64) error {
	data, err := recovery.AppendSnapshot(nil, &recovery.Stage{Name: "totals"}, []sums{{w}})
	if err != nil {
		return err
	}
	head := w.log.Head()
	name := fmt.Sprintf("totals-%d.snap", head)
	if err := w.log.WriteSnapshot(name, data); err != nil {
		return err
	}
	c := &journal.Checkpoint{
		Cursors:  []journal.Cursor{{Journal: "validate.valid", Seq: consumed}},
		Snapshot: name, Sum: sha256.Sum256(data), At: head,
	}
	for _, name := range []string{"out", journal.PortSys} {
		p := w.ports["totals."+name]
		c.Ports = append(c.Ports, journal.End{Port: name, Count: p.count, Digest: uint64(p.digest)})
	}
	_, err = w.put(&journal.Transition{Stage: "totals", Check: c})
	return err
}

// deliver has ship deliver records from to to.
func (w *Writer) deliver(from, to uint64, failed []uint64) error {
	t := &journal.Transition{Stage: "ship", Consumed: []journal.Consumed{run("totals.out", from, to)}}
	r := evidence.Receipt{Status: "success", Journal: "totals.out", From: from, To: to}
	for _, seq := range failed {
		r.Status, r.Failed = "partial", append(r.Failed, seq)
		w.port(t, journal.PortDead, "Failed[total]", journal.Record{
			Items:   []int{int(seq - from)},
			Payload: fmt.Appendf(nil, `{"input":null,"ref":"totals.out:%d","kind":"permanent","reason":"the address is unknown","attempts":3}`, seq),
		})
	}
	say(w, t, evidence.Receipts, evidence.TypeReceipt, r)
	_, err := w.put(t)
	return err
}

// Finish writes an epoch into log that goes on after Begin and completes the run.
func (w *Writer) Finish(log journal.Log) error {
	w.log = log
	if err := w.deliver(3, 4, []uint64{4}); err != nil {
		return err
	}
	if err := w.over("orders", nil, "", "out"); err != nil {
		return err
	}
	if err := w.over("validate", []string{"orders.out"}, "orders.out", "rejected", "valid", journal.PortDead); err != nil {
		return err
	}
	// One transition for each customer, in the order of keys.
	for _, who := range []string{"ann", "bob"} {
		t := &journal.Transition{Stage: "totals"}
		w.port(t, "out", "total", journal.Record{FromKey: true, Key: []byte(who), Payload: fmt.Appendf(nil, `{"customer":"%s","cents":%d,"final":true}`, who, w.sums[who])})
		if _, err := w.put(t); err != nil {
			return err
		}
	}
	if err := w.over("totals", []string{"validate.valid"}, "validate.valid", "out"); err != nil {
		return err
	}
	if err := w.deliver(5, 6, nil); err != nil {
		return err
	}
	if err := w.over("ship", []string{"totals.out"}, "totals.out", evidence.Receipts, journal.PortDead); err != nil {
		return err
	}
	t := &journal.Transition{Stage: evidence.Pipeline}
	say(w, t, journal.PortSys, evidence.TypeMoved, evidence.Moved{From: "draining", To: "drained", Event: "AllStagesCompleted"})
	say(w, t, journal.PortSys, evidence.TypeTerminal, evidence.Terminal{Status: evidence.Completed, Took: 4 * time.Second, In: 6, Out: 5, Dead: 2})
	_, err := w.put(t)
	return err
}

// over writes the end of a stage: its input's, the contracts on what it read, its
// own ports'.
func (w *Writer) over(stage string, inputs []string, ended string, ports ...string) error {
	t := &journal.Transition{Stage: stage}
	for _, in := range inputs {
		t.Consumed = append(t.Consumed, journal.Consumed{Kind: journal.Ended, Journal: in, End: journal.Natural})
	}
	if ended != "" {
		p := w.ports[ended]
		side := evidence.Side{Count: p.count, Last: p.count, Digest: uint64(p.digest)}
		say(w, t, journal.PortSys, evidence.TypeContract, evidence.Contract{Contract: "transport", From: ended, To: stage, Passed: true, Gates: true, Final: true, Writer: side, Reader: side})
	}
	say(w, t, journal.PortSys, evidence.TypeMoved, evidence.Moved{From: "running", To: "drained", Event: "Ended"})
	say(w, t, journal.PortSys, evidence.TypeTerminal, evidence.Terminal{Status: evidence.Completed})
	w.end(t, journal.Natural, ports...)
	_, err := w.put(t)
	return err
}

// Judged writes a verdict of the pipeline into log.
func (w *Writer) Judged(log journal.Log, c evidence.Contract) error {
	w.log = log
	t := &journal.Transition{Stage: evidence.Pipeline}
	say(w, t, journal.PortSys, evidence.TypeContract, c)
	_, err := w.put(t)
	return err
}

// Refused writes into log that a message was not acted upon.
func (w *Writer) Refused(log journal.Log, r evidence.Refused) error {
	w.log = log
	t := &journal.Transition{Stage: evidence.Pipeline}
	say(w, t, journal.PortSys, evidence.TypeRefused, r)
	_, err := w.put(t)
	return err
}
