package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An open input is one that was accepted and is not finished, with what is on
// record about it.
type open struct {
	in      plan.Accepted
	entries []plan.Entry
	seqs    []uint64 // of entries on the port fx
}

func (o *open) origin() plan.Origin {
	return plan.Origin{Journal: o.in.Input.Journal, Seq: o.in.Input.Seq}
}

func (o *open) grave(graves []grave) *grave {
	for i := range graves {
		if r := graves[i].Ref; r.Stage+"."+r.Port == o.in.Input.Journal && r.Seq == o.in.Input.Seq {
			return &graves[i]
		}
	}
	return nil
}

// A performer is what a stage that acts on the world has open.
type performer struct {
	plan.Performer
	tasks  map[uint64]*open
	origin map[plan.Origin]*open
	next   uint64 // id of the input that is accepted next
	heard  uint64 // entries on the port fx
	asked  []request
}

// A request is one that was computed from an input.
type request struct {
	effect *plan.Effect
	req    any
	data   []byte
}

// errOutside is what an effect is told that would be called.
var errOutside = errors.New("nothing outside is called")

// newPerformer has the effects of p tell what they would ask for, and call
// nothing.
func newPerformer(p plan.Performer) *performer {
	w := &performer{Performer: p, tasks: map[uint64]*open{}, origin: map[plan.Origin]*open{}, next: 1}
	for _, e := range p.Effects() {
		encode := e.AppendReq
		e.AppendReq = func(dst []byte, req any) ([]byte, error) {
			data, err := encode(nil, req)
			if err == nil {
				w.asked = append(w.asked, request{e, req, data})
			}
			return append(dst, data...), err
		}
		e.Do = func(context.Context, plan.Call, any) (any, error) { return nil, errOutside }
		if e.Reconcile != nil {
			e.Reconcile = func(context.Context, plan.Call, any) (any, plan.CallState, error) {
				return nil, plan.CallUnknown, errOutside
			}
		}
	}
	return w
}

func (w *performer) add(o *open) {
	w.tasks[o.in.ID], w.origin[o.origin()] = o, o
	w.next = o.in.ID + 1
}

func (w *performer) remove(o *open) {
	delete(w.tasks, o.in.ID)
	delete(w.origin, o.origin())
}

// act executes what a stage that performs effects did: it takes what is recorded
// about its inputs, executes those that were finished with it, and accepts others.
func (s *stage) act(ctx context.Context) error {
	w := s.does
	moved := s.hear()
	if err := s.outputsOf(moved); err != nil {
		return err
	}
	graves := s.graves()
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenClose {
			t := w.tasks[c.ID]
			if t == nil {
				s.add(s.differs(s.openName(), 0, "closed", fmt.Sprintf("input %d", c.ID), "no such input is open"))
				continue
			}
			if err := s.finish(t, graves); err != nil {
				return err
			}
		}
	}
	s.updates(moved)
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenClose && w.tasks[c.ID] != nil {
			w.remove(w.tasks[c.ID])
		}
	}
	return s.accept(ctx, graves)
}

func (s *stage) openName() string { return s.name + "#open" }

func (s *stage) fxName() string { return s.name + "." + journal.PortFx }

// A move is one entry of the transition in hand.
type move struct {
	t *open
	i int // of entries
}

// hear reads the transition's entries and adds them to what is known of their
// inputs.
func (s *stage) hear() (moved []move) {
	for i := range s.p.Outputs {
		o := &s.p.Outputs[i]
		if o.Port != journal.PortFx {
			continue
		}
		var rec journal.Record
		for rs := journal.NewRecords(o); ; {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			s.Records++
			s.does.heard = seq
			e, err := plan.ParseEntry(o.Type, rec.Payload)
			if err != nil {
				s.add(s.differs(s.fxName(), seq, "payload", s.text(rec.Payload), err.Error()))
				continue
			}
			var t *open
			if len(rec.Refs) > 0 && rec.Refs[0].Journal < len(o.Journals) {
				t = s.does.origin[plan.Origin{Journal: o.Journals[rec.Refs[0].Journal], Seq: rec.Refs[0].Seq}]
			}
			if t == nil {
				s.add(s.differs(s.fxName(), seq, "causes", restOf(&rec, o), "an input that is open"))
				continue
			}
			t.entries, t.seqs = append(t.entries, e), append(t.seqs, seq)
			moved = append(moved, move{t, len(t.entries) - 1})
		}
	}
	return moved
}

