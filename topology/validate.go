package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirflow/weir/internal/nearest"
)

// Limits of a graph.
const (
	MaxStages = 4096 // stages of a flow
	MaxPorts  = 256  // declared ports of a stage
	MaxInputs = 1024 // edges into a stage
	MaxName   = 128  // bytes of a flow, stage or port name
)

// Problem is one thing that is wrong with a graph.
type Problem struct {
	Stage  string // the stage concerned, or empty
	Caller string // where it was declared, if known
	Text   string // what is wrong and, where there is one, what to do
}

func (p Problem) String() string {
	var b strings.Builder
	if p.Stage != "" {
		b.WriteString("stage " + p.Stage + ": ")
	}
	b.WriteString(p.Text)
	if p.Caller != "" {
		b.WriteString(" (" + p.Caller + ")")
	}
	return b.String()
}

// ValidationError holds every problem of a graph, flow first, then stages by
// name, then edges, then the graph as a whole.
type ValidationError struct {
	Flow     string
	Problems []Problem
}

func (e *ValidationError) Error() string {
	if len(e.Problems) == 1 {
		return fmt.Sprintf("flow %s: %s", e.Flow, e.Problems[0])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "flow %s: %d problems", e.Flow, len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

type checker struct {
	g        *Graph
	problems []Problem
}

func (c *checker) add(stage, format string, args ...any) {
	p := Problem{Stage: stage, Text: fmt.Sprintf(format, args...)}
	if i, ok := c.g.index[stage]; ok {
		p.Caller = c.g.stages[i].Caller
	}
	c.problems = append(c.problems, p)
}

func (g *Graph) validate() []Problem {
	c := &checker{g: g}
	if len(g.stages) > MaxStages {
		c.add("", "%d stages, the limit is %d; split the flow", len(g.stages), MaxStages)
		return c.problems
	}
	g.link()
	if !validName(g.flow, false) {
		c.add("", "flow name %q is not a name: use [a-z][a-z0-9_]*, at most %d bytes", g.flow, MaxName)
	}
	for i, s := range g.stages {
		if i > 0 && g.stages[i-1].Name == s.Name {
			c.add("", "two stages are called %s: %s and %s; give one of them another name",
				s.Name, where(g.stages[i-1].Caller), where(s.Caller))
			continue
		}
		c.stage(s)
	}
	c.edges()
	if len(c.problems) == 0 { // the rest only makes sense for known stages
		c.whole()
	}
	return c.problems
}

func where(caller string) string {
	if caller == "" {
		return "(caller unknown)"
	}
	return caller
}

func (c *checker) stage(s Stage) {
	if !validName(s.Name, true) {
		c.add(s.Name, "name %q is not a name: use [a-z][a-z0-9_]*, groups joined by /, at most %d bytes", s.Name, MaxName)
	}
	if s.Group != "" && !validName(s.Group, true) {
		c.add(s.Name, "group %q is not a name: use [a-z][a-z0-9_]* joined by /", s.Group)
	}
	if !s.Kind.known() {
		c.add(s.Name, "unknown kind %q", string(s.Kind))
	}
	if len(s.Ports) > MaxPorts {
		c.add(s.Name, "%d ports, the limit is %d", len(s.Ports), MaxPorts)
	}
	seen := map[string]bool{}
	for _, p := range s.Ports {
		switch {
		case reserved(p.Name):
			c.add(s.Name, "port %s is reserved; choose another name", p.Name)
		case !validName(p.Name, false):
			c.add(s.Name, "port name %q is not a name: use [a-z][a-z0-9_]*", p.Name)
		case seen[p.Name]:
			c.add(s.Name, "two ports are called %s", p.Name)
		}
		seen[p.Name] = true
		if p.Type.Name == "" {
			c.add(s.Name, "port %s has no payload type", p.Name)
		}
	}
	for i, p := range s.Params {
		if p.Key == "" {
			c.add(s.Name, "a parameter has no key")
		}
		if i > 0 && s.Params[i-1].Key == p.Key {
			c.add(s.Name, "parameter %s is given twice", p.Key)
		}
	}
	for i, a := range s.Effects {
		if a.Name == "" || a.Safety == "" {
			c.add(s.Name, "effect %q needs a name and a safety class", a.Name)
		}
		if i > 0 && s.Effects[i-1].Name == a.Name {
			c.add(s.Name, "effect %s is declared twice", a.Name)
		}
	}
	for _, text := range texts(s) {
		if !utf8.ValidString(text) {
			c.add(s.Name, "%q is not valid UTF-8", text)
		}
	}
}

func (c *checker) edges() {
	names := make([]string, len(c.g.stages))
	for i, s := range c.g.stages {
		names[i] = s.Name
	}
	perReader := map[string]int{}
	for i, e := range c.g.edges {
		from, okFrom := c.g.Stage(e.From)
		if !okFrom {
			c.add(e.To, "reads %s, but there is no stage %s%s", e.Journal(), quoted(e.From), hint(e.From, names))
		}
		to, okTo := c.g.Stage(e.To)
		if !okTo {
			c.add(e.From, "port %s is read by stage %s, which does not exist%s", e.Port, quoted(e.To), hint(e.To, names))
		}
		if okFrom {
			c.edgePort(e, from)
		}
		if okTo && to.Kind == Source {
			c.add(e.To, "a source reads nothing, but it has %s as an input", e.Journal())
		}
		if e.Input < 0 || e.Input >= MaxInputs {
			c.add(e.To, "input index %d of %s is outside 0..%d", e.Input, e.Journal(), MaxInputs-1)
		}
		if !utf8.ValidString(e.Via) {
			c.add(e.To, "view %q is not valid UTF-8", e.Via)
		}
		if i > 0 {
			p := c.g.edges[i-1]
			if p.From == e.From && p.Port == e.Port && p.To == e.To && p.Input == e.Input {
				c.add(e.To, "reads %s twice at input %d", e.Journal(), e.Input)
			}
			if p.To == e.To && e.Input > p.Input+1 {
				c.add(e.To, "has inputs %d and %d and none between", p.Input, e.Input)
			}
		}
		if (i == 0 || c.g.edges[i-1].To != e.To) && e.Input > 0 {
			c.add(e.To, "has no input 0")
		}
		if perReader[e.To]++; perReader[e.To] == MaxInputs+1 {
			c.add(e.To, "reads more than %d ports", MaxInputs)
		}
	}
}

func (c *checker) edgePort(e Edge, from Stage) {
	if e.Port == Fx || e.Port == Sys {
		c.add(e.To, "reads the reserved port %s; of the reserved ports only dead can be read", e.Journal())
		return
	}
	if _, ok := from.Port(e.Port); !ok && e.Port != Dead {
		ports := make([]string, len(from.Ports))
		for i, p := range from.Ports {
			ports[i] = p.Name
		}
		c.add(e.To, "reads %s, but stage %s has no port %s%s", e.Journal(), e.From, quoted(e.Port), hint(e.Port, ports))
	}
}

// whole checks what concerns the graph: sources, reachability, cycles.
func (c *checker) whole() {
	g := c.g
	reached := make([]bool, len(g.stages))
	var todo []int
	for i, s := range g.stages {
		if s.Kind == Source {
			reached[i] = true
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		c.add("", "no source; a flow begins with one")
	}
	for len(todo) > 0 {
		v := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, w := range g.out[v] {
			if !reached[w] {
				reached[w] = true
				todo = append(todo, w)
			}
		}
	}
	for i, s := range g.stages {
		switch {
		case reached[i]:
		case len(g.in[i]) == 0:
			c.add(s.Name, "reads nothing; give it an input")
		default:
			c.add(s.Name, "no source reaches it")
		}
	}
	// Every cycle must pass an Iterate: without them the graph has none.
	cut := make([][]int, len(g.out))
	for v, out := range g.out {
		if g.stages[v].Kind == Iterate {
			continue
		}
		for _, w := range out {
			if g.stages[w].Kind != Iterate {
				cut[v] = append(cut[v], w)
			}
		}
	}
	comp, count := components(cut)
	members := make([][]int, count)
	for v := range cut {
		members[comp[v]] = append(members[comp[v]], v)
	}
	var cycles []string
	for _, m := range members {
		if len(m) > 1 || slices.Contains(cut[m[0]], m[0]) {
			cycles = append(cycles, strings.Join(g.names(m), ", "))
		}
	}
	slices.Sort(cycles)
	for _, text := range cycles {
		c.add("", "cycle without Iterate: %s; a loop needs weir.Iterate as its entry", text)
	}
}

func reserved(port string) bool { return port == Dead || port == Fx || port == Sys }

// validName reports whether s is [a-z][a-z0-9_]*, with grouped joined by /.
func validName(s string, grouped bool) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	start := true
	for i := range len(s) {
		ch := s[i]
		switch {
		case ch >= 'a' && ch <= 'z':
			start = false
		case !start && (ch == '_' || ch >= '0' && ch <= '9'):
		case !start && grouped && ch == '/':
			start = true
		default:
			return false
		}
	}
	return !start
}

// texts lists the strings of a stage that are free text.
func texts(s Stage) []string {
	out := append([]string{s.Guarantee, s.Caller}, s.Policies...)
	types := []*Type{s.Dead, s.Key, s.State}
	for i := range s.Ports {
		types = append(types, &s.Ports[i].Type)
	}
	for _, t := range types {
		if t != nil {
			out = append(out, t.Name, t.Schema, t.Shape)
			for _, f := range t.Fields {
				out = append(out, f.Name, f.Type)
			}
		}
	}
	for _, p := range s.Params {
		out = append(out, p.Key, p.Value)
	}
	for _, a := range s.Effects {
		out = append(out, a.Name, a.Version, a.Safety)
	}
	return out
}

func quoted(s string) string {
	if validName(s, true) {
		return s
	}
	return strconv.Quote(s)
}

// hint names the one of names that s may have been meant to be, if one is close.
func hint(s string, names []string) string {
	if best := nearest.Name(s, names); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}
