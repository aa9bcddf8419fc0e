package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// deliver does what can be done of a sink's transition without the world:
// receipts must account for what was consumed, and what was not delivered must be
// among the dead letters, as it came. Why it was not is given.
func (s *stage) deliver(ctx context.Context) error {
	failed := s.receipts()
	graves := s.graves()
	for i := range s.p.Consumed {
		c := &s.p.Consumed[i]
		e := s.input(c.Journal)
		switch {
		case c.Kind == journal.Ended && e != nil:
			e.saw = c.End
			s.items++
			continue
		case c.Kind != journal.Run:
			s.items++
			continue
		case e == nil:
			return givenError{"the stage does not read " + c.Journal + " any more"}
		}
		base := s.items
		for seq := c.From; seq <= c.To; seq++ {
			s.items = base + int(seq-c.From)
			if !failed[c.Journal][seq] {
				continue
			}
			f := &plan.Failure{Err: errors.New("not recorded")}
			if len(graves) > 0 {
				f.Kind, f.Err = graves[0].Kind, errors.New(string(graves[0].Kind)+": "+graves[0].Reason)
				graves = graves[1:]
			}
			if err := s.buryDelivery(ctx, e, seq, f); err != nil {
				return err
			}
		}
		s.items = base + int(c.To-c.From) + 1
		e.skip(c.To)
	}
	return nil
}

func (s *stage) buryDelivery(ctx context.Context, e *edge, seq uint64, f *plan.Failure) error {
	h, err := e.take(ctx, seq)
	if err != nil {
		return err
	}
	if h.batch.Values == nil {
		return givenError{fmt.Sprintf("records of %s cannot be decoded", e.journal)}
	}
	s.node.Turn.Base, s.node.Turn.Item = s.items, s.items
	b, at := e.freshOne(h.batch, h.raw, int(seq-h.raw.First))
	s.node.Sink.Bury(b, at, f)
	if err := s.dead.Writer.Err(); err != nil {
		return givenError{fmt.Sprintf("the dead letter for %s:%d cannot be written: %v", e.journal, seq, err)}
	}
	return nil
}

// receipts reads the receipts of the transition, compares what they account for
// with what was consumed, and returns what was not delivered.
func (s *stage) receipts() (failed map[string]map[uint64]bool) {
	failed = map[string]map[uint64]bool{}
	name := s.name + "." + evidence.Receipts
	covered := map[string][]span{}
	for i := range s.p.Outputs {
		o := &s.p.Outputs[i]
		if o.Port != evidence.Receipts {
			continue
		}
		var rec journal.Record
		for rs := journal.NewRecords(o); ; {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			s.Records++
			s.receipted = seq
			r, err := evidence.Parse[evidence.Receipt](rec.Payload)
			if err != nil {
				s.add(s.differs(name, seq, "payload", err.Error(), "a receipt"))
				continue
			}
			if want := statusOf(&r); r.Status != want && r.Journal != "" {
				s.add(s.differs(name, seq, "status", r.Status, want))
			}
			for _, f := range r.Failed {
				if f < r.From || f > r.To {
					s.add(s.differs(name, seq, "failed", strconv.FormatUint(f, 10), fmt.Sprintf("one of %d to %d", r.From, r.To)))
					continue
				}
				if failed[r.Journal] == nil {
					failed[r.Journal] = map[uint64]bool{}
				}
				failed[r.Journal][f] = true
			}
			if r.Journal != "" {
				covered[r.Journal] = append(covered[r.Journal], span{r.From, r.To, seq})
			}
		}
	}
	s.account(name, covered)
	return failed
}

// statusOf is what a receipt's status follows from.
func statusOf(r *evidence.Receipt) string {
	switch n := uint64(len(r.Failed)); {
	case n == 0:
		return "success"
	case r.To >= r.From && n == r.To-r.From+1:
		return "failed"
	}
	return "partial"
}

// A span is what one receipt accounts for.
type span struct{ from, to, seq uint64 }

// account holds what receipts cover against what was consumed.
func (s *stage) account(name string, covered map[string][]span) {
	for i := range s.p.Consumed {
		c := &s.p.Consumed[i]
		if c.Kind != journal.Run {
			continue
		}
		next := c.From
		for len(covered[c.Journal]) > 0 && next <= c.To {
			r, more := covered[c.Journal][0], covered[c.Journal][1:]
			most := c.To
			if len(more) > 0 && more[0].from > r.from { // of two that overlap, both are told: either may be wrong
				most = min(most, more[0].from-1)
			}
			if r.from != next || r.to > most || r.to < r.from {
				s.add(s.differs(name, r.seq, "from, to", fmt.Sprintf("%d to %d", r.from, r.to), fmt.Sprintf("from %d, to %d at most", next, most)))
			}
			covered[c.Journal] = more
			next = r.to + 1
		}
		if next <= c.To {
			s.add(s.differs(name, s.receipted+1, "from, to", "none", fmt.Sprintf("a receipt for %s:%d to %d", c.Journal, next, c.To)))
		}
	}
	for i := range s.inputs {
		for _, r := range covered[s.inputs[i].journal] {
			s.add(s.differs(name, r.seq, "from, to", fmt.Sprintf("%d to %d", r.from, r.to), "nothing that was consumed"))
		}
	}
}
