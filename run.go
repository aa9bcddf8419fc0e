package weir

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/credit"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Options configure a run. The zero value works: it runs in memory.
type Options struct {
	// Dir is the data directory: runs are kept in Dir/flow/run. It is created if
	// it does not exist. Empty means that the run is in memory and nothing of it
	// survives.
	Dir string
	// RequireDir refuses to create Dir: for services, where a missing volume
	// would otherwise mean a new run.
	RequireDir bool

	// Continue says what an unfinished run means. Zero means: go on with it.
	Continue Continue
	// Run is the id of an unfinished run to go on with. Empty means the newest.
	Run string

	// Start, Map and Retire say what a run that is continued shall do where the
	// flow's definition is not the one that the run had, and the record does not say
	// it; see [Definition.PlanResume]. They mean nothing where the definition is the
	// same.
	//
	// Start says where a stage begins to read what it did not read before:
	// "stage=now", "stage=begin", or "stage=orders.out:17" for the first record that
	// it reads; the last may be given for several inputs.
	Start []string
	// Map gives a stage the place of one that is gone, with all that it had:
	// "new=old".
	Map []string
	// Retire names stages that are gone, or do not read something any more, and of
	// which what is left is given up.
	Retire []string

	// Config holds the settings of a flow made by DefineWith. Nil means its
	// defaults. A run that is continued has the settings it began with instead.
	Config any
	// Sources says where settings came from, by their names: "command line",
	// "environment", "file"; the default is "code". It is recorded. A value from
	// the command line wins over that of a continued run.
	Sources map[string]string

	// Sync is when what is written counts as durable. Zero means journal.Group.
	Sync journal.Sync
	// SegmentSize is the size of the log's files. Zero means 1 MiB at first,
	// growing to 64 MiB.
	SegmentSize int64
	// CheckpointBytes and CheckpointEvery bound what a restart reads again: so
	// much log, or so much time with anything new. Zero means 16 MiB and 30 s.
	CheckpointBytes int64
	CheckpointEvery time.Duration

	// Manual has sources wait for Run.Begin.
	Manual bool
	// Logger is told what people should know. Nil means slog.Default().
	Logger *slog.Logger
	// Observer is told what happens as it happens.
	Observer Observer

	// Deliver has the sinks of a replay deliver; see Definition.Replay. It means
	// nothing elsewhere.
	Deliver bool

	// Harness is for package weirtest.
	Harness *plan.Harness

	replays bool // Run is a replay of which the sinks are to deliver
}

