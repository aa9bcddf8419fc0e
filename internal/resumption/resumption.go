// Package resumption decides, when a run is continued by a flow of another
// definition, where each stage of that begins, purely: from the two graphs, from
// where the run stands, and from what the user asked for.
//
// Every record of every journal is read by each reader once, or the plan says
// which are not. The rules:
//
//   - A stage goes on where it stands on every input that it had.
//   - What a stage writes that is new is read from the first record on.
//   - New stages that come between the writer of a journal and a reader begin where
//     that reader stands; the reader reads what they write. Where stages go from
//     between, the reader begins where they stand. The same holds for stages that
//     take the place of others.
//   - Whatever else would read older records needs a start from the user.
//   - What is left of a stage or an input that is gone is given up only if the user
//     says so.
//   - A stage takes over what another one had only if the user says so.
//
// Whatever the plan refuses, it says of which stage, with the numbers, and what to
// do.
package resumption

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Question is what is to be planned.
type Question struct {
	Was, Now *topology.Graph // the definition of the newest epoch, and the flow's
	Before   []Period        // every definition of the run, Was included, in order
	State    *recovery.State
	Rows     map[string]Rows // by the name of the stage that has them
	Wishes   Wishes

	// Reads tells how the flow reads what was recorded as another type.
	Reads func(p Place, was topology.Type) plan.Reading
	// NameAt returns what a stage of Was was called in an epoch.
	NameAt func(stage string, epoch uint64) string
	// Author returns the epoch that wrote a record.
	Author func(journal string, seq uint64) (epoch uint64, err error)
}

// A Period is a definition and the last epoch that ran it.
type Period struct {
	UpTo  uint64
	Graph *topology.Graph
}

// Rows are what a stage has in its tables.
type Rows struct {
	Count  int
	Epochs []uint64 // in which they were written
}

// A Place is where something is recorded, in the flow as it is now: a port of a
// stage, its state, or its open work.
type Place struct {
	Stage string
	Port  string // State and OpenWork are no ports
}

// What Place.Port may be besides a port.
const (
	State    = "#state"
	OpenWork = "#open"
)

// A Plan says where each stage begins.
type Plan struct {
	Differences []topology.Difference `json:"differences"`
	Stages      []Stage               `json:"stages"` // of the flow, in the order in which data flows, then those that are gone
	Refusals    []Refusal             `json:"refusals,omitempty"`

	// Means is what the epoch that begins records. It is of use if nothing is
	// refused. The definition is not in it.
	Means journal.Redefinition `json:"-"`
}

// How a stage comes into an epoch.
const (
	GoesOn  = "goes on"
	New     = "new"
	Renamed = "renamed"
	Ended   = "ended" // for good, in an earlier epoch
	Gone    = "gone"
)

// A Stage says where one stage begins.
type Stage struct {
	Name     string   `json:"name"`
	How      string   `json:"how"`
	Was      string   `json:"was,omitempty"`      // its name, of a renamed one
	Position string   `json:"position,omitempty"` // of a source
	Inputs   []Input  `json:"inputs,omitempty"`
	Open     int      `json:"open,omitempty"` // accepted inputs that are finished first; of one that is gone, given up
	Rows     int      `json:"rows,omitempty"` // entries of state that it has; of one that is gone, given up
	Notes    []string `json:"notes,omitempty"`
}

// An Input says where a stage begins to read a journal; of one that is gone, what
// is given up.
type Input struct {
	Journal string `json:"journal"`
	From    uint64 `json:"from"`             // the first record that is read
	Records uint64 `json:"records"`          // that are there from it on
	Why     string `json:"why"`              // it begins there
	Moved   bool   `json:"moved,omitempty"`  // it does not go on where it stood
	Again   uint64 `json:"again,omitempty"`  // of the records, those that readers behind had before
	Passed  uint64 `json:"passed,omitempty"` // records before From that readers behind never get
}

// A Refusal is a reason not to go on.
type Refusal struct {
	Stage   string `json:"stage,omitempty"`
	Journal string `json:"journal,omitempty"` // that the stage reads or read
	Text    string `json:"text"`              // one sentence without a full stop
	Hint    string `json:"hint"`              // what to do
}

func (r Refusal) String() string {
	if r.Hint == "" {
		return r.Text
	}
	return r.Text + ": " + r.Hint
}

