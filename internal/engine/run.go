// Package engine executes a flow: one supervisor with a goroutine for the
// pipeline and one for each stage, which decide by the tables of
// [github.com/weirflow/weir/internal/supervise] and act on the world.
//
// [Start] runs a [plan.Flow] over a [journal.Log]. A stage takes what is at hand
// on its inputs, runs its handler, and places one transition: what it consumed
// and everything that follows from it. Only then do its readers get the batches,
// its tables accept their changes, and the writers before it get credit back.
// Sinks and acknowledgements wait until what they follow from is durable.
//
// What runs user code that may wait (Read, Deliver, Ack) has a goroutine of its
// own, so that a stage always listens. Every goroutine is waited for before
// [Run.Wait] returns. Nothing polls: an idle run sleeps.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A Run is one epoch of a run, under way or ended.
type Run struct {
	c        Config
	log      *slog.Logger
	epoch    journal.Epoch
	epochs   map[uint64]journal.ID
	manifest journal.Manifest
	stages   []*stage
	edges    []*edge
	started  time.Time
	values   context.Context //nolint:containedctx // what user code finds in its contexts; never done

	durable   atomic.Uint64 // LSN, as the log told last
	logged    atomic.Int64  // bytes placed in this epoch
	wakeAt    atomic.Int64  // logged at which stages look whether a checkpoint is due
	pausing   atomic.Bool   // the pipeline waits for what is in flight
	listening atomic.Bool   // a stage listens
	watching  atomic.Bool   // the pipeline looks for stalls
	worst     death         // of an input that was being tried at deaths
	known     bool          // which stage's that is
	alone     chan struct{} // of one: full while a suspect is being tried
	stopWatch func()        // ends the log's calls
	leave     func() bool   // ends the watch over the caller's context

	clerk     *clerk      // nil without an inbox; the pipeline's
	inboxRead atomic.Bool // what was in the inbox when the epoch began is with those it is for
	refusals  refusals

	pipe pipeline // the pipeline's goroutine
	mail mailbox[supervise.PipelineInput]

	mu      sync.Mutex    // guards the rest; never held in a wait
	status  string        // for people: running, paused, …
	changed chan struct{} // closed by the pipeline when status changes, then replaced
	result  Result
	err     error
	done    chan struct{} // closed by the pipeline's goroutine when it ends
}

// Recover reads from log where every stage of flow stands, and fills its tables.
func Recover(flow *plan.Flow, log journal.Log) (*recovery.State, error) {
	tables := map[string][]recovery.Table{}
	for _, n := range flow.Nodes {
		addEndTable(n)
		tables[n.Name] = []recovery.Table{}
		for _, t := range n.Tables {
			tables[n.Name] = append(tables[n.Name], t)
		}
	}
	return readLog(log, tables)
}

// addEndTable gives a node that emits at its end the table in which it keeps how
// far it got, and returns that; nil if the node does not.
func addEndTable(n *plan.Node) *endTable {
	if _, ok := n.Handler.(plan.Ender); !ok {
		return nil
	}
	for _, t := range n.Tables {
		if end, ok := t.(*endTable); ok {
			return end
		}
	}
	end := &endTable{}
	n.Tables = append(n.Tables, end)
	return end
}

// Start begins an epoch of a run and returns at once. When ctx ends the run is
// cancelled. The code of sources and sinks gets the values of ctx.
func Start(ctx context.Context, c Config) (*Run, error) {
	if c.Flow == nil || c.Log == nil {
		return nil, errors.New("start a run: a flow and a log are needed")
	}
	c.defaults()
	manifest := c.Log.Manifest()
	if len(manifest.Epochs) == 0 {
		return nil, fmt.Errorf("start run %s: its log has no epoch", manifest.Run)
	}
	r := &Run{
		c: c, log: c.Logger, values: context.WithoutCancel(ctx), manifest: manifest,
		epoch: manifest.Epochs[len(manifest.Epochs)-1], epochs: map[uint64]journal.ID{},
		started: time.Now(), status: "starting",
		mail: newMailbox[supervise.PipelineInput](), alone: make(chan struct{}, 1), changed: make(chan struct{}), done: make(chan struct{}),
	}
	for _, e := range manifest.Epochs {
		r.epochs[e.Number] = e.ID
	}
	r.wakeAt.Store(c.Checkpoint.Bytes)
	if err := r.build(); err != nil {
		return nil, fmt.Errorf("start run %s of %s: %w", manifest.Run, c.Flow.Name, err)
	}
	r.durable.Store(uint64(c.Log.Durable()))
	r.leave = context.AfterFunc(ctx, func() { r.cancelFor(context.Cause(ctx).Error()) })
	r.tell(supervise.PipelineInput{Event: supervise.Materialize})
	r.stopWatch = c.Log.Watch(r.onDurable) // a log that failed since it was opened says so now
	go r.pipe.loop()                       //nolint:contextcheck // a run outlives the context it is started with
	return r, nil
}

