package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// A ReplayConfig says what to replay, and into which log.
type ReplayConfig struct {
	// Flow is built for this replay alone, and of the definition that was recorded.
	// Nothing of it is opened.
	Flow *plan.Flow
	Log  Log         // of the recorded run
	Upto journal.LSN // the last LSN that is read of it
	// Out is a new log, which gets what is computed.
	Out journal.Log
	// Sinks leaves out the sinks, so that an engine that goes on with Out delivers.
	Sinks bool
}

// Replayed is what a replay did.
type Replayed struct {
	Complete              bool   // every stage that was executed came to its natural end
	In, Out, Dead, Failed uint64 // records of sources, deliveries that are on record, dead letters, failures on second results
	Open, InDoubt         uint64 // inputs that are accepted and not finished; of these, those that waited for a decision
	Drift                 uint64 // what effects and steps asked for otherwise; the recorded outcomes were used
}

// Replay executes a recorded run again, one transition after the other in the
// order of its log, and writes what comes out into another log: inputs are
// consumed in the recorded order, sources give what they gave, effects end as they
// ended, time is as it was. With the code that was recorded the new log holds the
// same journals; with other code it holds what that makes of the same inputs.
//
// Other code may write more or less: then its readers consume up to where the
// recorded one did, transition by transition. What an effect was not asked when
// the run was recorded has no outcome; the replay ends there, with an error.
func Replay(ctx context.Context, c ReplayConfig) (*Replayed, error) {
	m := c.Out.Manifest()
	epoch := m.Epochs[len(m.Epochs)-1]
	v := &verifier{
		Config: Config{
			Flow: c.Flow, Log: c.Log, Upto: c.Upto, Max: 1,
			Open: func() (Log, func() error, error) { return c.Out, func() error { return nil }, nil },
		},
		byName: map[string]*stage{}, epochs: map[uint64]journal.ID{epoch.Number: epoch.ID},
		replaying: true, root: cmp.Or(m.Root, m.Run),
	}
	if err := v.codec.UnmarshalText([]byte(c.Flow.Graph.Codec())); err != nil {
		return nil, fmt.Errorf("replay flow %s: %w", c.Flow.Name, err)
	}
	if err := v.build(); err != nil {
		return nil, err
	}
	r := &replay{verifier: v, c: c, epoch: epoch, was: map[uint64]journal.ID{}, pens: map[*stage]*pen{}}
	for _, e := range c.Log.Manifest().Epochs {
		r.was[e.Number] = e.ID
	}
	for _, s := range v.stages {
		r.pens[s] = &pen{written: map[string]*total{}, numbers: map[string]*numbering{}}
	}
	defer func() {
		for _, s := range v.stages {
			for _, e := range s.inputs {
				e.close()
			}
		}
	}()
	if err := r.run(ctx); err != nil {
		return nil, err
	}
	return r.result(), nil
}

// A replay is one Replay.
type replay struct {
	*verifier
	c     ReplayConfig
	epoch journal.Epoch
	was   map[uint64]journal.ID // epochs of the recorded run
	pens  map[*stage]*pen
	last  time.Time // of the last transition
	out   uint64    // deliveries
	enc   journal.Encoder
}

// A pen is what a stage has written to the new log.
type pen struct {
	frames  uint64
	written map[string]*total     // by port
	numbers map[string]*numbering // by port
	ended   bool                  // for good
}

