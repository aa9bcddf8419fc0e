package topology

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is one way in which two graphs differ.
type Difference struct {
	Stage  string `json:"stage,omitempty"`  // the stage concerned; empty for the flow itself
	Text   string `json:"text"`             // one sentence without a full stop
	Shapes bool   `json:"shapes,omitempty"` // whether it changes the fingerprint
}

func (d Difference) String() string { return d.Text }

// Diff lists the differences from the graph from to the graph to: the flow,
// removed stages, added stages, then changes stage by stage and edge by edge,
// each in the order of names. Graphs with equal fingerprints give no
// difference with Shapes set, others at least one.
func Diff(from, to *Graph) []Difference {
	d := differ{from: from, to: to, used: map[Edge]bool{}}
	if from.flow != to.flow {
		d.add("", true, "flow %s is now called %s", from.flow, to.flow)
	}
	for _, s := range from.stages {
		if _, ok := to.Stage(s.Name); !ok {
			d.removed(s)
		}
	}
	for _, s := range to.stages {
		if _, ok := from.Stage(s.Name); !ok {
			d.added(s)
		}
	}
	for _, s := range to.stages {
		if old, ok := from.Stage(s.Name); ok {
			d.stage(old, s)
		}
	}
	d.edges()
	return d.out
}

type differ struct {
	from, to *Graph
	used     map[Edge]bool // edges told with an added or removed stage
	out      []Difference
}

func (d *differ) add(stage string, shapes bool, format string, args ...any) {
	d.out = append(d.out, Difference{Stage: stage, Shapes: shapes, Text: fmt.Sprintf(format, args...)})
}

func (d *differ) removed(s Stage) {
	in, out := neighbours(d.from, s.Name)
	d.tell(d.from, s.Name)
	d.add(s.Name, true, "stage %s removed%s", s.Name, place(in, out, d.bypassed(d.to, d.from, in, out)))
}

func (d *differ) added(s Stage) {
	in, out := neighbours(d.to, s.Name)
	d.tell(d.to, s.Name)
	d.add(s.Name, true, "stage %s added%s", s.Name, place(in, out, d.bypassed(d.from, d.to, in, out)))
}

func (d *differ) tell(g *Graph, stage string) {
	for _, e := range g.edges {
		if e.From == stage || e.To == stage {
			d.used[e] = true
		}
	}
}

// bypassed reports whether one writer and one reader of a stage of with are
// joined directly in without and not in with: the stage stands between them.
// The edge that it replaces is told with the stage.
func (d *differ) bypassed(without, with *Graph, in, out []string) bool {
	if len(in) != 1 || len(out) != 1 {
		return false
	}
	joined := func(g *Graph) (found []Edge) {
		for _, e := range g.edges {
			if e.From == in[0] && e.To == out[0] {
				found = append(found, e)
			}
		}
		return found
	}
	was := joined(without)
	if len(was) == 0 || len(joined(with)) > 0 {
		return false
	}
	for _, e := range was {
		d.used[e] = true
	}
	return true
}

func neighbours(g *Graph, stage string) (in, out []string) {
	i := g.index[stage]
	return g.names(g.in[i]), g.names(g.out[i])
}

func place(in, out []string, between bool) string {
	switch {
	case between:
		return " between " + in[0] + " and " + out[0]
	case len(in) > 0 && len(out) > 0:
		return ", reading " + strings.Join(in, ", ") + ", read by " + strings.Join(out, ", ")
	case len(in) > 0:
		return ", reading " + strings.Join(in, ", ")
	case len(out) > 0:
		return ", read by " + strings.Join(out, ", ")
	}
	return ""
}

func (d *differ) stage(old, s Stage) {
	if old.Kind != s.Kind {
		d.add(s.Name, true, "stage %s was a %s and is now a %s", s.Name, old.Kind, s.Kind)
	}
	d.ports(old, s)
	d.optional(s.Name, "key type", old.Key, s.Key)
	d.optional(s.Name, "state type", old.State, s.State)
	d.params(old, s)
	d.effects(old, s)
	if old.Group != s.Group {
		d.add(s.Name, false, "group of %s changed: %s → %s", s.Name, or(old.Group), or(s.Group))
	}
	if !slices.Equal(old.Policies, s.Policies) {
		d.add(s.Name, false, "policies of %s changed: %s → %s", s.Name,
			or(strings.Join(old.Policies, ", ")), or(strings.Join(s.Policies, ", ")))
	}
	if old.Guarantee != s.Guarantee {
		d.add(s.Name, false, "guarantee of %s changed: %s → %s", s.Name, or(old.Guarantee), or(s.Guarantee))
	}
}

func (d *differ) ports(old, s Stage) {
	var kept, keptOld []string
	for _, p := range old.Ports {
		if _, ok := s.Port(p.Name); ok {
			keptOld = append(keptOld, p.Name)
		} else {
			d.add(s.Name, true, "port %s.%s removed", s.Name, p.Name)
		}
	}
	for _, p := range s.Ports {
		was, ok := old.Port(p.Name)
		if !ok {
			d.add(s.Name, true, "port %s.%s added", s.Name, p.Name)
			continue
		}
		kept = append(kept, p.Name)
		d.typ(s.Name, "payload type of "+s.Name+"."+p.Name, was.Type, p.Type)
	}
	if !slices.Equal(kept, keptOld) {
		d.add(s.Name, true, "ports of %s are in another order: %s → %s", s.Name, strings.Join(keptOld, ", "), strings.Join(kept, ", "))
	}
}

