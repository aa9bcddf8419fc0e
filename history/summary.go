package history

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// Running is the status of a run that a process holds. The others are completed,
// stopped, cancelled, failed and interrupted: what the last epoch said at its
// end, interrupted if it said nothing.
const Running = "running"

// A Status is how a run stands.
type Status struct {
	Name   string `json:"status"`
	Reason string `json:"reason,omitempty"`
	Stage  string `json:"stage,omitempty"` // that failed first
	Owner  string `json:"owner,omitempty"` // who holds the run, as it says itself
	Epoch  uint64 `json:"epoch"`
}

// Finished tells whether nothing is left to be done; every other run can be
// resumed.
func (s Status) Finished() bool { return s.Name == evidence.Completed }

// Status returns how the run stands. It reads one frame.
func (r *Run) Status() (Status, error) {
	s := Status{Name: evidence.Interrupted}
	if n := len(r.Manifest().Epochs); n > 0 {
		s.Epoch = r.manifest.Epochs[n-1].Number
	}
	who, held, err := r.owner()
	if err != nil {
		return s, err
	}
	if held {
		s.Name, s.Owner = Running, who
	}
	t, _, err := r.terminal()
	if err != nil || t == nil {
		return s, err
	}
	s.Name, s.Reason, s.Stage = t.Status, t.Reason, t.Stage
	return s, nil
}

// terminal returns what the pipeline said at the end of the last epoch, nil if it
// said nothing.
func (r *Run) terminal() (*evidence.Terminal, *journal.Placed, error) {
	last := r.log.Tails()[evidence.Pipeline].Last
	if last == 0 {
		return nil, nil, nil
	}
	p, err := journal.TransitionAt(r.log, last)
	if err != nil {
		return nil, nil, err
	}
	if n := len(r.manifest.Epochs); n > 0 && p.Epoch != r.manifest.Epochs[n-1].Number {
		return nil, p, nil
	}
	var found *evidence.Terminal
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != journal.PortSys || o.Type != evidence.TypeTerminal {
			continue
		}
		var rec journal.Record
		rs := journal.NewRecords(o)
		for _, ok := rs.Next(&rec); ok; _, ok = rs.Next(&rec) {
			t, err := evidence.Parse[evidence.Terminal](rec.Payload)
			if err != nil {
				return nil, p, &journal.FrameError{LSN: p.Last, Err: err}
			}
			found = &t
		}
		if err := rs.Err(); err != nil {
			return nil, p, &journal.FrameError{LSN: p.Last, Err: err}
		}
	}
	return found, p, nil
}

// A Summary is what there is to say about a run as a whole.
type Summary struct {
	Status
	Run      string    `json:"run"`
	Flow     string    `json:"flow"`
	Dir      string    `json:"dir,omitempty"`
	Created  time.Time `json:"created"`
	Last     time.Time `json:"last"` // when its newest frame was written
	Baseline string    `json:"baseline,omitempty"`

	Redrive *journal.Redrive `json:"redrive,omitempty"` // what of another run this one processes again

	In       uint64      `json:"in"`   // records of sources
	Out      uint64      `json:"out"`  // receipted deliveries
	Dead     uint64      `json:"dead"` // dead letters
	Head     journal.LSN `json:"head"`
	Durable  journal.LSN `json:"durable"`
	Bytes    int64       `json:"bytes"`
	Segments int         `json:"segments"`
	Epochs   []Epoch     `json:"epochs"`
	Stages   []Stage     `json:"stages"` // in the order in which data flows, if that is known
	Edges    []Edge      `json:"edges"`
}

// An Epoch is one process's ownership of the run.
type Epoch struct {
	Number  uint64        `json:"number"`
	ID      journal.ID    `json:"id"`
	First   journal.LSN   `json:"first"`
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns,omitempty"` // zero if unknown
	Build   string        `json:"build,omitempty"`
	Changed bool          `json:"changed,omitempty"` // another build or definition than the epoch before
	Cut     int64         `json:"cut,omitempty"`     // bytes of unconfirmed tail that were cut before it
	Status  string        `json:"status"`
	Reason  string        `json:"reason,omitempty"`
}

