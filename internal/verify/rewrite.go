package verify

import (
	"fmt"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// emitAgain emits, for a replay, what inputs that go on emit before the entries of
// the transition in hand. With other code that may be more or less than is recorded.
func (s *stage) emitAgain() error {
	w := s.does
	for i := range w.said {
		word := &w.said[i]
		if word.t == nil || w.going[word.t.in.ID] || word.what().Emitted == 0 {
			continue
		}
		t, f := word.t, word.what()
		x := &execution{s: s, t: t, n: word.i, quiet: true}
		x.run()
		n := len(x.result.Emissions) - t.out
		if n > 0 {
			err := s.emitFor(t, len(t.facts), func() {
				for _, write := range x.result.Emissions[t.out:] {
					write()
				}
			})
			if err != nil {
				return fmt.Errorf("what %s emits cannot be written: %w", t.ref(), err)
			}
			t.out += n
		}
		if n = max(n, 0); f.Emitted != n {
			f.Emitted = n
			w.changed[f.seq] = f.Entry
		}
	}
	return nil
}

// endAgain takes how an input comes to its end in a replay.
func (x *execution) endAgain(end *fact, e *plan.Entry) {
	if end.Reason != e.Reason {
		end.Reason = e.Reason
		x.s.does.changed[end.seq] = end.Entry
	}
}

// rewrite puts entries that came out otherwise in a replay into the transition.
func (s *stage) rewrite() error {
	w := s.does
	if w == nil || len(w.changed) == 0 {
		return nil
	}
	for i := range s.p.Outputs {
		o := &s.p.Outputs[i]
		if o.Port != journal.PortFx {
			continue
		}
		var out []byte
		var rec journal.Record
		last := -1
		rs := journal.NewRecords(o)
		for {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			if e, ok := w.changed[seq]; ok {
				text, err := plan.AppendEntry(nil, &e)
				if err != nil {
					return err
				}
				rec.Payload = text
			}
			out, last = journal.AppendRecord(out, last, &rec)
		}
		if err := rs.Err(); err != nil {
			return err
		}
		o.Records = out
	}
	for i := range s.p.Open {
		c := &s.p.Open[i]
		if c.Op != journal.OpenUpdate {
			continue
		}
		seq, _, err := plan.ParseUpdate(c.Data)
		if err != nil {
			return err
		}
		if e, ok := w.changed[seq]; ok {
			if c.Data, err = plan.AppendUpdate(nil, seq, &e); err != nil {
				return err
			}
		}
	}
	return nil
}
