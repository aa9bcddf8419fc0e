package engine

import (
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
// about it. After its first checkpoint a stage goes on as always.
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
	return nil
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

// careFrom makes a stage careful; at has what it was trying when the process died.
func (s *stage) careFrom(at *recovery.Stage) {
	s.careful, s.limit, s.deaths = true, 1, map[trying]int{}
	if at != nil {
		counted := map[trying]uint64{} // in which epoch last
		for _, t := range at.Trying {
			if k := (trying{t.Journal, t.Seq}); counted[k] != t.Epoch {
				counted[k] = t.Epoch
				s.deaths[k]++
			}
		}
	}
	s.run.log.Warn("the last epochs died without progress; one input at a time until the first checkpoint", attr("stage", s.name))
}

// try puts on record, durably, that record i of b is about to be handled. With
// false it has killed the process too often and must be buried.
func (s *stage) try(e *edge, b *plan.Batch, i int) (bool, error) {
	return s.tryInput(trying{e.journal, b.First + uint64(i)})
}

func (s *stage) tryInput(at trying) (bool, error) {
	if s.deaths[at] >= deathsToBury {
		s.run.log.Error("an input is given up: the process died whenever it was handled",
			attr("stage", s.name), attr("input", fmt.Sprintf("%s:%d", at.journal, at.seq)))
		return false, nil
	}
	say(&s.author, &s.sys, evidence.TypeTrying, evidence.Trying{Journal: at.journal, Seq: at.seq})
	if err := s.commit(journal.Urgent); err != nil {
		return false, err
	}
	return true, s.run.c.Log.Await(s.ctx, s.last)
}

func crashed() *plan.Failure { return &plan.Failure{Err: errCrash, Kind: event.KindCrash} }
