package resumption

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// payloads holds the types of what is still to be read against those of today.
func (m *maker) payloads() error {
	for _, e := range m.starts {
		n := m.count(e.From, e.Port)
		now := typeOf(m.Now, e.From, e.Port)
		if e.at >= n || e.needs || now == nil {
			continue
		}
		differs := func(p Period) bool {
			t := typeOf(p.Graph, e.From, e.Port)
			return t != nil && (t.Name != now.Name || t.Schema != now.Schema)
		}
		if !slices.ContainsFunc(m.Before, differs) {
			continue
		}
		first, err := m.Author(e.Journal(), e.at+1)
		if err != nil {
			return fmt.Errorf("find out who wrote %s:%d: %w", e.Journal(), e.at+1, err)
		}
		var seen []topology.Type
		for _, p := range m.Before {
			t := typeOf(p.Graph, e.From, e.Port)
			same := func(o topology.Type) bool { return o.Name == t.Name && o.Schema == t.Schema }
			if p.UpTo < first || !differs(p) || slices.ContainsFunc(seen, same) {
				continue
			}
			seen = append(seen, *t)
			what := fmt.Sprintf("%s of %s that stage %s has not read", counted(n-e.at, "record"), e.Journal(), e.To)
			if r := m.readable(e.To, e.Journal(), what, Place{e.From, e.Port}, *t, *now); r == plan.Unreadable {
				break // one reason is enough
			}
		}
	}
	return nil
}

// typeOf is the payload type of a port in a graph, nil if it does not say.
func typeOf(g *topology.Graph, stage, port string) *topology.Type {
	s, ok := g.Stage(stage)
	if !ok {
		return nil
	}
	if port == topology.Dead {
		return s.Dead
	}
	p, ok := s.Port(port)
	if !ok {
		return nil
	}
	return &p.Type
}
