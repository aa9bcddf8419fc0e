package engine

import (
	"context"
	"errors"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A message is what a stage's goroutine is told from outside.
type message struct {
	kind messageKind
	in   supervise.StageInput // command
	read *plan.Read           // arrived
	err  error                // readEnded
	move *move                // performed, recording
	hand *Handed              // handed

	signal *arrival // signalled
}

type messageKind uint8

const (
	command   messageKind = iota + 1 // of the pipeline
	arrived                          // a source read a batch
	readEnded                        // a source's reading has ended, with err
	acksEnded                        // a source's acknowledgements have ended
	jobDone                          // a sink's job is done
	performed                        // an execution came back
	recording                        // an execution has something recorded
	handed                           // something was said from outside about an accepted input
	signalled                        // a signal came
)

// A stage is the shell of a [supervise.Stage]: one node's supervisor with its
// goroutine. Fields belong to that goroutine unless they are atomic.
type stage struct {
	run    *Run
	node   *plan.Node
	mail   mailbox[message]
	ctx    context.Context //nolint:containedctx // the life of the stage: ends what its user code and appends wait for
	cancel context.CancelCauseFunc
	done   chan struct{} // closed by the stage's goroutine when it ends

	author
	rules  *supervise.Stage
	events []supervise.StageInput // to be stepped, in order
	worker worker
	ports  []*outlet // data ports, then dead letters if there are any
	kept   []*tally  // data ports that it had in an earlier epoch
	heir   []string  // stages whose memory it has, and which only its own checkpoint lets be forgotten
	inputs []*edge
	next   int // input to begin with, for fairness
	tables []plan.Table
	ender  plan.Ender // the handler, if it emits at the end
	endTab *endTable  // how far it got

	ended    bool // for good, in an earlier epoch: nothing runs
	emitting bool // AtEnd is under way
	flushing bool // Drain was asked for and is not complete
	cutting  bool // CancelWork was asked for and is not complete
	closing  bool // Cleanup was asked for and is not complete
	finished bool // the goroutine ends
	told     bool // the pipeline was told how the stage ended
	stuck    bool // a contract does not hold: nothing goes on until the pipeline cancels

	careful bool             // one input at a time, on record before it is tried
	deaths  map[trying]death // at which an input was being tried
	alone   bool             // it tries an input while nobody tries another suspect

	turn     turn
	limit    int // records in one transition; small for a while after one was too large
	budget   budget
	check    checkpointer
	position journal.Position // of a source
	located  bool             // position is one that was recorded
	moves    bool             // the open transition has a position
	passed   []string         // contracts that hold, to be told when their record is placed

	alarm  *time.Timer // wakes the goroutine; nil before the first use
	wakeAt time.Time   // when the worker wants to work again; zero means when poked
	giveUp time.Time   // when user code that was told to end is left behind

	state     atomic.Int32  // of rules, for others
	waitsFor  atomic.Uint64 // an LSN: wake the stage when it is durable; zero means no
	in        atomic.Uint64 // items consumed, or records read; this epoch
	dead      atomic.Uint64 // dead letters; whole run
	out       atomic.Uint64 // records written to data ports, of a sink delivered; whole run
	placings  atomic.Uint64 // transitions of this epoch
	lastPlace atomic.Int64  // wall clock of the last
	resting   atomic.Bool   // the goroutine sleeps and its worker holds nothing
	open      atomic.Int64  // inputs in open work
	patient   atomic.Bool   // nothing is left to be done but what waits for a decision
	listens   atomic.Bool   // nothing is left to be done but to take signals that others may send yet
	doubts    atomic.Pointer[[]InDoubt]
}

// A worker is what differs between stages that read the world, compute, and
// deliver. Its methods are called by the stage's goroutine.
type worker interface {
	// open begins to get ready; the stage's Ready event follows.
	open() error
	// read begins, or goes on, to read; pause and stop end it.
	read()
	pause()
	stop()
	// handle takes a message that is no command.
	handle(m message) error
	// work does what can be done without waiting and reports whether it did
	// anything.
	work() (bool, error)
	// drain does as work does once the inputs have ended, and reports with done
	// that nothing is left.
	drain() (did, done bool, err error)
	// output finishes outside what a natural end finishes; OutputDone follows.
	output() (did, done bool, err error)
	// cut ends what user code still does, as soon as is safe, and reports whether
	// all of it has returned.
	cut() bool
	// close closes what open opened and reports whether that is done.
	close() bool
	// leave ends the worker's goroutines and waits for them.
	leave()
	// idle reports that the worker holds nothing that was read and is not placed,
	// or placed and not delivered.
	idle() bool
}

// loop is the stage's goroutine.
func (s *stage) loop() {
	defer close(s.done)
	if s.node.Source == nil {
		s.raise(supervise.StageInput{Event: supervise.Init})
	}
	for !s.finished {
		s.guard(s.once)
	}
	s.acquit()
	s.worker.leave()
	s.mail.close()
	for m, ok := s.mail.next(); ok; m, ok = s.mail.next() {
		if m.kind == signalled {
			m.signal.told(0, s.gone())
		} else if m.kind == handed && m.hand.Told != nil {
			m.hand.Told(0, s.gone())
		}
	}
	s.cancel(nil)
	s.run.rests(s)
	for _, e := range s.inputs {
		e.shut()
	}
	if s.alarm != nil {
		s.alarm.Stop()
	}
}

// raise puts an event behind those that wait to be stepped.
func (s *stage) raise(in supervise.StageInput) { s.events = append(s.events, in) }

// guard calls fn and makes an event of its error, or of a panic.
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
		s.failed(err)
	}
}

