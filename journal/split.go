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
		p.Stage, p.Number, p.Code, p.Time, p.Origin = t.Stage, t.Number+uint64(i), t.Code, t.Time, t.Origin
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
	var (
		own   wire.Digest // of o's records so far
		first int         // the part that holds o's first record
		cur   *Output
		rec   Record
		item  = -1
		rs    = NewRecords(o)
	)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			break
		}
		size := len(rec.Payload) + len(rec.Key) + 16
		if fresh := s.reserve(size); fresh || cur == nil {
			if cur == nil {
				first = len(s.parts) - 1
			}
			last := &s.parts[len(s.parts)-1]
			last.Outputs = append(last.Outputs, Output{Port: o.Port, Type: o.Type, First: seq, Journals: o.Journals})
			cur, item = &last.Outputs[len(last.Outputs)-1], -1
			cur.Records = make([]byte, 0, min(len(o.Records), size+max(s.room, 0)))
		}
		cur.Records, item = AppendRecord(cur.Records, item, &rec)
		cur.Count++
		own = own.Add(seq, wire.Checksum(rec.Payload))
		cur.Digest = uint64(own)
	}
	if err := rs.Err(); err != nil || cur == nil {
		return err
	}
	// Only now is it known what the journal's digest was before o. Each part from
	// first on ends with an output of o.
	before := o.Digest - uint64(own)
	for i := range s.parts[first:] {
		outputs := s.parts[first+i].Outputs
		outputs[len(outputs)-1].Digest += before
	}
	return nil
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
