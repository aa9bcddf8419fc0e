package resumption

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/topology"
)

// An edge is one of the flow as it is now, with where its reader begins.
type edge struct {
	topology.Edge
	kept     bool   // the reader had it, under whatever name
	follows  *drop  // the edge that it goes on from, of a writer with another name
	at       uint64 // records behind the reader
	why      string
	needs    bool   // a start from the user
	replaces []spot // where readers stand that it takes the place of
	asked    bool   // the user said where
}

// A drop is an edge that there was and is not now.
type drop struct {
	topology.Edge
	at   uint64 // records that its reader had behind it
	left uint64 // and how many it had not read
	next *edge  // that goes on with what its reader has not read
}

// A spot is where a reader stands.
type spot struct {
	reader string
	at     uint64
}

// edges decides where each stage begins to read.
func (m *maker) edges() {
	m.match()
	for _, e := range m.starts {
		if !e.kept {
			m.begin(e)
		}
	}
	for s := range m.Now.Stages() {
		m.obey(s.Name)
	}
	for _, e := range m.starts {
		if e.needs {
			m.undecided(e)
		}
		m.report(e)
	}
	for _, x := range m.drops {
		m.succeed(x)
	}
	for s := range m.Now.Stages() {
		m.closed(s.Name)
	}
}

// match pairs the edges that a stage had with those that it has.
func (m *maker) match() {
	was := slices.Collect(m.Was.Edges())
	taken := make([]bool, len(was))
	for e := range m.Now.Edges() {
		x := &edge{Edge: e}
		m.starts = append(m.starts, x)
		reader, ok := m.old[e.To]
		if !ok {
			continue
		}
		for i, o := range was {
			writer, from := m.now[o.From]
			if o.To != reader || o.Port != e.Port || !from || writer != e.From {
				continue
			}
			taken[i] = true
			if o.Input != e.Input && m.kind(e.To) == topology.Join {
				m.refuse(e.To, e.Journal(), "give the stage another name", "stage %s reads %s as another side of the join than before", e.To, e.Journal())
			}
			if o.From == e.From {
				x.kept, x.at, x.why = true, m.cursor(reader, o.Journal()), "where it stood"
				break
			}
			d := m.dropped(o)
			x.follows, d.next = d, x
			x.at, x.why = m.count(e.From, e.Port), "as the one that was "+o.Journal()
			if d.left > 0 {
				m.refuse(e.To, o.Journal(), "resume with the old build and stop it, then resume with this one",
					"stage %s has not read %s of %s, and %s is now called %s", reader, counted(d.left, "record"), o.Journal(), o.From, e.From)
			}
			break
		}
	}
	for i, o := range was {
		if !taken[i] {
			m.dropped(o)
		}
	}
}

func (m *maker) kind(stage string) topology.Kind {
	s, _ := m.Now.Stage(stage)
	return s.Kind
}

func (m *maker) dropped(o topology.Edge) *drop {
	d := &drop{Edge: o, at: m.cursor(o.To, o.Journal())}
	d.left = m.count(o.From, o.Port) - d.at
	m.drops = append(m.drops, d)
	return d
}

// begin decides where a reader begins that did not have the edge.
func (m *maker) begin(e *edge) {
	if e.follows != nil {
		return
	}
	n := m.count(e.From, e.Port)
	was, old := m.old[e.From]
	if old {
		if s, _ := m.Was.Stage(was); was != e.From || e.Port != topology.Dead && !has(s, e.Port) {
			old = false // whatever is in it was written in an earlier life of that name
		}
	}
	switch {
	case n == 0:
		e.why = "nothing is in it yet"
	case !old:
		e.at, e.why = n, "with what is written from now on"
	default:
		e.replaces = m.replaced(e)
		e.needs = len(e.replaces) == 0
		for _, p := range e.replaces {
			e.needs = e.needs || p.at != e.replaces[0].at
		}
		if e.why = "to be said"; !e.needs {
			e.at, e.why = e.replaces[0].at, "where "+e.replaces[0].reader+" stands"
		}
	}
}

