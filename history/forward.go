package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

type (
	stateKey struct{ stage, table, key string }
	workID   struct {
		stage string
		id    uint64
	}
	signalID struct{ stage, id string }
	workOf   struct {
		stage string
		input event.Ref
	}
)

// A forward pass over the log with what is known to follow from one record.
type forward struct {
	run     *Run
	state   *recovery.State
	limit   int
	marked  map[string]map[uint64]bool // by journal
	keys    map[stateKey][]event.Ref   // state that followed, and from which records
	signals map[signalID][]event.Ref   // kept signals that followed, and from which records
	woken   map[workOf][]event.Ref     // inputs that such a signal woke
	work    map[workID]event.Ref       // accepted and not finished
	acts    map[workOf]*execution      // what was done for a marked record
	due     int                        // marked records that readers have yet to consume or settle
	later   bool                       // a reader may name a marked record as a cause long after it consumed it
	out     *Impact
}

// mark notes that a record follows, and counts who is going to read it.
func (f *forward) mark(ref event.Ref) {
	name := ref.Journal()
	if f.marked[name] == nil {
		f.marked[name] = map[uint64]bool{}
	}
	if f.marked[name][ref.Seq] {
		return
	}
	f.marked[name][ref.Seq] = true
	for _, s := range f.state.Stages {
		if c, ok := s.Cursors[name]; ok && c.Seq >= ref.Seq {
			f.later = f.later || !f.run.forgets(s.Name)
			f.due++
			if s.Receipted > 0 {
				f.due++ // and settled
			}
		}
	}
}

// forgets tells whether a stage is known to name a record as a cause only in the
// transition that consumed it, or while the record is open work.
func (r *Run) forgets(stage string) bool {
	s, ok := r.definition(stage)
	return ok && (s.Kind == topology.Transform || s.Kind == topology.Sink || s.Kind == topology.Effect)
}

