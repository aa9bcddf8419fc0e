package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A piece is one call of a handler, or one input that was buried.
type piece struct {
	edge     *edge
	batch    *plan.Batch // as the handler had it
	raw      *plan.Batch // as the port had it
	from, to int
	failure  *plan.Failure // buried because of it
	gone     bool          // refused, where the record says that it was taken
}

// handle calls the handler for what the transition consumed, in that order.
func (s *stage) handle(ctx context.Context) error {
	if s.emitsAtEnd() {
		return s.emit()
	}
	crashed := s.buriedUntried()
	for i := range s.p.Consumed {
		c := &s.p.Consumed[i]
		if c.Kind != journal.Run && c.Kind != journal.Ended {
			s.items++
			continue
		}
		e := s.input(c.Journal)
		if e == nil {
			return givenError{"the stage does not read " + c.Journal + " any more"}
		}
		if c.Kind == journal.Ended {
			e.saw = c.End
			s.items++
			continue
		}
		for seq := c.From; seq <= c.To; {
			h, err := e.take(ctx, seq)
			if err != nil {
				return err
			}
			if h.batch.Values == nil {
				return givenError{fmt.Sprintf("records of %s cannot be decoded", c.Journal)}
			}
			from := int(seq - h.raw.First)
			to, bad := h.batch.Readable(from, min(h.raw.N, from+int(c.To-seq)+1))
			switch {
			case bad != nil:
				to = from + 1
				err = s.bury(piece{edge: e, batch: h.batch, raw: h.raw, from: from, to: to, failure: unread(bad)})
			case crashed != nil:
				to = from + 1
				err = s.bury(piece{edge: e, batch: h.batch, raw: h.raw, from: from, to: to, failure: crashed})
			default:
				err = s.call(e, h, from, to)
			}
			if err != nil {
				return err
			}
			seq = h.raw.First + uint64(to)
		}
	}
	return s.tooLarge()
}

// unread is the failure of a record that an upcaster does not take.
func unread(err error) *plan.Failure { return &plan.Failure{Err: err, Kind: event.KindDecode} }

// call runs the handler over records from to to-1 of the batch in hand.
func (s *stage) call(e *edge, h *held, from, to int) error {
	for from < to {
		s.node.Turn.Base = s.items
		next, dirty, f := s.node.Handler.Handle(e.input, h.batch, from, to)
		if next < from || next > to || f == nil && next != to {
			return fmt.Errorf("the handler returned record %d for records %d to %d", next, from, to)
		}
		if next > from {
			s.took(piece{edge: e, batch: h.batch, raw: h.raw, from: from, to: next})
		}
		if f == nil {
			return nil
		}
		if errors.Is(f.Err, plan.ErrFull) {
			return givenError{"it emits more than one transition can hold"}
		}
		if err := s.refused(piece{edge: e, batch: h.batch, raw: h.raw, from: next, to: next + 1, failure: f}, dirty); err != nil {
			return err
		}
		h.batch = e.fresh(h.batch, h.raw) // a handler that failed may have changed what it was given
		from = next + 1
	}
	return nil
}

// refused deals with an input that the handler does not take.
func (s *stage) refused(p piece, dirty bool) error {
	if dirty {
		if err := s.rerun(); err != nil {
			return err
		}
	}
	action := s.node.OnError.Error
	if p.failure.Panic {
		action = s.node.OnError.Panic
	}
	if action != plan.Fail && s.dead != nil {
		return s.bury(p)
	}
	seq := p.raw.First + uint64(p.from)
	if s.v.replaying {
		return fmt.Errorf("the handler does not take %s:%d: %w", p.edge.journal, seq, p.failure.Err)
	}
	s.add(Difference{
		Kind: Refused, Stage: s.name, Journal: p.edge.journal, Seq: seq, LSN: s.p.Last,
		Fields: []Field{{Path: "handler", Recorded: "took it", Computed: p.failure.Err.Error()}},
	})
	p.gone = true
	s.took(p)
	return nil
}

