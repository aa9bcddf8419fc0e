package verify

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// compare holds what was executed against the record, hands the outputs on and
// accepts the recorded state.
func (s *stage) compare() error {
	for _, p := range s.all() {
		s.compareOutput(p)
	}
	return s.compareState()
}

// compareOutput compares one port and hands its records on: as they were computed
// if they are as recorded, else as recorded.
func (s *stage) compareOutput(p *port) {
	var recorded []*journal.Output
	for i := range s.p.Outputs {
		if o := &s.p.Outputs[i]; o.Port == p.Name {
			recorded = append(recorded, o)
		}
	}
	if s.node.Source != nil {
		s.given(p, recorded)
		return
	}
	var out *journal.Output
	var b *plan.Batch
	if p.Writer.Len() > 0 {
		var o journal.Output
		o, b = p.Writer.Seal(p.count+1, p.digest)
		o.Port, o.Type = p.Name, p.Type
		out = &o
	}
	for _, o := range recorded {
		s.Records += uint64(o.Count)
	}
	if !s.same(p, recorded, out) || s.asIs(p) {
		b = nil
	}
	if b == nil {
		for _, o := range recorded {
			s.pass(p, o)
		}
		return
	}
	if last := recorded[len(recorded)-1]; last.Digest != out.Digest {
		s.add(s.differs(p.journal, b.Last(), "digest", digest(last.Digest), digest(out.Digest)))
	}
	p.count, p.digest = b.Last(), recorded[len(recorded)-1].Digest
	place(b, p.journal, s.p, s.v.epochs)
	for _, e := range p.edges {
		e.push(b)
	}
}

// asIs reports whether something of the transition's outputs on p is taken as it is
// recorded.
func (s *stage) asIs(p *port) bool {
	if s.does == nil {
		return false
	}
	for at := range s.does.asIs {
		if at.port == p.Name {
			return true
		}
	}
	return false
}

// same compares the records of one port and reports whether the computed ones can
// stand for the recorded ones.
func (s *stage) same(p *port, recorded []*journal.Output, out *journal.Output) bool {
	if len(recorded) == 1 && out != nil {
		o := recorded[0]
		if o.Type == out.Type && o.Count == out.Count && bytes.Equal(o.Records, out.Records) && slices.Equal(o.Journals, out.Journals) {
			return true
		}
	}
	return s.compareRecords(p, recorded, out)
}

func (s *stage) differs(name string, seq uint64, path, recorded, computed string) Difference {
	return Difference{
		Kind: Changed, Stage: s.name, Journal: name, Seq: seq, LSN: s.p.Last,
		Fields: []Field{{Path: path, Recorded: recorded, Computed: computed}},
	}
}

// given hands on what a source has read. Only its digests can be computed.
func (s *stage) given(p *port, recorded []*journal.Output) {
	for _, o := range recorded {
		sum := wire.Digest(p.digest)
		var rec journal.Record
		rs := journal.NewRecords(o)
		for {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			sum = sum.Add(seq, wire.Checksum(rec.Payload))
		}
		if uint64(sum) != o.Digest {
			s.add(s.differs(p.journal, o.First+uint64(o.Count)-1, "digest", digest(o.Digest), digest(uint64(sum))))
		}
		s.pass(p, o)
	}
}

// An item is one record of either side, with everything that is compared.
type item struct {
	seq     uint64
	typ     string
	payload []byte
	key     []byte
	causes  string
	rest    string      // event time, and whether the payload is elsewhere
	cause   int         // the first item that it follows from, -1 if none
	from    plan.Origin // the first record that it refers to
	lsn     journal.LSN // of its transition; zero means the one in hand
	given   bool        // it is not compared
}

func (a *item) equal(b *item) bool {
	return a.typ == b.typ && a.causes == b.causes && a.rest == b.rest &&
		bytes.Equal(a.payload, b.payload) && bytes.Equal(a.key, b.key) && (a.key == nil) == (b.key == nil)
}

