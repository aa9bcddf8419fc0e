package engine

import (
	"context"

	"github.com/weirflow/weir/internal/plan"
)

// transact has a sink that stores marks deliver all pieces in one transaction, if
// it takes them. A batch that it refuses is halved until one record stands alone,
// which then has failed. What comes after that is left for later: the next mark
// says that the record is done with, and must not be stored before this is on
// record.
func (d *deliverer) transact(ctx context.Context, j *job) {
	pieces, n := j.pieces, 0
	for _, p := range pieces {
		n += p.to - p.from
	}
	d.guard.Take(ctx, n)
	attempt := 1
	lo, hi := 0, n // what is tried, counted through the pieces
	bad := n       // a record before it is refused, if anything is
	settled := func(from, to int, r delivered) {
		for _, p := range cut(pieces, from, to) {
			if len(r.failed) > 0 {
				r.failed = map[int]error{p.from: r.failed[0]}
			}
			j.pieces, j.results = append(j.pieces, p), append(j.results, r)
		}
	}
	j.pieces = nil
	for lo < n {
		refused, err := d.commit(ctx, cut(pieces, lo, hi), &attempt)
		switch {
		case err != nil && !refused:
			settled(lo, lo+1, delivered{err: err})
			j.rest = cut(pieces, lo+1, n)
			return
		case refused && hi == lo+1:
			settled(lo, hi, delivered{failed: map[int]error{0: err}})
			j.rest = cut(pieces, hi, n)
			return
		case refused:
			bad = hi
			hi = lo + (hi-lo)/2
		default:
			settled(lo, hi, delivered{})
			if lo = hi; lo < bad {
				hi = lo + max(1, (bad-lo)/2)
			} else {
				hi, bad = n, n
			}
		}
	}
}

// commit makes one transaction, as often as the policy allows. refused says that
// err is about a record, and that nothing was done.
func (d *deliverer) commit(ctx context.Context, pieces []piece, attempt *int) (refused bool, err error) {
	next, mark, err := d.marks.after(pieces)
	if err != nil {
		return false, err
	}
	retry := d.guard.Attempts()
	for {
		parts := make([]plan.Part, len(pieces))
		for i, p := range pieces {
			b := p.batch
			if *attempt > 1 {
				b = p.edge.fresh(b, p.raw)
			}
			parts[i] = plan.Part{Batch: b, From: p.from, To: p.to, Redelivered: d.s.run.redelivers(b)}
		}
		panicked := true
		err = protect(func() error {
			err := d.marker.Commit(ctx, parts, *attempt, mark)
			panicked = false
			return err
		})
		*attempt++
		if err == nil {
			d.marks = next
			return false, nil
		}
		if !panicked && !mayPass(err) {
			return true, err
		}
		if !again(ctx, retry, err) {
			return false, err
		}
	}
}

// cut returns records from to to-1 of pieces, counted through.
func cut(pieces []piece, from, to int) (out []piece) {
	for _, p := range pieces {
		n := p.to - p.from
		if a, b := max(from, 0), min(to, n); a < b {
			q := p
			q.from, q.to = p.from+a, p.from+b
			out = append(out, q)
		}
		from, to = from-n, to-n
	}
	return out
}