// build makes the stages, their edges and the pipeline.
func (r *Run) build() error {
	f := r.c.Flow
	byName := map[string]bool{}
	for _, n := range f.Nodes {
		if byName[n.Name] || n.Name == evidence.Pipeline {
			return fmt.Errorf("there are two stages named %s", n.Name)
		}
		byName[n.Name] = true
		s, err := r.newStage(n)
		if err != nil {
			return fmt.Errorf("stage %s: %w", n.Name, err)
		}
		r.stages = append(r.stages, s)
	}
	for i, n := range f.Nodes {
		for j, in := range n.Inputs {
			if err := r.newEdge(r.stages[i], j, in); err != nil {
				return fmt.Errorf("stage %s, input %d: %w", n.Name, j, err)
			}
		}
	}
	for _, s := range r.stages {
		if w, ok := s.worker.(*transform); ok && s.accountable() {
			w.accounts = &account{began: s.cursors()}
		}
	}
	for _, s := range r.stages {
		for _, o := range s.ports {
			if err := o.open(r.c.Window); err != nil {
				return fmt.Errorf("stage %s, port %s: %w", s.name, o.Name, err)
			}
		}
	}
	for _, s := range r.stages {
		if err := r.rulesFor(s); err != nil {
			return fmt.Errorf("stage %s: %w", s.name, err)
		}
	}
	if err := r.care(); err != nil {
		return err
	}
	r.inherit()
	return r.pipe.init(r)
}

func (r *Run) stateOf(name string) *recovery.Stage {
	if r.c.State == nil {
		return nil
	}
	return r.c.State.Stages[name]
}

func (r *Run) newStage(n *plan.Node) (*stage, error) {
	at := r.stateOf(n.Name)
	s := &stage{
		run: r, node: n, mail: newMailbox[message](), done: make(chan struct{}),
		author: newAuthor(n.Name, at), limit: r.c.Batch, ended: at != nil && at.Ended,
	}
	s.ctx, s.cancel = context.WithCancelCause(r.values)
	if n.Turn == nil {
		n.Turn = &plan.Turn{}
	}
	s.endTab = addEndTable(n)
	s.ender, _ = n.Handler.(plan.Ender)
	s.tables = n.Tables
	ports := n.Ports
	if n.Dead != nil {
		ports = append(slices.Clip(ports), n.Dead)
	}
	for _, p := range ports {
		o := &outlet{Port: p, tally: tally{port: p.Name}, journal: n.Name + "." + p.Name}
		if at != nil {
			o.resume(at)
			o.written.Store(o.count)
		}
		if s.ended {
			o.end = ending{kind: journal.Natural, count: o.count, digest: o.digest}
		}
		s.ports = append(s.ports, o)
		if p == n.Dead {
			s.dead.Store(o.count)
		} else {
			s.out.Add(o.count)
		}
	}
	s.kept = keptOf(n, at)
	switch {
	case n.Source != nil && n.Handler == nil && n.Sink == nil && len(n.Inputs) == 0 && len(n.Ports) > 0:
		if at != nil && at.Position != nil {
			s.position, s.located = *at.Position, true
		}
		s.worker = newSource(s)
	case n.Handler != nil && n.Source == nil && n.Sink == nil && len(n.Inputs) > 0:
		s.worker = &transform{s: s}
	case n.Sink != nil && n.Source == nil && n.Handler == nil && len(n.Inputs) > 0:
		s.worker = newSink(s, at)
	case n.Performer != nil && n.Source == nil && n.Handler == nil && n.Sink == nil && len(n.Inputs) > 0:
		s.worker = newPerformer(s, at)
	default:
		return nil, errors.New("it must be a source with ports and no input, or a handler, a performer or a sink with inputs")
	}
	return s, nil
}