func has(s topology.Stage, port string) bool {
	_, ok := s.Port(port)
	return ok
}

// replaced returns where the readers stand that e takes the place of: those that a
// stage behind e read the journal through, and does no more.
func (m *maker) replaced(e *edge) (spots []spot) {
	for _, survivor := range m.behind(e.To) {
		was := m.old[survivor]
		for _, d := range m.drops {
			if d.Journal() == e.Journal() && slices.Contains(m.feeds(d.To), was) {
				p := spot{d.To, d.at}
				if !slices.Contains(spots, p) {
					spots = append(spots, p)
				}
			}
		}
	}
	return spots
}

// behind returns the stages that there were before that a stage of the flow leads
// to without another such between: itself, if it is one.
func (m *maker) behind(stage string) []string {
	isOld := func(name string) bool { _, ok := m.old[name]; return ok }
	return reach(m.Now, stage, isOld)
}

// feeds is behind for a stage of Was: those that stay.
func (m *maker) feeds(stage string) []string {
	stays := func(name string) bool { _, ok := m.now[name]; return ok }
	return reach(m.Was, stage, stays)
}

// reach returns the stages for which ok is true that stage leads to through others.
func reach(g *topology.Graph, stage string, ok func(string) bool) (found []string) {
	seen := map[string]bool{stage: true}
	for todo := []string{stage}; len(todo) > 0; todo = todo[1:] {
		if ok(todo[0]) {
			found = append(found, todo[0])
			continue
		}
		for e := range g.Edges() {
			if e.From == todo[0] && !seen[e.To] {
				seen[e.To] = true
				todo = append(todo, e.To)
			}
		}
	}
	slices.Sort(found)
	return found
}

// obey applies what the user asked for the inputs of a stage.
func (m *maker) obey(stage string) {
	fresh := false
	for _, w := range m.asks[stage] {
		for _, e := range m.starts {
			if e.To != stage || e.kept || e.follows != nil {
				continue
			}
			fresh = true
			m.grant(e, w)
		}
	}
	for _, w := range m.asks[stage] {
		switch {
		case w.used, w.word != "" && m.mixes(stage):
		case !fresh:
			m.refuse(stage, "", "leave out --start "+w.text, "stage %s goes on where it stands on all that it reads", stage)
		case w.word == "":
			m.refuse(stage, "", "name a record of "+strings.Join(m.fresh(stage), " or "), "stage %s does not begin to read %s", stage, w.ref.Journal())
		default:
			m.refuse(stage, "", "leave out --start "+w.text+", or name the record that it begins with",
				"stage %s takes the place of others and begins where they stand on %s", stage, strings.Join(m.fresh(stage), " and "))
		}
	}
}

// fresh lists the journals that a stage did not read.
func (m *maker) fresh(stage string) (names []string) {
	for _, e := range m.starts {
		if e.To == stage && !e.kept && e.follows == nil {
			names = append(names, e.Journal())
		}
	}
	return names
}

func (m *maker) grant(e *edge, w *wish) {
	n := m.count(e.From, e.Port)
	switch {
	case w.word == "" && (w.ref.Stage != e.From || w.ref.Port != e.Port && (w.ref.Port != "" || len(m.portsRead(e)) > 1)):
	case w.word == "":
		w.used = true
		if w.ref.Seq > n+1 {
			m.refuse(e.To, e.Journal(), fmt.Sprintf("name a record up to %s:%d", e.Journal(), n+1), "stage %s cannot begin with %s, which has %s", e.To, w.ref, counted(n, "record"))
			e.needs = false // one reason is enough
			return
		}
		e.at, e.why, e.needs, e.asked = w.ref.Seq-1, "as --start says", false, true
	case e.needs && w.word == "now":
		w.used = true
		e.at, e.why, e.needs, e.asked = n, "as --start says", false, true
	case e.needs:
		w.used = true
		e.at, e.why, e.needs, e.asked = 0, "as --start says", false, true
	case n == 0 || len(e.replaces) == 0:
		w.used = true // it begins there in any case
	}
}

