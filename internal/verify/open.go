package verify

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A fact is one entry that is on record about an input.
type fact struct {
	plan.Entry
	seq   uint64      // on the port fx; zero on that of a stage whose memory this one has
	lsn   journal.LSN // of its transition
	at    time.Time   // likewise
	epoch journal.ID  // likewise
	given bool        // it is taken as it is recorded
	taken bool        // it is from another run, and was recorded before the input was executed
}

// An open input is one that was accepted and is not finished, with what is on
// record about it.
type open struct {
	in       plan.Accepted
	bad      error     // why an upcaster did not take what was accepted
	accepted time.Time // its transition
	facts    []fact
	out      int       // what it emitted before its end
	emitted  []emitted // of these, what is to be compared when it ends
}

// What an input emitted before its end is compared as a whole: with other code
// steps may come in another order.
type emitted struct {
	port *port
	item // without what it follows from
}

func (o *open) origin() plan.Origin {
	return plan.Origin{Journal: o.in.Input.Journal, Seq: o.in.Input.Seq}
}

func (o *open) ref() string {
	return refText(o.origin())
}

func refText(o plan.Origin) string { return o.Journal + ":" + strconv.FormatUint(o.Seq, 10) }

func (o *open) grave(graves []grave) *grave {
	for i := range graves {
		if r := graves[i].Ref; r.Stage+"."+r.Port == o.in.Input.Journal && r.Seq == o.in.Input.Seq {
			return &graves[i]
		}
	}
	return nil
}

// entries is what an execution is given of the first n facts. With a person's word
// to go on it may pass over steps that are on record.
func (o *open) entries(n int, goOn bool) []plan.Entry {
	all := make([]plan.Entry, 0, n+1)
	for i := range o.facts[:n] {
		e := o.facts[i].Entry
		if e.Type == plan.EntryCompleted {
			continue // it is compared with how the execution ends
		}
		all = append(all, e)
	}
	if n > 0 && len(all) == 0 {
		all = append(all, plan.Entry{Type: plan.EntryChange, Step: ownSteps + "begun"}) // it is no first execution
	}
	if goOn {
		all = append(all,
			plan.Entry{Type: plan.EntryParked, Outcome: plan.ParkedDiverged},
			plan.Entry{Type: plan.EntryDecision, Outcome: plan.DecideContinue})
	}
	return all
}

// because is what an emission follows from that came with the last of the first n
// facts.
func (o *open) because(fx string, n int) []plan.Origin {
	refs := []plan.Origin{o.origin()}
	for i := range o.facts[:n] {
		if f := &o.facts[i]; f.seq > 0 && (f.Type == plan.EntryDecision || i+1 == n) {
			refs = append(refs, plan.Origin{Journal: fx, Seq: f.seq})
		}
	}
	return refs
}

// about begins a difference about an input.
func (s *stage) about(o *open, kind Kind, seq uint64, step string) Difference {
	return Difference{
		Kind: kind, Stage: s.name, Journal: s.fxName(), Seq: seq, LSN: s.p.Last, Key: o.in.Key,
		Input: o.ref(), Step: step,
	}
}

// A performer is what a stage that acts on the world has open.
type performer struct {
	plan.Performer
	signals *plan.SignalTable   // nil in a stage that takes none
	kept    map[string][]uint64 // the rows of signals by address, as far as they were looked at; nil: look
	springs []spring            // of signals that are made in the flow
	tasks   map[uint64]*open
	origin  map[plan.Origin]*open
	next    uint64 // id of the input that is accepted next
	heard   uint64 // entries on the port fx

	// Of the transition in hand.
	at      journal.LSN           // which it is
	said    []saying              // what it has on the port fx
	going   map[uint64]bool       // inputs that it finishes
	asIs    map[outlet]bool       // outputs that are taken as they are recorded
	keys    map[string]bool       // of state that is
	changed map[uint64]plan.Entry // in a replay: entries that come out otherwise, by sequence
}

// A saying is one entry of the transition in hand: a fact about an input, or a
// signal, which is about none.
type saying struct {
	t    *open  // nil for a signal
	i    int    // of t.facts
	fact        // of a signal
	text []byte // as it is recorded
	from plan.Origin
}

// An outlet is where an input writes.
type outlet struct {
	port  string
	input plan.Origin
}

// errOutside is what an effect is told that would be called.
var errOutside = errors.New("nothing outside is called")

// newPerformer has the effects of a stage call nothing.
func newPerformer(n *plan.Node) *performer {
	w := &performer{
		Performer: n.Performer, signals: n.Performing.Signals, tasks: map[uint64]*open{}, origin: map[plan.Origin]*open{}, next: 1,
	}
	for _, e := range w.Effects() {
		e.Do = func(context.Context, plan.Call, any) (any, error) { return nil, errOutside }
		if e.Reconcile != nil {
			e.Reconcile = func(context.Context, plan.Call, any) (any, plan.CallState, error) {
				return nil, plan.CallUnknown, errOutside
			}
		}
	}
	return w
}

func (w *performer) add(o *open) {
	w.tasks[o.in.ID], w.origin[o.origin()] = o, o
	w.next = o.in.ID + 1
}

func (w *performer) remove(o *open) {
	delete(w.tasks, o.in.ID)
	delete(w.origin, o.origin())
}
