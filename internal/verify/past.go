package verify

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// The definition of a run may have changed between its epochs. What a stage did
// under another is executed by the code of today like everything else, as far as
// that reads and writes the same: where it does not, it is taken as it is recorded,
// with the reason.

// other says why a stage of today's flow cannot do again what it did in an epoch,
// empty if it can.
func (v *verifier) other(s *stage, epoch uint64) string {
	if reason, ok := s.others[epoch]; ok {
		return reason
	}
	reason := ""
	if v.Was != nil {
		reason = v.compareTypes(s, v.Was(epoch))
	}
	s.others[epoch] = reason
	return reason
}

func (v *verifier) compareTypes(s *stage, was *topology.Graph) string {
	if was == nil {
		return ""
	}
	o, _ := was.Stage(s.name)
	n, _ := v.Flow.Graph.Stage(s.name)
	differ := func(what string, a, b *topology.Type) string {
		if a == nil || b == nil || a.Name == b.Name && a.Schema == b.Schema {
			return ""
		}
		if a.Name == b.Name {
			return fmt.Sprintf("%s were of a %s with other fields", what, a.Name)
		}
		return fmt.Sprintf("%s were of type %s, and are of %s now", what, a.Name, b.Name)
	}
	for i := range o.Ports {
		if p, ok := n.Port(o.Ports[i].Name); ok {
			if why := differ("its records", &o.Ports[i].Type, &p.Type); why != "" {
				return why
			}
		}
	}
	if why := differ("its dead letters", o.Dead, n.Dead); why != "" {
		return why
	}
	return differ("its state", o.State, n.State)
}

// reads reports whether a stage read a journal in an epoch.
func (v *verifier) reads(stage, name string, epoch uint64) bool {
	if v.Was == nil || v.Was(epoch) == nil {
		return true
	}
	for _, e := range v.Was(epoch).Inputs(stage) {
		if e.Journal() == name {
			return true
		}
	}
	return false
}

// heir returns the stage of today's flow that has the memory of one, as it was in
// an epoch; nil if there is none.
func (v *verifier) heir(name string, epoch uint64) *stage {
	m := v.Log.Manifest()
	for _, s := range v.stages {
		if s.name != name && m.NameAt(s.name, epoch) == name {
			return s
		}
	}
	return nil
}

// inherit takes over what a stage of another name remembers of a transition.
func (s *stage) inherit(p *journal.Placed) error {
	s.p = p
	s.skip("it was recorded under the name " + p.Stage)
	s.passOver()
	s.openAsRecorded()
	return s.apply()
}

// enter makes what an epoch's definition makes of the stage's memory.
func (s *stage) enter(e *journal.Epoch) error {
	if slices.Contains(e.Redefined.Added, s.name) {
		return s.forget()
	}
	for _, n := range e.Redefined.Renamed {
		if n.Stage != s.name || s.does == nil {
			continue
		}
		for _, t := range s.does.tasks { // what was recorded is on another stage's port
			for i := range t.facts {
				t.facts[i].seq = 0
			}
		}
		s.does.heard = 0
	}
	return nil
}

// forget empties the stage's memory: one of its name went, and another came.
func (s *stage) forget() error {
	for _, t := range s.node.Tables {
		var keys [][]byte
		err := t.Snapshot(func(key, _ []byte, _ journal.LSN) error {
			keys = append(keys, bytes.Clone(key))
			return nil
		})
		if err != nil {
			return err
		}
		for _, key := range keys {
			if err := t.Apply(journal.Change{Key: key, Deleted: true}, 0, 0); err != nil {
				return err
			}
		}
	}
	s.end = end{ender: s.end.ender}
	if s.does != nil {
		s.does.tasks, s.does.origin, s.does.next, s.does.heard, s.does.kept = map[uint64]*open{}, map[plan.Origin]*open{}, 1, 0, nil
	}
	return nil
}

// renew returns what was accepted in the transition's epoch as it would be accepted
// now.
func (s *stage) renew(data []byte) ([]byte, error) {
	if r, ok := s.does.Performer.(plan.Renewer); ok {
		return r.Renew(data, s.p.Epoch)
	}
	return data, nil
}
