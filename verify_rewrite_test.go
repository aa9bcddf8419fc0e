package weir_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/journal/segment"
)

// A story is a run taken apart, to be told otherwise: what is changed in one
// place is made to fit everywhere else, so that every sum is right.
type story struct {
	manifest journal.Manifest
	told     []*chapter
	parts    bool // some have several, and are not told anew as they were
}

// A chapter is one transition.
type chapter struct {
	journal.Transition
	outputs []*output
	states  [][]journal.Change // by Transition.State
}

// An output is a journal.Output with its records.
type output struct {
	port, typ string
	records   []entry
}

type entry struct {
	journal.Record
	refs []plan.Origin
}

func readStory(t *testing.T, dir string) *story {
	t.Helper()
	return readStoryOn(t, vfs.OS, dir)
}

func readStoryOn(t *testing.T, fsys vfs.FS, dir string) *story {
	t.Helper()
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	in, err := view.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	ts := journal.Transitions(in)
	defer func() { _ = ts.Close() }()
	s := &story{manifest: view.Manifest()}
	for {
		var p journal.Placed
		err := ts.Next(&p)
		if errors.Is(err, io.EOF) {
			return s
		}
		if err != nil {
			t.Fatal(err)
		}
		s.parts = s.parts || p.First != p.Last
		s.told = append(s.told, readChapter(t, &p))
	}
}

func readChapter(t *testing.T, p *journal.Placed) *chapter {
	t.Helper()
	c := &chapter{Transition: p.Transition}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		out := &output{port: o.Port, typ: o.Type}
		var rec journal.Record
		rs := journal.NewRecords(o)
		for {
			if _, ok := rs.Next(&rec); !ok {
				break
			}
			e := entry{Record: rec}
			e.Items, e.Key, e.Payload, e.Refs = slices.Clone(rec.Items), bytes.Clone(rec.Key), bytes.Clone(rec.Payload), nil
			for _, r := range rec.Refs {
				e.refs = append(e.refs, plan.Origin{Journal: o.Journals[r.Journal], Seq: r.Seq})
			}
			out.records = append(out.records, e)
		}
		if err := rs.Err(); err != nil {
			t.Fatal(err)
		}
		c.outputs = append(c.outputs, out)
	}
	for i := range p.State {
		var all []journal.Change
		var ch journal.Change
		for cs := journal.NewChanges(&p.State[i]); cs.Next(&ch); {
			k := ch
			k.Key, k.Value, k.Items = bytes.Clone(ch.Key), bytes.Clone(ch.Value), slices.Clone(ch.Items)
			all = append(all, k)
		}
		c.states = append(c.states, all)
	}
	for i := range c.Open {
		c.Open[i].Data = bytes.Clone(c.Open[i].Data)
	}
	return c
}

