package weir

import (
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// An Observer is told what happens in a run. Its functions are called by the
// goroutines that it happens to, several at once: they must return quickly and
// not call the run. Nil ones are not called.
type Observer struct {
	// Transition is called after a stage placed a transition in the log.
	Transition func(Transition)
	// Moved is called when a stage, or the pipeline, went to another state.
	Moved func(stage, from, to, event string)
	// Contract is called with each verdict that is recorded.
	Contract func(Verdict)
	// Paused is called with the reason when the run begins to wait because the
	// disk is full, and with nil when it goes on.
	Paused func(why error)
	// Stalled is called when input of a stage waits and makes no progress, with
	// the chain of stages that wait for each other; and with nil when it does
	// again.
	Stalled func(edge string, chain []string)
}

// A Transition is what a stage placed in the log.
type Transition struct {
	Stage         string
	LSN           journal.LSN
	Bytes         int           // in the log
	In, Out, Dead int           // records consumed, records and dead letters written
	Took          time.Duration // to place it
}

// A Verdict is what a check found on an edge or a stage.
type Verdict struct {
	Contract string // transport, source, delivery, accounting
	From, To string // journal and stage; From is empty for a check on a stage
	Passed   bool
	Final    bool // the input has ended
	Reason   string
}

func (o Observer) engine() engine.Observer {
	e := engine.Observer{Moved: o.Moved, Stalled: o.Stalled}
	if fn := o.Transition; fn != nil {
		e.Transition = func(t engine.Transition) { fn(Transition(t)) }
	}
	if fn := o.Contract; fn != nil {
		e.Contract = func(c evidence.Contract) { fn(Verdict{c.Contract, c.From, c.To, c.Passed, c.Final, c.Reason}) }
	}
	return e
}
