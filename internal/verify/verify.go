// Package verify executes a recorded run again, without the outside world, and
// compares what comes out with what is on record.
//
// [Run] reads the log once. Each transition goes to its stage, which walks what
// the transition consumed, calls the handler for it as the engine did, and
// compares outputs, dead letters, effect requests and state with the recorded
// ones. Stages work at the same time, each on its own transitions in the order of
// the log.
//
// A stage whose output comes out as it is recorded hands its typed values on to
// its readers; what differs is decoded from the record. So a difference is
// reported where it begins and not again in everything that follows from it.
//
// What the outside world said is given, not computed: the records and positions
// of sources, outcomes of effects, whether a delivery succeeded. So are the
// reserved port sys and what a stop or a failure cut short.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Log is what is read of a run: an open log, or a view of one.
type Log interface {
	journal.Source
	Find(journal string, seq uint64) (journal.LSN, error)
	Manifest() journal.Manifest
}

// A Config says what to verify.
type Config struct {
	// Flow is built for this verification alone. Its sources, sinks, effects and
	// resources are not opened.
	Flow *plan.Flow
	Log  Log
	// Open opens the log once more, for a stage that reads it by itself; done ends
	// that. Nil means that Log can be read by several goroutines.
	Open func() (log Log, done func() error, err error)
	// Upto is the last LSN that is read.
	Upto journal.LSN
	// Stages are those to execute again. Empty means all.
	Stages []string
	// From and To are the first and the last record whose transitions are executed
	// again; the zero Ref means the beginning, and the end. What comes before is
	// taken as it is recorded.
	From, To event.Ref
	// Max is how many differences are listed. Zero means 100.
	Max int
	// Was returns the definition that an epoch ran, nil for the flow's own. Nil means
	// that all did.
	Was func(epoch uint64) *topology.Graph
}

// ErrNoRecord says that a Config names a stage or a record that there is not.
var ErrNoRecord = errors.New("no such record")

// Run verifies. The error says that the run could not be read or the flow not be
// executed; that the run differs is in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Max <= 0 {
		c.Max = 100
	}
	if c.Open == nil {
		c.Open = func() (Log, func() error, error) { return c.Log, func() error { return nil }, nil }
	}
	v := &verifier{Config: c, byName: map[string]*stage{}, epochs: map[uint64]journal.ID{}}
	m := c.Log.Manifest()
	v.root, v.copies = cmp.Or(m.Root, m.Run), m.Redrive != nil
	for _, e := range m.Epochs {
		v.epochs[e.Number] = e.ID
	}
	if err := v.codec.UnmarshalText([]byte(c.Flow.Graph.Codec())); err != nil {
		return nil, fmt.Errorf("verify flow %s: %w", c.Flow.Name, err)
	}
	if err := v.build(); err != nil {
		return nil, err
	}
	if err := v.window(); err != nil {
		return nil, err
	}
	v.redefined(&m)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	v.room = newRoom()
	v.masks = parseMasks(c.Flow.Masks)
	var all sync.WaitGroup
	for _, s := range v.stages {
		all.Go(func() {
			if err := s.loop(ctx); err != nil {
				stop(err)
			}
		})
	}
	err := v.read(ctx)
	if err != nil {
		stop(err)
	}
	for _, s := range v.stages {
		close(s.todo)
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return v.report(), nil
}

// A verifier is one Run.
type verifier struct {
	Config
	codec  event.Codec // of payloads and state
	epochs map[uint64]journal.ID
	stages []*stage
	byName map[string]*stage
	room   *room
	masks  masks

	root      string // the run that keys are derived from
	copies    bool   // records may be copies of those of another run
	replaying bool   // what is computed is written to another log

	first, last journal.LSN // of the transitions that are executed again
	from        journal.LSN // where reading begins
	read1, head journal.LSN // first and last frame that was read
	skipped     []Skip      // what could not be executed again
}