// orDefaults fills in what is nil.
func (o Options) orDefaults() Options {
	if o.Harness == nil {
		o.Harness = &plan.Harness{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Continue is an answer to an unfinished run: one that was interrupted, stopped,
// cancelled or failed.
type Continue int

// The answers.
const (
	// ContinueUnfinished goes on with the newest run of the flow, in the same
	// directory as a new epoch, if it is unfinished; else it starts a new one.
	ContinueUnfinished Continue = iota
	// StartNew starts a new run whatever there is.
	StartNew
	// RefuseUnfinished starts a new run, unless the newest is unfinished: that is
	// ErrUnfinished.
	RefuseUnfinished
)

// Status of a run.
type Status string

// The statuses. All but Completed are unfinished: the run can be continued.
const (
	Running     Status = "running"
	Completed   Status = evidence.Completed
	Stopped     Status = evidence.Stopped     // drained on request
	Cancelled   Status = evidence.Cancelled   // cut short on request
	Failing     Status = evidence.Failed      // a stage, or a contract, failed
	Interrupted Status = evidence.Interrupted // the process died, or could not write any more
)

// A Summary is what a run did.
type Summary struct {
	Status Status
	Run    string // id
	Dir    string // of the run; empty in memory
	Epoch  uint64 // from 1; each continuation begins another
	In     uint64 // records that sources read, in all epochs
	Out    uint64 // deliveries with a receipt, in all epochs
	Dead   uint64 // dead letters, in all epochs; what finally failed and nobody reads counts among them
	Failed uint64 // payloads that effects finally failed on, in all epochs

	// Open is how many payloads are accepted by stages that perform effects, and not
	// finished; InDoubt is how many of these wait for a person's decision.
	Open, InDoubt uint64

	Reason string        // why it failed or was cancelled
	Stage  string        // the stage that failed first
	Took   time.Duration // this epoch
	// Endless tells that a source of the flow does not end by itself. Such a flow
	// has done what it was asked to when it is Stopped.
	Endless bool
}

// Run runs the flow to its end: until every source has come to its end and
// everything is delivered. When ctx ends, the run is cancelled. The error says
// why the flow could not be started, or why it did not complete and was not
// asked to stop; the summary is meaningful in either case.
func (d *Definition) Run(ctx context.Context, o Options) (Summary, error) {
	r, err := d.Start(ctx, o)
	if err != nil {
		return Summary{}, err
	}
	return r.Wait()
}

// A Run is one execution of a flow, under way or ended. Its methods are safe for
// concurrent use. Call Wait, Stop or Cancel to release what it holds.
type Run struct {
	engine  *engine.Run
	log     journal.Log
	logger  *slog.Logger
	id      string
	dir     string
	epoch   uint64
	codec   event.Codec
	endless bool
	cause   func() error // why the caller's context ended, nil if it has not

	once    sync.Once // guards the end
	summary Summary
	err     error
}

// Start starts the flow and returns; see Run for ctx. Errors: a
// [*topology.ValidationError] for a flow that is wired wrongly, [ErrInUse],
// [ErrUnfinished], [ErrNoRun], a [*DefinitionError] for a run that another
// definition began.
func (d *Definition) Start(ctx context.Context, o Options) (*Run, error) {
	o = o.orDefaults()
	p, err := d.prepare(o)
	if err != nil {
		return nil, err
	}
	return d.begin(ctx, p, o)
}

// begin starts a run whose log is open.
func (d *Definition) begin(ctx context.Context, p *prepared, o Options) (*Run, error) {
	h := o.Harness
	if h.FS != nil {
		ctx = vfs.With(ctx, h.FS)
	}
	r := &Run{log: p.log, logger: p.logger, id: p.manifest.Run, dir: p.dir, cause: func() error {
		if ctx.Err() == nil {
			return nil
		}
		return context.Cause(ctx)
	}}
	r.epoch = p.log.Manifest().Epochs[len(p.log.Manifest().Epochs)-1].Number
	if err := r.codec.UnmarshalText([]byte(p.flow.Graph.Codec())); err != nil {
		_ = p.log.Close() // nothing was written
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	r.endless = slices.ContainsFunc(p.flow.Nodes, func(n *plan.Node) bool { return n.Source != nil && !n.Source.Bounded() })
	state, err := engine.Recover(p.flow, p.log)
	var gone engine.Totals
	if err == nil {
		gone, err = goneTotals(p.flow.Graph, p.log.Manifest(), state)
	}
	if err == nil && p.dir != "" {
		p.inbox, err = inbox.Open(cmp.Or(h.FS, vfs.OS), p.dir)
	}
	if err == nil {
		r.engine, err = engine.Start(ctx, engine.Config{
			Flow: p.flow, Policies: p.policies, Log: p.log, State: state, Gone: gone, Inbox: p.inbox, Logger: p.logger,
			Observer:   o.Observer.engine(),
			Checkpoint: engine.Checkpoint{Bytes: o.CheckpointBytes, Every: o.CheckpointEvery},
			Manual:     o.Manual,
			Window:     credit.Window{Records: uint64(max(0, h.Window))}, Batch: h.Batch, Paranoid: h.Paranoid,
		})
	}
	if err != nil {
		_ = p.log.Close() // nothing was written
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	return r, nil
}

// ID returns the run's id, a ULID.
func (r *Run) ID() string { return r.id }

// Dir returns the run's directory, empty in memory.
func (r *Run) Dir() string { return r.dir }

// Epoch returns the number of the epoch under way, from 1.
func (r *Run) Epoch() uint64 { return r.epoch }

// Begin starts the sources of a run with Options.Manual.
func (r *Run) Begin() { r.engine.Begin() }

// Stop ends the sources and lets everything in flight finish; when ctx ends it
// cancels instead, and returns ctx's error. Stop returns when the run has ended,
// and is idempotent. A stopped run is unfinished, unless every source had come to
// its end.
//
// Without a deadline Stop waits for what is in flight, however long that takes:
// for a sink that is tried again and again, and on a full disk for space.
func (r *Run) Stop(ctx context.Context) error {
	err := r.engine.Stop(ctx)
	_, _ = r.Wait()
	return err
}

// Cancel ends the run as fast as is safe and returns when it has ended. What was
// under way is lost, not what was recorded.
func (r *Run) Cancel() {
	_ = r.engine.Cancel()
	_, _ = r.Wait()
}

// Pause stops reading and returns when what is in flight has finished, or with
// ctx's error; the run pauses all the same.
func (r *Run) Pause(ctx context.Context) error { return r.engine.Pause(ctx) }

// Unpause reads again.
func (r *Run) Unpause() { r.engine.Unpause() }

// Done is closed when the run has ended.
func (r *Run) Done() <-chan struct{} { return r.engine.Done() }

// Wait returns when the run has ended and released its directory. The error says
// why it failed, was interrupted, or was cancelled by the end of the context; it
// is nil for a run that completed, or was asked to stop or cancel.
func (r *Run) Wait() (Summary, error) {
	<-r.engine.Done()
	r.once.Do(r.finish)
	return r.summary, r.err
}

func (r *Run) finish() {
	res, err := r.engine.Wait()
	r.summary = Summary{
		Status: Status(res.Status), Run: r.id, Dir: r.dir, Epoch: r.epoch,
		In: res.In, Out: res.Out, Dead: res.Dead, Failed: res.Failed, Open: res.Open, InDoubt: res.InDoubt, Reason: res.Reason, Stage: res.Stage, Took: res.Took, Endless: r.endless,
	}
	switch closing := r.log.Close(); {
	case closing == nil || err != nil:
	case r.summary.Status == Completed: // that is durable; what was left to do is tidying
		r.logger.Warn("the log was not closed well", slog.String("run", r.id), slog.Any("error", closing))
	default:
		err = fmt.Errorf("close the log: %w", closing)
	}
	if cause := r.cause(); err == nil && cause != nil && r.summary.Status == Cancelled {
		err = cause
	}
	if err != nil {
		r.err = fmt.Errorf("run %s %s: %w", r.id, r.summary.Status, err)
	}
}

// Status returns the present status.
func (r *Run) Status() Status {
	select {
	case <-r.engine.Done():
		res, _ := r.engine.Wait()
		return Status(res.Status)
	default:
		return Running
	}
}

// Progress says where a run is, at about one moment.
type Progress struct {
	Phase  string // starting, waiting (for Begin), running, paused, waiting for space (on the disk), ending, waiting for decisions (of people) or ended
	Stages []StageProgress
}

// StageProgress is where a stage is.
type StageProgress struct {
	Name     string
	State    string
	In       uint64        // consumed, of a source read; in this epoch
	Out      uint64        // records on its data ports, of a sink delivered; whole run
	Dead     uint64        // dead letters; whole run
	Open     uint64        // accepted and not finished
	InDoubt  uint64        // of them, waiting for a decision
	InFlight uint64        // waiting for it
	Lag      time.Duration // since it did anything, while something waits
}

// Progress returns where the run is. It is cheap.
func (r *Run) Progress() Progress {
	at := r.engine.Snapshot()
	phase := at.Status
	if r.log.Stats().Paused != nil && phase != "ended" {
		phase = "waiting for space"
	}
	p := Progress{Phase: phase, Stages: make([]StageProgress, len(at.Stages))}
	for i, s := range at.Stages {
		p.Stages[i] = StageProgress(s)
	}
	return p
}