// updates compares what the open work keeps with the entries of inputs that are
// still open.
func (s *stage) updates(moved []move) {
	var want, have [][]byte
	var about []uint64
	closed := map[uint64]bool{}
	for i := range s.p.Open {
		switch c := &s.p.Open[i]; c.Op {
		case journal.OpenUpdate:
			have, about = append(have, c.Data), append(about, c.ID)
		case journal.OpenClose:
			closed[c.ID] = true
		case journal.OpenAdd:
		}
	}
	var ids []uint64
	var seqs []uint64
	for _, m := range moved {
		if closed[m.t.in.ID] {
			continue
		}
		data, err := plan.AppendUpdate(nil, m.t.seqs[m.i], &m.t.entries[m.i])
		if err == nil {
			want, ids, seqs = append(want, data), append(ids, m.t.in.ID), append(seqs, m.t.seqs[m.i])
		}
	}
	if slices.EqualFunc(want, have, bytes.Equal) && slices.Equal(ids, about) {
		return
	}
	for i := range max(len(want), len(have)) {
		d := Difference{Kind: Changed, Stage: s.name, Journal: s.openName(), LSN: s.p.Last}
		f := Field{Path: "update"}
		switch {
		case i >= len(have):
			d.Kind, d.Seq, f.Computed = Extra, seqs[i], s.text(want[i])
		case i >= len(want):
			d.Kind, f.Recorded = Missing, s.text(have[i])
		case bytes.Equal(want[i], have[i]) && ids[i] == about[i]:
			continue
		default:
			d.Seq, f.Recorded, f.Computed = seqs[i], s.text(have[i]), s.text(want[i])
		}
		d.Fields = []Field{f}
		s.add(d)
	}
}

// finish executes an input with everything that is on record about it, and emits
// what follows from that.
func (s *stage) finish(t *open, graves []grave) error {
	g := t.grave(graves)
	if g != nil && g.Kind == event.KindTooLarge && g.Reason == journal.ErrTooLarge.Error() {
		return s.buryOpen(t, &plan.Failure{Kind: g.Kind, Err: journal.ErrTooLarge})
	}
	s.does.asked = nil
	x := &execution{s: s, t: t}
	r := x.run()
	s.requests(t)
	if s.v.replaying && (r.State != plan.Finished || len(r.Entries) > 0) {
		return fmt.Errorf("what is on record does not finish %s:%d for this code: %w", t.in.Input.Journal, t.in.Input.Seq, errors.Join(r.Err, x.wanted))
	}
	switch r.State {
	case plan.Finished:
		for i := range r.Entries {
			s.add(s.unrecorded(t, &r.Entries[i]))
		}
		if r.Emit == nil {
			return nil
		}
		err := s.emitFor(t, len(t.entries), r.Emit)
		if err != nil {
			return s.buryOpen(t, &plan.Failure{Err: err, Kind: event.KindOf(err)})
		}
		return nil
	case plan.Broken:
		if panicked := (*panicError)(nil); errors.As(r.Err, &panicked) && g != nil {
			return s.buryOpen(t, &plan.Failure{Err: errors.New(string(g.Kind) + ": " + g.Reason), Kind: g.Kind, Panic: true})
		}
		s.add(Difference{
			Kind: Refused, Stage: s.name, Journal: t.in.Input.Journal, Seq: t.in.Input.Seq, LSN: s.p.Last,
			Fields: []Field{{Path: "execution", Recorded: "finished it", Computed: r.Err.Error()}},
		})
	default:
		why := "it is not finished by what is on record"
		if r.Err != nil {
			why = r.Err.Error()
		}
		if x.wanted == nil {
			s.add(s.differs(s.fxName(), s.nextEntry(t), "end", "the input is finished", why))
		}
	}
	return nil
}

// nextEntry is where the entry would be that comes next for an input.
func (s *stage) nextEntry(t *open) uint64 {
	if n := len(t.seqs); n > 0 {
		return t.seqs[n-1] + 1
	}
	return s.does.heard + 1
}

// unrecorded is the difference of an entry that was computed and is not on record.
func (s *stage) unrecorded(t *open, e *plan.Entry) Difference {
	text, _ := plan.AppendEntry(nil, e)
	return Difference{
		Kind: Extra, Stage: s.name, Journal: s.fxName(), Seq: s.nextEntry(t), LSN: s.p.Last, Key: t.in.Key,
		Fields: []Field{{Path: e.Type, Computed: shorten(string(text))}},
	}
}

