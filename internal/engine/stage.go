package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A phase is where a stage is in its life.
type phase int32

// The phases, in order. Every stage passes Created, Running, Draining and one of
// the last two; sources wait in Ready, joins that read a table first are
// Hydrating before they run.
const (
	created phase = iota
	ready
	hydrating
	running
	draining // every input ended, or reading was ended; what follows from it is being written
	drained
	failed
)

func (p phase) String() string {
	return [...]string{"Created", "Ready", "Hydrating", "Running", "Draining", "Drained", "Failed"}[p]
}

// A message is what a stage's goroutine is told.
type message struct {
	kind messageKind
	read *plan.Read // arrived
	err  error      // readEnded
}

type messageKind uint8

const (
	cmdPrepare   messageKind = iota + 1 // a source: get ready
	cmdStart                            // a source: begin to read
	cmdStop                             // a source: end reading
	cmdPause                            // a source: read no more for now
	cmdUnpause                          //
	cmdCancel                           // end at once
	arrived                             // a source read a batch
	readEnded                           // a source's reading has ended, with err
	acksEnded                           // a source's acknowledgements have ended
	jobDone                             // a sink's job is done
)

// A stage is the supervisor of one node, with its goroutine. Fields belong to
// that goroutine unless they are atomic or said to be shared.
type stage struct {
	run    *Run
	node   *plan.Node
	mail   mailbox[message]
	ctx    context.Context //nolint:containedctx // the life of the stage: ends what its user code and appends wait for
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by the stage's goroutine when it ends

	author
	worker worker
	ports  []*outlet // data ports, then dead letters if there are any
	inputs []*edge
	next   int // input to begin with, for fairness
	tables []plan.Table
	ender  plan.Ender // the handler, if it emits at the end
	endTab *endTable  // how far it got

	state    atomic.Int32 // a phase; others read it
	finished bool         // it ended for good in an earlier epoch: nothing runs
	began    bool         // it reported that it runs
	paused   bool
	ending   journal.EndKind // how the stage's own journals will end, once known
	failure  error           // why the stage fails
	cancels  bool            // it was told to end at once
	over     bool            // the terminal record is placed
	stuck    bool            // a contract does not hold: nothing goes on until the pipeline cancels
	passed   []string        // contracts that hold, to be told when their record is placed

	turn     turn
	limit    int // records in one transition; small for a while after one was too large
	giveUp   time.Time // when user code that was told to end is left behind
	budget   budget
	check    checkpointer
	position journal.Position // of a source
	hasPos   bool

	alarm   *time.Timer // wakes the goroutine; nil or stopped if nothing is due
	alarmAt time.Time

	in, out, dead, transitions atomic.Uint64 // whole run, for Snapshot; the last this epoch
	lastMove                   atomic.Int64  // wall clock of the last transition
}

// A worker is what differs between stages that read the world, compute, and
// deliver. Its methods are called by the stage's goroutine.
type worker interface {
	// handle takes a message that is not for every stage.
	handle(m message) error
	// work does what can be done without waiting and reports whether it did
	// anything.
	work() (bool, error)
	// idle reports that nothing is in the worker's hands.
	idle() bool
	// cut ends what user code still does, as soon as is safe, and reports whether
	// all of it has returned.
	cut() bool
	// close ends the worker's goroutines and waits for them.
	close()
}

// An outlet is one port of a stage with its readers.
type outlet struct {
	*plan.Port
	tally
	edges  []*edge
	output journal.Output // sealed in the open transition
	batch  *plan.Batch    // of output; nil if nothing was written
}

// loop is the stage's goroutine.
func (s *stage) loop() {
	defer close(s.done)
	defer s.cancel(nil)
	s.guard(s.begin)
	for !s.over {
		s.guard(s.turnOnce)
	}
	s.worker.close()
	if s.alarm != nil {
		s.alarm.Stop()
	}
}

// guard calls fn and makes of its error, and of a panic, the stage's failure.
func (s *stage) guard(fn func() error) {
	var err error
	func() {
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		err = fn()
	}()
	if err != nil {
		s.fail(err)
	}
}

// turnOnce handles what was posted, works, and sleeps if nothing could be done.
func (s *stage) turnOnce() error {
	for _, m := range s.mail.drain() {
		if err := s.handle(m); err != nil {
			return err
		}
		if s.over {
			return nil
		}
	}
	if s.cancels {
		return s.cutShort()
	}
	var did bool
	var err error
	if !s.stuck {
		did, err = s.worker.work()
	}
	if did || err != nil || s.over {
		return err
	}
	if len(s.said) > 0 {
		return s.commit(journal.Urgent)
	}
	due, err := s.checkIdle()
	if err != nil {
		return err
	}
	s.run.rested(s)
	s.sleep(due)
	return nil
}

