package recovery

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A stage is a Stage while transitions are folded into it.
type stage struct {
	Stage
	base   *journal.Placed // the checkpoint that it begins with; nil if there is none
	check  journal.LSN     // its last frame, zero if there is none
	epoch  uint64          // its epoch, zero if there is none
	lives  []life          // in which its memory counts
	number uint64          // of the frame that must come next; zero: the first is yet to be seen
	table  func(stage, name string) (Table, error)
	tables map[string]Table // by name, nil for one that is not read
	rows   rows             // state that is not given to tables yet; nil if all is at once
	open   map[uint64]*Open
	timers map[string]journal.Timer
}

func newStage(name string, table func(stage, name string) (Table, error)) *stage {
	return &stage{
		Stage: Stage{
			Name: name, NextOpen: 1,
			Cursors: map[string]journal.Cursor{}, Ports: map[string]Port{},
		},
		table: table, tables: map[string]Table{}, open: map[uint64]*Open{}, timers: map[string]journal.Timer{},
	}
}

// load takes what a checkpoint itself says.
func (s *stage) load(p *journal.Placed) {
	c := p.Check
	s.check, s.Last, s.Checked = p.Last, p.Last, p.Last
	s.Frames = p.Number + p.Frames() - 1
	s.Position, s.Watermark = c.Position, c.Watermark
	s.Snapshot, s.At, s.Redo = c.Snapshot, c.At, c.Redo
	if s.Redo == 0 && p.Last > s.At && changes(&p.Transition) {
		s.Redo = p.First // its own changes, whose place it could not know
	}
	for _, cur := range c.Cursors {
		if s.alive(s.epoch) {
			s.Cursors[cur.Journal] = journal.Cursor{Journal: cur.Journal, Seq: cur.Seq, End: natural(cur.End)}
		}
	}
	for _, e := range c.Ports {
		s.Ports[e.Port] = Port{Count: e.Count, Digest: e.Digest, End: natural(e.Kind)}
	}
}

// unpack brings what a snapshot held into the form that is folded.
func (s *stage) unpack() {
	for i := range s.Open {
		s.Open[i].Wrote = s.epoch
		s.open[s.Open[i].ID] = &s.Open[i]
	}
	for _, t := range s.Timers {
		s.timers[t.ID] = t
	}
}

// natural is k if it lasts beyond an epoch, else zero.
func natural(k journal.EndKind) journal.EndKind {
	if k == journal.Natural {
		return k
	}
	return 0
}

// changes tells whether t changes what a snapshot holds.
func changes(t *journal.Transition) bool {
	if len(t.State)+len(t.Open)+len(t.Timers) > 0 {
		return true
	}
	for i := range t.Consumed {
		if t.Consumed[i].Kind == journal.TimerDue {
			return true
		}
	}
	for i := range t.Outputs {
		if t.Outputs[i].Type == evidence.TypeReceipt {
			return true
		}
	}
	return false
}

// fold adds the next transition of the stage.
func (s *stage) fold(p *journal.Placed) error {
	if s.number == 0 && p.First > s.check {
		s.number = s.Frames + 1
	}
	if s.number != 0 && p.Number != s.number {
		return &Violation{
			Stage: s.Name, LSN: p.First,
			Expected: fmt.Sprintf("number %d among the stage's frames", s.number), Found: strconv.FormatUint(p.Number, 10),
		}
	}
	s.number = p.Number + p.Frames()
	if p.Last > s.At && changes(&p.Transition) {
		if s.Redo == 0 {
			s.Redo = p.First
		}
		if s.alive(p.Epoch) {
			if err := s.remember(p); err != nil {
				return err
			}
		}
	}
	if p.Last > s.check {
		return s.advance(p)
	}
	return nil
}

