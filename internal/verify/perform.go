package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// act executes what a stage that acts on the world did: it takes what is recorded
// about its inputs, executes those that were finished with it, and accepts others.
func (s *stage) act(ctx context.Context) error {
	w := s.does
	s.hear(false)
	if err := s.hearSignals(ctx); err != nil {
		return err
	}
	if s.v.replaying {
		if err := s.emitAgain(); err != nil {
			return err
		}
	} else {
		s.reactions()
	}
	graves := s.graves()
	var ends []*execution
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenClose {
			t := w.tasks[c.ID]
			if t == nil {
				s.add(s.differs(s.openName(), 0, "closed", fmt.Sprintf("input %d", c.ID), "no such input is open"))
				continue
			}
			ends = append(ends, s.finish(t, t.grave(graves)))
		}
	}
	for _, x := range ends { // while the writers are empty
		if err := s.compareEmitted(x); err != nil {
			return err
		}
	}
	for _, x := range ends {
		if err := s.leave(x); err != nil {
			return err
		}
	}
	s.updates()
	for _, x := range ends {
		w.remove(x.t)
	}
	return s.accept(ctx, graves)
}

func (s *stage) openName() string { return s.name + "#open" }

func (s *stage) fxName() string { return s.name + "." + journal.PortFx }

// An entry is one record of the port fx.
type entry struct {
	plan.Entry
	seq uint64
	out *journal.Output // that it is in
	rec journal.Record  // with a payload of its own
	err error           // why that cannot be read
}

// entriesOf reads what a transition has on the port fx.
func entriesOf(p *journal.Placed) (all []entry) {
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != journal.PortFx {
			continue
		}
		for rs := journal.NewRecords(o); ; {
			e := entry{out: o}
			var ok bool
			if e.seq, ok = rs.Next(&e.rec); !ok {
				break
			}
			e.rec.Payload = bytes.Clone(e.rec.Payload)
			e.Entry, e.err = plan.ParseEntry(o.Type, e.rec.Payload)
			all = append(all, e)
		}
	}
	return all
}

// hear adds the transition's entries to what is known of their inputs, once.
func (s *stage) hear(given bool) {
	w := s.does
	if w.at == s.p.Last {
		return
	}
	w.at, w.said = s.p.Last, w.said[:0]
	w.going, w.asIs, w.keys, w.changed = map[uint64]bool{}, map[outlet]bool{}, map[string]bool{}, map[uint64]plan.Entry{}
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenClose {
			w.going[c.ID] = true
		}
	}
	for i := range s.entries {
		w.heard = s.entries[i].seq
		if !given {
			s.Records++
		}
		s.hearOne(&s.entries[i], given)
	}
	if !s.v.replaying {
		s.emittedBefore(given)
	}
}

func (s *stage) hearOne(e *entry, given bool) {
	w := s.does
	if e.err != nil {
		if !given {
			s.add(s.differs(s.fxName(), e.seq, "payload", s.text(e.rec.Payload), e.err.Error()))
		}
		return
	}
	f := fact{Entry: e.Entry, seq: e.seq, lsn: s.p.Last, at: s.p.Time, epoch: s.p.Author(s.v.epochs[s.p.Epoch]), given: given}
	at, refers := firstRef(e.out, &e.rec)
	if e.Type == plan.EntrySignal {
		w.said = append(w.said, saying{fact: f, text: e.rec.Payload, from: at})
		return
	}
	t := w.origin[at]
	if !refers || t == nil {
		if !given {
			s.add(s.differs(s.fxName(), e.seq, "causes", causesOf(&e.rec, e.out), "an input that is open"))
		}
		return
	}
	f.taken = s.node.Performing.Past != nil && t.in.Original.Run != "" && (len(t.facts) == 0 || t.facts[0].lsn == f.lsn)
	t.facts = append(t.facts, f)
	w.said = append(w.said, saying{t: t, i: len(t.facts) - 1, text: e.rec.Payload})
}

// firstRef is the record that rec refers to first.
func firstRef(o *journal.Output, rec *journal.Record) (at plan.Origin, ok bool) {
	if len(rec.Refs) == 0 || rec.Refs[0].Journal >= len(o.Journals) {
		return plan.Origin{}, false
	}
	return plan.Origin{Journal: o.Journals[rec.Refs[0].Journal], Seq: rec.Refs[0].Seq}, true
}

