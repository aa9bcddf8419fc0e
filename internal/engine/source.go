package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A source is the worker of a stage that reads the world. Read runs in a
// goroutine of its own, the reading one, which waits after each batch until the
// stage has placed it.
type source struct {
	s      *stage
	ctx    context.Context //nolint:containedctx // ends reading
	end    context.CancelFunc
	answer chan bool     // the stage sends whether to read on, once for each batch; capacity 1 so that it never waits
	gone   chan struct{} // closed by the stage when nothing will be answered
	left   chan struct{} // closed by the reading goroutine

	started bool // the goroutines were

	next     *plan.Read // read, not placed yet
	paused   bool       // next waits, and with it the goroutine
	reading  bool       // the goroutine runs
	stopping bool       // reading was told to end

	expect      int64 // how many records there should be; of the reading goroutine until it ended
	expectKnown bool

	acks   *acker // nil if the source does not care
	acking bool   // its goroutine runs
}

func newSource(s *stage) *source {
	w := &source{s: s, answer: make(chan bool, 1), gone: make(chan struct{}), left: make(chan struct{})}
	w.ctx, w.end = context.WithCancel(s.ctx)
	if ack := s.node.Source.Ack(); ack != nil {
		w.acks = newAcker(s, ack)
	}
	return w
}

func (w *source) open() error { return nil }

func (w *source) read() {
	w.paused = false
	if w.started || w.stopping {
		return
	}
	w.started, w.reading = true, true
	if w.acks != nil {
		w.acking = true
		go w.acks.loop()
	}
	var at *placedAt // where an earlier epoch got to, if it did
	if w.s.located {
		at = &placedAt{lsn: w.s.last, position: w.s.position.Value, part: w.s.position.Part}
	}
	go w.readAll(w.s.position.Value, at)
}

func (w *source) pause() { w.paused = true }

func (w *source) stop() {
	w.stopping, w.paused = true, false
	w.end()
}

func (w *source) handle(m message) error {
	switch m.kind {
	case arrived:
		w.next = m.read
	case acksEnded:
		w.acking = false
	case readEnded:
		w.reading = false
		switch {
		case w.stopping || w.ctx.Err() != nil:
		case m.err != nil:
			return fmt.Errorf("read: %w", m.err)
		default:
			w.s.raise(supervise.StageInput{Event: supervise.EndOfInput, Ending: supervise.Natural})
		}
	default: // for others
	}
	return nil //nolint:nilerr // how a reader ends that was told to does not matter
}

func (w *source) idle() bool { return w.paused || w.next == nil && !w.reading }

func (w *source) work() (bool, error) {
	if w.next == nil || w.paused || w.s.full() {
		return false, nil
	}
	return true, w.place()
}

// drain places what was read before reading ended, and has the last position
// acknowledged.
func (w *source) drain() (did, done bool, err error) {
	s := w.s
	switch {
	case w.next != nil:
		did, err = w.work()
		return did, false, err
	case w.reading:
		return false, false, nil
	case w.acking:
		if !w.acks.closed {
			w.acks.close()
		}
		return false, false, nil
	}
	return true, w.judge(), s.flushSaid()
}

func (w *source) output() (did, done bool, err error) { return false, true, nil }

// place appends the batch that was read, with the position after it, and lets
// the reading goroutine go on.
func (w *source) place() error {
	s, r := w.s, w.next
	w.next = nil
	moved := r.Position != s.position.Value || r.Part != s.position.Part
	if r.N > 0 || r.Bad > 0 || moved {
		s.node.Turn.Base, s.node.Turn.Item = 0, -1
		s.node.Source.Emit(r)
		was, located := s.position, s.located
		s.position, s.located, s.moves = journal.Position{Value: r.Position, Part: r.Part}, true, true
		err := s.commit(journal.Normal)
		if errors.Is(err, journal.ErrTooLarge) {
			err = fmt.Errorf("a batch of %d records from the source: %w; have the source read smaller batches", r.N, err)
		}
		if err != nil { // nothing that is placed yet may have the position
			s.position, s.located, s.moves = was, located, false
			w.answer <- false
			return err
		}
		s.in.Add(uint64(r.N + r.Bad))
		if w.acks != nil {
			w.acks.add(s.last, r.Position, r.Part)
		}
	}
	w.answer <- !w.stopping
	return nil
}

// judge decides the source contract: a declared count was met. It reports
// whether the stage may go on.
func (w *source) judge() bool {
	s := w.s
	n := uint64(0)
	for _, p := range s.ports { // what could not be decoded was read, too
		n += p.count
	}
	natural := s.rules.Ending() == supervise.Natural
	v := contract.Source(contract.Subject{Reader: s.name}, uint64(w.expect), w.expectKnown && natural,
		contract.Ledger{Count: n, Last: n})
	return s.judge(sourceGate(s), v, natural, s.run.c.SourceContract == AbortRun, "")
}

// cut ends what user code still does and reports whether all of it returned.
func (w *source) cut() bool {
	if w.next != nil {
		w.next = nil
		w.answer <- false
	}
	w.stop()
	return !w.reading && !w.acking
}

func (w *source) close() bool { return true }

func (w *source) leave() {
	w.end()
	close(w.gone)
	if w.acks != nil {
		w.acks.close()
	}
	if w.started {
		w.s.await(w.left)
		if w.acks != nil {
			w.s.await(w.acks.left)
		}
	}
}

// readAll is the reading goroutine. A position that an earlier epoch recorded is
// acknowledged first: that epoch may have died before it did so, and the source
// would send again what the log has.
func (w *source) readAll(after string, recorded *placedAt) {
	defer close(w.left)
	s := w.s
	if w.acks != nil && recorded != nil {
		w.acks.acknowledge(w.ctx, *recorded)
	}
	guard := s.run.c.Policies.Guard(s.name, s.node.Guards)
	retry := guard.Attempts()
	take := func(r *plan.Read) bool {
		guard.Take(w.ctx, r.N)
		s.mail.post(message{kind: arrived, read: r})
		after = r.Position
		retry.Reset()
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
		if !again(w.ctx, retry, err) {
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
