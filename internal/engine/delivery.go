package engine

import (
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// work gives the sink its next job.
func (w *sink) work() (bool, error) {
	s := w.s
	if w.busy || !w.opened {
		return false, nil
	}
	if w.awaits > 0 {
		if !s.durable(w.awaits, w.awaits) {
			return false, nil
		}
		w.awaits = 0
		return w.start(job{kind: finishJob})
	}
	if s.ending != 0 {
		return w.atEnd()
	}
	now := time.Now()
	due := w.flushDue()
	if len(w.held) > 0 && (w.overfull() || (s.node.Flush > 0 && !now.Before(due))) {
		return w.start(job{kind: flushJob})
	}
	j, err := w.gather()
	if err != nil {
		return true, err
	}
	if len(j.pieces) > 0 {
		return w.start(j)
	}
	if len(w.held) > 0 {
		if s.node.Flush > 0 && !s.anyEnded() {
			s.wakeAt = due
			return false, nil
		}
		return w.start(job{kind: flushJob})
	}
	s.takeEnds()
	if s.turn.items == 0 {
		return false, nil
	}
	if err := s.commit(journal.Urgent); err != nil {
		return true, err
	}
	s.sawEnds()
	if s.endingKnown() {
		s.move(draining, "InputsEnded")
	}
	return true, nil
}

func (w *sink) start(j job) (bool, error) {
	w.busy = true
	w.out.start(j)
	return true, nil
}

func (w *sink) flushDue() time.Time { return w.since.Add(w.s.node.Flush) }

// overfull reports whether so much waits for a flush that the writers may run out
// of credit.
func (w *sink) overfull() bool {
	c := &w.s.run.c
	return 2*w.heldN >= c.Window.Records || 2*w.heldBytes >= int64(c.Window.Bytes)
}

// anyEnded reports whether an input has come to its end: nothing more will come
// to wait for.
func (s *stage) anyEnded() bool {
	for _, e := range s.inputs {
		e.mu.Lock()
		end := e.end.kind
		e.mu.Unlock()
		if end == 0 {
			return false
		}
	}
	return true
}

// gather makes a job of what is durable.
func (w *sink) gather() (job, error) {
	s := w.s
	j := job{kind: deliverJob, pieces: w.out.job.pieces[:0], marks: w.out.job.marks[:0]}
	n := 0
	for i := range s.inputs {
		e := s.inputs[(s.next+i)%len(s.inputs)]
		if s.declines(e) {
			continue
		}
		for n < turnRecords {
			if err := e.fill(e.ahead); err != nil {
				return j, err
			}
			if e.ahead.batch >= len(e.local) {
				break
			}
			h := &e.local[e.ahead.batch]
			if !s.durable(h.raw.LSN, e.local[len(e.local)-1].raw.LSN) {
				break
			}
			from := e.ahead.record
			to := min(h.batch.N, from+turnRecords-n)
			p := piece{edge: e, batch: h.batch, from: from, to: to}
			j.pieces = append(j.pieces, p)
			if w.out.stores {
				m, err := w.marks.after(p)
				if err != nil {
					return j, err
				}
				j.marks = append(j.marks, m)
			}
			n += to - from
			if e.ahead.record = to; to == h.batch.N {
				e.ahead = mark{batch: e.ahead.batch + 1}
			}
		}
	}
	s.next = (s.next + 1) % len(s.inputs)
	return j, nil
}

// durable reports whether lsn is; if not, it asks for everything up to want and
// has the stage woken.
func (s *stage) durable(lsn, want journal.LSN) bool {
	r := s.run
	if journal.LSN(r.durable.Load()) >= lsn {
		return true
	}
	s.waitsFor.Store(uint64(lsn))
	r.c.Log.Want(max(lsn, want))
	if journal.LSN(r.durable.Load()) >= lsn {
		s.waitsFor.Store(0)
		return true
	}
	return false
}

// atEnd does what the end of its inputs asks of a sink: a natural end puts the
// result in place, in steps that a crash may come between.
func (w *sink) atEnd() (bool, error) {
	s := w.s
	if s.ending == journal.Natural && w.out.finishes {
		switch w.phase {
		case "":
			return w.start(job{kind: prepareJob})
		case finalizing:
			return w.start(job{kind: finishJob})
		}
	}
	if !w.closed {
		return w.start(job{kind: closeJob})
	}
	if !w.judged {
		w.judged = true
		w.judgeDelivery()
	}
	if s.stuck {
		return false, nil
	}
	return true, s.end(s.ending)
}

// phaseReceipt records a step of putting the result in place.
func (w *sink) phaseReceipt(phase, note string) error {
	s := w.s
	w.phase, w.note = phase, note
	say(&s.author, &w.receipts, evidence.TypeReceipt, evidence.Receipt{Status: receiptSuccess, Phase: phase, Note: note})
	if err := s.commit(journal.Urgent); err != nil {
		return err
	}
	if phase == finalizing {
		w.awaits = s.last
	}
	return nil
}

// judgeDelivery checks that everything consumed has a receipt.
func (w *sink) judgeDelivery() {
	s := w.s
	var consumed uint64
	for _, e := range s.inputs {
		consumed += e.ledger.count
	}
	c := evidence.Contract{
		Contract: "delivery", To: s.name, Gates: true, Final: s.ending == journal.Natural, Passed: true,
		Writer: evidence.Side{Count: consumed}, Reader: evidence.Side{Count: w.settled + s.deadCount()},
	}
	if c.Writer.Count != c.Reader.Count {
		c.Passed = false
		c.Reason = fmt.Sprintf("%d inputs were consumed, and %d have a receipt", c.Writer.Count, c.Reader.Count)
	}
	s.judge(deliveryContract(s), c)
	s.stuck = !c.Passed
}

// deadCount is how many dead letters the stage wrote in the whole run.
func (s *stage) deadCount() uint64 {
	for _, p := range s.ports {
		if p.Port == s.node.Dead {
			return p.count
		}
	}
	return 0
}

// At is what the sink is told when it opens.
func (w *sink) at() plan.At {
	r := w.s.run
	return plan.At{
		Flow: r.c.Flow.Name, Stage: w.s.name, Run: r.c.RootRun,
		Epoch: r.epoch.Number, EpochID: r.epoch.ID, Note: w.note,
	}
}
