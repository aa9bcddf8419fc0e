package verify

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/weirflow/weir/internal/plan"
)

// A spring is a stage that makes signals of the records of a journal, and the edge
// by which a stage that takes signals reads these again.
type spring struct {
	plan.Signaller
	edge *edge
}

// hearSignals keeps the signals that came in the transition and gives those away
// that it woke an input with, in the table that the stage has for that.
func (s *stage) hearSignals(ctx context.Context) error {
	w := s.does
	if w.signals == nil {
		return nil
	}
	s.node.Turn.Base, s.node.Turn.Item = 0, -1
	for i := range w.said {
		word := &w.said[i]
		f := word.what()
		switch {
		case word.t == nil:
			if err := s.compareSignal(ctx, word); err != nil {
				return err
			}
			signal := plan.Signal{Name: f.Effect, Key: f.Key, Payload: f.Result, ID: f.ID, At: f.At, From: word.from}
			if err := plan.KeepSignal(w.signals, f.seq, &signal); err != nil {
				return givenError{err.Error()}
			}
			if w.kept != nil {
				w.kept[signal.Address()] = append(w.kept[signal.Address()], f.seq)
			}
		case f.Type == plan.EntryWoken && f.ID != "":
			if err := s.takeSignal(word); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeSignal has an input take the signal that woke it: the oldest for its wait.
func (s *stage) takeSignal(w *saying) error {
	f := w.what()
	signal := plan.Signal{Name: f.Effect, Key: f.Key}
	address := signal.Address()
	kept, err := s.does.keptFor(address)
	if err != nil {
		return givenError{err.Error()}
	}
	if len(kept) == 0 {
		d := s.about(w.t, Inconsistent, f.seq, f.Step)
		d.Fields = []Field{{"id", f.ID, "no signal for " + address + " is kept"}}
		s.add(d)
		return nil
	}
	row := func(seq uint64) *plan.Kept {
		k := s.does.signals.Peek(plan.KeptRow(seq))
		if k == nil { // two signals are said to have that number
			k = &plan.Kept{}
		}
		return k
	}
	at := max(0, slices.IndexFunc(kept, func(seq uint64) bool { return row(seq).ID == f.ID }))
	var fields []Field
	if first := row(kept[0]); first.ID != f.ID {
		fields = append(fields, Field{"id", f.ID, first.ID})
	} else if !bytes.Equal(first.Payload, f.Result) {
		fields = s.paths("result", f.Result, first.Payload, nil)
	}
	if len(fields) > 0 {
		d := s.about(w.t, Changed, f.seq, f.Step)
		d.Fields = fields
		s.add(d)
	}
	taken := kept[at]
	s.does.kept[address] = slices.Delete(kept, at, at+1)
	if err := plan.TakeSignal(s.does.signals, taken); err != nil {
		return givenError{err.Error()}
	}
	return nil
}

// keptFor returns the numbers of the signals that are kept for an address, the
// oldest first.
func (w *performer) keptFor(address string) ([]uint64, error) {
	if w.kept == nil {
		w.kept = map[string][]uint64{}
		err := plan.KeptSignals(w.signals, func(seq uint64, k *plan.Kept) {
			w.kept[k.Address()] = append(w.kept[k.Address()], seq)
		})
		if err != nil {
			return nil, err
		}
	}
	return w.kept[address], nil
}

// compareSignal holds a signal that was made of a record against what is made of
// the record now.
func (s *stage) compareSignal(ctx context.Context, w *saying) error {
	if w.from.Journal == "" || s.v.replaying {
		return nil // it came from outside, or is as it was
	}
	f := w.what()
	differs := func(fields ...Field) {
		d := s.differs(s.fxName(), f.seq, "", "", "")
		d.Fields, d.Input, d.Key = fields, refText(w.from), f.Key
		s.add(d)
	}
	for _, g := range s.does.springs {
		if g.edge.journal != w.from.Journal {
			continue
		}
		h, err := g.edge.take(ctx, w.from.Seq)
		if err != nil {
			return err
		}
		if h.batch.Values == nil {
			return givenError{fmt.Sprintf("records of %s cannot be decoded", w.from.Journal)}
		}
		now, err := g.Signal(h.batch, int(w.from.Seq-h.raw.First))
		if err == nil && now.Name != f.Effect {
			continue // another stage makes it
		}
		switch {
		case err != nil:
			differs(Field{"signal", f.Effect, err.Error()})
		case now.ID != f.ID:
			differs(Field{"id", f.ID, now.ID})
		case now.Key != f.Key:
			differs(Field{"key", f.Key, now.Key})
		case !bytes.Equal(now.Payload, f.Result):
			differs(s.paths("result", f.Result, now.Payload, s.v.masks.of(s.fxName(), "result"))...)
		}
		return nil
	}
	differs(Field{"causes", refText(w.from), "no stage makes signals " + f.Effect + " of it"})
	return nil
}
