package verify

import (
	"bytes"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An end is how far a stage has emitted what the end of its input brings: the
// engine keeps the last key in a table of its own.
type end struct {
	ender     plan.Ender // nil if the stage emits nothing at its end
	last, was []byte     // the last key, now and before the transition in hand; nil before the first
	changed   bool
	placed    journal.LSN
}

func (e *end) revert() { e.last, e.changed = e.was, false }

func (e *end) commit(lsn journal.LSN) { e.was, e.placed, e.changed = e.last, lsn, false }

// seal returns the change of the table, as the engine writes it.
func (e *end) seal() journal.State {
	c := journal.Change{Key: []byte(plan.EndKey), Value: e.last, Previous: e.placed}
	return journal.State{Table: plan.EndTable, Count: 1, Changes: journal.AppendChange(nil, &c)}
}

// apply takes the recorded change.
func (e *end) apply(c *journal.Change, lsn journal.LSN) {
	e.last = append([]byte{}, c.Value...)
	e.commit(lsn)
}

// emitsAtEnd reports whether the transition in hand is one of those that follow
// from the end of the input.
func (s *stage) emitsAtEnd() bool {
	if s.end.ender == nil {
		return false
	}
	for i := range s.p.Consumed {
		if s.p.Consumed[i].Kind == journal.Run {
			return false
		}
	}
	return s.recordedEnd() != nil || s.recorded() > 0
}

// recordedEnd returns the last key that the transition emitted, nil if it does
// not say.
func (s *stage) recordedEnd() []byte {
	var c journal.Change
	for i := range s.p.State {
		if st := &s.p.State[i]; st.Table == plan.EndTable && journal.NewChanges(st).Next(&c) {
			return append([]byte{}, c.Value...)
		}
	}
	return nil
}

// recorded is how many records the transition wrote to data ports.
func (s *stage) recorded() (n int) {
	for i := range s.p.Outputs {
		for _, p := range s.ports {
			if p.Name == s.p.Outputs[i].Port {
				n += s.p.Outputs[i].Count
			}
		}
	}
	return n
}

// emit emits up to the key with which the transition ended. If there is no such
// key any more, it emits as many records.
func (s *stage) emit() error {
	for i := range s.p.Consumed {
		s.items++
		if c := &s.p.Consumed[i]; c.Kind == journal.Ended {
			if e := s.input(c.Journal); e != nil {
				e.saw = c.End
			}
		}
	}
	to := s.recordedEnd()
	if found, err := s.emitUntil(func() bool { return bytes.Equal(s.end.last, to) }); err != nil || found {
		return err
	}
	if err := s.drop(); err != nil {
		return err
	}
	want := s.recorded()
	_, err := s.emitUntil(func() bool { return s.emitted() >= want })
	return err
}

// emitUntil emits key by key until enough; found is false if there is nothing
// more before that.
func (s *stage) emitUntil(enough func() bool) (found bool, err error) {
	for {
		s.node.Turn.Base, s.node.Turn.Item = 0, -1
		before := s.emitted()
		last, done, f := s.end.ender.AtEnd(s.end.last, func() bool { return true })
		if f != nil {
			return false, givenError{"what the end brings cannot be emitted: " + f.Err.Error()}
		}
		if s.emitted() > before {
			s.end.last, s.end.changed = append([]byte{}, last...), true
		}
		switch {
		case s.end.changed && enough():
			return true, nil
		case done:
			return false, nil
		}
	}
}

func (s *stage) emitted() (n int) {
	for _, p := range s.ports {
		n += p.Writer.Len()
	}
	return n
}

// atEnds looks, when the stage has ended for good, whether there is more to emit
// than was.
func (s *stage) atEnds() error {
	natural := false
	for _, e := range s.p.Ends {
		natural = natural || e.Kind == journal.Natural
	}
	if !natural {
		return nil
	}
	for _, e := range s.inputs {
		if e.saw != journal.Natural && !e.foreign && s.v.reads(s.name, e.journal, s.p.Epoch) {
			s.add(Difference{
				Kind: Inconsistent, Stage: s.name, Journal: e.journal, LSN: s.p.Last,
				Fields: []Field{{Path: "end", Recorded: "the stage has ended", Computed: "its input has not"}},
			})
		}
	}
	if s.end.ender == nil {
		return nil
	}
	if _, err := s.emitUntil(func() bool { return s.emitted() >= s.max }); err != nil {
		return nil //nolint:nilerr // the run would not have ended; its failure is on record
	}
	for _, p := range s.ports {
		if p.Writer.Len() == 0 {
			continue
		}
		out, _ := p.Writer.Seal(p.count+1, p.digest)
		s.compareRecords(p, nil, &out)
	}
	return s.drop()
}
