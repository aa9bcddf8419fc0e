package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An execution is one accepted input being acted on, in a goroutine of its own.
// Its fields belong to that goroutine until it comes back.
type execution struct {
	w       *performer
	t       *task         // the stage's; in of it never changes
	past    []plan.Entry  // recorded before it began
	move    move          // the request under way, then how it came back: the stage's until it answers
	must    journal.LSN   // what a call waits for
	answers chan recorded // the stage sends one for each request; capacity 1 so that it never waits
	refused error         // what Record or Durable returned last
	result  plan.Result
}

// recorded is what became of a request to record something.
type recorded struct {
	at  journal.LSN
	err error
}

var _ plan.Execution = (*execution)(nil)

func newExecution(w *performer, t *task) *execution {
	return &execution{w: w, t: t, past: t.history(), must: t.must, answers: make(chan recorded, 1)}
}

// run is the goroutine.
func (x *execution) run() {
	err := protect(func() error {
		if err := x.takeUp(); err != nil {
			return err
		}
		if x.refused == nil {
			x.result = x.w.p.Execute(x)
		}
		return nil
	})
	if err != nil {
		x.result = plan.Result{State: plan.Broken, Err: err}
	}
	r := &x.result
	x.move = move{
		t: x.t, end: r.State, note: note{entries: r.Entries}, emit: r.Emit, err: r.Err, wake: r.Wake, cut: x.refused,
		texts: x.move.texts[:0], ink: x.move.ink[:0],
	}
	_ = x.move.write() // say meets the error again
	x.w.s.mail.post(message{kind: performed, move: &x.move})
}

// takeUp records what the execution of a copy goes on from, before it begins. If
// that is refused the execution is over.
func (x *execution) takeUp() error {
	past := x.w.tune.Past
	if past == nil || x.t.in.Original.Run == "" || len(x.past) > 0 {
		return nil
	}
	entries, err := past(x.Context(), &x.t.in)
	switch {
	case err != nil && x.Context().Err() != nil:
		x.refused = context.Cause(x.Context())
	case err != nil:
		return fmt.Errorf("what is on record of %s: %w", x.t.in.Original.ID, err)
	default:
		x.past = entries
		_ = x.Record(nil, entries...) // refused says it
	}
	if x.refused != nil {
		x.result = plan.Result{State: plan.Interrupted}
	}
	return nil
}

// Context ends when the stage is told to end at once.
func (x *execution) Context() context.Context { return x.w.s.ctx }

// Waiting ends when the stage drains because of a stop, too.
func (x *execution) Waiting() context.Context { return x.w.waiting }

// Input returns what was accepted.
func (x *execution) Input() *plan.Accepted { return &x.t.in }

// History returns what was recorded about the input before this execution.
func (x *execution) History() []plan.Entry { return x.past }

// Now returns the wall clock.
func (x *execution) Now() time.Time { return time.Now() }

// Asked keeps nothing: what is on record wins.
func (x *execution) Asked(plan.Entry) error { return nil }

// Record has entries placed; see [plan.Execution]. It works after Context has
// ended: what is known then shall not be forgotten.
func (x *execution) Record(emit func(), entries ...plan.Entry) error {
	if len(entries) == 0 && emit == nil {
		return nil
	}
	x.move = move{t: x.t, note: note{entries: entries}, emit: emit, told: x.told, texts: x.move.texts[:0], ink: x.move.ink[:0]}
	_ = x.move.write() // say meets the error again
	x.w.s.mail.post(message{kind: recording, move: &x.move})
	select {
	case r := <-x.answers:
		x.must, x.refused = max(x.must, r.at), r.err
	case <-x.w.gone:
		x.refused = errEnded
	}
	return x.refused
}

func (x *execution) told(at journal.LSN, err error) { x.answers <- recorded{at, err} }

// Durable waits until a call may leave; see [plan.Execution].
func (x *execution) Durable() error {
	ctx := x.Context()
	if ctx.Err() != nil {
		x.refused = context.Cause(ctx)
		return x.refused
	}
	x.refused = x.w.s.run.c.Log.Await(ctx, x.must)
	return x.refused
}