// sleep waits for a poke, or until due if that is not zero.
func (s *stage) sleep(due time.Time) {
	var fires <-chan time.Time
	if !due.IsZero() {
		wait := max(0, time.Until(due))
		if s.alarm == nil {
			s.alarm = time.NewTimer(wait)
		} else {
			s.alarm.Reset(wait)
		}
		fires = s.alarm.C
	}
	select {
	case <-s.mail.wake:
	case <-fires:
	}
	if s.alarm != nil {
		s.alarm.Stop()
	}
}

func (s *stage) handle(m message) error {
	switch m.kind {
	case cmdCancel:
		s.cancels = true
		return nil
	default:
		return s.worker.handle(m)
	}
}

// move records that the stage goes to another phase; the record is placed with
// the next transition.
func (s *stage) move(to phase, why string) {
	from := phase(s.state.Load())
	if from == to {
		return
	}
	s.state.Store(int32(to))
	say(&s.author, &s.sys, evidence.TypeMoved, evidence.Moved{From: from.String(), To: to.String(), Event: why})
	s.run.observeMoved(s.name, from.String(), to.String(), why)
}

// begin is the first thing the goroutine does.
func (s *stage) begin() error {
	if s.run.epoch.Number > 1 {
		s.consumeOther(journal.Consumed{Kind: journal.Resumed})
		if err := s.commit(journal.Urgent); err != nil {
			return err
		}
	}
	switch {
	case s.node.Source != nil:
		return nil // waits for cmdPrepare
	case s.node.Sink != nil:
		return s.worker.handle(message{kind: cmdPrepare})
	case s.hydrates():
		s.move(hydrating, "Start")
	default:
		s.move(running, "Start")
	}
	s.reportRunning()
	return nil
}

func (s *stage) reportRunning() {
	if !s.began {
		s.began = true
		s.run.tell(signal{event: stageRunning, name: s.name})
	}
}

// hydrates reports whether a table is not read to its end yet.
func (s *stage) hydrates() bool {
	for _, e := range s.inputs {
		if e.spec.Role == plan.TableAtEnd && e.saw != journal.Natural {
			return true
		}
	}
	return false
}

// fail ends the stage because of err: what follows from consumed inputs stays,
// the open transition is dropped, and the readers are told.
func (s *stage) fail(err error) {
	if s.over {
		return
	}
	if s.ctx.Err() != nil && s.failure == nil && errors.Is(err, context.Canceled) {
		s.cancels = true // it is what was asked for, not a failure
		return
	}
	if s.failure != nil { // failing failed
		s.run.log.Error("stage could not record its failure", attr("stage", s.name), attr("error", err.Error()))
		s.finishNow(err)
		return
	}
	s.failure = err
	s.guard(func() error { return s.end(journal.Poison) })
}

// cutShort ends the stage because it was cancelled. What user code has done by
// then is recorded; it gets some time to return.
func (s *stage) cutShort() error {
	if !s.worker.cut() {
		if s.giveUp.IsZero() {
			s.giveUp = time.Now().Add(patience)
		}
		if time.Now().Before(s.giveUp) {
			s.sleep(s.giveUp)
			return nil
		}
	}
	return s.end(journal.Truncated)
}

// patience is how long user code that was told to end may go on.
const patience = 10 * time.Second

// await waits for a goroutine that runs user code, and leaves it behind if that
// does not return.
func (s *stage) await(left <-chan struct{}) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-left:
	case <-t.C:
		s.run.log.Error("user code does not return; it is left behind", attr("stage", s.name))
	}
}

// finishNow reports the end without a record.
func (s *stage) finishNow(err error) {
	s.over = true
	s.state.Store(int32(failed))
	for _, e := range s.inputs {
		e.shut()
	}
	s.publishEnds(journal.Poison)
	if errors.Is(err, journal.ErrPoisoned) || errors.Is(err, journal.ErrClosed) {
		s.run.tell(signal{event: logPoisoned, err: err})
	}
	if s.cancels && s.failure == nil {
		s.run.tell(signal{event: stageCancelled, name: s.name})
		return
	}
	if s.failure != nil {
		err = s.failure
	}
	s.run.tell(signal{event: stageFailed, name: s.name, err: err})
}

var errCancelled = errors.New("the run was cancelled")

// A PanicError is a panic of user code, or of the engine, in a stage.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// ErrorKind makes event.KindOf say panic.
func (e *PanicError) ErrorKind() event.Kind { return event.KindPanic }