// build makes the stages and edges.
func (v *verifier) build() error {
	for _, name := range v.Stages {
		if !slices.ContainsFunc(v.Flow.Nodes, func(n *plan.Node) bool { return n.Name == name }) {
			return fmt.Errorf("%w: flow %s has no stage %q", ErrNoRecord, v.Flow.Name, name)
		}
	}
	for _, n := range v.Flow.Nodes {
		s := newStage(v, n)
		v.stages = append(v.stages, s)
		v.byName[n.Name] = s
	}
	for i, n := range v.Flow.Nodes {
		for j, in := range n.Inputs {
			from := v.stages[in.From.Node]
			p := from.dead
			if in.From.Port != plan.DeadPort {
				p = from.ports[in.From.Port]
			}
			e := &edge{open: v.Open, epochs: v.epochs, journal: p.journal, from: from, port: p.Port, spec: in, input: j, wake: make(chan struct{}, 1)}
			p.edges = append(p.edges, e)
			v.stages[i].inputs = append(v.stages[i].inputs, e)
		}
	}
	for _, s := range v.stages {
		if s.does == nil || s.does.signals == nil || v.replaying {
			continue
		}
		for i, n := range v.Flow.Nodes {
			maker, ok := n.Sink.(plan.Signaller)
			if !ok {
				continue
			}
			for _, of := range v.stages[i].inputs {
				e := &edge{open: v.Open, epochs: v.epochs, journal: of.journal, from: of.from, port: of.port, spec: of.spec, input: of.input, wake: make(chan struct{}, 1)}
				p := of.from.writes(of.port)
				p.edges = append(p.edges, e)
				s.does.springs = append(s.does.springs, spring{maker, e})
			}
		}
	}
	return nil
}

// redefined notes what the recorded flow did not have.
func (v *verifier) redefined(m *journal.Manifest) {
	was := v.definitions(m)
	if len(was) == 0 {
		return // then nothing can be said
	}
	for _, s := range v.stages {
		if !slices.ContainsFunc(was, func(g *topology.Graph) bool { _, ok := g.Stage(s.name); return ok }) {
			if s.chosen {
				v.skipped = append(v.skipped, Skip{Stage: s.name, Reason: "the run has no such stage"})
			}
			continue
		}
		for _, e := range s.inputs {
			e.foreign = !slices.ContainsFunc(was, func(g *topology.Graph) bool {
				return slices.ContainsFunc(g.Inputs(s.name), func(o topology.Edge) bool { return o.Journal() == e.journal })
			})
			if e.foreign && s.chosen {
				v.skipped = append(v.skipped, Skip{Stage: s.name, Reason: "it reads " + e.journal + ", which it did not read"})
			}
		}
	}
}

// definitions are those that the epochs of the run had.
func (v *verifier) definitions(m *journal.Manifest) (all []*topology.Graph) {
	if v.Was != nil {
		for _, e := range m.Epochs {
			if g := v.Was(e.Number); g != nil && !slices.Contains(all, g) {
				all = append(all, g)
			}
		}
	} else if g, err := topology.Parse(m.Definition); err == nil {
		all = append(all, g)
	}
	return all
}

// window finds the transitions that are executed again.
func (v *verifier) window() error {
	v.first, v.last, v.from = 1, v.Upto, 1
	at := func(ref event.Ref) (*journal.Placed, error) {
		name := ref.Stage + "." + ref.Port
		lsn, err := v.Log.Find(name, ref.Seq)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", ref, err)
		}
		in, err := v.Log.Read(lsn)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", ref, err)
		}
		ts := journal.Transitions(in)
		defer func() { _ = ts.Close() }() // it was only read
		for {
			p := &journal.Placed{}
			if err := ts.Next(p); errors.Is(err, io.EOF) || err == nil && p.First > v.Upto {
				return nil, fmt.Errorf("%w: %s", ErrNoRecord, ref)
			} else if err != nil {
				return nil, err
			}
			if p.Stage != ref.Stage {
				continue
			}
			for i := range p.Outputs {
				if o := &p.Outputs[i]; o.Port == ref.Port && o.First <= ref.Seq && ref.Seq < o.First+uint64(o.Count) {
					return p, nil
				}
			}
		}
	}
	if v.From != (event.Ref{}) {
		p, err := at(v.From)
		if err != nil {
			return err
		}
		v.first = p.First
	}
	if v.To != (event.Ref{}) {
		p, err := at(v.To)
		if err != nil {
			return err
		}
		v.last = p.Last
	}
	switch {
	case v.Upto == 0:
		v.skipped = append(v.skipped, Skip{Reason: "nothing of the run is durable"})
	case v.last < v.first:
		return fmt.Errorf("%w: %s comes before %s in the log", ErrNoRecord, v.To, v.From)
	}
	return nil
}

