// Package topology is the immutable graph of a flow: stages with their ports,
// payload and state types, and the edges between them.
//
// A [Graph] is made by [New] from stages and edges, or by [Parse] from the
// JSON in a run's manifest. Both check everything and report all problems
// together ([ValidationError]). A graph is in normal form: stages are sorted
// by name, edges by reader, input and writer, parameters by key; so two graphs
// of the same flow are equal whatever the order in which they were declared.
//
// [Graph.Fingerprint] covers the part that shapes what a run records. [Diff]
// says in sentences how two graphs differ; it finds a difference that shapes
// the record exactly when the fingerprints differ.
package topology

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
)

// Kind is what a stage is.
type Kind string

// The kinds of stages.
const (
	Source      Kind = "source"      // reads from outside
	Transform   Kind = "transform"   // stateless
	Stateful    Kind = "stateful"    // keyed or whole-stream state
	Window      Kind = "window"      // state by key and window
	Join        Kind = "join"        // two sides
	Effect      Kind = "effect"      // outside actions with recorded outcomes
	Orchestrate Kind = "orchestrate" // durable functions
	Iterate     Kind = "iterate"     // the one entry of a cycle
	Sink        Kind = "sink"        // delivers to the outside
)

func (k Kind) known() bool {
	switch k {
	case Source, Transform, Stateful, Window, Join, Effect, Orchestrate, Iterate, Sink:
		return true
	}
	return false
}

// Names of the reserved ports that every stage has.
const (
	Dead = "dead" // dead letters; may be read
	Fx   = "fx"   // effect records
	Sys  = "sys"  // lifecycle and contracts
)

// Type is a payload, key or state type as the record knows it.
type Type struct {
	Name   string  `json:"name"`             // payload name, never a package path
	Schema string  `json:"schema,omitempty"` // hash over field names, tags and types
	Shape  string  `json:"shape,omitempty"`  // what Schema is the hash of, in the words of internal/payload
	Fields []Field `json:"fields,omitempty"` // for people; the schema hash decides
}

// Field is one field of a type, in encoded order.
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Port is a typed output of a stage. Reserved ports are not listed.
type Port struct {
	Name string `json:"name"`
	Type Type   `json:"type"`
}

// Param is an operator parameter that shapes state or output, such as the kind
// of a window or join or when a stage emits.
type Param struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ParamCodec is the key of the parameter that names the codec in which a stage's
// payloads and state are recorded; a stage without it records JSON.
const ParamCodec = "codec"

// Codec names the codec in which the flow's payloads and state are recorded.
func (g *Graph) Codec() string {
	for i := range g.stages {
		for _, p := range g.stages[i].Params {
			if p.Key == ParamCodec {
				return p.Value
			}
		}
	}
	return "json"
}

// Action is the outside action of an effect stage.
type Action struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Safety  string `json:"safety"`
}

// Stage is a node of the graph. The fingerprint leaves out Group, Dead, Policies,
// Guarantee and Caller, and Shape and Fields of types.
type Stage struct {
	Name      string   `json:"name"`
	Kind      Kind     `json:"kind"`
	Group     string   `json:"group,omitempty"`
	Ports     []Port   `json:"ports,omitempty"`
	Dead      *Type    `json:"dead,omitempty"`  // of dead letters; follows from what the stage reads
	Key       *Type    `json:"key,omitempty"`   // nil without a key
	State     *Type    `json:"state,omitempty"` // nil without state
	Params    []Param  `json:"params,omitempty"`
	Effects   []Action `json:"effects,omitempty"`
	Policies  []string `json:"policies,omitempty"`  // as shown to people, outermost first
	Guarantee string   `json:"guarantee,omitempty"` // what a sink promises
	Caller    string   `json:"caller,omitempty"`    // file:line of the declaration
}

// Edge is one consumer reading one port. Several edges may feed one input: a
// stage reads their merge.
type Edge struct {
	From  string `json:"from"`          // stage
	Port  string `json:"port"`          // port of From, or the reserved port dead
	To    string `json:"to"`            // stage
	Input int    `json:"input"`         // index of the input of To, from 0
	Via   string `json:"via,omitempty"` // the views between, as text: "key by string"
}

// Journal returns the port as people write it: stage.port.
func (e Edge) Journal() string { return e.From + "." + e.Port }

// Name returns the edge as people write it: "a.out → b#0".
func (e Edge) Name() string { return e.Journal() + " → " + e.To + "#" + strconv.Itoa(e.Input) }