// itemsOf reads the records of outputs. Where one cannot be read the rest is left
// out.
func itemsOf(outputs ...*journal.Output) (all []item, err error) {
	for _, o := range outputs {
		if o == nil {
			continue
		}
		var rec journal.Record
		rs := journal.NewRecords(o)
		for {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			it := item{seq: seq, typ: o.Type, payload: bytes.Clone(rec.Payload), key: bytes.Clone(rec.Key), cause: -1}
			if len(rec.Items) > 0 {
				it.cause = rec.Items[0]
			}
			it.causes, it.rest = causesOf(&rec, o), restOf(&rec)
			it.from, _ = firstRef(o, &rec)
			all = append(all, it)
		}
		if err := rs.Err(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// causesOf writes what a record follows from.
func causesOf(rec *journal.Record, o *journal.Output) string {
	b := []byte("items ")
	for i, it := range rec.Items {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(it), 10)
	}
	for _, ref := range rec.Refs {
		name := "?"
		if ref.Journal < len(o.Journals) {
			name = o.Journals[ref.Journal]
		}
		b = appendRef(b, name, ref.Seq)
	}
	if rec.FromKey {
		b = append(b, " key"...)
	}
	return string(b)
}

// causesText is what causesOf writes of a record that follows from refs.
func causesText(refs []plan.Origin) string {
	b := []byte("items ")
	for _, ref := range refs {
		b = appendRef(b, ref.Journal, ref.Seq)
	}
	return string(b)
}

func appendRef(b []byte, name string, seq uint64) []byte {
	b = append(append(b, ' '), name...)
	return strconv.AppendUint(append(b, ':'), seq, 10)
}

// restOf writes what a record has besides payload, key and causes.
func restOf(rec *journal.Record) string {
	var b []byte
	if rec.HasTime {
		b = strconv.AppendInt(append(b, "time "...), rec.Time, 10)
	}
	if rec.Blob {
		b = append(b, " blob"...)
	}
	return string(b)
}

// compareRecords compares record by record and reports whether all are the same.
func (s *stage) compareRecords(p *port, recorded []*journal.Output, out *journal.Output) bool {
	was, err := itemsOf(recorded...)
	if err != nil {
		s.add(s.differs(p.journal, p.count+1, "records", err.Error(), "records that can be read"))
	}
	if s.does != nil {
		was = slices.DeleteFunc(was, func(it item) bool { return s.does.asIs[outlet{p.Name, it.from}] })
	}
	now, _ := itemsOf(out)
	if len(was) == len(now) && slices.EqualFunc(was, now, func(a, b item) bool { return a.equal(&b) }) {
		return true
	}
	return s.comparePairs(p, align(was, now), p.count+1, nil)
}

// comparePairs compares records that were aligned and reports whether all are the
// same. next is where an extra one would come in the record. If t is not nil all are
// of that input.
func (s *stage) comparePairs(p *port, pairs []pair, next uint64, t *open) (same bool) {
	mask := s.v.masks.of(p.journal, "")
	same = true
	for _, pair := range pairs {
		a, b := pair.was, pair.now
		d := Difference{Stage: s.name, Journal: p.journal, LSN: s.p.Last, Input: s.inputOf(cmp.Or(a, b), t)}
		if a != nil {
			next = a.seq + 1
			d.LSN = cmp.Or(a.lsn, d.LSN)
			if b != nil && a.equal(b) {
				continue
			}
		}
		same = false
		switch {
		case a != nil && b != nil:
			d.Kind, d.Seq, d.Key = Changed, a.seq, string(a.key)
			if d.Fields = s.fields(a, b, mask); len(d.Fields) == 0 {
				s.Masked++
				continue
			}
		case a != nil:
			d.Kind, d.Seq, d.Key = Missing, a.seq, string(a.key)
			d.Fields = []Field{{Path: "payload", Recorded: s.text(a.payload)}}
		default:
			d.Kind, d.Seq, d.Key = Extra, next, string(b.key)
			d.Fields = []Field{{Path: "payload", Computed: s.text(b.payload)}}
		}
		if a == nil || !a.given {
			s.add(d)
		}
	}
	return same
}

// inputOf names the input that a record of a stage that acts on the world is of.
func (s *stage) inputOf(it *item, t *open) string {
	switch {
	case t != nil:
		return t.ref()
	case s.does != nil && it.from.Journal != "":
		return refText(it.from)
	}
	return ""
}

// fields lists what two records differ in, but for masked fields of the payload.
func (s *stage) fields(a, b *item, mask []mask) (all []Field) {
	if a.typ != b.typ {
		all = append(all, Field{"type", a.typ, b.typ})
	}
	if !bytes.Equal(a.key, b.key) || (a.key == nil) != (b.key == nil) {
		all = append(all, Field{"key", string(a.key), string(b.key)})
	}
	if a.causes != b.causes {
		all = append(all, Field{"causes", a.causes, b.causes})
	}
	if a.rest != b.rest {
		all = append(all, Field{"time", a.rest, b.rest})
	}
	if !bytes.Equal(a.payload, b.payload) {
		all = append(all, s.paths("payload", a.payload, b.payload, mask)...)
	}
	return all
}

// compareState compares the changes of every table and accepts the recorded ones.
func (s *stage) compareState() error {
	recorded := map[string][]*journal.State{}
	for i := range s.p.State {
		st := &s.p.State[i]
		recorded[st.Table] = append(recorded[st.Table], st)
		s.Changes += uint64(st.Count)
	}
	same := true
	check := func(table string, now *journal.State) {
		was := recorded[table]
		delete(recorded, table)
		if s.does != nil && len(s.does.keys) > 0 {
			same = s.compareChanges(table, was, now) && same
			return
		}
		if len(was) == 1 && now != nil && was[0].Count == now.Count && bytes.Equal(was[0].Changes, now.Changes) || len(was) == 0 && now == nil {
			return
		}
		same = s.compareChanges(table, was, now) && same
	}
	for _, t := range s.node.Tables {
		if t.Changed() == 0 {
			check(t.Name(), nil)
			continue
		}
		now, err := t.Seal()
		if err != nil {
			s.add(s.differs(s.name+"#"+t.Name(), 0, "state", "", err.Error()))
			same = false
			continue
		}
		check(t.Name(), &now)
	}
	if s.end.changed {
		now := s.end.seal()
		check(plan.EndTable, &now)
	} else if s.end.ender != nil {
		check(plan.EndTable, nil)
	}
	for i := range s.p.State { // of tables that are no more
		if st := &s.p.State[i]; recorded[st.Table] != nil {
			same = s.compareChanges(st.Table, recorded[st.Table], nil) && same
			delete(recorded, st.Table)
		}
	}
	if !same {
		if err := s.revert(); err != nil {
			return err
		}
		return s.apply()
	}
	for _, t := range s.node.Tables {
		if t.Changed() > 0 {
			t.Commit(s.p.Last)
		}
	}
	if s.end.changed {
		s.end.commit(s.p.Last)
	}
	return nil
}

// compareChanges compares the changes of one table key by key and reports whether
// the computed ones can stand for the recorded ones.
func (s *stage) compareChanges(table string, recorded []*journal.State, computed *journal.State) bool {
	name := s.name + "#" + table
	was, err := changesOf(recorded...)
	if err != nil {
		s.add(s.differs(name, 0, "state", err.Error(), "changes that can be read"))
	}
	now, _ := changesOf(computed)
	asIs := len(was)
	if s.does != nil && (s.does.signals == nil || table != s.does.signals.Name()) {
		was = slices.DeleteFunc(was, func(c journal.Change) bool { return s.does.keys[string(c.Key)] })
	}
	at := map[string]int{}
	for i := range now {
		at[string(now[i].Key)] = i
	}
	same := err == nil && asIs == len(now)
	seen := make([]bool, len(now))
	for i := range was {
		a := &was[i]
		d := Difference{Stage: s.name, Journal: name, LSN: s.p.Last, Key: string(a.Key)}
		j, ok := at[string(a.Key)]
		if !ok {
			d.Kind, d.Fields = Missing, []Field{{Path: "value", Recorded: s.value(a)}}
			s.add(d)
			same = false
			continue
		}
		seen[j] = true
		same = same && i == j
		if d.Fields = s.changedFields(name, a, &now[j]); len(d.Fields) == 0 {
			continue
		}
		same = false
		d.Kind = Changed
		if d.Fields = slices.DeleteFunc(d.Fields, func(f Field) bool { return f.Path == "" }); len(d.Fields) == 0 {
			s.Masked++
			continue
		}
		s.add(d)
	}
	for j := range now {
		if !seen[j] {
			same = false
			s.add(Difference{
				Kind: Extra, Stage: s.name, Journal: name, LSN: s.p.Last, Key: string(now[j].Key),
				Fields: []Field{{Path: "value", Computed: s.value(&now[j])}},
			})
		}
	}
	return same
}

// changedFields lists what two changes of a key differ in. If only masked fields
// do, that is one Field without a path.
func (s *stage) changedFields(name string, a, b *journal.Change) (all []Field) {
	switch {
	case a.Deleted != b.Deleted:
		all = append(all, Field{"value", s.value(a), s.value(b)})
	case !bytes.Equal(a.Value, b.Value):
		if all = s.paths("value", a.Value, b.Value, s.v.masks.of(name, "")); len(all) == 0 {
			all = append(all, Field{})
		}
	}
	if a.Previous != b.Previous {
		all = append(all, Field{"previous", fmt.Sprint(a.Previous), fmt.Sprint(b.Previous)})
	}
	if !slices.Equal(a.Items, b.Items) || a.Journal != b.Journal || a.Seq != b.Seq {
		all = append(all, Field{"causes", changeCauses(a), changeCauses(b)})
	}
	return all
}

func changeCauses(c *journal.Change) string {
	if c.Journal != "" {
		return causesText([]plan.Origin{{Journal: c.Journal, Seq: c.Seq}})
	}
	return fmt.Sprint("items ", c.Items)
}

func (s *stage) value(c *journal.Change) string {
	if c.Deleted {
		return "deleted"
	}
	return s.text(c.Value)
}

func changesOf(states ...*journal.State) (all []journal.Change, err error) {
	for _, st := range states {
		if st == nil {
			continue
		}
		var c journal.Change
		cs := journal.NewChanges(st)
		for cs.Next(&c) {
			k := c
			k.Key, k.Value, k.Items = bytes.Clone(c.Key), bytes.Clone(c.Value), slices.Clone(c.Items)
			all = append(all, k)
		}
		if err := cs.Err(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// apply takes the recorded changes of state. A table that cannot take them is
// the end of the stage's verification.
func (s *stage) apply() error {
	if s.does != nil {
		s.does.kept = nil
	}
	for i := range s.p.State {
		st := &s.p.State[i]
		changes, err := changesOf(st)
		if err != nil {
			s.skip(err.Error())
		}
		for k := range changes {
			c := &changes[k]
			if st.Table == plan.EndTable {
				s.end.apply(c, s.p.Last)
				continue
			}
			if err := s.applyTo(st.Table, c); err != nil {
				s.skip(err.Error())
			}
		}
	}
	return nil
}

func (s *stage) applyTo(table string, c *journal.Change) error {
	for _, t := range s.node.Tables {
		if t.Name() == table {
			return t.Apply(*c, s.p.Last, s.p.Epoch)
		}
	}
	return fmt.Errorf("the stage has no table %s any more", strings.TrimPrefix(table, "."))
}
