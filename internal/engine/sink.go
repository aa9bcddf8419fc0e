package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A sink is the worker of a stage that delivers. User code runs in a goroutine
// of its own, one job at a time (deliverer.go).
type sink struct {
	s        *stage
	receipts tally
	note     string
	phase    string
	settled  uint64 // records with a receipt of success, whole run

	out     *deliverer
	started bool
	opened  bool
	busy    bool // a job is under way
	closed  bool

	held      []piece              // delivered, not flushed
	heldN     uint64               // records in held
	heldBytes uint64               //
	results   []delivered          // of held, in the same order
	since     time.Time            // when the oldest of held was delivered
	drafts    []evidence.Receipt   // of the open transition
	before    journal.LSN          // what nothing is delivered before it is durable: the first note, or what a mark passes over
	awaits    journal.LSN          // finalizing is placed here and not durable yet
	accounts  []*contract.Delivery // by input
}

// delivered is what became of a piece.
type delivered struct {
	failed map[int]error // single records
	err    error         // all of it
}

// What a receipt says, and its phases when a sink puts its result in place.
const (
	receiptSuccess = "success"
	receiptFailed  = "failed"
	receiptPartial = "partial"

	finalizing = "finalizing"
	finalized  = "finalized"
)

func (w *sink) open() error {
	w.started = true
	go w.out.loop()
	w.start(job{kind: openJob, note: w.note})
	return nil
}

func (w *sink) read()  {}
func (w *sink) pause() {}
func (w *sink) stop()  {}

func (w *sink) handle(m message) error {
	if m.kind == jobDone {
		w.busy = false
		return w.finished(w.out.job)
	}
	return nil
}

func (w *sink) idle() bool { return !w.busy && len(w.held) == 0 && !w.s.pendingInput() }

func (w *sink) cut() bool { return !w.busy }

func (w *sink) close() bool {
	switch {
	case w.closed, !w.opened:
		return true
	case w.busy:
		return !w.s.giveUp.IsZero() // left behind
	}
	w.start(job{kind: closeJob})
	return false
}

func (w *sink) leave() {
	if w.started {
		w.out.end()
		w.s.await(w.out.left)
	}
}

// finished takes in what a job brought about.
func (w *sink) finished(j *job) error {
	s := w.s
	switch j.kind {
	case openJob:
		if j.err != nil {
			return fmt.Errorf("open the sink: %w", j.err)
		}
		w.opened = true
		if j.hasNote && j.note != "" {
			if err := w.firstNote(j.note); err != nil {
				return err
			}
		}
		if j.hasMark && j.mark != "" {
			if err := w.reconcile(j.mark); err != nil {
				return err
			}
		}
		s.raise(supervise.StageInput{Event: supervise.Ready})
	case deliverJob:
		return w.delivered(j)
	case flushJob:
		if j.err != nil && s.ctx.Err() != nil {
			return nil //nolint:nilerr // cut short: unknown, so without a receipt
		}
		if j.err != nil {
			return fmt.Errorf("flush the sink: %w", j.err)
		}
		return w.settle(j)
	case prepareJob:
		if j.err != nil {
			return fmt.Errorf("prepare the sink's result: %w", j.err)
		}
		return w.phaseReceipt(finalizing, j.note)
	case finishJob:
		if j.err != nil {
			return fmt.Errorf("put the sink's result in place: %w", j.err)
		}
		return w.phaseReceipt(finalized, j.note)
	case closeJob:
		w.closed = true
		if j.err != nil {
			s.run.log.Warn("sink did not close", attr("stage", s.name), attr("error", j.err.Error()))
		}
	}
	return nil
}

// firstNote records what the sink notes before its first delivery, such as where
// in a file it begins: what an epoch delivers without a receipt must not be taken
// for something that was there before.
func (w *sink) firstNote(note string) error {
	w.note = note
	said := len(w.s.said)
	say(&w.s.author, &w.receipts, evidence.TypeReceipt, evidence.Receipt{Status: receiptSuccess, Note: note})
	if err := w.commit(said); err != nil {
		return err
	}
	w.before = w.s.last
	return nil
}

// delivered notes the outcome of each piece of a delivery.
func (w *sink) delivered(j *job) error {
	s := w.s
	for _, p := range slices.Backward(j.rest) {
		p.edge.rewind(p)
	}
	for i, r := range j.results {
		if (r.err != nil || len(r.failed) > 0) && s.ctx.Err() != nil {
			break // cut short, or not tried as often as it should be: unknown, so without a receipt
		}
		if len(w.held) == 0 {
			w.since = time.Now()
		}
		w.held = append(w.held, j.pieces[i])
		w.results = append(w.results, r)
		w.heldN += uint64(j.pieces[i].to - j.pieces[i].from)
		w.heldBytes += uint64(len(j.pieces[i].batch.Raw))
	}
	if !w.out.holds {
		return w.settle(j)
	}
	return nil
}