// Make answers q. The error says that the log could not be read; what cannot be
// gone on with is in the plan.
func Make(q Question) (*Plan, error) {
	m := maker{
		Question: q, plan: &Plan{Differences: topology.Diff(q.Was, q.Now)},
		old: map[string]string{}, now: map[string]string{}, out: map[string]*Stage{}, asks: map[string][]*wish{},
	}
	m.wishes()
	for _, name := range q.Now.Order() {
		m.stage(name)
	}
	for s := range q.Was.Stages() {
		if _, ok := m.now[s.Name]; !ok {
			m.gone = append(m.gone, s.Name)
			m.out[s.Name] = &Stage{Name: s.Name, How: Gone}
		}
	}
	m.edges()
	for s := range q.Now.Stages() {
		m.memory(s)
	}
	m.leave()
	if err := m.payloads(); err != nil {
		return nil, err
	}
	m.conclude()
	return m.plan, nil
}

// A maker makes one plan.
type maker struct {
	Question
	plan *Plan

	old  map[string]string // by stage of Now: what it was in Was; those that are new are not in it
	now  map[string]string // by stage of Was: what it is in Now; those that are gone are not in it
	gone []string          // stages of Was that are not in Now
	out  map[string]*Stage
	asks map[string][]*wish // by stage of Now

	starts []*edge // edges of Now
	drops  []*drop // edges of Was that Now does not have
}

func (m *maker) refuse(stage, journal, hint, format string, args ...any) {
	m.plan.Refusals = append(m.plan.Refusals, Refusal{Stage: stage, Journal: journal, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// stage notes how a stage of the flow comes.
func (m *maker) stage(name string) {
	s := &Stage{Name: name, How: New}
	m.out[name] = s
	was, ok := m.old[name]
	if !ok {
		if _, ok = m.Was.Stage(name); ok {
			was = name
			m.old[name], m.now[name] = name, name
		}
	}
	switch {
	case ok && was != name:
		s.How, s.Was = Renamed, was
	case ok:
		s.How = GoesOn
	}
	if m.ended(name) {
		s.How = Ended
	}
	if at := m.at(name); at != nil && at.Position != nil {
		s.Position = at.Position.Value
	}
	m.plan.Stages = append(m.plan.Stages, *s) // in this order; filled in by conclude
}

// at is where the stage stood whose memory a stage of the flow has; of a new one,
// what is left of one that had its name.
func (m *maker) at(name string) *recovery.Stage {
	if was, ok := m.old[name]; ok {
		return m.State.Stages[was]
	}
	return m.State.Stages[name]
}

// ended reports whether a stage of the flow has ended for good, under whatever name.
func (m *maker) ended(name string) bool {
	for _, n := range []string{name, m.old[name]} {
		if at := m.State.Stages[n]; at != nil && at.Ended {
			return true
		}
	}
	return false
}

// count is how many records a journal has.
func (m *maker) count(stage, port string) uint64 {
	if at := m.State.Stages[stage]; at != nil {
		return at.Ports[port].Count
	}
	return 0
}

// cursor is how far a stage of Was has read a journal.
func (m *maker) cursor(stage, journal string) uint64 {
	if at := m.State.Stages[stage]; at != nil {
		return at.Cursors[journal].Seq
	}
	return 0
}

// conclude puts the stages into the plan and, if nothing is refused, what they mean.
func (m *maker) conclude() {
	for i := range m.plan.Stages {
		m.plan.Stages[i] = *m.out[m.plan.Stages[i].Name]
	}
	for _, name := range m.gone {
		m.plan.Stages = append(m.plan.Stages, *m.out[name])
	}
	d := &m.plan.Means
	for s := range m.Now.Stages() {
		was, ok := m.old[s.Name]
		switch {
		case !ok:
			d.Added = append(d.Added, s.Name)
		case was != s.Name:
			next := uint64(1)
			if at := m.State.Stages[was]; at != nil {
				next = at.NextOpen
			}
			d.Renamed = append(d.Renamed, journal.Rename{Stage: s.Name, Was: was, Open: next})
		}
	}
	d.Removed = m.gone
	for _, x := range m.drops {
		stage := x.To
		if now, ok := m.now[stage]; ok {
			stage = now
		}
		d.Dropped = append(d.Dropped, journal.Start{Stage: stage, Journal: x.Journal(), Seq: x.at})
	}
	for _, e := range m.starts {
		if !e.kept && e.at > 0 {
			d.Starts = append(d.Starts, journal.Start{Stage: e.To, Journal: e.Journal(), Seq: e.at})
		}
	}
	order := func(a, b journal.Start) int {
		return cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Journal, b.Journal))
	}
	slices.SortFunc(d.Dropped, order)
	slices.SortFunc(d.Starts, order)
}

// counted writes a number with its word: "1 record", "2 records".
func counted[N int | uint64](n N, word string) string {
	if n == 1 {
		return "1 " + word
	}
	switch word {
	case "entry":
		word = "entries"
	case "entry of state":
		word = "entries of state"
	default:
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}
