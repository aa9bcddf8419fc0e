package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// What one transition takes in and gives out before it is closed.
const (
	turnRecords = 1024
	turnBytes   = 256 << 10
	pieceLimit  = 256 // records in one call of a handler
)

// A turn is what the open transition did so far, to be run again if need be.
type turn struct {
	items  int // consumed
	pieces []piece
}

// A piece is one call of a handler, or one input that was buried.
type piece struct {
	edge     *edge
	batch    *plan.Batch // as the handler had it
	raw      *plan.Batch // as the port had it
	from, to int
	failure  *plan.Failure // buried because of it
}

// drop undoes the open transition. What was said stays.
func (s *stage) drop() error {
	s.reset()
	s.turn.items = 0
	clear(s.turn.pieces)
	s.turn.pieces = s.turn.pieces[:0]
	for _, p := range s.ports {
		p.Writer.Rollback(0)
		p.batch = nil
	}
	for _, e := range s.inputs {
		e.undo()
		e.sees = 0
	}
	return s.revert()
}

func (s *stage) revert() error {
	for _, t := range s.tables {
		if err := t.Revert(); err != nil {
			return fmt.Errorf("undo changes of table %s: %w", t.Name(), err)
		}
	}
	return nil
}

// consumeRun notes that records from to to-1 of b were consumed.
func (s *stage) consumeRun(e *edge, b *plan.Batch, from, to int) {
	first, last := b.First+uint64(from), b.First+uint64(to)-1
	s.turn.items += to - from
	if n := len(s.t.Consumed); n > 0 {
		if c := &s.t.Consumed[n-1]; c.Kind == journal.Run && c.Journal == e.journal && c.To+1 == first {
			c.To = last
			return
		}
	}
	s.t.Consumed = append(s.t.Consumed, journal.Consumed{Kind: journal.Run, Journal: e.journal, From: first, To: last})
}

// consumeOther notes that something that is no record was consumed.
func (s *stage) consumeOther(c journal.Consumed) {
	s.turn.items++
	s.t.Consumed = append(s.t.Consumed, c)
}

// written is about how many bytes the open transition's outputs take.
func (s *stage) written() (bytes, records int) {
	for _, p := range s.ports {
		bytes += p.Writer.Size()
		records += p.Writer.Len()
	}
	return bytes, records
}

// nothingWritten reports whether the open transition has no output.
func (s *stage) nothingWritten() bool {
	_, records := s.written()
	return records == 0
}

// commit places the open transition and lets everything follow from it: readers
// get the batches, tables accept their changes, writers get credit back. On error
// the transition was dropped.
func (s *stage) commit(u journal.Urgency) error {
	now := time.Now()
	err := s.seal()
	if err == nil {
		var lsn journal.LSN
		var size int
		checked := s.t.Check != nil
		if lsn, size, err = s.place(s.appendCtx(), s.run.c.Log, u, now); err == nil {
			s.placed(lsn, size, now)
			if checked {
				return s.settleEstate()
			}
			return nil
		}
	}
	if undo := s.drop(); undo != nil {
		err = errors.Join(err, undo)
	}
	return err
}

// appendCtx is what an append waits with. The last words of a stage that was told
// to end are placed all the same: the log has room for them in reserve.
func (s *stage) appendCtx() context.Context {
	if s.rules.State().Terminal() {
		return context.WithoutCancel(s.ctx)
	}
	return s.ctx
}

// seal moves what writers and tables hold into the open transition.
func (s *stage) seal() error {
	for _, p := range s.ports {
		if err := p.Writer.Err(); err != nil {
			return fmt.Errorf("port %s: %w", p.Name, err)
		}
		if p.Writer.Len() == 0 {
			continue
		}
		p.output, p.batch = p.Writer.Seal(p.count+1, p.digest)
		p.output.Port, p.output.Type = p.Name, p.Type
		p.batch.Journal = p.journal
		if s.run.c.Paranoid {
			if err := p.survives(s.run.epoch.Number); err != nil {
				return err
			}
		}
		s.t.Outputs = append(s.t.Outputs, p.output)
	}
	for _, t := range s.tables {
		if t.Changed() == 0 {
			continue
		}
		changes, err := t.Seal()
		if err != nil {
			return fmt.Errorf("table %s: %w", t.Name(), err)
		}
		changes.Table = t.Name()
		s.t.State = append(s.t.State, changes)
	}
	if s.moves {
		s.t.Position = &s.position
	}
	return nil
}

