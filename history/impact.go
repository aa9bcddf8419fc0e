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

// An Impact is what came of a record.
type Impact struct {
	Record  Record   `json:"record"`
	Effects []Effect `json:"effects"` // in the order in which they were written
	Waiting []string `json:"waiting"` // stages that have not consumed everything yet: more may come
	Left    string   `json:"left,omitempty"`
}

// The kinds of effects.
const (
	EffectRecord  = "record"  // a record that followed
	EffectState   = "state"   // a key of a stage's state changed
	EffectReceipt = "receipt" // a sink settled it
	EffectOpen    = "open"    // a stage accepted it, and is not finished
	EffectCall    = "call"    // a stage acted on the world for it
)

// An Effect is one thing that followed from a record.
type Effect struct {
	Kind    string      `json:"kind"`
	Stage   string      `json:"stage"`
	LSN     journal.LSN `json:"lsn"`
	Of      []event.Ref `json:"of"`               // what it followed from, among the records shown here
	Record  *Record     `json:"record,omitempty"` // record; of a receipt, the receipt
	Table   string      `json:"table,omitempty"`  // state
	Key     string      `json:"key,omitempty"`    // state
	Value   string      `json:"value,omitempty"`  // state: after
	Deleted bool        `json:"deleted,omitempty"`
	Status  string      `json:"status,omitempty"` // receipt: success, failed, partial
	Call    *Call       `json:"call,omitempty"`   // call
}

// Impact returns what followed from the record that ref names, forward to the
// receipts. It reads the log from that record on, until nothing more can come of
// it. What followed from state that the record had changed is in it
// where the log names the key as the cause.
func (r *Run) Impact(ctx context.Context, ref event.Ref, limits Limits) (*Impact, error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	name, err := r.journalIn(state, ref.Journal())
	if err != nil {
		return nil, err
	}
	w := &tracer{run: r, ctx: ctx, limits: limits.filled(), state: state}
	stage, port := split(name)
	ref = event.Ref{Stage: stage, Port: port, Seq: ref.Seq}
	p, rec, out, err := w.place(ref)
	if err != nil {
		return nil, err
	}
	f := &forward{
		run: r, state: state, limit: w.limits.Records,
		marked: map[string]map[uint64]bool{}, keys: map[stateKey][]event.Ref{}, work: map[workID]event.Ref{}, acts: map[workOf]*execution{},
		out: &Impact{Record: r.record(entry{seq: ref.Seq, rec: rec, out: out, p: p, name: name})},
	}
	f.mark(ref)
	if err := f.read(ctx, p.Last+1); err != nil {
		return nil, err
	}
	f.finish()
	return f.out, nil
}

type (
	stateKey struct{ stage, table, key string }
	workID   struct {
		stage string
		id    uint64
	}
	workOf struct {
		stage string
		input event.Ref
	}
)

// A forward pass over the log with what is known to follow from one record.
type forward struct {
	run    *Run
	state  *recovery.State
	limit  int
	marked map[string]map[uint64]bool // by journal
	keys   map[stateKey][]event.Ref   // state that followed, and from which records
	work   map[workID]event.Ref       // accepted and not finished
	acts   map[workOf]*execution      // what was done for a marked record
	due    int                        // marked records that readers have yet to consume or settle
	later  bool                       // a reader may name a marked record as a cause long after it consumed it
	out    *Impact
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
	if r.graph == nil {
		return false
	}
	s, ok := r.graph.Stage(stage)
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
	for f.due > 0 || f.later || len(f.keys) > 0 || len(f.work) > 0 {
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
			stage, port := split(o.Journal)
			f.work[id] = event.Ref{Stage: stage, Port: port, Seq: o.Seq}
		case o.Op == journal.OpenClose:
			delete(f.work, id)
		}
	}
	for i := range p.Outputs {
		if err := f.output(p, &p.Outputs[i], items); err != nil {
			return err
		}
	}
	return changesOf(p, func(table string, c *journal.Change) error {
		of := refsOf(items, c.Items)
		if len(of) == 0 {
			return nil
		}
		k := stateKey{p.Stage, table, string(c.Key)}
		f.keys[k] = union(f.keys[k], of)
		e := Effect{Kind: EffectState, Stage: p.Stage, LSN: p.Last, Of: of, Table: table, Key: text(c.Key), Deleted: c.Deleted, Value: text(f.run.shown("", c.Value))}
		f.out.Effects = append(f.out.Effects, e)
		return nil
	})
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
func (f *forward) output(p *journal.Placed, o *journal.Output, items map[int]event.Ref) error {
	if o.Type == evidence.TypeReceipt {
		return f.receipt(p, o)
	}
	if o.Port == journal.PortSys || (len(items) == 0 && !f.refers(o) && !f.remembers(p.Stage)) {
		return nil
	}
	name := p.Stage + "." + o.Port
	if o.Port == journal.PortFx {
		return f.facts(p, o)
	}
	_, err := within(p, name, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		if e.out != o {
			return true
		}
		of := refsOf(items, e.rec.Items)
		for _, ref := range e.rec.Refs {
			if ref.Journal < len(o.Journals) && f.marked[o.Journals[ref.Journal]][ref.Seq] {
				stage, port := split(o.Journals[ref.Journal])
				of = union(of, []event.Ref{{Stage: stage, Port: port, Seq: ref.Seq}})
			}
		}
		if e.rec.FromKey {
			for k, refs := range f.keys {
				if k.stage == p.Stage && k.key == string(e.rec.Key) {
					of = union(of, refs)
				}
			}
		}
		if len(of) > 0 {
			rec := f.run.record(e)
			f.out.Effects = append(f.out.Effects, Effect{Kind: EffectRecord, Stage: p.Stage, LSN: p.Last, Of: of, Record: &rec})
			f.mark(rec.Ref)
		}
		return len(f.out.Effects) < f.limit
	})
	return err
}

// facts finds what was done for marked records.
func (f *forward) facts(p *journal.Placed, o *journal.Output) error {
	var parse error
	_, err := within(p, p.Stage+"."+o.Port, o.Port, o.First, o.First+uint64(o.Count), func(e entry) bool {
		if e.out != o {
			return true
		}
		input, ok := aboutWhich(e)
		if !ok || !f.marked[input.Journal()][input.Seq] {
			return true
		}
		var fact plan.Entry
		if fact, parse = fxEntry(e); parse != nil {
			return false
		}
		id := workOf{p.Stage, input}
		x := f.acts[id]
		if x == nil {
			x = f.run.execution(p.Stage, input)
			f.acts[id] = x
		}
		known := len(x.calls)
		x.take(e.seq, &fact, f.run.code(p))
		for _, c := range x.calls[known:] {
			f.out.Effects = append(f.out.Effects, Effect{Kind: EffectCall, Stage: p.Stage, LSN: p.Last, Of: []event.Ref{input}, Call: c})
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

func (f *forward) refers(o *journal.Output) bool {
	return slices.ContainsFunc(o.Journals, func(j string) bool { return len(f.marked[j]) > 0 })
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

// refsOf returns the marked records among the items that something follows from.
func refsOf(items map[int]event.Ref, of []int) []event.Ref {
	if len(items) == 0 {
		return nil
	}
	var refs []event.Ref
	for _, i := range of {
		if ref, ok := items[i]; ok {
			refs = append(refs, ref)
		}
	}
	return union(nil, refs)
}

// union returns the refs in a and b, sorted, without repeats.
func union(a, b []event.Ref) []event.Ref {
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, compareRefs)
	return slices.Compact(all)
}

func compareRefs(a, b event.Ref) int {
	return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Seq, b.Seq))
}
