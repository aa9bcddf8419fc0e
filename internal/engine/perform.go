package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A performer is the worker of a stage that acts on the world. An input is
// accepted into open work first (accept.go) and is a [task] from then on. It is
// executed in a goroutine of its own (execution.go), which asks the stage to
// record what happens; the stage places what several ask for in one transition, a
// [round] (round.go).
//
// A slot is taken until what its execution brought about is durable, so that no more
// calls than slots can be unknown after a crash. The next execution may begin in it
// before that: its calls wait, as they do for what was recorded of its own input.
type performer struct {
	s       *stage
	p       plan.Performer
	tune    plan.Performing
	at      *recovery.Stage // where an earlier epoch got to; nil once that is taken in
	fx      tally           // what was recorded of effects
	journal string          // of fx

	next     uint64           // ID of the input that is accepted next
	tasks    map[uint64]*task // accepted and not finished
	bytes    int              // of their data
	keys     map[string][]*task
	ready    []*task // to be executed, in order of acceptance
	order    []*task // whose outputs leave in this order; nil if outputs are unordered
	loose    []*task // answered, and their outputs wait for nothing but credit
	moves    []*move // to be placed, in the order in which they came
	single   bool    // one thing in each transition: one of several was too large
	big      bool    // and it is the next input
	gatherer gatherer
	alarms   alarms
	signals  *signals // nil in a stage that takes none
	took     recent   // messages from the inbox
	parked   int
	dormant  int // suspended

	// Reused, good within one round or call.
	ink  []byte        // of updates of open work
	lens []int         // of ports
	from []plan.Origin // what emissions follow from

	running  int             // executions
	resting  int             // goroutines that wait for one
	jobs     chan *execution // the stage sends to a resting goroutine and closes it at the end; capacity of all slots so that it never waits
	settling []journal.LSN   // of slots: what must be durable before they are free
	group    sync.WaitGroup
	gone     chan struct{} // closed by the stage when it answers no execution any more

	waiting context.Context //nolint:containedctx // ends what executions wait for before they do something more
	endWait context.CancelFunc

	reading  bool // executions may begin
	stopping bool // nothing waits for decisions, times and signals
	over     bool // the stage is cut short
}

func newPerformer(s *stage, at *recovery.Stage) *performer {
	w := &performer{
		s: s, p: s.node.Performer, tune: s.node.Performing, at: at, fx: tally{port: journal.PortFx}, journal: s.name + "." + journal.PortFx, next: 1,
		tasks: map[uint64]*task{}, keys: map[string][]*task{}, gone: make(chan struct{}),
	}
	s.before = true
	w.waiting, w.endWait = context.WithCancel(s.ctx)
	w.tune.Concurrency, w.tune.MaxOpen = max(w.tune.Concurrency, 1), max(w.tune.MaxOpen, 1)
	w.jobs = make(chan *execution, w.tune.Concurrency)
	if w.tune.Signals != nil {
		w.signals = newSignals(w.tune.Signals)
	}
	if at != nil {
		w.fx.resume(at)
		s.open.Store(int64(len(at.Open)))
	}
	return w
}

func (w *performer) open() error { return w.restore() }
func (w *performer) read()       { w.reading = true }
func (w *performer) pause()      {}
func (w *performer) stop()       {}
func (w *performer) close() bool { return true }

func (w *performer) output() (_, _ bool, _ error) { return false, true, nil }

func (w *performer) idle() bool {
	return !w.busy() && !w.s.pendingInput()
}

// busy reports whether anything goes on by itself: without an input, a decision, a
// time or a signal.
func (w *performer) busy() bool {
	return w.running > 0 || len(w.moves) > 0 || w.signals.coming() || w.startable() || w.emits()
}

// handle keeps what a message asks for until all that is at hand is placed
// together.
func (w *performer) handle(m message) error {
	switch m.kind {
	case performed:
		w.resting++
		w.move(m.move)
	case recording:
		w.move(m.move)
	case handed:
		w.heard(m.hand)
	case signalled:
		w.arrived(m.signal)
	default: // for others
	}
	return nil
}

func (w *performer) work() (bool, error) {
	if len(w.moves) > 0 && w.running > len(w.moves) && w.gatherer.yields() {
		return true, nil
	}
	w.release()
	if !w.signals.coming() && w.s.run.inboxRead.Load() { // what came before a time counts before it
		w.alarms.ring(w)
	}
	did, err := w.place()
	if err != nil {
		return true, err
	}
	started, err := w.start()
	return started || did, err
}

// stopWaiting has nothing wait for decisions, times and signals any more, nor for the
// next attempt of a call.
func (w *performer) stopWaiting() {
	w.stopping = true
	w.endWait()
}