// emitFor has fn write what follows from an input and the first n entries about it.
func (s *stage) emitFor(t *open, n int, fn func()) error {
	turn := s.node.Turn
	turn.Base, turn.Item, turn.From = 0, -1, []plan.Origin{t.origin()}
	defer func() { turn.From, turn.Err = nil, nil }()
	for i := range t.entries[:n] {
		if t.entries[i].Type == plan.EntryDecision || i+1 == n {
			turn.From = append(turn.From, plan.Origin{Journal: s.fxName(), Seq: t.seqs[i]})
		}
	}
	all := s.all()
	marks := make([]int, len(all))
	for i, p := range all {
		marks[i] = p.Writer.Len()
	}
	fn()
	var err error
	for _, p := range all {
		err = errors.Join(err, p.Writer.Err())
	}
	if err != nil {
		for i, p := range all {
			p.Writer.Rollback(marks[i])
		}
	}
	return err
}

func (s *stage) buryOpen(t *open, f *plan.Failure) error {
	if err := s.emitFor(t, len(t.entries), func() { s.does.Bury(&t.in, f) }); err != nil {
		return givenError{fmt.Sprintf("the dead letter for %s:%d cannot be written: %v", t.in.Input.Journal, t.in.Input.Seq, err)}
	}
	return nil
}

// accept takes the inputs that the transition consumed into open work.
func (s *stage) accept(ctx context.Context, graves []grave) error {
	added := map[plan.Origin]*journal.OpenWork{}
	for i := range s.p.Open {
		if a := &s.p.Open[i]; a.Op == journal.OpenAdd {
			added[plan.Origin{Journal: a.Journal, Seq: a.Seq}] = a
		}
	}
	for i := range s.p.Consumed {
		c := &s.p.Consumed[i]
		e := s.input(c.Journal)
		switch {
		case c.Kind == journal.Ended && e != nil:
			e.saw = c.End
			continue
		case c.Kind != journal.Run:
			continue
		case e == nil:
			return givenError{"the stage does not read " + c.Journal + " any more"}
		}
		for seq := c.From; seq <= c.To; seq++ {
			h, err := e.take(ctx, seq)
			if err != nil {
				return err
			}
			if h.batch.Values == nil {
				return givenError{fmt.Sprintf("records of %s cannot be decoded", c.Journal)}
			}
			at := plan.Origin{Journal: c.Journal, Seq: seq}
			if err := s.acceptOne(h.batch, int(seq-h.raw.First), at, added[at], graves); err != nil {
				return err
			}
			delete(added, at)
		}
	}
	for i := range s.p.Open {
		a := &s.p.Open[i]
		if at := (plan.Origin{Journal: a.Journal, Seq: a.Seq}); a.Op == journal.OpenAdd && added[at] == a {
			s.add(s.differs(s.openName(), 0, "accepted", fmt.Sprintf("%s:%d", a.Journal, a.Seq), "it was not consumed"))
			s.does.add(s.openOf(a))
		}
	}
	return nil
}

// acceptOne accepts record i of b, and compares with what was; a is nil if it was
// not.
func (s *stage) acceptOne(b *plan.Batch, i int, at plan.Origin, a *journal.OpenWork, graves []grave) error {
	t := &open{in: plan.Accepted{
		ID:    s.does.next,
		Input: event.RecordID{Epoch: b.Epoch, Journal: at.Journal, Seq: at.Seq},
		Run:   s.v.root, Stage: s.name,
	}}
	f := s.does.Accept(b, i, &t.in)
	t.in.Data = bytes.Clone(t.in.Data)
	if g := t.grave(graves); f == nil && g != nil && a == nil {
		switch {
		case g.Kind == event.KindCrash:
			f = &plan.Failure{Kind: g.Kind, Err: errors.New(g.Reason)}
		case g.Kind == event.KindTooLarge && g.Reason == journal.ErrTooLarge.Error():
			t.in.Data, f = nil, &plan.Failure{Kind: g.Kind, Err: journal.ErrTooLarge}
		}
	}
	if f != nil {
		if err := s.buryOpen(t, f); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("%s:%d", at.Journal, at.Seq)
	if s.v.replaying && a != nil {
		a.Data = t.in.Data
	}
	switch {
	case s.v.replaying && (a == nil) != (f != nil):
		return fmt.Errorf("%s was accepted when the run was recorded and is not now, or the other way round", name)
	case a == nil && f != nil:
	case a == nil:
		s.add(s.differs(s.openName(), 0, "accepted", "not "+name, name))
	case f != nil:
		s.add(s.differs(s.openName(), 0, "accepted", name, f.Err.Error()))
		s.does.add(s.openOf(a))
	default:
		if a.ID != t.in.ID {
			s.add(s.differs(s.openName(), 0, "id of "+name, strconv.FormatUint(a.ID, 10), strconv.FormatUint(t.in.ID, 10)))
		}
		if a.Epoch != t.in.Input.Epoch {
			s.add(s.differs(s.openName(), 0, "epoch of "+name, a.Epoch.String(), journal.ID(t.in.Input.Epoch).String()))
		}
		if !bytes.Equal(a.Data, t.in.Data) {
			s.add(s.differs(s.openName(), 0, "data of "+name, s.text(a.Data), s.text(t.in.Data)))
		}
		s.does.add(s.openOf(a))
	}
	return nil
}

// openOf is an input as it is recorded.
func (s *stage) openOf(a *journal.OpenWork) *open {
	key, err := s.does.Key(a.Data)
	if err != nil {
		s.skip(fmt.Sprintf("the accepted input %s:%d cannot be read: %v", a.Journal, a.Seq, err))
	}
	return &open{in: plan.Accepted{
		ID: a.ID, Input: event.RecordID{Epoch: a.Epoch, Journal: a.Journal, Seq: a.Seq},
		Run: s.v.root, Stage: s.name, Key: key, Data: bytes.Clone(a.Data),
	}}
}

// openAsRecorded takes the changes of open work as they are recorded.
func (s *stage) openAsRecorded() {
	if s.does == nil {
		return
	}
	for i := range s.p.Open { // an input may be accepted and spoken of in one transition
		if a := &s.p.Open[i]; a.Op == journal.OpenAdd && s.does.tasks[a.ID] == nil {
			s.does.add(s.openOf(a))
		}
	}
	n := s.Records
	s.hear()
	s.Records = n
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenClose && s.does.tasks[c.ID] != nil {
			s.does.remove(s.does.tasks[c.ID])
		}
	}
}