func (s *stage) took(p piece) {
	s.pieces = append(s.pieces, p)
	s.items += p.to - p.from
}

// bury writes a piece's record to the dead letters.
func (s *stage) bury(p piece) error {
	if err := s.entomb(p); err != nil {
		return err
	}
	s.took(p)
	return nil
}

func (s *stage) entomb(p piece) error {
	s.node.Turn.Base, s.node.Turn.Item = s.items, s.items
	b, at := p.edge.freshOne(p.batch, p.raw, p.from)
	s.node.Handler.Bury(p.edge.input, b, at, p.failure)
	if err := s.dead.Writer.Err(); err != nil {
		return givenError{fmt.Sprintf("the dead letter for %s:%d cannot be written: %v", p.edge.journal, p.raw.First+uint64(p.from), err)}
	}
	return nil
}

// rerun brings the transition back to where it was before an input that left half
// of a change behind.
func (s *stage) rerun() error {
	if err := s.drop(); err != nil {
		return err
	}
	pieces := s.pieces
	s.items, s.pieces = 0, nil
	for _, p := range pieces {
		switch {
		case p.gone:
			s.took(p)
			continue
		case p.failure != nil:
			if err := s.bury(p); err != nil {
				return err
			}
			continue
		}
		b := p.edge.expected(p.raw)
		s.node.Turn.Base = s.items
		next, _, f := s.node.Handler.Handle(p.edge.input, b, p.from, p.to)
		if f != nil || next != p.to {
			return givenError{fmt.Sprintf("the handler is not deterministic: it took %s:%d and then refused it", p.edge.journal, p.raw.First+uint64(next))}
		}
		s.took(p)
	}
	return nil
}

// buriedUntried returns the failure of an input that became a dead letter because
// the process died whenever it was handled: it must not be handled again. Such a
// transition has one input.
func (s *stage) buriedUntried() *plan.Failure {
	if len(s.p.Consumed) != 1 || s.p.Consumed[0].Items() != 1 {
		return nil
	}
	for _, f := range s.graves() {
		if f.Kind == event.KindCrash {
			return &plan.Failure{Err: errors.New(f.Reason), Kind: f.Kind}
		}
	}
	return nil
}

// tooLarge does what the engine does with the outputs of one input that no
// transition can hold: that is a dead letter.
func (s *stage) tooLarge() error {
	bytes, records := 0, 0
	for _, p := range s.all() {
		bytes += p.Writer.Size()
		records += p.Writer.Len()
	}
	if bytes < journal.MaxBytes/2 && records < journal.PartRecords*journal.MaxParts/2 {
		return nil
	}
	if len(s.pieces) == 1 && s.pieces[0].to == s.pieces[0].from+1 && s.pieces[0].failure == nil {
		for _, g := range s.graves() {
			if g.Kind == event.KindTooLarge && g.Reason == journal.ErrTooLarge.Error() {
				p := s.pieces[0]
				p.failure = &plan.Failure{Kind: event.KindTooLarge, Err: journal.ErrTooLarge}
				s.items, s.pieces = 0, nil
				if err := s.drop(); err != nil {
					return err
				}
				return s.bury(p)
			}
		}
	}
	return nil
}

// A grave is what a recorded dead letter says besides its input.
type grave struct {
	Ref    event.Ref  `json:"ref"`
	Kind   event.Kind `json:"kind"`
	Reason string     `json:"reason"`
}

// graves reads the dead letters of the transition in hand. What cannot be read is
// left out, and shows as a difference.
func (s *stage) graves() (all []grave) {
	if s.dead == nil {
		return nil
	}
	for i := range s.p.Outputs {
		o := &s.p.Outputs[i]
		if o.Port != s.dead.Name {
			continue
		}
		var rec journal.Record
		for rs := journal.NewRecords(o); ; {
			if _, ok := rs.Next(&rec); !ok {
				break
			}
			var g grave
			if text, err := payload.AsJSON(s.v.codec, rec.Payload); err == nil && unmarshal(text, &g) == nil {
				all = append(all, g)
			}
		}
	}
	return all
}
