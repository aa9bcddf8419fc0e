package redrive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Log is what is read of the origin.
type Log interface {
	journal.Source
	Find(journal string, seq uint64) (journal.LSN, error)
	Manifest() journal.Manifest
	Durable() journal.LSN
}

// An Origin is a recorded run whose letters are processed again, as far as it is
// durable. It is used by one goroutine at a time.
type Origin struct {
	log    Log
	run    string
	graph  *topology.Graph // the newest
	graphs []period        // oldest first
	codec  event.Codec
	epochs map[uint64]journal.ID
	upto   journal.LSN
}

// OpenOrigin returns the origin that log holds.
func OpenOrigin(log Log) (*Origin, error) {
	m := log.Manifest()
	o := &Origin{log: log, run: m.Run, epochs: map[uint64]journal.ID{}, upto: log.Durable()}
	for i, e := range m.Epochs {
		o.epochs[e.Number] = e.ID
		if i == 0 || e.Redefined != nil {
			g, err := topology.Parse(m.DefinitionAt(e.Number))
			if err != nil {
				return nil, fmt.Errorf("definition in the manifest of run %s: %w", m.Run, err)
			}
			o.graph, o.graphs = g, append(o.graphs, period{graph: g})
		}
		o.graphs[len(o.graphs)-1].upto = e.Number
	}
	if o.graph == nil {
		return nil, fmt.Errorf("the manifest of run %s has no epochs", m.Run)
	}
	if err := o.codec.UnmarshalText([]byte(o.graph.Codec())); err != nil {
		return nil, fmt.Errorf("definition in the manifest of run %s: %w", m.Run, err)
	}
	return o, nil
}

// A period is the epochs up to one that ran a definition.
type period struct {
	graph *topology.Graph
	upto  uint64
}

// decode makes of records of a journal of the origin, written in an epoch, what the
// port of a flow reads of them; see plan.Decoder. It is an error if one cannot be read.
func (o *Origin) decode(p *plan.Port, name string, out *journal.Output, from, epoch uint64) (*plan.Batch, error) {
	past := o.past(name)
	d := p.Decoder.Of(past)
	if was := past.At(epoch); was != nil {
		if r, ok := d.(plan.Rememberer); ok && r.Reads(*was) == plan.Unreadable {
			return nil, fmt.Errorf("%s holds what was recorded as %s, and %s is another type now: Flow.Upcast with event.Upcast(%q, …) says how to read it", name, was.Name, p.Type, was.Name)
		}
	}
	b, err := d.Decode(name, out, from, epoch)
	if err != nil || b == nil {
		return nil, err
	}
	for i := range b.N {
		if _, err := b.Readable(i, b.N); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, b.First+uint64(i), err)
		}
	}
	return b, nil
}

// past is what the records of a journal of the origin were.
func (o *Origin) past(name string) (past plan.Past) {
	stage, port := splitJournal(name)
	for i := range o.graphs {
		was := plan.Was{UpTo: o.graphs[i].upto}
		s, _ := o.graphs[i].graph.Stage(stage)
		if q, ok := s.Port(port); ok {
			was.Type = &q.Type
		} else if port == event.PortDead {
			was.Type = s.Dead
		}
		past = append(past, was)
	}
	return past
}

// Run returns the id of the origin.
func (o *Origin) Run() string { return o.run }

// Graph returns the graph of the flow as the origin has it.
func (o *Origin) Graph() *topology.Graph { return o.graph }

// A Letter is one input that a stage gave up on.
type Letter struct {
	Ref    event.Ref // of the letter
	ID     event.RecordID
	LSN    journal.LSN
	Input  event.Ref // of the record that was given up; zero for a row that a source could not accept
	Row    []byte    // such a row, as it came
	Kind   event.Kind
	Reason string
}

// Cause returns the letter as a cause of a record in another run.
func (l *Letter) Cause(run string) plan.Origin {
	f := journal.Foreign{Run: run, Epoch: l.ID.Epoch, Journal: l.ID.Journal}
	return plan.Origin{Journal: f.Text(), Seq: l.ID.Seq}
}

// Letters calls fn with the letters from to to of a journal, in order, until it
// fails.
func (o *Origin) Letters(name string, from, to uint64, fn func(*Letter) error) error {
	stage, port := splitJournal(name)
	source := false
	if s, ok := o.graph.Stage(stage); ok {
		source = s.Kind == topology.Source
	}
	return o.records(name, from, to, func(p *journal.Placed, out *journal.Output, seq uint64, rec *journal.Record) error {
		l := &Letter{Ref: event.Ref{Stage: stage, Port: port, Seq: seq}, LSN: p.Last}
		l.ID = event.RecordID{Epoch: o.epochs[p.Epoch], Journal: name, Seq: seq}
		text, err := payload.AsJSON(o.codec, rec.Payload)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, seq, err)
		}
		var body struct {
			Input  json.RawMessage `json:"input"`
			Ref    event.Ref       `json:"ref"`
			Kind   event.Kind      `json:"kind"`
			Reason string          `json:"reason"`
		}
		if err := json.Unmarshal(text, &body); err != nil {
			return fmt.Errorf("%s:%d is none of what a stage gives up on: %w", name, seq, err)
		}
		l.Input, l.Kind, l.Reason = body.Ref, body.Kind, body.Reason
		if source {
			if err := json.Unmarshal(body.Input, &l.Row); err != nil {
				return fmt.Errorf("%s:%d holds no row: %w", name, seq, err)
			}
		}
		return fn(l)
	})
}

