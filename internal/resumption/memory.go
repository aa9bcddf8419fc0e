package resumption

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/topology"
)

const withOld = "resume with the old build until nothing of it is left, or start a new run"

// memory holds what a stage remembers against what it is now.
func (m *maker) memory(s topology.Stage) {
	was, ok := m.old[s.Name]
	if !ok {
		return
	}
	o, _ := m.Was.Stage(was)
	at := m.State.Stages[was]
	if at == nil {
		at = &recovery.Stage{}
	}
	out, rows := m.out[s.Name], m.Rows[was]
	out.Open, out.Rows = len(at.Open), rows.Count
	if o.Kind != s.Kind {
		m.refuse(s.Name, "", "give the new stage another name", "stage %s was a %s and is a %s now", s.Name, o.Kind, s.Kind)
		return
	}
	m.params(&o, &s, at, rows)
	m.state(&o, &s, rows)
	m.inputs(&s, rows)
	m.effects(&o, &s, at)
	m.open(&o, &s, at)
	if was != s.Name {
		m.renamed(&o, &s)
	}
}

// params refuses changed parameters of a stage that remembers something they shape.
func (m *maker) params(o, s *topology.Stage, at *recovery.Stage, rows Rows) {
	was, now := map[string]string{}, map[string]string{}
	var keys []string
	for _, p := range o.Params {
		was[p.Key] = p.Value
		keys = append(keys, p.Key)
	}
	for _, p := range s.Params {
		now[p.Key] = p.Value
		keys = append(keys, p.Key)
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		if was[key] == now[key] {
			continue
		}
		what := fmt.Sprintf("parameter %s of stage %s was %s and is %s now", key, s.Name, or(was[key]), or(now[key]))
		switch {
		case key == topology.ParamCodec:
			m.refuse(s.Name, "", "keep the codec until the run is completed, or start a new run", "%s: a run has one codec", what)
		case rows.Count > 0:
			m.refuse(s.Name, "", "undo it, or "+withOld, "%s, and the stage has %s", what, counted(rows.Count, "entry of state"))
		case len(at.Open) > 0 && key == "operator":
			m.refuse(s.Name, "", "undo it, or "+withOld, "%s, and the stage has accepted %s", what, counted(len(at.Open), "input"))
		default:
			m.note(s.Name, "%s", what)
		}
	}
}