// settle writes receipts for what was delivered, and dead letters for what was
// not.
func (w *sink) settle(j *job) error {
	s := w.s
	var gave, failed error
	lost := false
	for i, p := range w.held {
		lost = lost || len(w.results[i].failed) > 0
		if gave, failed = w.account(p, &w.results[i]); gave != nil || failed != nil {
			break
		}
	}
	clear(w.held)
	clear(w.results)
	w.held, w.results, w.heldN, w.heldBytes = w.held[:0], w.results[:0], 0, 0
	if s.turn.items > 0 {
		was := w.note
		if j.hasNote {
			w.note = j.note
			w.drafts[len(w.drafts)-1].Note = j.note
		}
		if err := w.commitReceipts(); err != nil {
			w.note = was
			return err
		}
		if lost && w.out.marker != nil {
			w.before = s.last // the next mark says that they are done with
		}
	}
	if failed != nil {
		return failed
	}
	return gave
}

// commitReceipts places the open transition with its receipts.
func (w *sink) commitReceipts() error {
	said := len(w.s.said)
	for _, r := range w.drafts {
		w.accounts[w.s.inputOf(r.Journal)].Receipt(r.From, r.To)
		say(&w.s.author, &w.receipts, evidence.TypeReceipt, r)
	}
	clear(w.drafts)
	w.drafts = w.drafts[:0]
	if err := w.commit(said); err != nil {
		return err
	}
	w.s.out.Store(w.settled)
	return nil
}

// commit places the open transition with the receipts that were said after the
// first said sayings. On error these receipts were not said: in the last words of
// the stage they would stand without what they account for.
func (w *sink) commit(said int) error {
	err := w.s.commit(journal.Urgent)
	if err != nil {
		w.s.said = w.s.said[:said]
	}
	return err
}

// account consumes a piece and says what became of it.
func (w *sink) account(p piece, r *delivered) (gave, failed error) {
	s := w.s
	first := p.batch.First
	var bad []uint64
	to := p.from
	for i := p.from; i < p.to; i++ {
		err := r.err
		if err == nil {
			err = r.failed[i]
		}
		if err != nil {
			f := failureFrom(err)
			action := s.node.OnError.Error
			if f.Panic {
				action = s.node.OnError.Panic
			}
			if r.err != nil && w.out.marker != nil {
				action = plan.Fail // the mark decides what became of it
			}
			if action == plan.Fail || s.node.Dead == nil {
				failed = &InputError{
					Input: fmt.Sprintf("%s:%d", p.edge.journal, first+uint64(i)), Kind: f.Kind, Panic: f.Panic, Stack: f.Stack, Err: err,
				}
				break
			}
			if r.err == nil || i == p.from { // else it is the same for all
				s.tellPanic(f.Panic, fmt.Sprintf("%s:%d", p.edge.journal, first+uint64(i)), f.Err, f.Stack)
			}
			at := s.turn.items + i - p.from
			s.node.Turn.Base, s.node.Turn.Item = at, at
			b, k := p.edge.freshOne(p.batch, p.raw, i)
			s.node.Sink.Bury(b, k, f)
			if err := s.node.Dead.Writer.Err(); err != nil {
				return nil, fmt.Errorf("dead letter for %s:%d: %w", p.edge.journal, first+uint64(i), err)
			}
			bad = append(bad, first+uint64(i))
		}
		s.budget.seen++
		to = i + 1
		if err != nil {
			if gave = s.budget.spend(s.node.OnError.Budget); gave != nil {
				break
			}
		}
		if len(r.failed) == 0 && r.err == nil {
			s.budget.seen += uint64(p.to - to)
			to = p.to
			break
		}
	}
	if to > p.from {
		w.receipt(p, to, bad)
	}
	return gave, failed
}

// receipt consumes records p.from to to-1, of which bad are dead letters.
func (w *sink) receipt(p piece, to int, bad []uint64) {
	s := w.s
	s.consumeRun(p.edge, p.batch, p.from, to)
	w.accounts[p.edge.input].Accept(p.batch.First+uint64(p.from), p.batch.First+uint64(to)-1)
	p.edge.step(to - p.from)
	n := to - p.from
	w.settled += uint64(n - len(bad))
	status := receiptSuccess
	switch {
	case len(bad) == n:
		status = receiptFailed
	case len(bad) > 0:
		status = receiptPartial
	}
	first := p.batch.First
	from, last := first+uint64(p.from), first+uint64(to)-1
	if k := len(w.drafts); k > 0 {
		if r := &w.drafts[k-1]; r.Journal == p.edge.journal && r.To+1 == from && r.Status == status {
			r.To = last
			r.Failed = append(r.Failed, bad...)
			return
		}
	}
	w.drafts = append(w.drafts, evidence.Receipt{Status: status, Journal: p.edge.journal, From: from, To: last, Failed: bad})
}

func failureFrom(err error) *plan.Failure {
	f := &plan.Failure{Err: err, Kind: event.KindOf(err)}
	if p := (*PanicError)(nil); errors.As(err, &p) {
		f.Panic, f.Stack = true, p.Stack
	}
	return f
}