// A Recorded is one record of the origin.
type Recorded struct {
	Output journal.Output // holds it alone
	Time   int64          // event time; when it was written if it has none
	Of     plan.Original  // what it is known as
	ID     event.RecordID
	At     int64 // when it was written

	o     *Origin
	epoch uint64
}

// Record returns the record that ref names. The error wraps ErrGone if there is
// none.
func (o *Origin) Record(ref event.Ref) (*Recorded, error) {
	var found *Recorded
	err := o.records(ref.Journal(), ref.Seq, ref.Seq, func(p *journal.Placed, out *journal.Output, seq uint64, rec *journal.Record) error {
		if rec.Blob {
			return fmt.Errorf("%s: the payload is in a blob, which this release does not read", ref)
		}
		one := journal.Record{Refs: rec.Refs, Key: rec.Key, HasTime: rec.HasTime, Time: rec.Time, Payload: rec.Payload}
		found = &Recorded{At: p.Time.UnixNano(), Time: rec.Time, ID: event.RecordID{Epoch: o.epochs[p.Epoch], Journal: ref.Journal(), Seq: seq}, o: o, epoch: p.Epoch}
		found.Output = journal.Output{Port: out.Port, Type: out.Type, First: seq, Count: 1, Journals: out.Journals}
		found.Output.Records, _ = journal.AppendRecord(nil, -1, &one)
		if !rec.HasTime {
			found.Time = found.At
		}
		if found.Of = plan.OriginalOf(out, rec); found.Of.Run == "" {
			found.Of = plan.Original{Run: o.run, ID: found.ID}
		}
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%s: %w", ref, ErrGone)
	}
	return found, err
}

// ErrGone says that the origin does not have a record, or not any more.
var ErrGone = errors.New("the run has no such record")

// records calls fn with the records from to to of a journal, in order, until it
// fails. What fn is given is valid until it returns.
func (o *Origin) records(name string, from, to uint64, fn func(*journal.Placed, *journal.Output, uint64, *journal.Record) error) error {
	return o.outputs(name, from, to, func(p *journal.Placed, out *journal.Output) error {
		var rec journal.Record
		rs := journal.NewRecords(out)
		for {
			seq, ok := rs.Next(&rec)
			switch {
			case !ok:
				return rs.Err()
			case seq < from:
				continue
			case seq > to:
				return nil
			}
			if err := fn(p, out, seq, &rec); err != nil {
				return err
			}
		}
	})
}

// outputs calls fn with the outputs that hold records from to to of a journal.
func (o *Origin) outputs(name string, from, to uint64, fn func(*journal.Placed, *journal.Output) error) error {
	stage, port := splitJournal(name)
	at, err := o.log.Find(name, from)
	if err != nil {
		return fmt.Errorf("find %s:%d in run %s: %w", name, from, o.run, err)
	}
	if at == 0 {
		return nil // nothing of it was ever written
	}
	return o.transitions(at, func(p *journal.Placed) (bool, error) {
		if p.Stage != stage {
			return true, nil
		}
		for i := range p.Outputs {
			out := &p.Outputs[i]
			if out.Port != port || out.First+uint64(out.Count) <= from {
				continue
			}
			if out.First > to {
				return false, nil
			}
			if err := fn(p, out); err != nil || out.First+uint64(out.Count) > to {
				return false, err
			}
		}
		return true, nil
	})
}

// transitions calls fn with the durable transitions from at on, until it returns
// false or fails.
func (o *Origin) transitions(at journal.LSN, fn func(*journal.Placed) (bool, error)) (err error) {
	in, err := o.log.Read(at)
	if err != nil {
		return fmt.Errorf("read run %s: %w", o.run, err)
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	var p journal.Placed
	for {
		if err := ts.Next(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read run %s: %w", o.run, err)
		}
		if p.Last > o.upto {
			return nil
		}
		if more, err := fn(&p); err != nil || !more {
			return err
		}
	}
}

// Readable returns why the port of a flow cannot read the record, nil if it can.
func (r *Recorded) Readable(p *plan.Port) error {
	_, err := r.batch(p)
	return err
}

// batch makes of a record what the port of a flow reads of it.
func (r *Recorded) batch(p *plan.Port) (*plan.Batch, error) {
	out := r.Output
	out.Records = bytes.Clone(out.Records) // the batch keeps it
	b, err := r.o.decode(p, r.ID.Journal, &out, out.First, r.epoch)
	if err == nil && (b == nil || b.N != 1) {
		err = fmt.Errorf("%s: %w", r.ID, ErrGone)
	}
	return b, err
}

func splitJournal(name string) (stage, port string) {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}