func newSink(s *stage, at *recovery.Stage) *sink {
	w := &sink{s: s, receipts: tally{port: evidence.Receipts}}
	if at != nil {
		w.receipts.resume(at)
		w.note, w.phase, w.settled = at.Note, at.Phase, at.Receipted
	}
	s.out.Store(w.settled)
	w.out = newDeliverer(s)
	w.out.at = w.at()
	return w
}

func (r *Run) newEdge(to *stage, input int, in *plan.Input) error {
	if in.From.Node < 0 || in.From.Node >= len(r.stages) {
		return fmt.Errorf("it reads stage %d of %d", in.From.Node, len(r.stages))
	}
	from := r.stages[in.From.Node]
	var port *outlet
	for i, p := range from.ports {
		if i == in.From.Port && i < len(from.node.Ports) || in.From.Port == plan.DeadPort && p.Port == from.node.Dead {
			port = p
		}
	}
	if port == nil {
		return fmt.Errorf("stage %s has no port %d", from.name, in.From.Port)
	}
	e := &edge{
		journal: port.journal, from: from, to: to, port: port, at: len(port.edges), spec: in, input: input,
	}
	e.name = e.journal + "→" + to.name
	if to.inputOf(e.journal) >= 0 {
		return fmt.Errorf("it reads %s twice; put a stage between them", e.journal)
	}
	if at := r.stateOf(to.name); at != nil {
		c := at.Cursors[e.journal]
		e.cursor, e.saw = c.Seq, c.End
	}
	e.tail = e.cursor
	if to.ended {
		e.saw = journal.Natural
	}
	if w, ok := to.worker.(*sink); ok {
		w.accounts = append(w.accounts, contract.NewDelivery(e.subject(), e.cursor))
	}
	port.edges = append(port.edges, e)
	to.inputs = append(to.inputs, e)
	r.edges = append(r.edges, e)
	return nil
}

// hydratesFirst reports whether the stage has inputs that it reads to their end
// before the others.
func (s *stage) hydratesFirst() bool {
	for _, in := range s.node.Inputs {
		if in.Role == plan.TableAtEnd {
			return true
		}
	}
	return false
}

func (r *Run) rulesFor(s *stage) (err error) {
	config := supervise.StageConfig{Source: s.node.Source != nil, Inputs: len(s.inputs)}
	for i, e := range s.inputs {
		if e.spec.Role == plan.TableAtEnd {
			config.Hydrate = append(config.Hydrate, i)
		}
	}
	if s.rules, err = supervise.NewStage(config); err == nil {
		s.state.Store(int32(s.rules.State()))
	}
	return err
}

// onDurable is called by the log.
func (r *Run) onDurable(durable journal.LSN, err error) {
	if err != nil {
		r.tell(supervise.PipelineInput{Event: supervise.LogPoisoned, Err: err})
		return
	}
	r.durable.Store(uint64(durable))
	for _, s := range r.stages {
		if w := s.waitsFor.Load(); w != 0 && uint64(durable) >= w && s.waitsFor.CompareAndSwap(w, 0) {
			s.mail.poke()
		}
	}
}

// placed counts what a stage appended. Each time the log has grown by a
// checkpoint's worth, stages that sleep look whether theirs is too old.
func (r *Run) placed(size int) {
	logged := r.logged.Add(int64(size))
	if at := r.wakeAt.Load(); logged >= at && r.wakeAt.CompareAndSwap(at, logged+r.c.Checkpoint.Bytes) {
		for _, s := range r.stages {
			s.mail.poke()
		}
	}
	if !r.watching.Load() && r.watching.CompareAndSwap(false, true) {
		r.mail.poke()
	}
}

// rests is called by a stage that goes to sleep with nothing in hand, or ends.
func (r *Run) rests(s *stage) {
	if r.pausing.Load() {
		r.mail.poke()
	}
	if !r.listening.Load() || s.listens.Load() {
		return
	}
	for _, o := range r.stages {
		if o.listens.Load() {
			o.mail.poke()
		}
	}
}

func (r *Run) epochID(number uint64) journal.ID { return r.epochs[number] }

// redelivers reports whether an earlier epoch may have delivered b.
func (r *Run) redelivers(b *plan.Batch) bool { return b.LSN < r.epoch.First }

// tell leaves a message for the pipeline.
func (r *Run) tell(in supervise.PipelineInput) { r.mail.post(in) }

func attr(key, value string) slog.Attr { return slog.String(key, value) }