// portsRead lists the ports of one writer that a stage begins to read.
func (m *maker) portsRead(e *edge) (ports []string) {
	for _, o := range m.starts {
		if o.To == e.To && o.From == e.From && !o.kept {
			ports = append(ports, o.Port)
		}
	}
	return ports
}

// undecided refuses an edge of which nobody knows where its reader begins.
func (m *maker) undecided(e *edge) {
	n := m.count(e.From, e.Port)
	ask := fmt.Sprintf("say where it begins with --start %s=now, =begin or =%s:SEQ", e.To, e.Journal())
	var maps []string
	for _, d := range m.drops {
		o, _ := m.Was.Stage(d.To)
		s, _ := m.Now.Stage(e.To)
		if d.Journal() == e.Journal() && slices.Contains(m.gone, d.To) && m.old[e.To] == "" && s.Kind == o.Kind && operator(s) == operator(o) {
			maps = append(maps, fmt.Sprintf("; or, if it is %s under another name, with --map %s=%s", d.To, e.To, d.To))
		}
	}
	ask += strings.Join(maps, "")
	if len(e.replaces) == 0 {
		m.refuse(e.To, e.Journal(), ask, "stage %s begins to read %s, which has %s already", e.To, e.Journal(), counted(n, "record"))
		return
	}
	var parts []string
	for _, p := range e.replaces {
		parts = append(parts, fmt.Sprintf("%s before record %d", p.reader, p.at+1))
	}
	m.refuse(e.To, e.Journal(), ask, "stage %s comes before stages that stand at different places on %s: %s", e.To, e.Journal(), strings.Join(parts, ", "))
}

// report puts an edge into the plan.
func (m *maker) report(e *edge) {
	in := Input{
		Journal: e.Journal(), From: e.at + 1, Records: m.count(e.From, e.Port) - e.at, Why: e.why, Moved: !e.kept && e.at > 0,
	}
	for _, p := range e.replaces {
		if !e.asked {
			break
		}
		if p.at > e.at {
			in.Again = max(in.Again, p.at-e.at)
		} else {
			in.Passed = max(in.Passed, e.at-p.at)
		}
	}
	s := m.out[e.To]
	s.Inputs = append(s.Inputs, in)
}

// succeed finds the edge that goes on with what the reader of a dropped one has not
// read: for each stage that read through it there must be one.
func (m *maker) succeed(d *drop) {
	if d.next != nil {
		return
	}
	survivors := m.feeds(d.To)
	for _, was := range survivors {
		var next *edge
		for _, e := range m.starts {
			if !e.kept && e.follows == nil && e.Journal() == d.Journal() && (e.at <= d.at || e.asked || e.needs) &&
				slices.Contains(m.behind(e.To), m.now[was]) {
				next = e
			}
		}
		if d.next = next; next == nil {
			return
		}
	}
}

// closed refuses new input for a stage that has ended for good.
func (m *maker) closed(stage string) {
	for _, e := range m.starts {
		if e.To == stage && m.ended(stage) && !e.kept && m.flows(e, map[string]bool{}) {
			m.refuse(stage, e.Journal(), "leave it as it was until the run is completed, or start a new run",
				"stage %s has ended for good and cannot read %s", stage, e.Journal())
		}
		if was, ok := m.old[e.From]; e.To == stage && ok && m.ended(e.From) && e.Port != topology.Dead {
			if s, _ := m.Was.Stage(was); !has(s, e.Port) {
				m.refuse(stage, e.Journal(), "leave it as it was until the run is completed, or start a new run",
					"stage %s has ended for good: nothing will come to its new port %s", e.From, e.Port)
			}
		}
	}
}

// flows reports whether anything can come along an edge.
func (m *maker) flows(e *edge, seen map[string]bool) bool {
	if m.count(e.From, e.Port) > e.at || e.needs {
		return true
	}
	if m.ended(e.From) || seen[e.From] {
		return false
	}
	seen[e.From] = true
	if _, old := m.old[e.From]; old || m.kind(e.From) == topology.Source {
		return true
	}
	for _, in := range m.starts {
		if in.To == e.From && m.flows(in, seen) {
			return true
		}
	}
	return false
}