// reactions holds what the transition reacted to, besides records, against what it
// says of it, in that order. An execution that finds its time to have come says so
// by itself.
func (s *stage) reactions() {
	type reaction struct {
		word string
		seq  uint64
	}
	var want []reaction
	timers := map[string]bool{}
	for i := range s.p.Consumed {
		if c := &s.p.Consumed[i]; c.Kind == journal.TimerDue {
			timers[c.ID] = true
		}
	}
	for i := range s.does.said {
		w := &s.does.said[i]
		switch f := w.what(); {
		case f.taken: // nobody said it to this run
		case f.Type == plan.EntrySignal, f.Type == plan.EntryWoken && f.ID != "":
			want = append(want, reaction{"signal " + f.ID, f.seq})
		case f.Type == plan.EntryDecision:
			want = append(want, reaction{"decision " + f.ID, f.seq})
		case f.Type == plan.EntryWoken:
			if id := fmt.Sprintf("%d/%s", w.t.in.ID, f.Step); timers[id] {
				want = append(want, reaction{"timer " + id, f.seq})
			}
		}
	}
	want = append(want, reaction{word: "nothing"})
	next := s.does.heard + 1
	if len(s.does.said) > 0 {
		next = s.does.said[0].what().seq
	}
	check := func(word string) bool {
		if want[0].word != word {
			s.add(s.differs(s.fxName(), next, "consumed", word, want[0].word))
			return false
		}
		next, want = want[0].seq+1, want[1:]
		return true
	}
	ok := true
	for i := range s.p.Consumed {
		switch c := &s.p.Consumed[i]; c.Kind {
		case journal.Signalled:
			ok = ok && check("signal "+strings.TrimPrefix(c.ID, journal.FromInbox))
		case journal.Decided:
			ok = ok && check("decision "+strings.TrimPrefix(c.ID, journal.FromInbox))
		case journal.TimerDue:
			ok = ok && check("timer "+c.ID)
		default:
		}
	}
	if ok {
		check("nothing")
	}
}

func (w *saying) what() *fact {
	if w.t != nil {
		return &w.t.facts[w.i]
	}
	return &w.fact
}

// updates compares what the open work keeps with the entries of inputs that are
// still open.
func (s *stage) updates() {
	var want, have [][]byte
	var about []uint64
	for i := range s.p.Open {
		if c := &s.p.Open[i]; c.Op == journal.OpenUpdate {
			have, about = append(have, c.Data), append(about, c.ID)
		}
	}
	var ids []uint64
	var seqs []uint64
	for i := range s.does.said {
		w := &s.does.said[i]
		if w.t == nil || s.does.going[w.t.in.ID] {
			continue
		}
		f := w.what()
		want, ids, seqs = append(want, plan.AppendWritten(nil, f.seq, f.Type, w.text)), append(ids, w.t.in.ID), append(seqs, f.seq)
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
			s.does.add(s.openOf(a, plan.Original{}))
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
		Run:   s.v.root, Stage: s.name, Original: b.Original(i),
	}}
	var f *plan.Failure
	if _, bad := b.Readable(i, i+1); bad != nil {
		f = unread(bad)
	} else {
		f = s.does.Accept(b, i, &t.in)
		t.in.Data = bytes.Clone(t.in.Data)
	}
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
	name := t.ref()
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
		s.does.add(s.openOf(a, t.in.Original))
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
		s.does.add(s.openOf(a, t.in.Original))
	}
	return nil
}

// openOf is an input as it is recorded, a copy of original if that is one.
func (s *stage) openOf(a *journal.OpenWork, original plan.Original) *open {
	m := s.v.Log.Manifest()
	o := &open{accepted: s.p.Time, in: plan.Accepted{
		ID: a.ID, Input: event.RecordID{Epoch: a.Epoch, Journal: a.Journal, Seq: a.Seq},
		Run: s.v.root, Stage: m.AcceptedBy(s.name, a.ID), Original: original,
	}}
	data, err := s.renew(a.Data)
	if err != nil {
		o.bad = err
		return o
	}
	o.in.Data = bytes.Clone(data)
	if o.in.Key, err = s.does.Key(data); err != nil {
		s.skip(fmt.Sprintf("the accepted input %s:%d cannot be read: %v", a.Journal, a.Seq, err))
	}
	return o
}

// originalOf returns what a record that the stage read is a copy of. Only a redrive
// has copies.
func (s *stage) originalOf(name string, seq uint64) (original plan.Original, err error) {
	e := s.input(name)
	if e == nil || !s.v.copies {
		return plan.Original{}, nil
	}
	own := &edge{open: s.v.Open, epochs: e.epochs, journal: name, from: e.from, port: e.port, spec: &plan.Input{}}
	defer own.close()
	if err := own.readLog(seq); err != nil {
		return plan.Original{}, err
	}
	b := own.held.raw
	return b.Original(int(seq - b.First)), nil
}

// openAsRecorded takes the changes of open work as they are recorded.
func (s *stage) openAsRecorded() {
	if s.does == nil {
		return
	}
	for i := range s.p.Open { // an input may be accepted and spoken of in one transition
		if a := &s.p.Open[i]; a.Op == journal.OpenAdd && s.does.tasks[a.ID] == nil {
			original, err := s.originalOf(a.Journal, a.Seq)
			if err != nil {
				s.skip(err.Error())
			}
			s.does.add(s.openOf(a, original))
		}
	}
	s.hear(true)
	for id := range s.does.going {
		if t := s.does.tasks[id]; t != nil {
			s.does.remove(t)
		}
	}
}