// survives checks that decoding the record gives what readers get.
func (p *outlet) survives(epoch uint64) error {
	again, err := p.Decoder.Decode(p.batch.Journal, &p.output, p.output.First, epoch)
	if err != nil {
		return fmt.Errorf("port %s: a value cannot be read back: %w", p.Name, err)
	}
	if again.N != p.batch.N || !reflect.DeepEqual(again.Values, p.batch.Values) || !reflect.DeepEqual(again.Keys, p.batch.Keys) ||
		!reflect.DeepEqual(again.Times, p.batch.Times) || !reflect.DeepEqual(again.Originals, p.batch.Originals) {
		return fmt.Errorf("port %s: records %d to %d do not survive their codec; give %s a codec of its own",
			p.Name, p.batch.First, p.batch.Last(), p.Type)
	}
	return nil
}

// placed lets everything follow from a transition that has its LSN.
func (s *stage) placed(lsn journal.LSN, size int, now time.Time) {
	var out, dead int
	s.run.placed(size)
	stateful := len(s.t.State) > 0
	for _, p := range s.ports {
		if b := p.batch; b != nil {
			b.LSN, b.Epoch, b.Recorded = lsn, s.run.epoch.ID, now.UnixNano()
			p.count, p.digest, p.batch = b.Last(), p.output.Digest, nil
			p.written.Store(p.count)
			if p.Port == s.node.Dead {
				dead += b.N
			} else {
				out += b.N
			}
			p.push(b)
		}
	}
	for _, t := range s.tables {
		if t.Changed() > 0 {
			t.Commit(lsn)
		}
	}
	for _, e := range s.inputs {
		e.settle()
	}
	if w, ok := s.worker.(*transform); ok && w.accounts != nil {
		w.accounts.placed(s)
	}
	s.sawEnds()
	for _, gate := range s.passed {
		s.run.tell(supervise.PipelineInput{Event: supervise.ContractPassed, Name: gate})
	}
	clear(s.passed)
	s.passed = s.passed[:0]
	items, in := s.turn.items, 0
	for i := range s.t.Consumed {
		if c := &s.t.Consumed[i]; c.Kind == journal.Run {
			in += int(c.Items())
		}
	}
	if in > 0 && s.node.Performer == nil {
		s.acquit()
	}
	s.in.Add(uint64(in))
	s.out.Add(uint64(out))
	s.dead.Add(uint64(dead))
	s.placings.Add(1)
	s.lastPlace.Store(now.UnixNano())
	_, sinks := s.worker.(*sink)
	working := len(s.t.Open) > 0
	s.noteForCheck(items+out+dead > 0 || s.moves || working, stateful || sinks || working, now)
	if fn := s.run.c.Observer.Transition; fn != nil {
		fn(Transition{Stage: s.name, LSN: lsn, Bytes: size, In: in, Out: out, Dead: dead, Took: time.Since(now)})
	}
	s.reset()
	s.moves = false
	s.turn.items = 0
	clear(s.turn.pieces)
	s.turn.pieces = s.turn.pieces[:0]
}

// full reports whether a reader has no room for more of what the stage writes.
func (s *stage) full() bool {
	for _, p := range s.ports {
		if p.full() {
			return true
		}
	}
	return false
}

// A budget counts the inputs that a stage gave up, in this epoch.
type budget struct {
	seen  uint64
	row   int
	last  uint64   // ordinal of the last that was given up
	given []uint64 // ordinals of those among the last Over
}

// spend notes that the input with the present ordinal was given up and reports
// why the stage must fail, nil if it need not.
func (b *budget) spend(limit plan.Budget) error {
	if b.row > 0 && b.last+1 == b.seen {
		b.row++
	} else {
		b.row = 1
	}
	b.last = b.seen
	if limit.InARow > 0 && b.row >= limit.InARow {
		return &BudgetError{InARow: b.row}
	}
	if limit.Over <= 0 || limit.Share <= 0 {
		return nil
	}
	b.given = append(b.given, b.seen)
	for len(b.given) > 0 && b.given[0]+uint64(limit.Over) <= b.seen {
		b.given = b.given[1:]
	}
	if float64(len(b.given)) > limit.Share*float64(limit.Over) {
		return &BudgetError{Given: len(b.given), Over: limit.Over}
	}
	return nil
}