// log tells the story to a new log in memory, with sums that fit. What a mutation
// left empty is left out.
func (s *story) log(t *testing.T) *memory.Log {
	t.Helper()
	if s.parts {
		t.Fatal("a transition has several parts; tell shorter stories")
	}
	log, err := s.tell(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// tell is log; the error says that a story cannot be told.
func (s *story) tell(ctx context.Context) (*memory.Log, error) {
	m := s.manifest
	id := m.Epochs[0].ID
	m.Epochs = nil
	log := memory.New(m, memory.Options{ID: func() journal.ID { return id }})
	sums := map[string]*journal.End{}
	frames := map[string]uint64{}
	var enc journal.Encoder
	for _, c := range s.told {
		tr := c.Transition
		tr.Outputs, tr.State, tr.Check = nil, nil, nil // verify needs no checkpoint
		for _, o := range c.outputs {
			name := tr.Stage + "." + o.port
			if sums[name] == nil {
				sums[name] = &journal.End{}
			}
			sum := sums[name]
			out := journal.Output{Port: o.port, Type: o.typ, First: sum.Count + 1, Count: len(o.records)}
			last := -1
			for i := range o.records {
				r := o.records[i].Record
				for _, ref := range o.records[i].refs {
					j := slices.Index(out.Journals, ref.Journal)
					if j < 0 {
						j = len(out.Journals)
						out.Journals = append(out.Journals, ref.Journal)
					}
					r.Refs = append(r.Refs, journal.Ref{Journal: j, Seq: ref.Seq})
				}
				out.Records, last = journal.AppendRecord(out.Records, last, &r)
				sum.Count++
				sum.Digest = uint64(wire.Digest(sum.Digest).Add(sum.Count, wire.Checksum(r.Payload)))
			}
			if out.Digest = sum.Digest; out.Count > 0 {
				tr.Outputs = append(tr.Outputs, out)
			}
		}
		for i, changes := range c.states {
			st := journal.State{Table: c.State[i].Table, Count: len(changes)}
			for k := range changes {
				st.Changes = journal.AppendChange(st.Changes, &changes[k])
			}
			if st.Count > 0 {
				tr.State = append(tr.State, st)
			}
		}
		tr.Ends = slices.Clone(tr.Ends)
		for i := range tr.Ends {
			if sum := sums[tr.Stage+"."+tr.Ends[i].Port]; sum != nil {
				tr.Ends[i].Digest = sum.Digest
				tr.Ends[i].Count = sum.Count
			}
		}
		frames[tr.Stage]++
		tr.Number = frames[tr.Stage]
		fs, err := enc.Encode(&tr)
		if err != nil {
			return nil, err
		}
		if _, err := log.Append(ctx, journal.Urgent, fs...); err != nil {
			return nil, err
		}
	}
	return log, nil
}

// clone returns a story that can be changed without changing s.
func (s *story) clone() *story {
	n := &story{manifest: s.manifest}
	for _, c := range s.told {
		k := &chapter{Transition: c.Transition}
		k.Consumed, k.Open, k.Ends, k.State = slices.Clone(c.Consumed), slices.Clone(c.Open), slices.Clone(c.Ends), slices.Clone(c.State)
		for _, o := range c.outputs {
			out := &output{port: o.port, typ: o.typ, records: slices.Clone(o.records)}
			for i := range out.records {
				out.records[i].Items = slices.Clone(out.records[i].Items)
				out.records[i].refs = slices.Clone(out.records[i].refs)
			}
			k.outputs = append(k.outputs, out)
		}
		for _, st := range c.states {
			st = slices.Clone(st)
			for i := range st {
				st[i].Items = slices.Clone(st[i].Items)
			}
			k.states = append(k.states, st)
		}
		n.told = append(n.told, k)
	}
	return n
}

// A spot is one record of a story.
type spot struct {
	chapter, output, record int
	journal                 string
	seq                     uint64
	typ                     string
}

// spots yields every record of the story.
func (s *story) spots() (all []spot) {
	seqs := map[string]uint64{}
	for i, c := range s.told {
		for j, o := range c.outputs {
			name := c.Stage + "." + o.port
			for k := range o.records {
				seqs[name]++
				all = append(all, spot{i, j, k, name, seqs[name], o.typ})
			}
		}
	}
	return all
}

func (s *story) at(p spot) *entry { return &s.told[p.chapter].outputs[p.output].records[p.record] }

// set gives a record another payload, wherever the log holds it.
func (s *story) set(p spot, payload []byte) {
	was := s.at(p).Payload
	s.at(p).Payload = payload
	stage := s.told[p.chapter].Stage
	if p.journal != stage+"."+journal.PortFx {
		return
	}
	s.updates(stage, func(seq uint64, data []byte) ([]byte, bool) {
		if seq != p.seq {
			return data, true
		}
		return append(bytes.Clone(data[:len(data)-len(was)]), payload...), true
	})
}

// updates edits what open work keeps of entries.
func (s *story) updates(stage string, edit func(seq uint64, data []byte) (_ []byte, keep bool)) {
	for _, c := range s.told {
		if c.Stage != stage {
			continue
		}
		c.Open = slices.DeleteFunc(c.Open, func(w journal.OpenWork) bool {
			if w.Op != journal.OpenUpdate {
				return false
			}
			seq, _, err := plan.ParseUpdate(w.Data)
			if err != nil {
				return false
			}
			_, keep := edit(seq, w.Data)
			return !keep
		})
		for i := range c.Open {
			if w := &c.Open[i]; w.Op == journal.OpenUpdate {
				if seq, _, err := plan.ParseUpdate(w.Data); err == nil {
					w.Data, _ = edit(seq, w.Data)
				}
			}
		}
	}
}

// remove takes a record away, insert puts one behind it: those who read it have
// read one less, or one more, and every number behind it moves.
func (s *story) remove(p spot) {
	o := s.told[p.chapter].outputs[p.output]
	o.records = slices.Delete(o.records, p.record, p.record+1)
	s.move(p, p.seq, -1)
}

func (s *story) insert(p spot, payload []byte) {
	e := *s.at(p)
	e.Payload = payload
	o := s.told[p.chapter].outputs[p.output]
	o.records = slices.Insert(o.records, p.record+1, e)
	s.move(p, p.seq, 1)
	c := s.told[p.chapter]
	for i := range c.Open { // of what is on record about an input that is still open, twice too
		if seq, entry, err := plan.ParseUpdate(c.Open[i].Data); c.Open[i].Op == journal.OpenUpdate && err == nil && seq == p.seq && p.journal == c.Stage+"."+journal.PortFx {
			twin := c.Open[i]
			twin.Data, _ = plan.AppendUpdate(nil, p.seq+1, &entry)
			c.Open = slices.Insert(c.Open, i+1, twin)
			break
		}
	}
}

// move renumbers what comes behind record at of p's journal by one.
func (s *story) move(p spot, at uint64, by int64) {
	shift := func(seq uint64) uint64 {
		if seq > at {
			return uint64(int64(seq) + by)
		}
		return seq
	}
	if stage := s.told[p.chapter].Stage; p.journal == stage+"."+journal.PortFx {
		s.updates(stage, func(seq uint64, data []byte) ([]byte, bool) {
			if seq == at && by < 0 {
				return nil, false
			}
			_, e, err := plan.ParseUpdate(data)
			if err != nil {
				return data, true
			}
			moved, _ := plan.AppendUpdate(nil, shift(seq), &e)
			return moved, true
		})
	}
	for _, c := range s.told {
		c.consume(p.journal, at, by)
		for i := range c.Open {
			if w := &c.Open[i]; w.Op == journal.OpenAdd && w.Journal == p.journal {
				w.Seq = shift(w.Seq)
			}
		}
		for _, o := range c.outputs {
			for k := range o.records {
				e := &o.records[k]
				for r := range e.refs {
					if e.refs[r].Journal == p.journal {
						e.refs[r].Seq = shift(e.refs[r].Seq)
					}
				}
				if o.typ == evidence.TypeReceipt {
					e.Payload = moveReceipt(e.Payload, p.journal, at, by)
				}
			}
		}
	}
}

// consume has a reader of a journal read one record less, or one more, and moves
// the causes behind it.
func (c *chapter) consume(name string, at uint64, by int64) {
	item, hit := 0, -1
	for i := 0; i < len(c.Consumed); i++ {
		run := &c.Consumed[i]
		n := int(run.Items())
		if run.Kind == journal.Run && run.Journal == name {
			if run.From <= at && at <= run.To {
				hit = item + int(at-run.From)
			}
			if run.From > at {
				run.From = uint64(int64(run.From) + by)
			}
			if run.To >= at {
				run.To = uint64(int64(run.To) + by)
			}
		}
		item += n
	}
	c.Consumed = slices.DeleteFunc(c.Consumed, func(r journal.Consumed) bool { return r.Kind == journal.Run && r.To < r.From })
	if hit < 0 {
		return
	}
	move := func(items []int) {
		for i := range items {
			if items[i] > hit {
				items[i] += int(by)
			}
		}
	}
	for _, o := range c.outputs {
		for k := range o.records {
			move(o.records[k].Items)
		}
	}
	for _, st := range c.states {
		for k := range st {
			move(st[k].Items)
		}
	}
}

func moveReceipt(payload []byte, name string, at uint64, by int64) []byte {
	r, err := evidence.Parse[evidence.Receipt](payload)
	if err != nil || r.Journal != name {
		return payload
	}
	if r.From > at {
		r.From = uint64(int64(r.From) + by)
	}
	if r.To >= at {
		r.To = uint64(int64(r.To) + by)
	}
	for i := range r.Failed {
		if r.Failed[i] > at {
			r.Failed[i] = uint64(int64(r.Failed[i]) + by)
		}
	}
	return evidence.Append(nil, r)
}

// twist changes one value in a JSON document: the one under path, or the first
// there is. It returns nil if there is none.
func twist(data []byte, path ...string) []byte {
	var v any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil
	}
	out, ok := twisted(v, path)
	if !ok {
		return nil
	}
	text, _ := json.Marshal(out)
	return text
}

func twisted(v any, path []string) (any, bool) {
	switch x := v.(type) {
	case json.Number:
		return json.Number("1" + x.String()), true
	case string:
		return x + "x", true
	case bool:
		return !x, true
	case map[string]any:
		if len(path) > 0 {
			if inner, ok := x[path[0]]; ok {
				if n, ok := twisted(inner, path[1:]); ok {
					x[path[0]] = n
					return x, true
				}
			}
			return nil, false
		}
		names := make([]string, 0, len(x))
		for name := range x {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if n, ok := twisted(x[name], nil); ok {
				x[name] = n
				return x, true
			}
		}
	}
	return nil, false
}