// read gives each transition to its stage.
func (v *verifier) read(ctx context.Context) (err error) {
	in, err := v.Log.Read(v.from)
	if err != nil {
		return fmt.Errorf("read the log from %d: %w", v.from, err)
	}
	ts := journal.Transitions(cloning{in})
	defer func() { err = errors.Join(err, ts.Close()) }()
	m := v.Log.Manifest()
	l := newLedger(m)
	var redefined []*journal.Epoch
	for e := range m.Redefinitions() {
		redefined = append(redefined, e)
	}
	unknown := map[string]bool{}
	for {
		t := &task{}
		err := ts.Next(&t.p)
		if errors.Is(err, io.EOF) || err == nil && t.p.First > v.last {
			return nil
		}
		if err != nil {
			return err
		}
		for len(redefined) > 0 && redefined[0].Number <= t.p.Epoch {
			for _, s := range v.stages {
				if err := v.give(ctx, s, &task{enters: redefined[0]}); err != nil {
					return err
				}
			}
			redefined = redefined[1:]
		}
		if v.read1 == 0 {
			v.read1 = t.p.First
		}
		v.head = t.p.Last
		t.wrong = l.take(&t.p)
		s, ok := v.byName[t.p.Stage]
		if heir := v.heir(t.p.Stage, t.p.Epoch); heir != nil && (!ok || m.NameAt(t.p.Stage, t.p.Epoch) != t.p.Stage) {
			s, ok, t.of = heir, true, t.p.Stage
		}
		if !ok {
			if t.p.Stage != evidence.Pipeline && !unknown[t.p.Stage] && tells(&t.p) {
				unknown[t.p.Stage] = true
				v.skipped = append(v.skipped, Skip{Stage: t.p.Stage, Reason: "the flow has no such stage any more"})
			}
			continue
		}
		t.given = t.p.First < v.first || !s.chosen
		t.size = sizeOf(&t.p)
		if s.does != nil {
			t.entries = entriesOf(&t.p) // here, while the stage executes others
		}
		if err := v.room.take(ctx, t.size); err != nil {
			return context.Cause(ctx)
		}
		if err := v.give(ctx, s, t); err != nil {
			return err
		}
	}
}

func (v *verifier) give(ctx context.Context, s *stage, t *task) error {
	select {
	case s.todo <- t:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A task is one transition for its stage.
type task struct {
	p       journal.Placed
	entries []entry // what it has on the port fx
	size    int
	given   bool   // it is taken as it is recorded
	of      string // it is of a stage with this name, whose memory the stage has; empty if it is its own

	enters *journal.Epoch // the next is of an epoch with another definition; nothing else is set
	wrong  []Difference   // in which it contradicts the log before it
}

// sizeOf is about how much memory a transition holds.
func sizeOf(p *journal.Placed) int {
	n := 256
	for i := range p.Outputs {
		n += len(p.Outputs[i].Records)
	}
	for i := range p.State {
		n += len(p.State[i].Changes)
	}
	return n
}

// cloning is a reader whose frames can be kept.
type cloning struct{ journal.Reader }

func (c cloning) Next() (journal.Entry, error) {
	e, err := c.Reader.Next()
	e.Body = slices.Clone(e.Body)
	return e, err
}

// A room bounds the memory of the transitions that wait for their stages. One
// that is larger than the room has it for itself.
type room struct {
	mu   sync.Mutex // guards used
	used int
	free chan struct{} // of one: told when used shrinks
}

// roomSize is what transitions that were read ahead may hold.
const roomSize = 32 << 20

func newRoom() *room { return &room{free: make(chan struct{}, 1)} }

func (r *room) take(ctx context.Context, n int) error {
	for {
		r.mu.Lock()
		ok := r.used == 0 || r.used+n <= roomSize
		if ok {
			r.used += n
		}
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-r.free:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *room) give(n int) {
	r.mu.Lock()
	r.used -= n
	r.mu.Unlock()
	select {
	case r.free <- struct{}{}:
	default:
	}
}