// failed makes an event of an error.
func (s *stage) failed(err error) {
	if undo := s.drop(); undo != nil {
		err = errors.Join(err, undo)
	}
	s.acquit()
	event := supervise.Error
	violation := (*contract.ViolationError)(nil)
	panicked := (*PanicError)(nil)
	input := (*InputError)(nil)
	if errors.As(err, &input) {
		s.tellPanic(input.Panic, input.Input, input.Err, input.Stack)
	} else if errors.As(err, &panicked) {
		s.tellPanic(true, "", err, panicked.Stack)
	}
	switch {
	case errors.As(err, &violation): // the pipeline decides
		e := s.inputs[s.inputOf(violation.Verdict.Subject.Upstream)]
		s.judge(transportGate(e), violation.Verdict, false, true, "")
		return
	case errors.Is(err, journal.ErrPoisoned), errors.Is(err, journal.ErrClosed):
		event = supervise.LogPoisoned
		s.silence()
		s.run.tell(supervise.PipelineInput{Event: supervise.LogPoisoned, Err: err})
	case errors.Is(err, context.Canceled) && s.ctx.Err() != nil:
		return // the command to end is on its way
	case errors.As(err, &panicked), errors.As(err, &input) && input.Panic:
		event = supervise.Panic
	}
	s.raise(supervise.StageInput{Event: event, Err: err})
}

// tellPanic logs a panic, if that is what it is, with its stack: the log of the
// run says only that there was one.
func (s *stage) tellPanic(panicked bool, input string, err error, stack []byte) {
	if panicked {
		s.run.log.Error("a panic", attr("stage", s.name), attr("input", input), attr("error", err.Error()), attr("stack", string(stack)))
	}
}

// once steps what is to be stepped, takes messages, works, or sleeps.
func (s *stage) once() error {
	if len(s.events) > 0 {
		in := s.events[0]
		s.events = s.events[1:]
		return s.step(in)
	}
	if in, ok := s.rules.Due(); ok {
		return s.step(in)
	}
	if m, ok := s.mail.next(); ok {
		if m.kind == command {
			return s.step(m.in)
		}
		return s.worker.handle(m)
	}
	if s.check.due && !s.rules.State().Terminal() && s.turn.items == 0 {
		return s.checkpoint()
	}
	did, err := s.work()
	if did || err != nil {
		return err
	}
	if len(s.said) > 0 {
		return s.commit(journal.Urgent)
	}
	due, err := s.checkIdle(s.wakeAt)
	if err != nil {
		return err
	}
	s.sleep(due)
	return nil
}

// work does one thing that the state asks for.
func (s *stage) work() (did bool, err error) {
	s.wakeAt = time.Time{}
	switch {
	case s.closing:
		if s.worker.close() {
			s.closing = false
			s.raise(supervise.StageInput{Event: supervise.CleanedUp})
			return true, nil
		}
		return false, nil
	case s.cutting:
		return s.cutShort(), nil
	case s.stuck:
		return false, nil
	}
	switch s.rules.State() {
	case supervise.StageHydrating, supervise.StageRunning:
		return s.worker.work()
	case supervise.StageDraining:
		if s.emitting {
			if s.full() {
				return false, nil
			}
			return true, s.emitAtEnd()
		}
		var done bool
		if s.flushing {
			if did, done, err = s.worker.drain(); done && err == nil {
				s.flushing = false
				s.raise(supervise.StageInput{Event: supervise.DrainComplete, OpenWork: s.open.Load() > 0})
			}
			return did || done, err
		}
		if did, done, err = s.worker.output(); done && err == nil {
			s.raise(supervise.StageInput{Event: supervise.OutputDone})
		}
		return did || done, err
	default:
		return false, nil
	}
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
	if s.worker.idle() {
		s.resting.Store(true)
		s.run.rests(s)
	}
	select {
	case <-s.mail.wake:
	case <-fires:
	}
	s.resting.Store(false)
	if s.alarm != nil {
		s.alarm.Stop()
	}
}