// drain finishes what was accepted, except for what waits for something that
// nobody waits for.
func (w *performer) drain() (did, done bool, err error) {
	s := w.s
	if did, err = w.work(); did || err != nil || w.busy() {
		s.patient.Store(false)
		return did, false, err
	}
	if w.signals != nil && s.rules.Ending() != supervise.Natural && !s.unsignalled() {
		return false, false, nil // what is sent yet is kept for the next epoch
	}
	waits := len(w.tasks) > 0 && !w.stopping && s.rules.Ending() == supervise.Natural
	told := s.run.inboxRead.Load() // else the decision may be there
	if patient := waits && w.parked > 0 && told; s.patient.Swap(patient) != patient && patient {
		s.run.log.Warn("waiting for decisions", attr("stage", s.name), attr("inputs", w.doubtful()))
	}
	return false, !waits, nil
}

// cut has no more executions begin, records what those under way still say, and
// reports whether all have returned.
func (w *performer) cut() bool {
	w.over = true
	for n := len(w.moves); n > 0; n = len(w.moves) {
		if _, err := w.place(); len(w.moves) == n {
			w.refuse(errors.Join(errEnded, err))
		}
	}
	return w.running == 0
}

// leave answers everyone who waits, and waits for executions unless they do not
// return.
func (w *performer) leave() {
	w.refuse(errEnded)
	w.unheard(w.s.gone())
	close(w.gone)
	close(w.jobs)
	w.endWait()
	left := make(chan struct{})
	go func() { // an execution that never returns keeps it
		w.group.Wait()
		close(left)
	}()
	w.s.await(left)
}

// refuse tells all who wait that nothing of theirs is recorded.
func (w *performer) refuse(err error) {
	for _, m := range w.moves {
		if m.end != 0 {
			w.running--
			m.t.state = taskCut
		}
		m.t.moving--
		m.answer(0, err)
	}
	w.moves = nil
}

// release frees the slots whose outcome is durable.
func (w *performer) release() {
	durable := journal.LSN(w.s.run.durable.Load())
	for len(w.settling) > 0 && w.settling[0] <= durable {
		w.settling = w.settling[1:]
	}
}

// slots is how many inputs may be unknown at once.
func (w *performer) slots() int {
	if w.s.careful {
		return 1
	}
	return w.tune.Concurrency
}

// startable reports whether something waits for a slot only.
func (w *performer) startable() bool {
	return len(w.ready) > 0 && w.reading && !w.over && !w.holds()
}

// holds reports whether nothing goes on because of inputs in doubt.
func (w *performer) holds() bool { return w.tune.Hold && w.parked > 0 }

// start begins executions while there are slots: free ones first, then those that
// are freed soonest.
func (w *performer) start() (did bool, err error) {
	for w.startable() && w.running < w.slots() && w.s.ctx.Err() == nil {
		t := w.ready[0]
		w.ready[0], w.ready = nil, w.ready[1:]
		if w.running+len(w.settling) >= w.slots() {
			t.must = max(t.must, w.settling[0]) // no call in this slot before that is durable
			w.settling = w.settling[1:]
		}
		t.state, did = taskRunning, true
		w.running++
		if ok, err := w.dares(t); err != nil {
			return true, err
		} else if ok {
			w.execute(newExecution(w, t))
		}
	}
	return did, nil
}

// execute hands x to a goroutine that has executed another, whose stack has the
// size that it takes, or else to a new one.
func (w *performer) execute(x *execution) {
	if w.resting > 0 {
		w.resting--
		w.jobs <- x
		return
	}
	w.group.Go(func() {
		for ok := true; ok; x, ok = <-w.jobs {
			x.run()
		}
	})
}

// dares reports whether t may be executed: a careful stage puts on record that it
// is about to be, and puts t aside if the process died too often.
func (w *performer) dares(t *task) (bool, error) {
	last := t.last()
	if !w.s.careful || last != nil && last.Type == plan.EntryDecision {
		return true, nil
	}
	ok, err := w.s.tryInput(trying{t.in.Input.Journal, t.in.Input.Seq})
	if err == nil && !ok {
		e := plan.Entry{Type: plan.EntryParked, Outcome: plan.ParkedCrash, Reason: errCrash.Error(), At: time.Now().UTC()}
		w.move(&move{t: t, end: plan.Parked, note: note{entries: []plan.Entry{e}}, err: event.Mark(event.KindCrash, errCrash)})
	}
	return ok, err
}

// enqueue makes t the next, in order of acceptance, to be executed.
func (w *performer) enqueue(t *task) {
	t.state = taskReady
	at := len(w.ready)
	for at > 0 && w.ready[at-1].in.ID > t.in.ID {
		at--
	}
	w.ready = slices.Insert(w.ready, at, t)
}

var errEnded = errors.New("the stage has ended")
