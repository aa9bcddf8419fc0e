package sample

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// ChargesManifest returns the manifest of a run of a flow that acts on the world,
// without epochs: charge takes money for each order, approve waits for people.
func ChargesManifest(run string) journal.Manifest {
	typ := func(name string) topology.Type { return topology.Type{Name: name, Schema: "0"} }
	g, err := topology.New(
		"charges",
		[]topology.Stage{
			{Name: "orders", Kind: topology.Source, Ports: []topology.Port{{Name: "out", Type: typ("order")}}},
			{
				Name: "charge", Kind: topology.Effect, Ports: []topology.Port{{Name: "out", Type: typ("charged")}, {Name: "failed", Type: typ("Failed[order]")}},
				Effects: []topology.Action{{Name: "bank", Version: "2", Safety: string(plan.AtMostOnce)}},
			},
			{
				Name: "approve", Kind: topology.Orchestrate, Ports: []topology.Port{{Name: "out", Type: typ("approved")}},
				Effects: []topology.Action{{Name: "mail", Safety: string(plan.AtLeastOnce)}},
			},
			{Name: "ship", Kind: topology.Sink, Guarantee: "at least once"},
		},
		[]topology.Edge{
			{From: "orders", Port: "out", To: "charge"},
			{From: "charge", Port: "out", To: "approve"},
			{From: "approve", Port: "out", To: "ship"},
		},
	)
	if err != nil {
		panic(err) // the graph above is right
	}
	def, err := g.MarshalJSON()
	if err != nil {
		panic(err)
	}
	return journal.Manifest{
		Format: journal.FormatVersion, Run: run, Flow: "charges", Created: Created,
		Fingerprint: g.Fingerprint(), Definition: def,
	}
}

// decidedBy is the message that decided about order 3.
const decidedBy = "01JZ0000000000000000000DEC"

// Charges writes the run into log, which has no end. Of five orders, the first is
// charged, the bank declines the second, a person says that the third was
// charged, nobody knows about the fourth, and the call for the fifth is under
// way. approve has sent a mail about the first, and waits for an answer.
func (w *Writer) Charges(log journal.Log) error {
	w.log = log
	for _, s := range []string{evidence.Pipeline, "orders", "charge", "approve", "ship"} {
		if err := w.moved(s, "created", "running", "Run"); err != nil {
			return err
		}
	}
	t := &journal.Transition{Stage: "orders", Position: &journal.Position{Value: "row 6"}}
	var records []journal.Record
	for n := 1; n <= 5; n++ {
		records = append(records, journal.Record{Payload: []byte(order(n))})
	}
	w.port(t, "out", "order", records...)
	epochs := log.Manifest().Epochs
	acts := &actor{w: w, epoch: epochs[len(epochs)-1].ID}
	if _, err := w.put(t); err != nil {
		return err
	}
	if err := acts.charges(); err != nil {
		return err
	}
	return acts.approvals()
}

// An actor plays stages that act on the world.
type actor struct {
	w     *Writer
	epoch journal.ID
}

// act writes one transition of a stage about its open work number id, which is
// record id of an input journal: facts, and then more.
func (a *actor) act(stage, input string, id uint64, more func(t *journal.Transition, facts []journal.Ref), facts ...plan.Entry) error {
	t := &journal.Transition{Stage: stage}
	if len(facts) > 0 && facts[0].Type == accepted {
		facts = facts[1:]
		t.Consumed = []journal.Consumed{run(input, id, id)}
		t.Open = append(t.Open, journal.OpenWork{Op: journal.OpenAdd, ID: id, Epoch: a.epoch, Journal: input, Seq: id, Data: []byte(order(int(id)))})
	}
	var written []journal.Ref
	for i := range facts {
		e := &facts[i]
		if e.At.IsZero() {
			e.At = a.w.clock.Add(time.Second)
		}
		data, err := plan.AppendEntry(nil, e)
		if err != nil {
			return err
		}
		key := stage + "." + journal.PortFx
		a.w.port(t, journal.PortFx, e.Type, journal.Record{Payload: data, Refs: []journal.Ref{{Seq: id}}})
		t.Outputs[len(t.Outputs)-1].Journals = []string{input}
		seq := a.w.ports[key].count
		written = append(written, journal.Ref{Journal: 1, Seq: seq})
		update, err := plan.AppendUpdate(nil, seq, e)
		if err != nil {
			return err
		}
		t.Open = append(t.Open, journal.OpenWork{Op: journal.OpenUpdate, ID: id, Data: update})
	}
	if more != nil {
		more(t, written)
		t.Open = append(t.Open, journal.OpenWork{Op: journal.OpenClose, ID: id})
	}
	_, err := a.w.put(t)
	return err
}

