package engine

import (
	"errors"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// work gives the sink its next job.
func (w *sink) work() (bool, error) {
	s := w.s
	if w.busy || !w.opened || !s.durable(w.before, w.before) {
		return false, nil
	}
	due := w.flushDue()
	if len(w.held) > 0 && (w.overfull() || (s.node.Flush > 0 && !time.Now().Before(due))) {
		w.start(job{kind: flushJob})
		return true, nil
	}
	j, err := w.gather()
	if err != nil {
		return true, err
	}
	if len(j.pieces) > 0 {
		return true, w.dispatch(j)
	}
	if len(w.held) > 0 {
		if s.node.Flush > 0 && !s.anyEnded() {
			s.wakeAt = due
			return false, nil
		}
		w.start(job{kind: flushJob})
		return true, nil
	}
	if err := s.takeEnds(); err != nil {
		return true, errors.Join(err, s.drop())
	}
	if s.turn.items == 0 {
		return false, nil
	}
	return true, s.commit(journal.Urgent)
}

// dispatch has a delivery made; of a careful stage it is one record. What could not
// be read is given up.
func (w *sink) dispatch(j job) error {
	p := j.pieces[0]
	if p.failure != nil {
		j.results = []delivered{{err: p.failure.Err}}
		return w.delivered(&j)
	}
	if s := w.s; s.careful {
		ok, err := s.try(p.edge, p.batch, p.from)
		if err != nil {
			return err
		}
		if !ok {
			j.results = []delivered{{failed: map[int]error{p.from: event.Mark(event.KindCrash, errCrash)}}}
			return w.delivered(&j)
		}
	}
	w.start(j)
	return nil
}

func (w *sink) start(j job) {
	w.busy = true
	w.out.start(j)
}

func (w *sink) flushDue() time.Time { return w.since.Add(w.s.node.Flush) }

// overfull reports whether so much waits for a flush that the writers may run out
// of credit.
func (w *sink) overfull() bool {
	c := &w.s.run.c
	return 2*w.heldN >= c.Window.Records || 2*w.heldBytes >= c.Window.Bytes
}

// anyEnded reports whether an input has come to its end: nothing more will come
// to wait for.
func (s *stage) anyEnded() bool {
	for _, e := range s.inputs {
		if e.port.ending().kind == 0 {
			return false
		}
	}
	return true
}

// gather makes a job of what is durable.
func (w *sink) gather() (job, error) {
	s := w.s
	j := job{kind: deliverJob, pieces: w.out.job.pieces[:0]}
	n := 0
	for i := range s.inputs {
		e := s.inputs[(s.next+i)%len(s.inputs)]
		if s.declines(e) {
			continue
		}
		for n < s.limit {
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
			p := piece{edge: e, batch: h.batch, raw: h.raw, from: from}
			to := min(h.batch.N, from+s.limit-n)
			if w.out.limit > 0 {
				to = min(to, from+w.out.limit)
			}
			to, bad := h.batch.Readable(from, to)
			if bad != nil { // it makes a job of its own
				if len(j.pieces) > 0 {
					return j, nil
				}
				to, p.failure, n = from+1, unread(bad), s.limit
			}
			p.to = to
			j.pieces = append(j.pieces, p)
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

// drain decides the delivery contract. Nothing is held when the inputs ended.
func (w *sink) drain() (did, done bool, err error) {
	if w.busy {
		return false, false, nil
	}
	return true, w.judge(), w.s.flushSaid()
}

// output puts the result in place, in steps that a crash may come between.
func (w *sink) output() (did, done bool, err error) {
	switch {
	case w.busy:
		return false, false, nil
	case !w.out.finishes || w.phase == finalized:
		return false, true, nil
	case w.phase == "":
		w.start(job{kind: prepareJob})
		return true, false, nil
	case !w.s.durable(w.awaits, w.awaits):
		return false, false, nil
	}
	w.start(job{kind: finishJob})
	return true, false, nil
}

// phaseReceipt records a step of putting the result in place.
func (w *sink) phaseReceipt(phase, note string) error {
	s := w.s
	w.phase, w.note = phase, note
	said := len(s.said)
	say(&s.author, &w.receipts, evidence.TypeReceipt, evidence.Receipt{Status: receiptSuccess, Phase: phase, Note: note})
	if err := w.commit(said); err != nil {
		return err
	}
	if phase == finalizing {
		w.awaits = s.last
	}
	return nil
}

// judge decides the delivery contract: everything consumed has a receipt. It
// reports whether the stage may go on.
func (w *sink) judge() bool {
	s := w.s
	for i, d := range w.accounts {
		if v := d.End(); v.State == contract.Fail || i+1 == len(w.accounts) {
			return s.judge(deliveryGate(s), v, s.rules.Ending() == supervise.Natural, true, "")
		}
	}
	return true
}

// inputOf returns the index of the input that reads a journal.
func (s *stage) inputOf(name string) int {
	return slices.IndexFunc(s.inputs, func(e *edge) bool { return e.journal == name })
}

// At is what the sink is told when it opens.
func (w *sink) at() plan.At {
	r := w.s.run
	at := plan.At{
		Flow: r.c.Flow.Name, Stage: w.s.name, StageAt: r.nameAt(w.s.name), Run: r.c.RootRun,
		Epoch: r.epoch.Number, EpochID: r.epoch.ID, Note: w.note, Signal: r.Send,
	}
	if again := r.c.Log.Manifest().Redrive; again != nil {
		at.Redrives = again.Run
	}
	return at
}
