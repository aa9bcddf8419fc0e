package engine

import (
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// An account is what became, in this epoch, of the inputs of a stage that keeps
// state. Its three numbers come from three places: the cursors of the inputs,
// what the handler accepted, and what was placed on the port of dead letters.
type account struct {
	began         uint64 // sum of the cursors when the epoch began
	applied, dead uint64
}

// accountable reports whether the accounting contract holds for a stage: one that
// keeps state, or reads one input before the others.
func (s *stage) accountable() bool {
	return s.node.Handler != nil && (len(s.tables) > 0 || s.hydratesFirst())
}

func (s *stage) cursors() (sum uint64) {
	for _, e := range s.inputs {
		sum += e.cursor
	}
	return sum
}

// placed takes in what a placed transition did, before it is forgotten.
func (a *account) placed(s *stage) {
	for _, p := range s.turn.pieces {
		if p.failure == nil {
			a.applied += uint64(p.to - p.from)
		}
	}
	for i := range s.t.Outputs {
		if o := &s.t.Outputs[i]; o.Port == journal.PortDead {
			a.dead += uint64(o.Count)
		}
	}
}

// judge decides the contract: every input was applied or is a dead letter. Late
// ones were applied, too: the handler writes them to a port of its own.
func (a *account) judge(s *stage) {
	n := s.cursors()
	v := contract.Accounting{Inputs: n - a.began, Applied: a.applied, Dead: a.dead}.Check(contract.Subject{Reader: s.name}, n)
	s.judge(accountingGate(s), v, s.rules.Ending() == supervise.Natural, true, "")
}
