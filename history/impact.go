package history

import (
	"cmp"
	"context"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// An Impact is what came of a record.
type Impact struct {
	Record  Record   `json:"record"`
	Code    string   `json:"code,omitempty"` // version of the code that wrote it
	Effects []Effect `json:"effects"`        // in the order in which they were written
	Waiting []string `json:"waiting"`        // stages that have not consumed everything yet: more may come
	Left    string   `json:"left,omitempty"`

	Redriven []Redriven `json:"redriven,omitempty"` // what other runs made of letters among the effects
}

// Redriven is what a run that took a letter made of it.
type Redriven struct {
	Of     event.Ref `json:"of"` // the letter
	Run    string    `json:"run"`
	Impact *Impact   `json:"impact,omitempty"` // of the record that entered there
	Left   string    `json:"left,omitempty"`   // why there is none
}

// The kinds of effects.
const (
	EffectRecord  = "record"  // a record that followed
	EffectState   = "state"   // a key of a stage's state changed
	EffectReceipt = "receipt" // a sink settled it
	EffectOpen    = "open"    // a stage accepted it, and is not finished
	EffectCall    = "call"    // a stage acted on the world for it
	EffectSignal  = "signal"  // it was made a signal, which a stage of orchestrations keeps
)

// An Effect is one thing that followed from a record.
type Effect struct {
	Kind    string      `json:"kind"`
	Stage   string      `json:"stage"`
	LSN     journal.LSN `json:"lsn"`
	Of      []event.Ref `json:"of"`               // what it followed from, among the records shown here
	Record  *Record     `json:"record,omitempty"` // record; of a receipt, the receipt
	Table   string      `json:"table,omitempty"`  // state
	Key     string      `json:"key,omitempty"`    // state, signal
	Value   string      `json:"value,omitempty"`  // state: after
	Deleted bool        `json:"deleted,omitempty"`
	Status  string      `json:"status,omitempty"` // receipt: success, failed, partial
	Signal  string      `json:"signal,omitempty"` // signal: its name
	Call    *Call       `json:"call,omitempty"`   // call
}

// Impact returns what followed from the record that ref names, forward to the
// receipts. It reads the log from that record on, until nothing more can come of
// it. What followed from state that the record had changed, or from a signal that it
// was made, is in it, and what runs in the same directory made of letters that they
// redrive.
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
		marked: map[string]map[uint64]bool{}, keys: map[stateKey][]event.Ref{},
		signals: map[signalID][]event.Ref{}, woken: map[workOf][]event.Ref{}, work: map[workID]event.Ref{}, acts: map[workOf]*execution{},
		out: &Impact{Record: r.record(entry{seq: ref.Seq, rec: rec, out: out, p: p, name: name}), Code: r.code(p)},
	}
	f.mark(ref)
	if err := f.read(ctx, p.Last+1); err != nil {
		return nil, err
	}
	f.finish()
	if err := f.redriven(ctx, limits); err != nil {
		return nil, err
	}
	return f.out, nil
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
