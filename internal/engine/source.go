package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A source is the worker of a stage that reads the world. Read runs in a
// goroutine of its own, the reading one, which waits after each batch until the
// stage has placed it.
type source struct {
	s      *stage
	ctx    context.Context //nolint:containedctx // ends reading
	stop   context.CancelFunc
	answer chan bool // the stage sends whether to read on, once for each batch; capacity 1 so that it never waits
	gone   chan struct{} // closed by the stage when nothing will be answered
	left   chan struct{} // closed by the reading goroutine

	started, ackStarted bool // the goroutines were started
	judged              bool // the source contract was

	next     *plan.Read // read, not placed yet
	held     bool       // placed, but reading is paused: the answer waits
	reading  bool       // the goroutine runs
	stopping bool       // reading was told to end
	ended    bool       // reading has ended

	expect      int64 // how many records there should be; of the reading goroutine until it ended
	expectKnown bool

	acks   *acker // nil if the source does not care
	acking bool   // its goroutine runs
}

func newSource(s *stage) *source {
	w := &source{s: s, answer: make(chan bool, 1), gone: make(chan struct{}), left: make(chan struct{})}
	w.ctx, w.stop = context.WithCancel(s.ctx)
	if ack := s.node.Source.Ack(); ack != nil {
		w.acks = newAcker(s, ack)
	}
	return w
}

func (w *source) handle(m message) error {
	s := w.s
	switch m.kind {
	case cmdPrepare:
		s.move(ready, "Prepare")
		s.run.tell(signal{event: sourceReady, name: s.name})
	case cmdStart:
		if w.reading || w.ended || s.ending != 0 {
			return nil
		}
		s.move(running, "Start")
		s.reportRunning()
		w.reading, w.started = true, true
		if w.acks != nil {
			w.acking, w.ackStarted = true, true
			go w.acks.loop()
		}
		go w.read(s.position.Value)
	case cmdStop:
		w.stopping = true
		w.stop()
		w.resume(false)
		if !w.reading {
			w.ended = true
			s.ending = journal.Truncated
		}
	case cmdPause:
		s.paused = true
	case cmdUnpause:
		s.paused = false
		w.resume(true)
	case arrived:
		w.next = m.read
	case readEnded:
		return w.readEnded(m.err)
	case acksEnded:
		w.acking = false
	}
	return nil
}

// resume gives an answer that a pause held back.
func (w *source) resume(more bool) {
	if w.held {
		w.held = false
		w.answer <- more
	}
}

func (w *source) readEnded(err error) error {
	w.reading, w.ended = false, true
	switch {
	case err != nil && !w.stopping:
		w.s.ending = journal.Poison
		return fmt.Errorf("read: %w", err)
	case w.stopping || w.ctx.Err() != nil:
		w.s.ending = journal.Truncated
	default:
		w.s.ending = journal.Natural
	}
	return nil
}

func (w *source) idle() bool { return w.next == nil && (!w.reading || w.held) }

// work places what was read, and ends the stage after the last batch.
func (w *source) work() (bool, error) {
	s := w.s
	if w.next != nil {
		if s.full() {
			return false, nil
		}
		return true, w.place()
	}
	if !w.ended {
		return false, nil
	}
	s.move(draining, "ReadEnded")
	if w.acking && !w.acks.closed {
		w.acks.close()
	}
	if w.acking {
		return false, nil // acknowledged first
	}
	if w.stuckOnContract() {
		return false, nil
	}
	return true, s.end(s.ending)
}

// place appends the batch that was read, with the position after it, and lets
// the reading goroutine go on.
func (w *source) place() error {
	s, r := w.s, w.next
	w.next = nil
	moved := r.Position != s.position.Value || r.Part != s.position.Part
	if r.N > 0 || r.Bad > 0 || moved {
		s.node.Turn.Base, s.node.Turn.Item = 0, -1
		s.node.Source.Emit(r)
		s.turn.dead = r.Bad
		s.position, s.hasPos = journal.Position{Value: r.Position, Part: r.Part}, true
		err := s.commit(journal.Normal)
		if errors.Is(err, journal.ErrTooLarge) {
			err = fmt.Errorf("a batch of %d records from the source: %w; have the source read smaller batches", r.N, err)
		}
		if err != nil {
			w.answer <- false
			return err
		}
		s.in.Add(uint64(r.N + r.Bad))
		if w.acks != nil {
			w.acks.add(s.last, r.Position, r.Part)
		}
	}
	if s.paused && !w.stopping {
		w.held = true
		return nil
	}
	w.answer <- !w.stopping
	return nil
}

// stuckOnContract judges the source contract at the natural end. It reports
// whether the stage must wait for the pipeline, which will cancel it.
func (w *source) stuckOnContract() bool {
	s := w.s
	if s.stuck {
		return true
	}
	if w.judged {
		return false
	}
	w.judged = true
	count := s.ports[0].count
	c := evidence.Contract{
		Contract: "source", To: s.name, Passed: true, Final: s.ending == journal.Natural,
		Gates: s.run.c.SourceContract == AbortRun, Reader: evidence.Side{Count: count, Last: count},
	}
	if bad := s.deadCount(); w.expectKnown && c.Final {
		c.Writer = evidence.Side{Count: uint64(w.expect), Last: uint64(w.expect)}
		if count+bad != uint64(w.expect) {
			c.Passed = false
			c.Reason = fmt.Sprintf("the source said that it has %d records, and %d were read", w.expect, count+bad)
		}
	}
	s.judge(sourceContract(s), c)
	s.stuck = !c.Passed && c.Gates
	return s.stuck
}

// cut ends what user code still does and reports whether all of it returned.
func (w *source) cut() bool {
	w.stopping = true
	w.stop()
	if w.next != nil {
		w.next = nil
		w.answer <- false
	}
	w.resume(false)
	if w.acking && !w.acks.closed {
		w.acks.close()
	}
	return !w.reading && !w.acking
}

func (w *source) close() {
	w.stop()
	close(w.gone)
	if w.acks != nil {
		w.acks.close()
	}
	if w.started {
		w.s.await(w.left)
	}
	if w.ackStarted {
		w.s.await(w.acks.left)
	}
}

// read is the reading goroutine.
func (w *source) read(after string) {
	defer close(w.left)
	s := w.s
	retry := newAttempts(s.node.Guards.Retry)
	limit := s.run.limiter(s.node.Guards.Rate)
	take := func(r *plan.Read) bool {
		limit.wait(w.ctx, r.N) // an error means that reading ends; what was read is placed all the same
		s.mail.post(message{kind: arrived, read: r})
		after = r.Position
		retry.reset()
		select {
		case more := <-w.answer:
			return more && w.ctx.Err() == nil
		case <-w.gone:
			return false
		}
	}
	var err error
	for {
		err = protect(func() (err error) {
			if !w.expectKnown {
				if w.expect, w.expectKnown, err = s.node.Source.Expect(w.ctx); err != nil {
					return fmt.Errorf("ask how many records to expect: %w", err)
				}
			}
			return s.node.Source.Read(w.ctx, after, take)
		})
		if err == nil || w.ctx.Err() != nil {
			break
		}
		if !retry.again(w.ctx, err) {
			break
		}
		s.run.log.Warn("source is read again", attr("stage", s.name), attr("error", err.Error()))
	}
	s.mail.post(message{kind: readEnded, err: err})
}

// protect makes an error of a panic of user code.
func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}
