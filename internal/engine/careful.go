package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// A run that died in each of its last epochs without getting anywhere would die
// again. It goes on carefully: a stage takes one input at a time and puts on
// record, durably, which one before it calls user code. An input that was being
// tried when the process died, twice, is what kills it, and becomes a dead
// letter; one that was accepted is put aside, since it is not known what was done
// about it. If several stages were each trying one at these deaths, nobody knows
// which it is; so each of these suspects is tried while no other is, and the process
// dies once more, with one of them. After its first checkpoint a stage goes on as
// always.
const (
	deathsToCare = 3 // epochs without progress
	deathsToBury = 2 // of one input
)

// errCrash is why such an input is a dead letter.
var errCrash = errors.New("the process died whenever this was handled")

// care makes every stage careful if the run died too often, or when it was.
func (r *Run) care() error {
	careful, err := r.mustCare()
	if err != nil {
		return err
	}
	for _, s := range r.stages {
		at := r.stateOf(s.name)
		careful = careful || at != nil && len(at.Trying) > 0
	}
	for _, s := range r.stages {
		if careful && !s.ended && s.node.Source == nil {
			s.careFrom(r.stateOf(s.name))
		}
	}
	r.accuse()
	return nil
}

// accuse finds out what kills, if that is known: the suspect that was being tried at
// the last death, and at more of them than any of another stage.
func (r *Run) accuse() {
	for _, s := range r.stages {
		var worst death
		for _, d := range s.deaths {
			if d.n >= deathsToBury && d.compare(worst) > 0 {
				worst = d
			}
		}
		switch c := worst.compare(r.worst); {
		case worst.n == 0:
		case c > 0:
			r.worst, r.known = worst, true
		case c == 0:
			r.known = false
		}
	}
}

// mustCare reports whether the epochs before this one all died and nothing was
// consumed or read in them.
func (r *Run) mustCare() (bool, error) {
	epochs := r.c.Log.Manifest().Epochs
	n := len(epochs) - 1 // this one
	if n < deathsToCare {
		return false, nil
	}
	in, err := r.c.Log.Read(epochs[n-deathsToCare].First)
	if err != nil {
		return false, fmt.Errorf("look how the last epochs ended: %w", err)
	}
	defer in.Close()
	var p journal.Placed
	for trs := journal.Transitions(in); ; {
		err := trs.Next(&p)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("look how the last epochs ended: %w", err)
		}
		if progressed(&p) {
			return false, nil
		}
	}
}

// progressed reports whether a transition moved a cursor, finished an accepted
// input, or is how an epoch ended.
func progressed(p *journal.Placed) bool {
	if p.Position != nil {
		return true
	}
	for i := range p.Consumed {
		if p.Consumed[i].Kind == journal.Run || p.Consumed[i].Kind == journal.Ended {
			return true
		}
	}
	for i := range p.Open {
		if p.Open[i].Op == journal.OpenClose {
			return true
		}
	}
	for i := range p.Outputs {
		if p.Stage == evidence.Pipeline && p.Outputs[i].Type == evidence.TypeTerminal {
			return true
		}
	}
	return false
}

// trying names an input of a stage.
type trying struct {
	journal string
	seq     uint64
}

// A death is what is known of the deaths at which an input was being tried.
type death struct {
	n    int
	last uint64 // epoch
}

func (d death) compare(e death) int {
	return cmp.Or(cmp.Compare(d.last, e.last), cmp.Compare(d.n, e.n))
}

// careFrom makes a stage careful; at has what it was trying when the process died.
func (s *stage) careFrom(at *recovery.Stage) {
	s.careful, s.limit, s.deaths = true, 1, map[trying]death{}
	if at != nil {
		for _, t := range at.Trying {
			k := trying{t.Journal, t.Seq}
			if d := s.deaths[k]; d.last != t.Epoch {
				s.deaths[k] = death{d.n + 1, t.Epoch}
			}
		}
	}
	s.run.log.Warn("the last epochs died without progress; one input at a time until the first checkpoint", attr("stage", s.name))
}

// try puts on record, durably, that record i of b is about to be handled; a suspect
// waits until no other is being tried. With false it is what kills the process and
// must be buried.
func (s *stage) try(e *edge, b *plan.Batch, i int) (bool, error) {
	return s.tryInput(trying{e.journal, b.First + uint64(i)})
}

func (s *stage) tryInput(at trying) (bool, error) {
	r, d := s.run, s.deaths[at]
	suspect := d.n >= deathsToBury
	if suspect && r.known && d == r.worst {
		r.log.Error("an input is given up: the process died whenever it was handled",
			attr("stage", s.name), attr("input", fmt.Sprintf("%s:%d", at.journal, at.seq)))
		return false, nil
	}
	if suspect && !s.alone {
		select {
		case r.alone <- struct{}{}:
		case <-s.ctx.Done():
			return false, s.ctx.Err()
		}
		defer func() { s.alone = true }() // what is placed here is not what comes of it
	}
	say(&s.author, &s.sys, evidence.TypeTrying, evidence.Trying{Journal: at.journal, Seq: at.seq})
	if err := s.commit(journal.Urgent); err != nil {
		return false, err
	}
	return true, r.c.Log.Await(s.ctx, s.last)
}

// acquit lets the next suspect be tried, once what came of the last is placed: it
// comes before the next in the log.
func (s *stage) acquit() {
	if s.alone {
		s.alone = false
		<-s.run.alone
	}
}

func crashed() *plan.Failure { return &plan.Failure{Err: errCrash, Kind: event.KindCrash} }
