package engine

import (
	"log/slog"
	"time"

	"github.com/weirflow/weir/internal/credit"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/resilience"
	"github.com/weirflow/weir/journal"
)

// A Config says what to run and how.
type Config struct {
	// Flow is built for this run of it alone.
	Flow *plan.Flow
	// Log is open; its last epoch is this owner's. The engine does not close it.
	Log journal.Log
	// State is where the run stood, from [Recover]. Nil means a run without
	// frames.
	State *recovery.State
	// Gone is what stages did for the run that are not in Flow any more.
	Gone Totals
	// RootRun is what sinks are told the run is. Empty means the log's.
	RootRun string
	// Policies are shared with what the flow's stages do themselves. Nil means that
	// there is nothing to share.
	Policies *resilience.Set
	// Inbox is where other processes hand in decisions and signals. Nil means that
	// nobody does.
	Inbox *inbox.Box
	// Logger is told what people should know. Nil means nobody is.
	Logger *slog.Logger
	// Observer is told what happens.
	Observer Observer
	// Window is the credit of every edge. Zero means 8,192 records and 8 MiB.
	Window credit.Window
	// Checkpoint says how much must be read again after a crash at most.
	Checkpoint Checkpoint
	// Stall is how long pending input may make no progress before it is reported.
	// Zero means 2 minutes.
	Stall time.Duration
	// SourceContract says what it means that a source read another number of
	// records than it said it has.
	SourceContract SourceContract
	// Manual has the sources wait for [Run.Begin].
	Manual bool
	// Paranoid decodes everything that is written and compares.
	Paranoid bool
	// Batch is how many records a stage takes into one transition. Zero means
	// 1,024.
	Batch int
}

// Totals are counts of a whole run; see [Result].
type Totals struct{ In, Out, Dead, Failed uint64 }

// A Checkpoint says when a stage takes one: after so much log, or so much time
// with anything new. Zero means 16 MiB and 30 seconds.
type Checkpoint struct {
	Bytes int64
	Every time.Duration
}

// SourceContract is an answer to a source whose count is not what it declared.
type SourceContract uint8

// The answers.
const (
	AbortRun SourceContract = iota // the run fails
	WarnOnly                       // it is recorded
)

// An Observer is told what happens, by the goroutine that it happens to. Its
// functions must return at once and not call the run. Nil ones are not called.
type Observer struct {
	// Transition is called after a stage placed one.
	Transition func(Transition)
	// Moved is called when a supervisor went to another state; the pipeline's name
	// is evidence.Pipeline.
	Moved func(stage, from, to, event string)
	// Contract is called with each verdict that is recorded.
	Contract func(evidence.Contract)
	// Stalled is called when an edge makes no progress, and with an empty chain
	// when it does again.
	Stalled func(edge string, chain []string)
}

// A Transition is what a stage placed.
type Transition struct {
	Stage         string
	LSN           journal.LSN
	Bytes         int
	In, Out, Dead int           // records consumed, written to data ports and to dead
	Took          time.Duration // to append it and hand it to its readers
}

// A Result is how an epoch of a run ended.
type Result struct {
	Status string // as in package evidence
	Reason string // of a failure or cancel, in words
	Stage  string // that failed first, if one did
	Kind   string // of its failure
	Took   time.Duration
	In     uint64 // records of sources, whole run
	Out    uint64 // deliveries with a receipt, whole run
	Dead   uint64 // dead letters, whole run
	Failed uint64 // records on ports named failed, of stages that perform effects; whole run

	Open    uint64 // inputs that are accepted and unfinished
	InDoubt uint64 // of them, those that wait for a decision
}

// defaults fills what is zero.
func (c *Config) defaults() {
	orInt := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	c.Window = c.Window.OrDefault()
	orInt(&c.Batch, turnRecords)
	if c.Checkpoint.Bytes <= 0 {
		c.Checkpoint.Bytes = 16 << 20
	}
	if c.Checkpoint.Every <= 0 {
		c.Checkpoint.Every = 30 * time.Second
	}
	if c.Stall <= 0 {
		c.Stall = 2 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Policies == nil {
		c.Policies = resilience.NewSet(time.Now, nil)
	}
	if c.RootRun == "" {
		c.RootRun = c.Log.Manifest().Run
	}
}