// A Stage is how a stage stands.
type Stage struct {
	Name       string      `json:"name"`
	Kind       string      `json:"kind,omitempty"`
	Gone       bool        `json:"gone,omitempty"`  // it is not in the newest definition
	State      string      `json:"state,omitempty"` // of its supervisor, last
	Reason     string      `json:"reason,omitempty"`
	In         uint64      `json:"in"`
	Ports      []Port      `json:"ports,omitempty"`
	Dead       uint64      `json:"dead,omitempty"`
	Delivered  uint64      `json:"delivered,omitempty"`
	Open       int         `json:"open,omitempty"`   // accepted inputs that are not finished
	Timers     int         `json:"timers,omitempty"` // set
	Position   string      `json:"position,omitempty"`
	Ended      bool        `json:"ended,omitempty"` // its input ended and it is done for good
	Snapshot   string      `json:"snapshot,omitempty"`
	Checkpoint journal.LSN `json:"checkpoint,omitempty"`
	Redo       journal.LSN `json:"redo,omitempty"` // where recovery begins to read for it
	Contracts  []Verdict   `json:"contracts,omitempty"`
}

// A Port is what a stage has written to one journal.
type Port struct {
	Name   string `json:"name"`
	Type   string `json:"type,omitempty"`
	Count  uint64 `json:"count"`
	Digest uint64 `json:"digest,string"`
	Ended  bool   `json:"ended,omitempty"`
}

// An Edge is one stage reading one port.
type Edge struct {
	From    string   `json:"from"` // journal
	To      string   `json:"to"`   // stage
	View    string   `json:"view,omitempty"`
	Written uint64   `json:"written"`
	Read    uint64   `json:"read"`
	Ended   bool     `json:"ended,omitempty"` // the reader saw the natural end
	Verdict *Verdict `json:"verdict,omitempty"`
	Stalled string   `json:"stalled,omitempty"` // why input makes no progress in the newest epoch, when that was judged last
}

// A Verdict is what a contract found last.
type Verdict struct {
	Contract string `json:"contract"`
	Passed   bool   `json:"passed"`
	Final    bool   `json:"final"`
	Parts    uint64 `json:"parts,omitempty"` // sequence where the two sides part
	Reason   string `json:"reason,omitempty"`
	Epoch    uint64 `json:"epoch"`
}

// Summary returns how the run stands, stage by stage. It reads from the oldest
// redo point, not from the beginning.
func (r *Run) Summary(ctx context.Context) (*Summary, error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	status, err := r.Status()
	if err != nil {
		return nil, err
	}
	m := &r.manifest
	stats := r.log.Stats()
	s := &Summary{
		Status: status, Run: m.Run, Flow: m.Flow, Dir: r.dir, Created: m.Created, Baseline: m.Baseline, Redrive: m.Redrive,
		Head: r.log.Head(), Durable: r.log.Durable(), Bytes: stats.Bytes, Segments: stats.Segments,
	}
	if s.Head > 0 {
		p, err := journal.TransitionAt(r.log, s.Head)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err == nil {
			s.Last = p.Time
		}
	}
	if s.Epochs, err = r.epochs(ctx, state, status); err != nil {
		return nil, err
	}
	if err := r.flow(ctx, s, state); err != nil {
		return nil, err
	}
	if err := r.liveness(ctx, state, s.Edges); err != nil {
		return nil, err
	}
	return s, nil
}

// liveness fills in which edges stall, as the pipeline said last in the newest
// epoch.
func (r *Run) liveness(ctx context.Context, state *recovery.State, edges []Edge) error {
	if len(r.manifest.Epochs) == 0 {
		return nil
	}
	now := r.manifest.Epochs[len(r.manifest.Epochs)-1].Number
	return r.evidence(ctx, state, evidence.Pipeline, func(e entry) error {
		if e.out.Type != evidence.TypeContract || e.p.Epoch != now {
			return nil
		}
		c, err := evidence.Parse[evidence.Contract](e.rec.Payload)
		if c.Contract != "liveness" {
			return err
		}
		for i := range edges {
			if edges[i].From == c.From && edges[i].To == c.To {
				if edges[i].Stalled = ""; !c.Passed {
					edges[i].Stalled = c.Reason
				}
			}
		}
		return err
	})
}