func (d *differ) optional(stage, what string, old, now *Type) {
	switch {
	case old == nil && now == nil:
	case old == nil:
		d.add(stage, true, "%s of %s added: %s", what, stage, now.Name)
	case now == nil:
		d.add(stage, true, "%s of %s removed: %s", what, stage, old.Name)
	default:
		d.typ(stage, what+" of "+stage, *old, *now)
	}
}

func (d *differ) typ(stage, what string, old, now Type) {
	var parts []string
	if old.Name != now.Name {
		parts = append(parts, old.Name+" → "+now.Name)
	}
	if old.Schema != now.Schema {
		if f := fields(old.Fields, now.Fields); f != "" {
			parts = append(parts, "fields "+f)
		} else {
			parts = append(parts, "schema "+short(old.Schema)+" → "+short(now.Schema))
		}
	}
	if len(parts) > 0 {
		d.add(stage, true, "%s changed: %s", what, strings.Join(parts, ", "))
	}
}

// fields says how a list of fields changed; empty if the lists do not show it.
func fields(old, now []Field) string {
	if len(old) == 0 && len(now) == 0 {
		return ""
	}
	find := func(in []Field, name string) (Field, bool) {
		i := slices.IndexFunc(in, func(f Field) bool { return f.Name == name })
		if i < 0 {
			return Field{}, false
		}
		return in[i], true
	}
	var out []string
	for _, f := range old {
		if _, ok := find(now, f.Name); !ok {
			out = append(out, "-"+f.Name+" "+f.Type)
		}
	}
	for _, f := range now {
		was, ok := find(old, f.Name)
		switch {
		case !ok:
			out = append(out, "+"+f.Name+" "+f.Type)
		case was.Type != f.Type:
			out = append(out, f.Name+" "+was.Type+" → "+f.Type)
		}
	}
	return strings.Join(out, ", ")
}

func (d *differ) params(old, s Stage) {
	find := func(in []Param, key string) (string, bool) {
		for _, p := range in {
			if p.Key == key {
				return p.Value, true
			}
		}
		return "", false
	}
	for _, p := range old.Params {
		if _, ok := find(s.Params, p.Key); !ok {
			d.add(s.Name, true, "parameter %s of %s removed: %s", p.Key, s.Name, or(p.Value))
		}
	}
	for _, p := range s.Params {
		was, ok := find(old.Params, p.Key)
		switch {
		case !ok:
			d.add(s.Name, true, "parameter %s of %s added: %s", p.Key, s.Name, or(p.Value))
		case was != p.Value:
			d.add(s.Name, true, "parameter %s of %s changed: %s → %s", p.Key, s.Name, or(was), or(p.Value))
		}
	}
}

func (d *differ) effects(old, s Stage) {
	find := func(in []Action, name string) (Action, bool) {
		i := slices.IndexFunc(in, func(a Action) bool { return a.Name == name })
		if i < 0 {
			return Action{}, false
		}
		return in[i], true
	}
	for _, a := range old.Effects {
		if _, ok := find(s.Effects, a.Name); !ok {
			d.add(s.Name, true, "effect %s of %s removed", a.Name, s.Name)
		}
	}
	for _, a := range s.Effects {
		was, ok := find(old.Effects, a.Name)
		if !ok {
			d.add(s.Name, true, "effect %s of %s added (%s)", a.Name, s.Name, a.Safety)
			continue
		}
		if was.Version != a.Version {
			d.add(s.Name, true, "version of effect %s of %s changed: %s → %s", a.Name, s.Name, or(was.Version), or(a.Version))
		}
		if was.Safety != a.Safety {
			d.add(s.Name, true, "safety of effect %s of %s changed: %s → %s", a.Name, s.Name, was.Safety, a.Safety)
		}
	}
}

// edges tells the edges between stages that both graphs have. What one input
// lost and gained is one sentence when it is one edge each.
func (d *differ) edges() {
	type change struct{ lost, gained []Edge }
	type input struct {
		to string
		at int
	}
	changes := map[input]*change{}
	var order []input
	note := func(e Edge) *change {
		k := input{e.To, e.Input}
		if changes[k] == nil {
			changes[k] = &change{}
			order = append(order, k)
		}
		return changes[k]
	}
	for _, e := range d.from.edges {
		if !slices.Contains(d.to.edges, e) && !d.used[e] {
			c := note(e)
			c.lost = append(c.lost, e)
		}
	}
	for _, e := range d.to.edges {
		if !slices.Contains(d.from.edges, e) && !d.used[e] {
			c := note(e)
			c.gained = append(c.gained, e)
		}
	}
	slices.SortFunc(order, func(a, b input) int {
		return compareEdges(Edge{To: a.to, Input: a.at}, Edge{To: b.to, Input: b.at})
	})
	for _, k := range order {
		c := changes[k]
		if len(c.lost) == 1 && len(c.gained) == 1 {
			l, n := c.lost[0], c.gained[0]
			if l.Journal() == n.Journal() {
				d.add(k.to, true, "view between %s and input %d of %s changed: %s → %s", n.Journal(), k.at, k.to, or(l.Via), or(n.Via))
			} else {
				d.add(k.to, true, "input %d of %s reads %s instead of %s", k.at, k.to, read(n), read(l))
			}
			continue
		}
		for _, e := range c.lost {
			d.add(k.to, true, "input %d of %s no longer reads %s", k.at, k.to, read(e))
		}
		for _, e := range c.gained {
			d.add(k.to, true, "input %d of %s also reads %s", k.at, k.to, read(e))
		}
	}
}

func read(e Edge) string {
	if e.Via == "" {
		return e.Journal()
	}
	return e.Journal() + " (" + e.Via + ")"
}

func or(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return or(hash)
}