// Graph is the graph of one flow. It is immutable and safe for concurrent use.
type Graph struct {
	flow   string
	stages []Stage
	edges  []Edge
	index  map[string]int
	out    [][]int // indexes of stages read by each stage, sorted, without repeats
	in     [][]int
	comps  [][]int // strongly connected components in topological order
	order  []int
}

// New copies stages and edges into a graph in normal form. If anything is
// wrong it returns a [*ValidationError] with every problem.
func New(flow string, stages []Stage, edges []Edge) (*Graph, error) {
	g := &Graph{flow: flow, stages: make([]Stage, len(stages)), edges: slices.Clone(edges)}
	for i, s := range stages {
		g.stages[i] = clone(s)
	}
	slices.SortStableFunc(g.stages, func(a, b Stage) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(g.edges, compareEdges)
	for i := range g.stages {
		s := &g.stages[i]
		slices.SortStableFunc(s.Params, func(a, b Param) int { return cmp.Compare(a.Key, b.Key) })
		slices.SortStableFunc(s.Effects, func(a, b Action) int { return cmp.Compare(a.Name, b.Name) })
	}
	if problems := g.validate(); len(problems) > 0 {
		return nil, &ValidationError{Flow: flow, Problems: problems}
	}
	return g, nil
}

func compareEdges(a, b Edge) int {
	return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Input, b.Input),
		cmp.Compare(a.From, b.From), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Via, b.Via))
}

func clone(s Stage) Stage {
	s.Ports = own(s.Ports)
	for i := range s.Ports {
		s.Ports[i].Type = *cloneType(&s.Ports[i].Type)
	}
	s.Dead, s.Key, s.State = cloneType(s.Dead), cloneType(s.Key), cloneType(s.State)
	s.Params, s.Effects, s.Policies = own(s.Params), own(s.Effects), own(s.Policies)
	return s
}

func cloneType(t *Type) *Type {
	if t == nil {
		return nil
	}
	c := *t
	c.Fields = own(c.Fields)
	return &c
}

// own copies a slice; an empty one becomes nil, as it does in JSON.
func own[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return slices.Clone(s)
}

// Flow returns the name of the flow.
func (g *Graph) Flow() string { return g.flow }

// Len returns the number of stages.
func (g *Graph) Len() int { return len(g.stages) }

// Stages yields the stages sorted by name. What a stage points to must not be
// changed.
func (g *Graph) Stages() iter.Seq[Stage] { return slices.Values(g.stages) }

// Edges yields the edges sorted by reader, input and writer.
func (g *Graph) Edges() iter.Seq[Edge] { return slices.Values(g.edges) }

// Stage returns the stage of that name. What it points to must not be changed.
func (g *Graph) Stage(name string) (Stage, bool) {
	i, ok := g.index[name]
	if !ok {
		return Stage{}, false
	}
	return g.stages[i], true
}

// Port returns a declared port of a stage.
func (s Stage) Port(name string) (Port, bool) {
	for _, p := range s.Ports {
		if p.Name == name {
			return p, true
		}
	}
	return Port{}, false
}

// Inputs returns the edges that a stage reads, by input and writer.
func (g *Graph) Inputs(stage string) []Edge {
	lo, _ := slices.BinarySearchFunc(g.edges, stage, func(e Edge, to string) int { return cmp.Compare(e.To, to) })
	hi := lo
	for hi < len(g.edges) && g.edges[hi].To == stage {
		hi++
	}
	return slices.Clone(g.edges[lo:hi])
}

// Readers returns the edges that read a port of a stage, by reader and input.
func (g *Graph) Readers(stage, port string) []Edge {
	var out []Edge
	for _, e := range g.edges {
		if e.From == stage && e.Port == port {
			out = append(out, e)
		}
	}
	return out
}

// Order returns the stage names so that every stage comes after those it
// reads; within a cycle, its entry comes first and the edges back to the entry
// do not count. Among stages that may come next the smallest name does.
func (g *Graph) Order() []string { return g.names(g.order) }

// Components returns the strongly connected components in topological order,
// each in the order of [Graph.Order]. A stage outside every cycle is a
// component of its own.
func (g *Graph) Components() [][]string {
	out := make([][]string, len(g.comps))
	for i, c := range g.comps {
		out[i] = g.names(c)
	}
	return out
}

// Cycles returns the components that are cycles: more than one stage, or a
// stage that reads itself.
func (g *Graph) Cycles() [][]string {
	var out [][]string
	for _, c := range g.comps {
		if len(c) > 1 || slices.Contains(g.out[c[0]], c[0]) {
			out = append(out, g.names(c))
		}
	}
	return out
}

func (g *Graph) names(stages []int) []string {
	out := make([]string, len(stages))
	for i, s := range stages {
		out[i] = g.stages[s].Name
	}
	return out
}