func (r *Run) epochs(ctx context.Context, state *recovery.State, now Status) ([]Epoch, error) {
	ends := map[uint64]evidence.Terminal{}
	err := r.evidence(ctx, state, evidence.Pipeline, func(e entry) error {
		if e.out.Type != evidence.TypeTerminal {
			return nil
		}
		t, err := evidence.Parse[evidence.Terminal](e.rec.Payload)
		ends[e.p.Epoch] = t
		return err
	})
	if err != nil {
		return nil, err
	}
	var out []Epoch
	for i, e := range r.manifest.Epochs {
		x := Epoch{
			Number: e.Number, ID: e.ID, First: e.First, Started: e.Started, Build: e.Build, Cut: e.Cut,
			Status: evidence.Interrupted,
		}
		if i > 0 {
			before := r.manifest.Epochs[i-1]
			x.Changed = before.Build != e.Build || before.Config != e.Config
		}
		if t, ok := ends[e.Number]; ok {
			x.Status, x.Reason, x.Took = t.Status, t.Reason, t.Took
		} else if e.Number == now.Epoch {
			x.Status = now.Name
		}
		out = append(out, x)
	}
	return out, nil
}

// newest bounds how much evidence of one stage is read.
const newest = 1000

// evidence calls fn with the newest records in a stage's sys port, oldest first.
func (r *Run) evidence(ctx context.Context, state *recovery.State, stage string, fn func(entry) error) error {
	at, ok := state.Stages[stage]
	if !ok {
		return nil
	}
	count := at.Ports[journal.PortSys].Count
	name := stage + "." + journal.PortSys
	from := uint64(1)
	if count > newest {
		from = count - newest + 1
	}
	if r.manifest.Kept != nil {
		from = max(from, r.manifest.Kept.Journals[name])
	}
	var failed error
	err := r.each(ctx, name, from, count, func(e entry) bool {
		if err := fn(e); err != nil {
			failed = &journal.FrameError{LSN: e.p.Last, Err: err}
		}
		return failed == nil
	})
	return cmp.Or(err, failed)
}

// flow fills in stages, edges and totals.
func (r *Run) flow(ctx context.Context, s *Summary, state *recovery.State) error {
	consumed := r.consumed(state)
	for _, name := range r.stages(state) {
		st := Stage{Name: name}
		at := state.Stages[name]
		if at == nil {
			at = &recovery.Stage{Name: name}
		}
		r.stage(&st, at)
		st.Checkpoint = r.log.Tails()[name].Checkpoint
		verdicts := map[string]Verdict{} // of edges, by journal
		err := r.evidence(ctx, state, name, func(e entry) error {
			return judge(e, &st, verdicts)
		})
		if err != nil {
			return err
		}
		for _, j := range r.inputs(name, at) {
			e := Edge{From: j.from, To: name, View: j.view}
			c := at.Cursors[j.from]
			e.Read, e.Ended = c.Seq, c.End == journal.Natural
			stage, port := split(j.from)
			if up := state.Stages[stage]; up != nil {
				e.Written = up.Ports[port].Count
			}
			if v, ok := verdicts[j.from]; ok {
				e.Verdict = &v
			}
			s.Edges = append(s.Edges, e)
		}
		st.In = consumed[name]
		if r.reads(name, at) { // a source
			for _, p := range st.Ports {
				s.In += p.Count
			}
		}
		s.Out += st.Delivered
		s.Dead += st.Dead
		s.Stages = append(s.Stages, st)
	}
	return nil
}