func (f *forward) read(ctx context.Context, from journal.LSN) (err error) {
	if from > f.run.log.Head() {
		return nil
	}
	in, err := f.run.log.Read(from)
	if err != nil {
		return err
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	var p journal.Placed
	for f.due > 0 || f.later || len(f.keys)+len(f.work)+len(f.signals)+len(f.woken) > 0 {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := ts.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := f.transition(&p); err != nil {
			return err
		}
		if len(f.out.Effects) >= f.limit {
			f.out.Left = fmt.Sprintf("more than %d effects", f.limit)
			return nil
		}
	}
	return nil
}

// transition finds what in p follows from marked records.
func (f *forward) transition(p *journal.Placed) error {
	items := f.consumed(p)
	for i := range p.Open {
		o := &p.Open[i]
		id := workID{p.Stage, o.ID}
		switch {
		case o.Op == journal.OpenAdd && f.marked[o.Journal][o.Seq]:
			f.work[id] = refOf(o.Journal, o.Seq)
		case o.Op == journal.OpenClose:
			delete(f.work, id)
		}
	}
	touched, err := f.touched(p, items)
	if err != nil {
		return err
	}
	for i := range p.Outputs {
		if err := f.output(p, &p.Outputs[i], items, touched); err != nil {
			return err
		}
	}
	for _, t := range touched {
		if t.effect != nil {
			f.out.Effects = append(f.out.Effects, *t.effect)
		}
		if t.of = union(t.before, t.of); len(t.of) > 0 && !t.deleted {
			f.keys[t.key] = t.of
		} else {
			delete(f.keys, t.key)
		}
	}
	return nil
}

// A touch is a change of a key within a transition.
type touch struct {
	key     stateKey
	deleted bool
	items   []int       // by which it was changed
	before  []event.Ref // marked records that it followed from before
	of      []event.Ref // and those that changed it
	effect  *Effect     // what is told of that
}

// at is what the key followed from once it was changed by items up to last; -1 means
// by all.
func (t *touch) at(items map[int]event.Ref, last int) []event.Ref {
	if last < 0 {
		return union(t.before, t.of)
	}
	var upTo []int
	for _, i := range t.items {
		if i <= last {
			upTo = append(upTo, i)
		}
	}
	return union(t.before, refsOf(items, upTo))
}

// touched lists the changes of state in p that follow from marked records, or whose
// keys did before.
func (f *forward) touched(p *journal.Placed, items map[int]event.Ref) (all []*touch, err error) {
	err = changesOf(p, func(table string, c *journal.Change) error {
		t := &touch{key: stateKey{p.Stage, table, string(c.Key)}, deleted: c.Deleted, items: slices.Clone(c.Items), of: refsOf(items, c.Items)}
		if c.Journal != "" {
			t.of = f.ofInput(p.Stage, refOf(c.Journal, c.Seq))
		}
		if t.before = f.keys[t.key]; len(t.before)+len(t.of) > 0 {
			all = append(all, t)
		}
		if len(t.of) > 0 {
			t.effect = &Effect{
				Kind: EffectState, Stage: p.Stage, LSN: p.Last, Of: t.of, Table: table, Key: text(c.Key), Deleted: c.Deleted, Value: text(f.run.shown("", c.Value)),
			}
		}
		return nil
	})
	return all, err
}

// ofInput is what an accepted input stands for: itself if it is marked, and what the
// signals followed from that woke it.
func (f *forward) ofInput(stage string, input event.Ref) []event.Ref {
	of := f.woken[workOf{stage, input}]
	if f.marked[input.Journal()][input.Seq] {
		of = union(of, []event.Ref{input})
	}
	return of
}

// consumed maps the items of p that are marked records to them.
func (f *forward) consumed(p *journal.Placed) map[int]event.Ref {
	var items map[int]event.Ref
	at := uint64(0)
	for i := range p.Consumed {
		c := &p.Consumed[i]
		if marks := f.marked[c.Journal]; c.Kind == journal.Run && len(marks) > 0 {
			stage, port := split(c.Journal)
			for seq := range marks {
				if seq < c.From || seq > c.To {
					continue
				}
				if items == nil {
					items = map[int]event.Ref{}
				}
				items[int(at+seq-c.From)] = event.Ref{Stage: stage, Port: port, Seq: seq}
				f.due--
			}
		}
		at += c.Items()
	}
	return items
}

// output finds records of o that follow.
func (f *forward) output(p *journal.Placed, o *journal.Output, items map[int]event.Ref, touched []*touch) error {
	switch {
	case o.Type == evidence.TypeReceipt:
		return f.receipt(p, o)
	case o.Port == journal.PortSys:
		return nil
	case o.Port == journal.PortFx && o.Type == plan.EntrySignal:
		return f.signalled(p, o)
	case o.Port == journal.PortFx:
		return f.facts(p, o)
	case len(items) == 0 && !f.refers(p.Stage, o) && !f.remembers(p.Stage) && len(touched) == 0:
		return nil
	}
	_, err := within(p, p.Stage+"."+o.Port, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		if e.out != o {
			return true
		}
		of := refsOf(items, e.rec.Items)
		for _, ref := range e.rec.Refs {
			if ref.Journal < len(o.Journals) {
				of = union(of, f.ofInput(p.Stage, refOf(o.Journals[ref.Journal], ref.Seq)))
			}
		}
		of = union(of, f.ofState(p, e, items, touched))
		if len(of) > 0 {
			rec := f.run.record(e)
			f.out.Effects = append(f.out.Effects, Effect{Kind: EffectRecord, Stage: p.Stage, LSN: p.Last, Of: of, Record: &rec})
			f.mark(rec.Ref)
		}
		return len(f.out.Effects) < f.limit
	})
	return err
}

// ofState is what a record follows from by way of state; see tracer.states.
func (f *forward) ofState(p *journal.Placed, e entry, items map[int]event.Ref, touched []*touch) (of []event.Ref) {
	if e.rec.FromKey && len(e.rec.Refs) > 0 && !acts(p.Stage, e.rec, e.out) {
		return nil // it names what it shows
	}
	last := -1
	if len(e.rec.Items) > 0 {
		last = slices.Max(e.rec.Items)
	}
	changed := false
	for _, t := range touched {
		ofKey := e.rec.FromKey && t.key.key == string(e.rec.Key)
		changed = changed || ofKey
		if ofKey || !e.rec.FromKey && meet(t.items, e.rec.Items) {
			of = union(of, t.at(items, last))
		}
	}
	if changed || !e.rec.FromKey {
		return of
	}
	for k, refs := range f.keys {
		if k.stage == p.Stage && k.key == string(e.rec.Key) {
			of = union(of, refs)
		}
	}
	return of
}

