package engine

import (
	"context"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

// A jobKind says what a sink is to do.
type jobKind uint8

const (
	openJob jobKind = iota + 1
	deliverJob
	flushJob
	prepareJob
	finishJob
	closeJob
)

// A job is what a sink is to do, and then what came of it. It belongs to the
// stage, and while it is under way to the delivering goroutine.
type job struct {
	kind    jobKind
	pieces  []piece
	results []delivered // for each piece that was tried
	rest    []piece     // what was not delivered, because it is to be settled first what came before
	note    string
	hasNote bool
	mark    string
	hasMark bool
	err     error
}

// A deliverer runs a sink's user code, one job after the other, in a goroutine
// of its own.
type deliverer struct {
	s    *stage
	sink plan.Sink
	at   plan.At
	to   plan.Deliverer
	job  *job          // the one under way, or the last
	jobs chan struct{} // the stage sends when job is ready and closes at the end; capacity 1 so that it never waits
	left chan struct{} // closed by the goroutine

	guard *resilience.Guard

	limit           int // known once it is open, as are these
	holds, finishes bool
	marker          plan.Marker // nil if the sink stores no marks
	marks           marks       // of what it has delivered; the stage's between jobs
}

func newDeliverer(s *stage) *deliverer {
	return &deliverer{
		s: s, sink: s.node.Sink, job: &job{}, jobs: make(chan struct{}, 1), left: make(chan struct{}),
		marks: marks{},
		guard: s.run.c.Policies.Guard(s.name, s.node.Guards),
	}
}

// start hands a job over. None may be under way.
func (d *deliverer) start(j job) {
	j.results = d.job.results[:0]
	*d.job = j
	d.jobs <- struct{}{}
}

// end lets the goroutine end after the job under way.
func (d *deliverer) end() { close(d.jobs) }

func (d *deliverer) loop() {
	defer close(d.left)
	for range d.jobs {
		j := d.job
		j.err = protect(func() error { return d.run(d.s.ctx, j) })
		d.s.mail.post(message{kind: jobDone})
	}
}

func (d *deliverer) run(ctx context.Context, j *job) (err error) {
	switch j.kind {
	case openJob:
		d.at.Note = j.note
		if d.to, err = d.sink.Open(ctx, d.at); err != nil {
			return err
		}
		d.limit, d.holds, d.marker, d.finishes = d.to.Limit(), d.to.Holds(), d.to.Marks(), d.to.Finishes()
		if j.hasMark = d.marker != nil; j.hasMark {
			j.mark, err = d.marker.Mark(ctx)
		} else if j.note == "" {
			j.note, j.hasNote = d.to.Note()
		}
	case deliverJob:
		if d.marker != nil {
			d.transact(ctx, j)
			break
		}
		for i, p := range j.pieces {
			r := d.deliver(ctx, p)
			j.results = append(j.results, r)
			if r.err != nil {
				j.pieces, j.rest = j.pieces[:i+1], j.pieces[i+1:]
				break
			}
		}
		if !d.holds {
			j.note, j.hasNote = d.to.Note()
		}
	case flushJob:
		if err = d.flush(ctx); err == nil {
			j.note, j.hasNote = d.to.Note()
		}
	case prepareJob:
		j.note, err = d.to.Prepare(ctx)
	case finishJob:
		j.note, err = d.to.Finish(ctx)
	case closeJob:
		err = d.to.Close()
	}
	return err
}

// deliver delivers one piece, as often as the policy allows, and then the records
// that failed by themselves.
func (d *deliverer) deliver(ctx context.Context, p piece) delivered {
	d.guard.Take(ctx, p.to-p.from)
	retry := d.guard.Attempts()
	for attempt := 1; ; attempt++ {
		failed, err := d.once(ctx, p, p.from, p.to, attempt)
		if err == nil {
			d.again(ctx, p, failed)
			return delivered{failed: failed}
		}
		if !again(ctx, retry, err) {
			return delivered{err: err}
		}
	}
}

// again retries single records, in order; those that were delivered leave failed.
func (d *deliverer) again(ctx context.Context, p piece, failed map[int]error) {
	if len(failed) == 0 {
		return
	}
	for i := p.from; i < p.to; i++ {
		err, bad := failed[i]
		if !bad {
			continue
		}
		retry := d.guard.Attempts()
		for attempt := 2; again(ctx, retry, err); attempt++ {
			var one map[int]error
			if one, err = d.once(ctx, p, i, i+1, attempt); err == nil {
				err = one[i]
			}
			if err == nil {
				break
			}
		}
		if err == nil {
			delete(failed, i)
		} else {
			failed[i] = err
		}
	}
}

func (d *deliverer) once(ctx context.Context, p piece, from, to, attempt int) (failed map[int]error, err error) {
	b := p.batch
	if attempt > 1 {
		b = p.edge.fresh(b, p.raw)
	}
	err = protect(func() (err error) {
		failed, err = d.to.Deliver(ctx, b, from, to, attempt, d.s.run.redelivers(b))
		return err
	})
	return failed, err
}

func (d *deliverer) flush(ctx context.Context) error {
	retry := d.guard.Attempts()
	for {
		err := protect(func() error { return d.to.Flush(ctx) })
		if err == nil || !again(ctx, retry, err) {
			return err
		}
	}
}