func (r *Run) stage(st *Stage, at *recovery.Stage) {
	types := map[string]string{}
	if g, ok := r.definition(st.Name); ok {
		st.Kind = string(g.Kind)
		for _, p := range g.Ports {
			types[p.Name] = p.Type.Name
			if _, ok := at.Ports[p.Name]; !ok {
				st.Ports = append(st.Ports, Port{Name: p.Name, Type: p.Type.Name})
			}
		}
	}
	if r.graph != nil {
		_, ok := r.graph.Stage(st.Name)
		st.Gone = !ok
	}
	for _, name := range sortedKeys(at.Ports) {
		p := at.Ports[name]
		switch name {
		case journal.PortDead:
			st.Dead = p.Count
		case journal.PortFx, journal.PortSys:
		default:
			st.Ports = append(st.Ports, Port{Name: name, Type: types[name], Count: p.Count, Digest: p.Digest, Ended: p.End == journal.Natural})
		}
	}
	slices.SortFunc(st.Ports, func(a, b Port) int { return strings.Compare(a.Name, b.Name) })
	st.Delivered, st.Open, st.Timers, st.Ended = at.Receipted, len(at.Open), len(at.Timers), at.Ended
	if at.Position != nil {
		st.Position = at.Position.Value
	}
	st.Snapshot, st.Redo = at.Snapshot, at.Redo
}

// consumed is how many records each stage has consumed, on all inputs that it has
// or had, under all names that it had.
func (r *Run) consumed(state *recovery.State) map[string]uint64 {
	done := map[string]uint64{}             // on inputs that a stage has no more
	began := map[string]map[string]uint64{} // on the others, where it began
	for e := range r.manifest.Redefinitions() {
		d := e.Redefined
		for _, n := range d.Renamed {
			done[n.Stage], began[n.Stage] = done[n.Was], began[n.Was]
			delete(done, n.Was)
			delete(began, n.Was)
		}
		for _, x := range d.Dropped {
			done[x.Stage] += x.Seq - began[x.Stage][x.Journal]
			delete(began[x.Stage], x.Journal)
		}
		for _, x := range d.Starts {
			if began[x.Stage] == nil {
				began[x.Stage] = map[string]uint64{}
			}
			began[x.Stage][x.Journal] = x.Seq
		}
	}
	for name, at := range state.Stages {
		for j, c := range at.Cursors {
			done[name] += c.Seq - began[name][j]
		}
	}
	return done
}

// reads tells whether a stage reads the world.
func (r *Run) reads(stage string, at *recovery.Stage) bool {
	if s, ok := r.definition(stage); ok {
		return s.Kind == topology.Source
	}
	return len(r.inputs(stage, at)) == 0
}

type input struct{ from, view string }

// inputs lists what a stage reads.
func (r *Run) inputs(stage string, at *recovery.Stage) []input {
	var in []input
	if r.graph != nil {
		for _, e := range r.graph.Inputs(stage) {
			in = append(in, input{from: e.Journal(), view: e.Via})
		}
	}
	for _, j := range sortedKeys(at.Cursors) {
		if !slices.ContainsFunc(in, func(i input) bool { return i.from == j }) {
			in = append(in, input{from: j})
		}
	}
	return in
}

// judge takes what a record of a sys port says about the stage and its inputs.
func judge(e entry, st *Stage, verdicts map[string]Verdict) error {
	switch e.out.Type {
	case evidence.TypeMoved:
		m, err := evidence.Parse[evidence.Moved](e.rec.Payload)
		st.State, st.Reason = m.To, m.Reason
		return err
	case evidence.TypeTerminal:
		t, err := evidence.Parse[evidence.Terminal](e.rec.Payload)
		st.Reason = cmp.Or(t.Reason, st.Reason)
		return err
	case evidence.TypeContract:
		c, err := evidence.Parse[evidence.Contract](e.rec.Payload)
		v := Verdict{Contract: c.Contract, Passed: c.Passed, Final: c.Final, Parts: c.Parts, Reason: c.Reason, Epoch: e.p.Epoch}
		if c.From != "" {
			verdicts[c.From] = v
			return err
		}
		i := slices.IndexFunc(st.Contracts, func(have Verdict) bool { return have.Contract == c.Contract })
		if i < 0 {
			st.Contracts = append(st.Contracts, v)
		} else {
			st.Contracts[i] = v
		}
		return err
	}
	return nil
}
