package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// What a Restorer is given at most: so many entries, out of so many frames.
const (
	latestEntries = 1000
	latestFrames  = 20_000
)

// restore takes in what an earlier epoch left open.
func (w *performer) restore() error {
	at := w.at
	if at == nil {
		return nil
	}
	w.next = max(at.NextOpen, 1)
	copies := w.s.run.c.Log.Manifest().Redrive != nil
	for i := range at.Open {
		o := &at.Open[i]
		t := &task{in: plan.Accepted{
			ID: o.ID, Input: event.RecordID{Epoch: o.Epoch, Journal: o.Journal, Seq: o.Seq},
			Run: w.s.run.c.RootRun, Stage: w.s.run.manifest.AcceptedBy(w.s.name, o.ID), Resumed: true,
		}}
		var err error
		if t.in.Data, err = w.renew(o); err != nil {
			if _, ok := errors.AsType[*payload.UpcastError](err); !ok {
				return err
			}
			t.in.Data, t.failure, t.state = nil, unread(err), taskAnswered
			w.add(t)
			continue
		}
		for i, u := range o.Updates {
			seq, e, err := plan.ParseUpdate(u)
			if err != nil {
				return fmt.Errorf("open work of %s: %w", t.ref(), err)
			}
			if i < o.Foreign { // a record of another stage's port
				seq = 0
			}
			t.notes = append(t.notes, note{[]plan.Entry{e}, seq})
			t.late = t.late || e.Type == plan.EntryParked
		}
		if e := t.last(); e != nil && e.Type == plan.EntryParked {
			t.state = taskParked
		}
		if k := w.s.inputOf(o.Journal); copies && k >= 0 {
			if t.in.Original, err = w.s.inputs[k].originalOf(o.Seq); err != nil {
				return err
			}
		}
		t.in.Key, err = w.p.Key(t.in.Data)
		if _, unreadable := errors.AsType[*plan.UnreadableError](err); err != nil && !unreadable { // of which no key is known
			return fmt.Errorf("key of %s, which was accepted by an earlier epoch: %w", t.ref(), err)
		}
		w.add(t)
	}
	w.took.add(at.Taken...)
	w.at = nil
	w.publish()
	if w.signals != nil {
		if err := w.signals.restore(); err != nil {
			return err
		}
	}
	if r, ok := w.p.(plan.Restorer); ok && w.fx.count > 0 {
		latest, err := w.s.run.latest(w.s.name, w.fx.count)
		if err != nil {
			return fmt.Errorf("read the latest entries of %s.%s: %w", w.s.name, journal.PortFx, err)
		}
		r.Restore(latest)
	}
	return nil
}

// renew returns the data of an accepted input as it would be accepted now.
func (w *performer) renew(o *recovery.Open) ([]byte, error) {
	r, ok := w.p.(plan.Renewer)
	if !ok {
		return o.Data, nil
	}
	data, err := r.Renew(o.Data, o.Wrote)
	if err != nil {
		return nil, fmt.Errorf("what an earlier epoch accepted: %w", err)
	}
	return data, nil
}

// latest returns the newest of the first count entries that a stage recorded,
// oldest first. It reads a bounded part of the log.
func (r *Run) latest(stage string, count uint64) (all []plan.Entry, err error) {
	if count == 0 {
		return nil, nil
	}
	log := r.c.Log
	first := count - min(count, latestEntries) + 1
	from, err := log.Find(stage+"."+journal.PortFx, first)
	if err != nil {
		return nil, err
	}
	if head := log.Head(); head > latestFrames {
		from = max(from, head-latestFrames)
	}
	in, err := log.Read(from)
	if err != nil {
		return nil, err
	}
	trs := journal.Transitions(in)
	defer func() { err = errors.Join(err, trs.Close()) }()
	var p journal.Placed
	for {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if p.Stage != stage || o.Port != journal.PortFx || o.First+uint64(o.Count) <= first {
				continue
			}
			if all, err = appendEntries(all, o, first); err != nil {
				return nil, err
			}
			if o.First+uint64(o.Count) > count {
				return all, nil
			}
		}
	}
}

// appendEntries appends the entries of an output from sequence first on.
func appendEntries(dst []plan.Entry, o *journal.Output, first uint64) ([]plan.Entry, error) {
	var rec journal.Record
	rs := journal.NewRecords(o)
	for {
		seq, ok := rs.Next(&rec)
		if !ok {
			return dst, rs.Err()
		}
		if seq < first {
			continue
		}
		e, err := plan.ParseEntry(o.Type, slices.Clone(rec.Payload))
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", seq, err)
		}
		dst = append(dst, e)
	}
}
