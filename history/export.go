package history

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// Export writes the run as JSON lines: first the manifest, as {"run": …}, then
// every record in the order of the log, as [Record] has it, with "causes": the
// refs of the inputs that the record lists.
func (r *Run) Export(ctx context.Context, w io.Writer) (err error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]journal.Manifest{"run": r.manifest}); err != nil {
		return err
	}
	in, err := r.log.Read(0)
	if err != nil {
		return err
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	var p journal.Placed
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := ts.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		for i := range p.Outputs {
			if err := r.export(enc, &p, &p.Outputs[i]); err != nil {
				return err
			}
		}
	}
}

func (r *Run) export(enc *json.Encoder, p *journal.Placed, o *journal.Output) error {
	name := p.Stage + "." + o.Port
	var rec journal.Record
	rs := journal.NewRecords(o)
	for seq, ok := rs.Next(&rec); ok; seq, ok = rs.Next(&rec) {
		line := struct {
			Record json.RawMessage `json:"record"`
			Causes []event.Ref     `json:"causes,omitempty"`
		}{Causes: causes(p, o, &rec)}
		var err error
		if line.Record, err = marshal(r.record(entry{seq: seq, rec: &rec, out: o, p: p, name: name})); err != nil {
			return err
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	if err := rs.Err(); err != nil {
		return &journal.FrameError{LSN: p.Last, Err: err}
	}
	return nil
}

// causes lists the records that rec names as its causes.
func causes(p *journal.Placed, o *journal.Output, rec *journal.Record) []event.Ref {
	var refs []event.Ref
	add := func(name string, seq uint64) {
		stage, port := split(name)
		refs = append(refs, event.Ref{Stage: stage, Port: port, Seq: seq})
	}
	for _, i := range rec.Items {
		if c, offset, ok := consumedAt(p, i); ok && c.Kind == journal.Run {
			add(c.Journal, c.From+offset)
		}
	}
	for _, ref := range rec.Refs {
		if ref.Journal < len(o.Journals) {
			add(o.Journals[ref.Journal], ref.Seq)
		}
	}
	return refs
}