func or(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (m *maker) note(stage, format string, args ...any) {
	s := m.out[stage]
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// state refuses state that cannot be read as what it is now.
func (m *maker) state(o, s *topology.Stage, rows Rows) {
	if rows.Count == 0 {
		return
	}
	held := counted(rows.Count, "entry of state")
	switch {
	case (o.State == nil) != (s.State == nil):
		m.refuse(s.Name, "", "undo it, or "+withOld, "stage %s has %s and its state is another thing now", s.Name, held)
		return
	case s.State == nil:
		return
	case o.Key != nil && s.Key != nil && (o.Key.Name != s.Key.Name || o.Key.Schema != s.Key.Schema):
		m.refuse(s.Name, "", "undo it, or "+withOld, "stage %s has %s by %s and its key is %s now", s.Name, held, o.Key.Name, s.Key.Name)
	}
	for _, t := range m.types(rows.Epochs, func(g *topology.Graph, epoch uint64) *topology.Type {
		st, _ := g.Stage(m.NameAt(o.Name, epoch))
		return st.State
	}) {
		if t.Schema == s.State.Schema {
			continue
		}
		m.readable(s.Name, "", fmt.Sprintf("state of stage %s, %s", s.Name, counted(rows.Count, "entry")), Place{s.Name, State}, t, *s.State)
	}
}

// types returns the types that something had in epochs, without repeats.
func (m *maker) types(epochs []uint64, of func(g *topology.Graph, epoch uint64) *topology.Type) (all []topology.Type) {
	for _, n := range epochs {
		i := slices.IndexFunc(m.Before, func(p Period) bool { return p.UpTo >= n })
		if i < 0 {
			continue
		}
		t := of(m.Before[i].Graph, n)
		if t != nil && !slices.ContainsFunc(all, func(have topology.Type) bool { return have.Name == t.Name && have.Schema == t.Schema }) {
			all = append(all, *t)
		}
	}
	return all
}

// readable refuses what is recorded as another type and cannot be read, and notes
// how it is read otherwise.
func (m *maker) readable(stage, journal, what string, p Place, was, now topology.Type) plan.Reading {
	change := fmt.Sprintf("%s → %s", was.Name, now.Name)
	if was.Name == now.Name {
		change = "other fields of " + now.Name
	}
	r := m.Reads(p, was)
	switch r {
	case plan.Unreadable:
		how := fmt.Sprintf("give the flow an upcaster: f.Upcast(event.Upcast(%q, …))", inner(was.Name))
		if was.Name == now.Name {
			how += ", of a type with the recorded fields"
		}
		m.refuse(stage, journal, how, "%s cannot be read by this code (%s)", what, change)
	case plan.Upcast:
		m.note(stage, "%s: read by an upcaster (%s)", what, change)
	case plan.Widened:
		m.note(stage, "%s: fields were added, which are zero there (%s)", what, change)
	case plan.Same:
	}
	return r
}

// inner is the payload within what Weir makes of payloads: that is what is cast.
func inner(name string) string {
	for {
		i := strings.IndexByte(name, '[')
		if i <= 0 || !strings.HasSuffix(name, "]") || name[:i] != "Failed" && name[:i] != "Ranking" && name[:i] != "Record" {
			return name
		}
		name = name[i+1 : len(name)-1]
	}
}

// mixes reports whether a stage would go on, with state that was made of some
// inputs, with others.
func (m *maker) mixes(stage string) bool {
	s, _ := m.Now.Stage(stage)
	return s.State != nil && m.Rows[m.old[stage]].Count > 0 && len(m.fresh(stage)) > 0
}

// inputs refuses that state which was made of some inputs goes on with others,
// unless the user says so.
func (m *maker) inputs(s *topology.Stage, rows Rows) {
	if !m.mixes(s.Name) || len(m.asks[s.Name]) > 0 {
		return
	}
	fresh := m.fresh(s.Name)
	m.refuse(s.Name, fresh[0], fmt.Sprintf("if that is meant, say so with --start %s=now", s.Name),
		"stage %s has %s and would go on with other inputs: %s", s.Name, counted(rows.Count, "entry of state"), strings.Join(fresh, ", "))
}

// effects notes what becomes of calls that are on record under other effects.
func (m *maker) effects(o, s *topology.Stage, at *recovery.Stage) {
	for _, a := range o.Effects {
		i := slices.IndexFunc(s.Effects, func(b topology.Action) bool { return b.Name == a.Name })
		switch {
		case i < 0 && len(at.Open) > 0:
			m.note(s.Name, "effect %s is gone: accepted inputs that have called it wait for a decision", a.Name)
		case i < 0:
			m.note(s.Name, "effect %s is gone", a.Name)
		case s.Effects[i].Version != a.Version:
			m.note(s.Name, "effect %s is version %s now and was %s: recorded outcomes and requests stay", a.Name, or(s.Effects[i].Version), or(a.Version))
		}
		if i >= 0 && s.Effects[i].Safety != a.Safety {
			m.note(s.Name, "effect %s is %s now and was %s: calls that were begun are continued as the new class has it", a.Name, s.Effects[i].Safety, a.Safety)
		}
	}
}

// open refuses accepted inputs that cannot be read as what the stage accepts now,
// and such as are themselves the request of a call that was begun.
func (m *maker) open(o, s *topology.Stage, at *recovery.Stage) {
	now, ok := s.Port(portFailed)
	if len(at.Open) == 0 || !ok {
		return
	}
	begun := map[uint64]int{} // by epoch
	var epochs []uint64
	for i := range at.Open {
		epochs = append(epochs, at.Open[i].Wrote)
		if isRequest(&at.Open[i]) {
			begun[at.Open[i].Wrote]++
		}
	}
	slices.Sort(epochs)
	epochs = slices.Compact(epochs)
	failed := func(g *topology.Graph, epoch uint64) *topology.Type {
		return typeOf(g, m.NameAt(o.Name, epoch), portFailed)
	}
	for _, t := range m.types(epochs, failed) {
		if t.Name == now.Type.Name && t.Schema == now.Type.Schema {
			continue
		}
		was, is := t, now.Type
		was.Name, is.Name = inner(t.Name), inner(now.Type.Name)
		r := m.Reads(Place{s.Name, OpenWork}, t)
		n := 0
		for _, e := range epochs {
			if ts := m.types([]uint64{e}, failed); len(ts) == 1 && ts[0].Schema == t.Schema && ts[0].Name == t.Name {
				n += begun[e]
			}
		}
		what := fmt.Sprintf("what stage %s has accepted, %s", s.Name, counted(len(at.Open), "input"))
		switch {
		case r == plan.Unreadable || r == plan.Upcast && n > 0:
			m.refuse(s.Name, "", "resume with the old build and stop it, which finishes them; those in doubt need a decision before (weir effects)",
				"%s, is of another type now (%s → %s), and %s been sent as a request", what, was.Name, is.Name, have(n))
		default:
			m.readable(s.Name, "", what, Place{s.Name, OpenWork}, t, is)
		}
	}
}

// portFailed is the port of what a stage that performs effects failed on: its type
// follows from what the stage accepts.
const portFailed = "failed"

// isRequest reports whether a call was begun of which the accepted input is the
// request: it must be sent again as it was.
func isRequest(o *recovery.Open) bool {
	asked := map[string]bool{} // by step
	for _, u := range o.Updates {
		_, e, err := plan.ParseUpdate(u)
		if err != nil {
			return true // nobody knows
		}
		if e.Type != plan.EntryIntent && e.Type != plan.EntryAttempt || asked[e.Step] {
			continue
		}
		if asked[e.Step] = true; len(e.Request) == 0 {
			return true
		}
	}
	return false
}

func have(n int) string {
	if n == 1 {
		return "1 has"
	}
	return fmt.Sprintf("%d have", n)
}

// renamed refuses a rename of a sink whose marks are stored under its name.
func (m *maker) renamed(o, s *topology.Stage) {
	if o.Guarantee != exactlyOnce {
		return
	}
	left := uint64(0)
	for _, e := range m.starts {
		if e.To == s.Name {
			left += m.count(e.From, e.Port) - e.at
		}
	}
	for _, d := range m.drops {
		if m.now[d.To] == s.Name {
			left += d.left
		}
	}
	if left > 0 {
		m.refuse(s.Name, "", "resume with the old build and stop it, then resume with this one",
			"sink %s stores how far it got under the name %s, and %s may be on the way", s.Name, m.old[s.Name], counted(left, "record"))
	}
}

const exactlyOnce = "exactly once"

// leave refuses to give up what is left of stages and inputs that are gone.
func (m *maker) leave() {
	for _, d := range m.drops {
		if d.next != nil || d.left == 0 {
			continue
		}
		who := d.To
		if slices.Contains(m.gone, d.From) && !slices.Contains(m.gone, d.To) {
			who = d.From
		}
		if m.retired(who) {
			m.giveUp(who, d)
			continue
		}
		hint := "resume with the old build and stop it, which drains them, or give them up with --retire " + who
		m.refuse(d.To, d.Journal(), hint, "stage %s has not read %s of %s, which it does not read any more", d.To, counted(d.left, "record"), d.Journal())
	}
	for _, name := range m.gone {
		m.left(name)
	}
}

// giveUp notes, with the stage that was retired, what is not read.
func (m *maker) giveUp(who string, d *drop) {
	if now, ok := m.now[who]; ok {
		who = now
	}
	s := m.out[who]
	in := Input{Journal: d.Journal(), From: d.at + 1, Records: d.left, Passed: d.left, Why: d.To + " does not read it any more: given up"}
	s.Inputs = append(s.Inputs, in)
}

// left refuses to give up what a stage that is gone remembers.
func (m *maker) left(name string) {
	at, s := m.State.Stages[name], m.out[name]
	if at == nil {
		return
	}
	s.Open, s.Rows = len(at.Open), m.Rows[name].Count
	if at.Position != nil {
		s.Position = at.Position.Value
		m.note(name, "its position is kept, should a source of this name come again")
	}
	if at.Note != "" && at.Phase != "finalized" && !at.Ended {
		m.note(name, "what it was writing stays unfinished")
	}
	var parts []string
	if s.Open > 0 {
		parts = append(parts, counted(s.Open, "accepted input"))
	}
	if s.Rows > 0 && !at.Ended {
		parts = append(parts, counted(s.Rows, "entry of state"))
	}
	if n := len(at.Timers); n > 0 {
		parts = append(parts, counted(n, "timer"))
	}
	if len(parts) > 0 && !m.retired(name) {
		m.refuse(name, "", fmt.Sprintf("resume with the old build until they are finished, or give them up with --retire %s; if a stage goes on with them under another name, --map NEW=%s", name, name),
			"stage %s is gone and has %s", name, strings.Join(parts, " and "))
	}
}
