package history

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// states are the state entries that a record of p follows from: the one of its key,
// or those that the same inputs changed.
func (w *tracer) states(p *journal.Placed, rec *journal.Record, out *journal.Output, items []int, depth int) (causes []Cause, err error) {
	at := moment{items: items, shown: rec.FromKey && len(rec.Refs) > 0 && !acts(p.Stage, rec, out)}
	found := false
	err = changesOf(p, func(table string, c *journal.Change) error {
		ofKey := rec.FromKey && bytes.Equal(c.Key, rec.Key)
		if !ofKey && (rec.FromKey || !meet(c.Items, items)) {
			return nil
		}
		found = found || ofKey
		change, left, err := w.upTo(p, table, c, at, depth)
		if err == nil && (change != nil || left != "") {
			causes = append(causes, Cause{Kind: CauseState, Change: change, Left: left, Value: unless(change != nil, text(c.Key))})
		}
		return err
	})
	if err == nil && rec.FromKey && !found {
		return w.emitted(p, rec.Key, at, depth)
	}
	return causes, err
}

func unless(no bool, s string) string {
	if no {
		return ""
	}
	return s
}

// acts reports whether a record refers to what its stage did to the world: then the
// other records it refers to are not what it shows of its state.
func acts(stage string, rec *journal.Record, out *journal.Output) bool {
	return slices.ContainsFunc(rec.Refs, func(ref journal.Ref) bool {
		return ref.Journal < len(out.Journals) && out.Journals[ref.Journal] == stage+"."+journal.PortFx
	})
}

// A moment is when, in a transition, a record was emitted: after the last of the
// items that it follows from.
type moment struct {
	items []int
	shown bool // the record names the records that it shows of the state
}

// within returns those of a change's items that the record can follow from.
func (m moment) within(of []int) []int {
	if len(m.items) == 0 {
		return of
	}
	last := slices.Max(m.items)
	return slices.DeleteFunc(slices.Clone(of), func(i int) bool { return i > last })
}

// meet reports whether two lists of items have one in common.
func meet(a, b []int) bool {
	return slices.ContainsFunc(a, func(x int) bool { return slices.Contains(b, x) })
}

// upTo describes the state entry that change c in p made, as it was at a moment
// within p: nil if there was none.
func (w *tracer) upTo(p *journal.Placed, table string, c *journal.Change, at moment, depth int) (out *Change, left string, err error) {
	if at.shown {
		return &Change{
			Table: table, Key: text(c.Key), LSN: p.Last, At: p.Time, Deleted: c.Deleted,
			After: text(w.run.shown("", c.Value)), Later: len(c.Items) - len(at.within(c.Items)),
		}, "", nil
	}
	if len(at.within(c.Items)) > 0 || c.Journal != "" {
		out, err = w.change(p, table, c, at, depth, 1)
		return out, "", err
	}
	if c.Previous == 0 { // it was made after the moment
		return nil, "", nil
	}
	return w.changeAt(p.Stage, table, bytes.Clone(c.Key), c.Previous, depth, 1)
}

// change describes a change in p and the chain before it. nth counts from the
// newest.
func (w *tracer) change(p *journal.Placed, table string, c *journal.Change, at moment, depth, nth int) (*Change, error) {
	out := &Change{Table: table, Key: text(c.Key), LSN: p.Last, At: p.Time, Deleted: c.Deleted, After: text(w.run.shown("", c.Value))}
	key, previous, items := bytes.Clone(c.Key), c.Previous, slices.Clone(c.Items)
	if nth == 1 {
		items = at.within(items)
		out.Later = len(c.Items) - len(items)
	}
	list := inputs{tracer: w, depth: depth}
	if c.Journal != "" {
		if err := list.ended(p, refOf(c.Journal, c.Seq)); err != nil {
			return nil, err
		}
	}
	causes, err := w.items(p, items, depth)
	if err != nil {
		return nil, err
	}
	out.Causes = append(list.causes(), causes...)
	switch {
	case previous == 0:
		return out, nil
	case previous >= p.First:
		return nil, &journal.FrameError{LSN: p.Last, Err: fmt.Errorf("the change before that of key %s is at frame %d, not before it", text(key), previous)}
	case nth >= w.limits.Chain:
		out.Left = "earlier changes: beyond the limit"
		return out, nil
	}
	out.Before, out.Left, err = w.changeAt(p.Stage, table, key, previous, depth, nth+1)
	return out, err
}

// ended adds an accepted input that ended in p, or before, and the signals that woke
// it.
func (l *inputs) ended(p *journal.Placed, input event.Ref) error {
	if err := l.add(input.Journal(), input.Seq); err != nil {
		return err
	}
	f := facts{tracer: l.tracer, stage: p.Stage, inputs: []event.Ref{input}}
	for i := range p.Outputs {
		if o := &p.Outputs[i]; o.Port == journal.PortFx && o.Count > 0 {
			f.seqs = []uint64{o.First + uint64(o.Count) - 1}
		}
	}
	if at := l.state.Stages[p.Stage]; f.seqs == nil && at != nil { // its end was recorded before
		f.seqs = []uint64{at.Ports[journal.PortFx].Count}
	}
	calls, _, err := f.calls()
	if err != nil {
		return err
	}
	for i := range calls {
		if err := l.signal(&calls[i]); err != nil {
			return err
		}
	}
	return nil
}

// changeAt describes the change of a key at lsn, or says why it cannot. Nothing
// follows from what was before a deletion.
func (w *tracer) changeAt(stage, table string, key []byte, lsn journal.LSN, depth, nth int) (out *Change, left string, err error) {
	p, err := journal.TransitionAt(w.run.log, lsn)
	if errors.Is(err, journal.ErrTrimmed) {
		return nil, "retention has removed earlier changes", nil
	}
	if err != nil {
		return nil, "", err
	}
	if p.Stage == stage {
		var last *journal.Change // of the key in p; a part may follow on another
		err = changesOf(p, func(name string, c *journal.Change) error {
			if name == table && bytes.Equal(c.Key, key) {
				copied := *c
				copied.Items = slices.Clone(c.Items)
				last = &copied
			}
			return nil
		})
		if err == nil && last != nil {
			if last.Deleted {
				return &Change{Table: table, Key: text(key), LSN: p.Last, At: p.Time, Deleted: true}, "", nil
			}
			out, err = w.change(p, table, last, moment{}, depth, nth)
			return out, "", err
		}
	}
	if err == nil {
		err = &journal.FrameError{LSN: lsn, Err: fmt.Errorf("the change of key %s of table %s of stage %s is not there", text(key), table, stage)}
	}
	return nil, "", err
}
