package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// maxMark bounds what a sink is asked to store.
const maxMark = 4 << 10

// marks is how far a sink has delivered, by input journal: the record id of the
// last record. Its JSON is what the sink stores.
type marks map[string]reached

type reached struct {
	Epoch journal.ID `json:"epoch"`
	Seq   uint64     `json:"seq"`
}

// after returns the marks once pieces are delivered, and what is stored of them.
func (m marks) after(pieces []piece) (next marks, text string, err error) {
	next = maps.Clone(m)
	for _, p := range pieces {
		next[p.edge.journal] = reached{Epoch: p.batch.Epoch, Seq: p.batch.First + uint64(p.to) - 1}
	}
	b, err := json.Marshal(next)
	if err == nil && len(b) > maxMark {
		err = fmt.Errorf("the mark of %d inputs has %d bytes, limit %d; merge inputs before the sink", len(next), len(b), maxMark)
	}
	return next, string(b), err
}

// A MarkError says that a sink has stored a mark that this run's log does not
// know.
type MarkError struct {
	Stage, Journal string
	Seq            uint64
	Reason         string
}

func (e *MarkError) Error() string {
	return fmt.Sprintf("sink %s is ahead of the log: it has delivered up to %s:%d, %s; it was fed by another history of this run, and must be restored to match it",
		e.Stage, e.Journal, e.Seq, e.Reason)
}

// reconcile gives receipts to what the sink's own mark proves and the log has
// none for.
func (w *sink) reconcile(stored string) error {
	s := w.s
	if len(stored) > maxMark {
		return fmt.Errorf("the sink's mark has %d bytes, limit %d", len(stored), maxMark)
	}
	var m marks
	if err := json.Unmarshal([]byte(stored), &m); err != nil {
		return fmt.Errorf("the sink's mark is not one that Weir wrote: %w", err)
	}
	for _, e := range s.inputs {
		at, ok := m[e.journal]
		if !ok {
			continue
		}
		w.out.marks[e.journal] = at
		if err := s.contains(e, at); err != nil {
			return err
		}
		if at.Seq <= e.cursor {
			continue
		}
		from := e.cursor + 1
		n := at.Seq - e.cursor
		s.t.Consumed = append(s.t.Consumed, journal.Consumed{Kind: journal.Run, Journal: e.journal, From: from, To: at.Seq})
		s.turn.items += int(n)
		w.settled += n
		w.accounts[e.input].Accept(from, at.Seq)
		w.drafts = append(w.drafts, evidence.Receipt{Status: receiptSuccess, Journal: e.journal, From: from, To: at.Seq, Source: "sink"})
		e.jump(at.Seq)
	}
	if len(w.drafts) == 0 {
		return nil
	}
	return w.commitReceipts()
}

// jump moves the reader over records that are accounted for elsewhere, before it
// has read any.
func (e *edge) jump(to uint64) {
	e.cursor, e.tail = to, to
	e.consume(0)
}

// contains checks that the log has the record that a mark names.
func (s *stage) contains(e *edge, at reached) error {
	e.port.mu.Lock()
	head := e.port.credit.Head()
	e.port.mu.Unlock()
	refuse := func(why string) error {
		return &MarkError{Stage: s.name, Journal: e.journal, Seq: at.Seq, Reason: why}
	}
	if at.Seq == 0 || at.Seq > head {
		return refuse(fmt.Sprintf("and the log holds %d records", head))
	}
	epoch, err := s.authorOf(e, at.Seq)
	if err != nil {
		return err
	}
	if epoch != at.Epoch {
		return refuse(fmt.Sprintf("written in epoch %v, and the log has it from epoch %v", at.Epoch, epoch))
	}
	return nil
}

// authorOf returns the epoch in which a record was placed.
func (s *stage) authorOf(e *edge, seq uint64) (id journal.ID, err error) {
	err = e.holding(seq, func(p *journal.Placed, _ *journal.Output) error {
		id = s.run.epochID(p.Epoch)
		return nil
	})
	return id, err
}

// holding calls fn with the output that holds a record of the edge's journal, as it
// is in the log, and with its transition.
func (e *edge) holding(seq uint64, fn func(*journal.Placed, *journal.Output) error) error {
	log := e.to.run.c.Log
	from, err := log.Find(e.journal, seq)
	if err != nil {
		return fmt.Errorf("find %s:%d in the log: %w", e.journal, seq, err)
	}
	in, err := log.Read(from)
	if err != nil {
		return fmt.Errorf("read the log from %d: %w", from, err)
	}
	defer in.Close()
	transitions := journal.Transitions(in)
	for {
		var p journal.Placed
		if err := transitions.Next(&p); errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d was placed and is not in the log", e.journal, seq)
		} else if err != nil {
			return fmt.Errorf("read the log for %s:%d: %w", e.journal, seq, err)
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if p.Stage == e.from.name && o.Port == e.port.Name && o.First <= seq && seq < o.First+uint64(o.Count) {
				return fn(&p, o)
			}
		}
	}
}

// originalOf returns what a record of the edge's journal is a copy of.
func (e *edge) originalOf(seq uint64) (original plan.Original, err error) {
	err = e.holding(seq, func(_ *journal.Placed, o *journal.Output) error {
		var rec journal.Record
		rs := journal.NewRecords(o)
		for {
			at, ok := rs.Next(&rec)
			if !ok {
				return rs.Err()
			}
			if at == seq {
				original = plan.OriginalOf(o, &rec)
				return nil
			}
		}
	})
	return original, err
}
