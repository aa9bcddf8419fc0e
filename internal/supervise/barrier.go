package supervise

import (
	"fmt"
	"slices"
	"strings"
)

// Member is a stage that a run waits for.
type Member struct {
	Name   string
	Source bool
}

// Gate is evidence that a run cannot complete without: a contract on an edge
// or stage, under a name that is unique within the run.
type Gate struct {
	Name   string
	Source string // the source whose completion needs it too; empty otherwise
	Warn   bool   // recorded when it fails, does not gate
}

// Barrier keeps which stages and gates a pipeline still waits for. It is made
// by [NewBarrier] and owned by one goroutine.
type Barrier struct {
	members []member
	gates   []gate
	alive   bool // the stages' supervisors run
	version uint64
}

type member struct {
	Member
	ready, running, completed, ended bool
}

type gate struct {
	Gate
	passed bool
}

// NewBarrier returns a barrier for the given stages and gates. Names given
// twice and gates of unknown sources are an error.
func NewBarrier(members []Member, gates []Gate) (*Barrier, error) {
	b := &Barrier{}
	var problems []string
	for _, m := range members {
		if b.member(m.Name) != nil {
			problems = append(problems, "stage "+m.Name+" twice")
			continue
		}
		b.members = append(b.members, member{Member: m})
	}
	for _, g := range gates {
		if b.gate(g.Name) != nil {
			problems = append(problems, "contract "+g.Name+" twice")
			continue
		}
		if m := b.member(g.Source); g.Source != "" && (m == nil || !m.Source) {
			problems = append(problems, "contract "+g.Name+" of "+g.Source+", which is not a source")
			continue
		}
		b.gates = append(b.gates, gate{Gate: g})
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("barrier: %s", strings.Join(problems, ", "))
	}
	return b, nil
}

// Agree checks that the stages of the topology are those that have a
// supervisor. The error has both lists.
func Agree(topology, supervisors []string) error {
	a, b := slices.Sorted(slices.Values(topology)), slices.Sorted(slices.Values(supervisors))
	if slices.Equal(a, b) {
		return nil
	}
	return fmt.Errorf("topology and supervisors disagree: the topology has %s; supervisors exist for %s",
		strings.Join(a, ", "), strings.Join(b, ", "))
}

func (b *Barrier) member(name string) *member {
	for i := range b.members {
		if b.members[i].Name == name {
			return &b.members[i]
		}
	}
	return nil
}

func (b *Barrier) gate(name string) *gate {
	for i := range b.gates {
		if b.gates[i].Name == name {
			return &b.gates[i]
		}
	}
	return nil
}

// Alive says that the supervisors of all stages that have not ended run now.
func (b *Barrier) Alive() { b.alive = true }

// Ready, Running, Completed and Ended record what a stage reported. Completed
// implies Ended. Ready is a source's before it starts. An unknown stage or one
// that has ended already is an error.
func (b *Barrier) Ready(stage string) error {
	return b.note(stage, func(m *member) { m.ready = true })
}

// Running records that the stage runs.
func (b *Barrier) Running(stage string) error {
	return b.note(stage, func(m *member) { m.ready, m.running = true, true })
}

// Completed records that the stage drained: its EOF and terminal record are
// on the log.
func (b *Barrier) Completed(stage string) error {
	return b.note(stage, func(m *member) { m.ready, m.running, m.completed, m.ended = true, true, true, true })
}

// Ended records that the stage failed or was cancelled; nothing of it runs.
func (b *Barrier) Ended(stage string) error {
	return b.note(stage, func(m *member) { m.ended = true })
}

func (b *Barrier) note(stage string, do func(*member)) error {
	m := b.member(stage)
	switch {
	case m == nil:
		return fmt.Errorf("stage %s is not part of this run", stage)
	case m.ended:
		return fmt.Errorf("stage %s has ended already", stage)
	}
	do(m)
	b.version++
	return nil
}

// Passed records that the contract holds. Saying it again changes nothing.
func (b *Barrier) Passed(contract string) error {
	g := b.gate(contract)
	if g == nil {
		return fmt.Errorf("contract %s is not part of this run", contract)
	}
	if !g.passed {
		g.passed = true
		b.version++
	}
	return nil
}

// Gates reports whether the failure of the contract aborts the run. One that
// the barrier does not know gates: what cannot be judged must not pass.
func (b *Barrier) Gates(contract string) bool {
	g := b.gate(contract)
	return g == nil || !g.Warn
}

// AllRunning reports whether every stage that is not a source runs or has run.
func (b *Barrier) AllRunning() bool {
	return b.every(func(m *member) bool { return m.Source || m.running })
}

// SourcesReady reports whether every source is ready to start.
func (b *Barrier) SourcesReady() bool {
	return b.every(func(m *member) bool { return !m.Source || m.ready })
}

// SourcesCompleted reports whether every source completed and its gating
// contracts passed.
func (b *Barrier) SourcesCompleted() bool {
	for i := range b.gates {
		if g := &b.gates[i]; g.Source != "" && !g.Warn && !g.passed {
			return false
		}
	}
	return b.every(func(m *member) bool { return !m.Source || m.completed })
}

// AllCompleted reports whether every stage completed and every gating contract
// passed.
func (b *Barrier) AllCompleted() bool {
	for i := range b.gates {
		if g := &b.gates[i]; !g.Warn && !g.passed {
			return false
		}
	}
	return b.every(func(m *member) bool { return m.completed })
}

// AllEnded reports whether no supervisor of a stage runs.
func (b *Barrier) AllEnded() bool {
	return !b.alive || b.every(func(m *member) bool { return m.ended })
}

func (b *Barrier) every(ok func(*member) bool) bool {
	for i := range b.members {
		if !ok(&b.members[i]) {
			return false
		}
	}
	return true
}

// Snapshot is what a barrier waits for, in the order of declaration.
type Snapshot struct {
	Done, Total      int // stages that completed, of how many
	Passed, Gating   int // gating contracts that passed, of how many
	Pending, Missing []string
	AllEnded         bool   // no supervisor of a stage runs
	Version          uint64 // changes whenever something was recorded
}

// Snapshot returns what the barrier waits for now.
func (b *Barrier) Snapshot() Snapshot {
	s := Snapshot{Total: len(b.members), Version: b.version, AllEnded: b.AllEnded()}
	for i := range b.members {
		if b.members[i].completed {
			s.Done++
		} else {
			s.Pending = append(s.Pending, b.members[i].Name)
		}
	}
	for i := range b.gates {
		g := &b.gates[i]
		if g.Warn {
			continue
		}
		s.Gating++
		if g.passed {
			s.Passed++
		} else {
			s.Missing = append(s.Missing, g.Name)
		}
	}
	return s
}

func (s Snapshot) String() string {
	text := fmt.Sprintf("%d of %d stages, %d of %d contracts", s.Done, s.Total, s.Passed, s.Gating)
	if len(s.Pending) > 0 {
		text += "; pending: " + strings.Join(s.Pending, ", ")
	}
	if len(s.Missing) > 0 {
		text += "; missing: " + strings.Join(s.Missing, ", ")
	}
	return text
}