// remember folds what a snapshot would hold.
func (s *stage) remember(p *journal.Placed) error {
	var c journal.Change
	for i := range p.State {
		cs := journal.NewChanges(&p.State[i])
		for cs.Next(&c) {
			if err := s.apply(p.State[i].Table, c, p.Last, p.Epoch); err != nil {
				return fmt.Errorf("frame %d: %w", p.Last, err)
			}
		}
		if err := cs.Err(); err != nil {
			return fmt.Errorf("frame %d: changes of table %s of stage %s: %w", p.Last, p.State[i].Table, s.Name, err)
		}
	}
	for i := range p.Open {
		if err := s.work(p, p.Open[i]); err != nil {
			return err
		}
	}
	for i := range p.Consumed {
		c := &p.Consumed[i]
		if c.Kind == journal.TimerDue {
			delete(s.timers, c.ID)
		} else if id, ok := strings.CutPrefix(c.ID, journal.FromInbox); ok {
			s.Taken = append(s.Taken, id)
		}
	}
	s.Taken = s.Taken[max(0, len(s.Taken)-MaxTaken):]
	for _, t := range p.Timers {
		if t.At == 0 {
			delete(s.timers, t.ID)
			continue
		}
		t.Key = bytes.Clone(t.Key)
		s.timers[t.ID] = t
	}
	return each(p, evidence.Receipts, evidence.TypeReceipt, s.receipt)
}

// apply gives a change to its table.
func (s *stage) apply(table string, c journal.Change, at journal.LSN, epoch uint64) error {
	if s.rows != nil {
		s.rows.apply(table, c, at, epoch)
		return nil
	}
	t, known := s.tables[table]
	if !known {
		var err error
		if t, err = s.table(s.Name, table); err != nil {
			return err
		}
		s.tables[table] = t
	}
	if t == nil {
		return nil
	}
	if err := t.Apply(c, at, epoch); err != nil {
		return fmt.Errorf("table %s of stage %s: %w", table, s.Name, err)
	}
	return nil
}

// work folds one change of open work.
func (s *stage) work(p *journal.Placed, w journal.OpenWork) error {
	lsn := p.Last
	w.Data = bytes.Clone(w.Data)
	o := s.open[w.ID]
	switch {
	case w.Op == journal.OpenAdd && w.ID >= s.NextOpen:
		s.open[w.ID] = &Open{OpenWork: w, Wrote: p.Epoch}
		s.NextOpen = w.ID + 1
	case w.Op == journal.OpenUpdate && o != nil:
		o.Updates = append(o.Updates, w.Data)
	case w.Op == journal.OpenClose && o != nil:
		delete(s.open, w.ID)
	case w.Op == journal.OpenAdd:
		return &Violation{
			Stage: s.Name, Journal: w.Journal, Seq: w.Seq, LSN: lsn,
			Expected: fmt.Sprintf("open work %d or above", s.NextOpen), Found: strconv.FormatUint(w.ID, 10),
		}
	default:
		return &Violation{Stage: s.Name, LSN: lsn, Expected: "a change of work that is open", Found: fmt.Sprintf("one of %d, which is not", w.ID)}
	}
	return nil
}

func (s *stage) receipt(r evidence.Receipt) {
	if r.Note != "" {
		s.Note = r.Note
	}
	if r.Phase != "" {
		s.Phase = r.Phase
	}
	if r.Status != "failed" && r.From > 0 && r.To >= r.From {
		s.Receipted += r.To - r.From + 1 - min(uint64(len(r.Failed)), r.To-r.From+1)
	}
}

// advance folds what a checkpoint would say.
func (s *stage) advance(p *journal.Placed) error {
	s.Last = p.Last
	s.Frames = p.Number + p.Frames() - 1
	alive := s.alive(p.Epoch)
	for i := range p.Consumed {
		if !alive {
			break
		}
		if err := s.consume(p.Last, &p.Consumed[i]); err != nil {
			return err
		}
	}
	if p.Position != nil {
		s.Position = p.Position
	}
	for i := range p.Outputs {
		if err := s.write(p.Last, &p.Outputs[i]); err != nil {
			return err
		}
	}
	err := each(p, journal.PortSys, evidence.TypeTrying, func(t evidence.Trying) {
		if alive {
			s.Trying = append(s.Trying, Trying{Trying: t, Epoch: p.Epoch})
		}
	})
	if err != nil {
		return err
	}
	for i := range p.Ends {
		if err := s.end(p.Last, &p.Ends[i]); err != nil {
			return err
		}
	}
	if n := len(p.Marks); n > 0 {
		s.Watermark = p.Marks[n-1].Time
	}
	if p.Check != nil {
		return s.confirm(p)
	}
	return nil
}