// An execution is one input being executed again, from what is on record. It
// records nothing and waits for nothing.
type execution struct {
	s       *stage
	t       *open
	history []plan.Entry
	wanted  error  // why it had to end: it wants what is not on record
	upTo    int    // entries that it may know of; zero means all
	emit    func() // what it would emit next, with upTo
}

var _ plan.Execution = (*execution)(nil)

// A panicError is a panic of the user's.
type panicError struct{ text string }

func (e *panicError) Error() string { return e.text }

func (x *execution) run() (r plan.Result) {
	defer func() {
		if v := recover(); v != nil {
			r = plan.Result{State: plan.Broken, Err: &panicError{fmt.Sprintf("panic: %v\n%s", v, debug.Stack())}}
		}
	}()
	x.history = slices.Clip(x.t.entries)
	if x.upTo > 0 {
		x.history = slices.Clip(x.history[:x.upTo-1])
	}
	return x.s.does.Execute(x)
}

func (x *execution) Context() context.Context { return context.Background() }
func (x *execution) Input() *plan.Accepted    { return &x.t.in }
func (x *execution) History() []plan.Entry    { return x.history }
func (x *execution) Now() time.Time           { return x.s.p.Time }

var errUnrecorded = errors.New("this is not on record")

// Record takes what the code would record and the record does not have: that it
// parts from the record is one difference, anything else ends the execution.
func (x *execution) Record(emit func(), entries ...plan.Entry) error {
	if x.upTo > 0 {
		x.emit, x.wanted = emit, errUnrecorded
		return errUnrecorded
	}
	for i := range entries {
		e := &entries[i]
		if e.Type == plan.EntryDrift {
			continue // requests compares
		}
		x.s.add(x.s.unrecorded(x.t, e))
		x.wanted = errUnrecorded
	}
	if x.wanted == nil && emit != nil {
		return x.s.emitFor(x.t, len(x.t.entries), emit)
	}
	return x.wanted
}

// Durable is asked for before something leaves: nothing does.
func (x *execution) Durable() error {
	x.wanted = errOutside
	if x.upTo == 0 {
		x.s.add(x.s.differs(x.s.fxName(), x.s.nextEntry(x.t), "end", "the input is finished", "an effect would be called"))
	}
	return errOutside
}

// outputsOf emits what inputs emitted before they were finished, with the entries
// that say how much.
func (s *stage) outputsOf(moved []move) error {
	for _, m := range moved {
		if m.t.entries[m.i].Emitted == 0 {
			continue
		}
		x := &execution{s: s, t: m.t, upTo: m.i + 1}
		x.run()
		if x.emit == nil {
			continue // what is recorded and not emitted shows
		}
		if err := s.emitFor(m.t, m.i+1, x.emit); err != nil {
			return givenError{fmt.Sprintf("what %s:%d emits cannot be written: %v", m.t.in.Input.Journal, m.t.in.Input.Seq, err)}
		}
	}
	return nil
}