// signalled finds signals that were made of marked records.
func (f *forward) signalled(p *journal.Placed, o *journal.Output) error {
	var parse error
	_, err := within(p, p.Stage+"."+o.Port, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		from, ok := aboutWhich(e)
		if e.out != o || !ok || !f.marked[from.Journal()][from.Seq] {
			return true
		}
		var fact plan.Entry
		if fact, parse = fxEntry(e); parse != nil {
			return false
		}
		f.signals[signalID{p.Stage, fact.ID}] = []event.Ref{from}
		f.out.Effects = append(f.out.Effects, Effect{Kind: EffectSignal, Stage: p.Stage, LSN: p.Last, Of: []event.Ref{from}, Signal: fact.Effect, Key: fact.Key})
		return true
	})
	return cmp.Or(err, parse)
}

// facts finds what was done for marked records.
func (f *forward) facts(p *journal.Placed, o *journal.Output) error {
	var parse error
	_, err := within(p, p.Stage+"."+o.Port, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		if e.out != o {
			return true
		}
		input, ok := aboutWhich(e)
		if !ok || len(f.ofInput(p.Stage, input)) == 0 && len(f.signals) == 0 {
			return true
		}
		var fact plan.Entry
		if fact, parse = fxEntry(e); parse != nil {
			return false
		}
		id := workOf{p.Stage, input}
		if fact.Type == plan.EntryWoken {
			if of := f.signals[signalID{p.Stage, fact.ID}]; len(of) > 0 {
				f.woken[id] = union(f.woken[id], of)
			}
			delete(f.signals, signalID{p.Stage, fact.ID})
		}
		of := f.ofInput(p.Stage, input)
		if len(of) == 0 {
			return true
		}
		x := f.acts[id]
		if x == nil {
			x = f.run.execution(p.Stage, input)
			f.acts[id] = x
		}
		known := len(x.calls)
		x.take(e.seq, &fact, f.run.code(p))
		for _, c := range x.calls[known:] {
			f.out.Effects = append(f.out.Effects, Effect{Kind: EffectCall, Stage: p.Stage, LSN: p.Last, Of: of, Call: c})
		}
		return true
	})
	return cmp.Or(err, parse)
}

// receipt finds receipts for marked records.
func (f *forward) receipt(p *journal.Placed, o *journal.Output) error {
	var parse error
	_, err := within(p, p.Stage+"."+o.Port, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		if e.out != o {
			return true
		}
		var rc evidence.Receipt
		if rc, parse = evidence.Parse[evidence.Receipt](e.rec.Payload); parse != nil {
			return false
		}
		var of []event.Ref
		stage, port := split(rc.Journal)
		for seq := range f.marked[rc.Journal] {
			if seq >= rc.From && seq <= rc.To {
				of = append(of, event.Ref{Stage: stage, Port: port, Seq: seq})
			}
		}
		if len(of) > 0 {
			slices.SortFunc(of, compareRefs)
			f.due -= len(of)
			rec := f.run.record(e)
			f.out.Effects = append(f.out.Effects, Effect{Kind: EffectReceipt, Stage: p.Stage, LSN: p.Last, Of: of, Record: &rec, Status: rc.Status})
		}
		return true
	})
	return cmp.Or(err, parse)
}

// refers reports whether records of o may refer to what is marked, or woken.
func (f *forward) refers(stage string, o *journal.Output) bool {
	if slices.ContainsFunc(o.Journals, func(j string) bool { return len(f.marked[j]) > 0 }) {
		return true
	}
	for w := range f.woken {
		if w.stage == stage {
			return true
		}
	}
	return false
}

func (f *forward) remembers(stage string) bool {
	for k := range f.keys {
		if k.stage == stage {
			return true
		}
	}
	return false
}

// finish says what is not over yet.
func (f *forward) finish() {
	for id, ref := range f.work {
		f.out.Effects = append(f.out.Effects, Effect{Kind: EffectOpen, Stage: id.stage, LSN: f.state.Stages[id.stage].Last, Of: []event.Ref{ref}})
	}
	slices.SortStableFunc(f.out.Effects, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(a.LSN, b.LSN), cmp.Compare(a.Stage, b.Stage))
	})
	for _, name := range f.run.stages(f.state) {
		at := f.state.Stages[name]
		if at == nil {
			at = &recovery.Stage{}
		}
		for _, in := range f.run.inputs(name, at) {
			behind := false
			for seq := range f.marked[in.from] {
				behind = behind || seq > at.Cursors[in.from].Seq
			}
			if behind && !slices.Contains(f.out.Waiting, name) {
				f.out.Waiting = append(f.out.Waiting, name)
			}
		}
	}
}
