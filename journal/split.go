package journal

import (
	"fmt"

	"github.com/weirflow/weir/internal/wire"
)

// split cuts a large transition into parts that each fit a frame, unless a
// single record does not. What was consumed goes with the first part, how the
// stage then stands with the last. Each part's Output begins as if it were the
// first of its transition, so that parts are decoded independently.
func split(t *Transition) ([]Transition, error) {
	s := splitter{t: t, room: PartBytes, left: PartRecords}
	s.parts = append(s.parts, Transition{Consumed: t.Consumed, Position: t.Position})
	for i := range t.Outputs {
		if err := s.output(&t.Outputs[i]); err != nil {
			return nil, err
		}
	}
	for i := range t.State {
		if err := s.state(&t.State[i]); err != nil {
			return nil, err
		}
	}
	for i := range t.Open {
		s.reserve(48 + len(t.Open[i].Data))
		last := &s.parts[len(s.parts)-1]
		last.Open = append(last.Open, t.Open[i])
	}
	last := &s.parts[len(s.parts)-1]
	last.Timers, last.Ends, last.Marks, last.Check = t.Timers, t.Ends, t.Marks, t.Check
	if len(s.parts) > MaxParts {
		return nil, fmt.Errorf("%w: %d parts, limit %d", ErrTooLarge, len(s.parts), MaxParts)
	}
	for i := range s.parts {
		p := &s.parts[i]
		p.Stage, p.Number, p.Code, p.Time = t.Stage, t.Number+uint64(i), t.Code, t.Time
	}
	return s.parts, nil
}

type splitter struct {
	t     *Transition
	parts []Transition
	room  int // bytes left in the last part
	left  int // records left in the last part
}

// reserve takes room for one more entry, in a new part if need be.
func (s *splitter) reserve(size int) (fresh bool) {
	if s.left == 0 || (s.room < size && s.room < PartBytes) {
		s.parts = append(s.parts, Transition{})
		s.room, s.left = PartBytes, PartRecords
		fresh = true
	}
	s.room -= size
	s.left--
	return fresh
}

func (s *splitter) output(o *Output) error {
	sum, err := sumBefore(o)
	if err != nil {
		return err
	}
	var (
		cur  *Output
		rec  Record
		item = -1
		rs   = NewRecords(o)
	)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			return rs.Err()
		}
		if s.reserve(len(rec.Payload)+len(rec.Key)+16) || cur == nil {
			last := &s.parts[len(s.parts)-1]
			last.Outputs = append(last.Outputs, Output{Port: o.Port, Type: o.Type, First: seq, Journals: o.Journals})
			cur, item = &last.Outputs[len(last.Outputs)-1], -1
		}
		cur.Records, item = AppendRecord(cur.Records, item, &rec)
		cur.Count++
		sum = sum.Add(seq, wire.Checksum(rec.Payload))
		cur.Digest = uint64(sum)
	}
}

// sumBefore is the digest of o's journal before o.
func sumBefore(o *Output) (wire.Digest, error) {
	var (
		own wire.Digest
		rec Record
		rs  = NewRecords(o)
	)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			return wire.Digest(o.Digest) - own, rs.Err()
		}
		own = own.Add(seq, wire.Checksum(rec.Payload))
	}
}

func (s *splitter) state(st *State) error {
	var (
		cur *State
		c   Change
		cs  = NewChanges(st)
	)
	for cs.Next(&c) {
		if s.reserve(len(c.Key)+len(c.Value)+16) || cur == nil {
			last := &s.parts[len(s.parts)-1]
			last.State = append(last.State, State{Table: st.Table})
			cur = &last.State[len(last.State)-1]
		}
		cur.Changes = AppendChange(cur.Changes, &c)
		cur.Count++
	}
	return cs.Err()
}