func (r *replay) run(ctx context.Context) (err error) {
	in, err := r.Log.Read(1)
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	ts := journal.Transitions(cloning{in})
	defer func() { err = errors.Join(err, ts.Close()) }()
	for {
		var p journal.Placed
		err := ts.Next(&p)
		switch {
		case errors.Is(err, io.EOF), err == nil && p.First > r.Upto:
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		s := r.byName[p.Stage]
		if s == nil || r.c.Sinks && delivers(s.node) || !tells(&p) {
			continue
		}
		r.last = p.Time
		if err := r.transition(ctx, s, &p); err != nil {
			return fmt.Errorf("replay stage %s, frame %d: %w", s.name, p.Last, err)
		}
	}
}

// delivers reports whether a stage delivers to the world. One that makes signals
// delivers within the flow.
func delivers(n *plan.Node) bool {
	_, within := n.Sink.(plan.Signaller)
	return n.Sink != nil && !within
}

// tells reports whether a transition holds anything but what supervisors say.
func tells(p *journal.Placed) bool {
	if p.Position != nil || len(p.State)+len(p.Open)+len(p.Timers)+len(p.Marks) > 0 {
		return true
	}
	for i := range p.Consumed {
		if p.Consumed[i].Kind != journal.Resumed {
			return true
		}
	}
	for i := range p.Outputs {
		if p.Outputs[i].Port != journal.PortSys {
			return true
		}
	}
	return slices.ContainsFunc(p.Ends, natural)
}

func natural(e journal.End) bool { return e.Kind == journal.Natural }

// transition executes one transition again and writes what comes out.
func (r *replay) transition(ctx context.Context, s *stage, p *journal.Placed) error {
	recorded := recordedCounts(p)
	if err := r.renumber(s, p); err != nil {
		return err
	}
	s.takeUp(p, entriesOf(p))
	if err := s.execute(ctx); err != nil {
		return err
	}
	if err := s.rewrite(); err != nil {
		return err
	}
	if s.end.ender != nil && slices.ContainsFunc(p.Ends, natural) {
		if err := r.rest(ctx, s); err != nil {
			return err
		}
	}
	t := journal.Transition{
		Code: p.Code, Time: p.Time, Origin: p.Author(r.was[p.Epoch]), Position: p.Position, Open: p.Open, Timers: p.Timers, Marks: p.Marks,
		Consumed: slices.DeleteFunc(p.Consumed, func(c journal.Consumed) bool { return c.Kind == journal.Resumed }),
	}
	if err := r.write(ctx, s, &t, p); err != nil {
		return err
	}
	for port, n := range recorded {
		r.pens[s].number(port, n)
	}
	return nil
}

// rest emits what the end of the input brings beyond what is on record.
func (r *replay) rest(ctx context.Context, s *stage) error {
	for done := false; !done; {
		found, err := s.emitUntil(func() bool { return s.emitted() >= journal.PartRecords })
		if err != nil {
			return err
		}
		done = !found
		if s.emitted() > 0 {
			if err := r.write(ctx, s, &journal.Transition{Time: s.p.Time, Origin: s.p.Author(r.was[s.p.Epoch])}, &journal.Placed{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// write places what a stage has computed, with what is taken from the record p.
func (r *replay) write(ctx context.Context, s *stage, t *journal.Transition, p *journal.Placed) error {
	w := r.pens[s]
	t.Stage, t.Number = s.name, w.frames+1
	batches := map[*port]*plan.Batch{}
	ports := s.all()
	if s.node.Source != nil {
		ports = nil // what it read is given, and copied
	}
	for _, port := range ports {
		if port.Writer.Len() == 0 {
			continue
		}
		at := w.total(port.Name)
		out, b := port.Writer.Seal(at.count+1, at.digest)
		out.Port, out.Type = port.Name, port.Type
		*at = total{b.Last(), out.Digest}
		t.Outputs = append(t.Outputs, out)
		batches[port] = b
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port == journal.PortSys || slices.ContainsFunc(ports, func(q *port) bool { return q.Name == o.Port }) {
			continue
		}
		copied := *o
		w.copy(&copied)
		t.Outputs = append(t.Outputs, copied)
	}
	at := func(o journal.Output) int { // in the order of the record
		i := slices.IndexFunc(p.Outputs, func(q journal.Output) bool { return q.Port == o.Port })
		return (i + len(p.Outputs) + 1) % (len(p.Outputs) + 1)
	}
	slices.SortStableFunc(t.Outputs, func(a, b journal.Output) int { return at(a) - at(b) })
	for _, table := range s.node.Tables {
		if table.Changed() == 0 {
			continue
		}
		st, err := table.Seal()
		if err != nil {
			return fmt.Errorf("table %s: %w", table.Name(), err)
		}
		st.Table = table.Name()
		t.State = append(t.State, st)
	}
	if s.end.changed {
		t.State = append(t.State, s.end.seal())
	}
	for _, e := range p.Ends {
		if natural(e) {
			at := w.total(e.Port)
			t.Ends = append(t.Ends, journal.End{Port: e.Port, Kind: e.Kind, Count: at.count, Digest: at.digest})
			w.ended = true
		}
	}
	lsn, err := r.place(ctx, t, &w.frames)
	if err != nil {
		return err
	}
	for _, table := range s.node.Tables {
		if table.Changed() > 0 {
			table.Commit(lsn)
		}
	}
	if s.end.changed {
		s.end.commit(lsn)
	}
	return r.handOn(s, t, lsn, batches)
}

func (r *replay) place(ctx context.Context, t *journal.Transition, frames *uint64) (journal.LSN, error) {
	fs, err := r.enc.Encode(t)
	if err != nil {
		return 0, err
	}
	*frames += uint64(len(fs))
	return r.c.Out.Append(ctx, journal.Normal, fs...)
}

// handOn gives the readers what was placed.
func (r *replay) handOn(s *stage, t *journal.Transition, lsn journal.LSN, batches map[*port]*plan.Batch) error {
	at := &journal.Placed{Last: lsn, Epoch: r.epoch.Number, Transition: journal.Transition{Time: t.Time, Origin: t.Origin}}
	for _, p := range s.all() {
		if b := batches[p]; b != nil {
			place(b, p.journal, at, r.epochs)
			for _, e := range p.edges {
				e.push(b)
			}
			continue
		}
		for i := range t.Outputs {
			o := &t.Outputs[i]
			if o.Port != p.Name || len(p.edges) == 0 {
				continue
			}
			b, err := decode(p.Port, p.journal, o, at, r.epochs)
			if err != nil {
				return err
			}
			for _, e := range p.edges {
				e.push(b)
			}
		}
	}
	return nil
}

// total is what was written to a port so far.
func (w *pen) total(port string) *total {
	if w.written[port] == nil {
		w.written[port] = &total{}
	}
	return w.written[port]
}

// copy makes a recorded output the next one of its port.
func (w *pen) copy(o *journal.Output) {
	at := w.total(o.Port)
	first := at.count + 1
	sum := wire.Digest(at.digest)
	var rec journal.Record
	for rs := journal.NewRecords(o); ; {
		seq, ok := rs.Next(&rec)
		if !ok {
			break
		}
		sum = sum.Add(first+seq-o.First, wire.Checksum(rec.Payload))
	}
	o.First, o.Digest = first, uint64(sum)
	*at = total{first + uint64(o.Count) - 1, o.Digest}
}

// result sums the replay up, and places how it ended unless an engine goes on.
func (r *replay) result() *Replayed {
	all := &Replayed{Complete: true}
	for _, s := range r.stages {
		w := r.pens[s]
		all.Complete = all.Complete && (w.ended || r.c.Sinks && delivers(s.node))
		all.Dead += w.total(event.PortDead).count
		all.Drift += s.Differences
		if s.node.Source != nil {
			for _, p := range s.ports {
				all.In += w.total(p.Name).count
			}
		}
		if s.does == nil {
			continue
		}
		for _, p := range s.ports {
			if n := w.total(p.Name).count; p.Name == plan.PortFailed {
				all.Failed += n
				if len(p.edges) == 0 { // nobody would know
					all.Dead += n
				}
			}
		}
		for _, t := range s.does.tasks {
			all.Open++
			if n := len(t.facts); n > 0 && t.facts[n-1].Type == plan.EntryParked {
				all.InDoubt++
			}
		}
	}
	all.Out = r.out
	return all
}

// Conclude places how the replay of the log ended and makes it durable.
func (d *Replayed) Conclude(ctx context.Context, out journal.Log, took time.Duration) (status string, err error) {
	status = evidence.Completed
	t := evidence.Terminal{Status: status, Took: took, In: d.In, Out: d.Out, Dead: d.Dead, Failed: d.Failed}
	if !d.Complete {
		status = evidence.Stopped
		t.Status, t.Reason = status, "the recorded run had not come to its end"
	}
	payload := evidence.Append(nil, t)
	records, _ := journal.AppendRecord(nil, -1, &journal.Record{Payload: payload})
	var enc journal.Encoder
	fs, err := enc.Encode(&journal.Transition{
		Stage: evidence.Pipeline, Number: 1, Time: out.Manifest().Created,
		Outputs: []journal.Output{{
			Port: journal.PortSys, Type: evidence.TypeTerminal, First: 1, Count: 1, Records: records,
			Digest: uint64(wire.Digest(0).Add(1, wire.Checksum(payload))),
		}},
	})
	if err != nil {
		return "", err
	}
	lsn, err := out.Append(ctx, journal.Urgent, fs...)
	if err != nil {
		return "", err
	}
	return status, out.Await(ctx, lsn)
}