// accepted marks that the transition accepts its input.
const accepted = "accepted"

// emits writes a record that follows from the input id and from the facts of its
// transition.
func (a *actor) emits(stage, port, typ, payload, input string, id uint64) func(*journal.Transition, []journal.Ref) {
	return func(t *journal.Transition, facts []journal.Ref) {
		refs := []journal.Ref{{Seq: id}}
		a.w.port(t, port, typ, journal.Record{Payload: []byte(payload), Refs: append(refs, facts...)})
		t.Outputs[len(t.Outputs)-1].Journals = []string{input, stage + "." + journal.PortFx}
	}
}

func (a *actor) charges() error {
	const in = "orders.out"
	key := func(n int) string { return fmt.Sprint("k-", n) }
	attempt := func(n, m int) plan.Entry {
		return plan.Entry{Type: plan.EntryAttempt, Effect: "bank", Version: "2", Key: key(n), Attempt: m}
	}
	outcome := func(n, m int, e plan.Entry) plan.Entry {
		e.Type, e.Effect, e.Version, e.Key, e.Attempt, e.Took = plan.EntryOutcome, "bank", "2", key(n), m, 300*time.Millisecond
		return e
	}
	charged := func(n int) string { return fmt.Sprintf(`{"order":"o-%d","charge":"ch-%d"}`, n, n) }
	begin := plan.Entry{Type: accepted}
	parked := plan.Entry{Type: plan.EntryParked, Outcome: plan.ParkedInDoubt, Reason: "the process died while the bank was called"}
	steps := []func() error{
		func() error { return a.act("charge", in, 1, nil, begin, attempt(1, 1)) },
		func() error {
			done := outcome(1, 1, plan.Entry{Outcome: plan.OutcomeDone, Result: []byte(`{"charge":"ch-1"}`), Final: true, Emitted: 1})
			return a.act("charge", in, 1, a.emits("charge", "out", "charged", charged(1), in, 1), done)
		},
		func() error { return a.act("charge", in, 2, nil, begin, attempt(2, 1)) },
		func() error {
			busy := outcome(2, 1, plan.Entry{Outcome: plan.OutcomeNotDone, Kind: event.KindRateLimited, Reason: "too many requests"})
			return a.act("charge", in, 2, nil, busy, attempt(2, 2))
		},
		func() error {
			no := outcome(2, 2, plan.Entry{Outcome: plan.OutcomeNotDone, Kind: event.KindPermanent, Reason: "the card is blocked", Final: true, Emitted: 1})
			failed := fmt.Sprintf(`{"input":%s,"ref":"orders.out:2","kind":"permanent","reason":"the card is blocked","attempts":2}`, order(2))
			return a.act("charge", in, 2, a.emits("charge", "failed", "Failed[order]", failed, in, 2), no)
		},
		func() error { return a.act("charge", in, 3, nil, begin, attempt(3, 1)) },
		func() error { return a.act("charge", in, 3, nil, parked) },
		func() error { return a.act("charge", in, 4, nil, begin, attempt(4, 1)) },
		func() error { return a.act("charge", in, 4, nil, parked) },
		func() error {
			said := plan.Entry{Type: plan.EntryDecision, Outcome: "done", Result: []byte(`{"charge":"ch-3"}`), Reason: "seen in the bank's list", By: "ann", ID: decidedBy}
			done := outcome(3, 1, plan.Entry{Outcome: plan.OutcomeDone, Result: []byte(`{"charge":"ch-3"}`), By: "ann", Final: true, Emitted: 1})
			done.Took = 0
			return a.act("charge", in, 3, a.emits("charge", "out", "charged", charged(3), in, 3), said, done)
		},
		func() error { return a.act("charge", in, 5, nil, begin, attempt(5, 1)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (a *actor) approvals() error {
	const in = "charge.out"
	facts := []plan.Entry{
		{Type: accepted},
		{Type: plan.EntryCapture, Step: "id", Result: []byte(`"a-1"`)},
		{Type: plan.EntryAttempt, Step: "ask", Effect: "mail", Attempt: 1},
	}
	if err := a.act("approve", in, 1, nil, facts...); err != nil {
		return err
	}
	return a.act("approve", in, 1, nil,
		plan.Entry{Type: plan.EntryOutcome, Step: "ask", Effect: "mail", Attempt: 1, Outcome: plan.OutcomeDone, Result: []byte(`{"mail":"m-1"}`), Final: true, Took: time.Second},
		plan.Entry{Type: plan.EntryWaiting, Step: "answer", Effect: "approval", Key: "o-1", At: Created.Add(24 * time.Hour)})
}
