package topology

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Text returns the graph as a table for a terminal, one line per stage in the
// order of [Graph.Order].
func (g *Graph) Text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "STAGE\tKIND\tREADS\tOUTPUTS\tNOTES")
	for _, i := range g.order {
		s := g.stages[i]
		var reads, outputs []string
		for _, e := range g.Inputs(s.Name) {
			reads = append(reads, read(e))
		}
		for _, p := range s.Ports {
			outputs = append(outputs, p.Name+" "+p.Type.Name)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.Kind, dash(reads), dash(outputs), dash(notes(s)))
	}
	w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

func notes(s Stage) []string {
	var out []string
	if s.Guarantee != "" {
		out = append(out, s.Guarantee)
	}
	for _, a := range s.Effects {
		out = append(out, strings.TrimRight(a.Name+" "+a.Safety+" "+a.Version, " "))
	}
	if s.Key != nil {
		out = append(out, "key "+s.Key.Name)
	}
	if s.State != nil {
		out = append(out, "state "+s.State.Name)
	}
	for _, p := range s.Params {
		out = append(out, p.Key+"="+p.Value)
	}
	return append(out, s.Policies...)
}

func dash(parts []string) string {
	if len(parts) == 0 {
		return "-"
	}
	return strings.NewReplacer("\t", " ", "\n", " ").Replace(strings.Join(parts, ", "))
}

// Mermaid returns the graph as a Mermaid flowchart.
func (g *Graph) Mermaid() string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, i := range g.order {
		s := g.stages[i]
		left, right := "[", "]"
		switch s.Kind {
		case Source:
			left, right = "([", "])"
		case Sink:
			left, right = "[(", ")]"
		case Effect, Orchestrate:
			left, right = "{{", "}}"
		default: // a box
		}
		fmt.Fprintf(&b, "    s%d%s\"%s\"%s\n", i, left, markup(s.Name), right)
	}
	for _, e := range g.edges {
		arrow := "-->"
		if e.Port == Dead {
			arrow = "-.->"
		}
		fmt.Fprintf(&b, "    s%d %s|\"%s\"| s%d\n", g.index[e.From], arrow, markup(label(e)), g.index[e.To])
	}
	return b.String()
}

// DOT returns the graph in the language of Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n    rankdir=LR;\n    node [shape=box];\n", quote(g.flow))
	for _, i := range g.order {
		s := g.stages[i]
		fmt.Fprintf(&b, "    %s [label=%s];\n", quote(s.Name), quote(s.Name+"\n"+string(s.Kind)))
	}
	for _, e := range g.edges {
		style := ""
		if e.Port == Dead {
			style = ", style=dashed"
		}
		fmt.Fprintf(&b, "    %s -> %s [label=%s%s];\n", quote(e.From), quote(e.To), quote(label(e)), style)
	}
	b.WriteString("}\n")
	return b.String()
}

func label(e Edge) string {
	if e.Via == "" {
		return e.Port
	}
	return e.Port + " (" + e.Via + ")"
}

// quote makes a DOT string: only the quote and the backslash are special; a
// newline is written as the escape that Graphviz reads as one.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// markup keeps text inside a quoted Mermaid label.
func markup(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '"', '#', '<', '>', '&', '|', '\n':
			b.WriteString("#" + strconv.Itoa(int(r)) + ";")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