func (s *stage) consume(lsn journal.LSN, c *journal.Consumed) error {
	switch c.Kind {
	case journal.Run:
		cur := s.Cursors[c.Journal]
		if c.From != cur.Seq+1 || cur.End == journal.Natural {
			v := &Violation{
				Stage: s.Name, Journal: c.Journal, Seq: cur.Seq + 1, LSN: lsn,
				Expected: fmt.Sprintf("records from %d on to be consumed next", cur.Seq+1), Found: fmt.Sprintf("%d to %d", c.From, c.To),
			}
			if cur.End == journal.Natural {
				v.Expected = "nothing consumed after the end"
			}
			return v
		}
		s.Cursors[c.Journal] = journal.Cursor{Journal: c.Journal, Seq: c.To}
	case journal.Ended:
		cur := s.Cursors[c.Journal]
		s.Cursors[c.Journal] = journal.Cursor{Journal: c.Journal, Seq: cur.Seq, End: max(cur.End, natural(c.End))}
	default: // moves no cursor
	}
	return nil
}

func (s *stage) write(lsn journal.LSN, o *journal.Output) error {
	port := s.Ports[o.Port]
	v := &Violation{Stage: s.Name, Journal: s.Name + "." + o.Port, Seq: port.Count + 1, LSN: lsn}
	switch {
	case o.First != port.Count+1:
		v.Expected, v.Found = fmt.Sprintf("sequence %d to be written next", port.Count+1), strconv.FormatUint(o.First, 10)
		return v
	case port.End == journal.Natural && !reserved(o.Port):
		v.Expected, v.Found = "nothing written after the natural end", fmt.Sprintf("%d records", o.Count)
		return v
	}
	port.Count += uint64(o.Count)
	port.Digest = o.Digest
	s.Ports[o.Port] = port
	return nil
}

func reserved(port string) bool {
	return port == journal.PortDead || port == journal.PortFx || port == journal.PortSys
}

func (s *stage) end(lsn journal.LSN, e *journal.End) error {
	port := s.Ports[e.Port]
	if err := s.agree(lsn, e, port); err != nil {
		return err
	}
	port.End = max(port.End, natural(e.Kind))
	s.Ports[e.Port] = port
	return nil
}

// agree holds totals that the stage states against those that it wrote.
func (s *stage) agree(lsn journal.LSN, e *journal.End, port Port) error {
	if e.Count == port.Count && e.Digest == port.Digest {
		return nil
	}
	return &Violation{
		Stage: s.Name, Journal: s.Name + "." + e.Port, Seq: port.Count, LSN: lsn,
		Expected: fmt.Sprintf("totals of %d records with digest %016x", port.Count, port.Digest),
		Found:    fmt.Sprintf("%d with %016x", e.Count, e.Digest),
	}
}

// confirm holds a checkpoint that lies among the folded transitions against
// them. It may set the cursor of a journal not read before, which is how a stage
// begins in the middle.
func (s *stage) confirm(p *journal.Placed) error {
	c := p.Check
	for _, cur := range c.Cursors {
		if !s.alive(p.Epoch) {
			break
		}
		have, ok := s.Cursors[cur.Journal]
		if ok && have.Seq != cur.Seq {
			return &Violation{
				Stage: s.Name, Journal: cur.Journal, Seq: have.Seq, LSN: p.Last,
				Expected: fmt.Sprintf("a checkpoint after %d consumed records", have.Seq), Found: strconv.FormatUint(cur.Seq, 10),
			}
		}
		s.Cursors[cur.Journal] = journal.Cursor{Journal: cur.Journal, Seq: cur.Seq, End: max(have.End, natural(cur.End))}
	}
	for i := range c.Ports {
		if err := s.agree(p.Last, &c.Ports[i], s.Ports[c.Ports[i].Port]); err != nil {
			return err
		}
	}
	s.Snapshot, s.At, s.Redo, s.Checked = c.Snapshot, c.At, c.Redo, p.Last
	s.Trying = nil
	if s.Redo == 0 && p.Last > s.At && changes(&p.Transition) {
		s.Redo = p.First
	}
	return nil
}