// step steps one event and performs what the rules ask for; the first action
// that fails ends the list.
func (s *stage) step(in supervise.StageInput) error {
	step := s.rules.Step(in)
	if step.Err != nil {
		if in.Event == supervise.Error {
			return nil // refused to fail: it has ended
		}
		s.raise(supervise.StageInput{Event: supervise.Error, Err: step.Err})
		return nil
	}
	s.state.Store(int32(s.rules.State()))
	for _, a := range step.Actions {
		if err := s.perform(a, &step); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) perform(a supervise.Action, step *supervise.StageStep) error {
	switch a.Do {
	case supervise.RecordTransition:
		s.recordMove(step.From.String(), step.To.String(), step.Event.String())
	case supervise.OpenResources:
		return s.worker.open()
	case supervise.RestoreState:
		return s.restore()
	case supervise.ReportReady:
		s.run.tell(supervise.PipelineInput{Event: supervise.SourceReady, Name: s.name})
	case supervise.ReportRunning:
		s.run.tell(supervise.PipelineInput{Event: supervise.StageRuns, Name: s.name})
	case supervise.BeginHydration, supervise.EndHydration: // declines says which inputs are read
	case supervise.BeginReading, supervise.ResumeReading:
		s.worker.read()
	case supervise.PauseReading:
		s.worker.pause()
	case supervise.EndReading:
		s.worker.stop()
	case supervise.EmitAtEnd:
		s.emitting = s.ender != nil
	case supervise.Drain:
		s.flushing = true
	case supervise.StopWaiting:
		if w, ok := s.worker.(*performer); ok {
			w.stopWaiting()
		}
	case supervise.FinishOutput: // work asks the worker
	case supervise.CancelWork:
		s.cutting, s.emitting, s.flushing = true, false, false
		s.cancel(errCancelled)
	case supervise.AuthorEOF:
		return s.authorEOF(a.Ending)
	case supervise.Cleanup:
		s.closing = true
	case supervise.WriteTerminal:
		return s.writeTerminal(a.Status)
	case supervise.ReportEnd:
		s.reportEnd()
	case supervise.Finish:
		s.finished = true
	}
	return nil
}

func (s *stage) recordMove(from, to, event string) {
	say(&s.author, &s.sys, evidence.TypeMoved, evidence.Moved{From: from, To: to, Event: event})
	if fn := s.run.c.Observer.Moved; fn != nil {
		fn(s.name, from, to, event)
	}
}

// restore tells the rules what the log says, and that the stage is ready. A sink
// is ready once it is open.
func (s *stage) restore() error {
	if s.run.epoch.Number > 1 {
		s.consumeOther(journal.Consumed{Kind: journal.Resumed})
		if err := s.commit(journal.Urgent); err != nil {
			return err
		}
	}
	for i, e := range s.inputs {
		if e.saw != 0 {
			s.judge(transportGate(e), e.judge(e.port.ending()), true, true, "")
			s.raise(supervise.StageInput{Event: supervise.EndOfInput, Input: i, Ending: supervise.Ending(e.saw)})
		}
	}
	if s.node.Sink == nil {
		s.raise(supervise.StageInput{Event: supervise.Ready})
	}
	return nil
}

// cutShort waits until user code has returned, or has had long enough to.
func (s *stage) cutShort() bool {
	if !s.worker.cut() {
		if s.giveUp.IsZero() {
			s.giveUp = time.Now().Add(patience)
		}
		if time.Now().Before(s.giveUp) {
			s.wakeAt = s.giveUp
			return false
		}
	}
	s.cutting = false
	s.raise(supervise.StageInput{Event: supervise.WorkEnded})
	return true
}

// patience is how long user code that was told to end may go on.
const patience = 10 * time.Second

var errCancelled = errors.New("the stage was told to end at once")

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
