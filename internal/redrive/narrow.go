package redrive

import (
	"fmt"
	"slices"

	"github.com/weirflow/weir/internal/nearest"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Narrow flow is what a redrive runs of a flow: one stage and what follows from
// it.
type Narrow struct {
	Flow *plan.Flow
	At   *plan.Node // the stage

	In   *plan.Port    // what its inputs are read as; nil if it is a source
	Rows plan.Rereader // what reads rows again; nil if it is none

	Tables []string // journals of the origin that tables are made of
	Fresh  []string // stages that remember things and begin with nothing
}

// NarrowTo cuts f, which was built for one run and is of no use afterwards, to the
// stage at which again enters. When the flow runs, the letters of again are read from
// the origin that open opens, and tables as they are there. It says what stands
// against that, for people.
func NarrowTo(f *plan.Flow, again *journal.Redrive, open Opener) (*Narrow, error) {
	at := slices.IndexFunc(f.Nodes, func(n *plan.Node) bool { return n.Name == again.Stage })
	if at < 0 {
		names := make([]string, len(f.Nodes))
		for i, n := range f.Nodes {
			names[i] = n.Name
		}
		hint := ""
		if best := nearest.Name(again.Stage, names); best != "" {
			hint = ": there is " + best
		}
		return nil, fmt.Errorf("there is no stage %s in the code%s", again.Stage, hint)
	}
	c := &cutter{f: f, again: again, open: open, at: at, kept: make([]bool, len(f.Nodes)), moved: map[int]int{}, out: &plan.Flow{Name: f.Name, Resources: slices.Clip(f.Resources), Masks: f.Masks}}
	c.narrow.Flow = c.out
	for _, step := range []func() error{c.follow, c.enter, c.keep, c.draw} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &c.narrow, nil
}

// A cutter is one call of NarrowTo.
type cutter struct {
	f      *plan.Flow
	again  *journal.Redrive
	open   Opener
	at     int
	kept   []bool      // by node of f: it takes part
	moved  map[int]int // nodes of f by their place in out
	out    *plan.Flow
	narrow Narrow

	stages []topology.Stage
	edges  []topology.Edge
}

// follow finds what follows from the stage.
func (c *cutter) follow() error {
	c.kept[c.at] = true
	for grown := true; grown; {
		grown = false
		for i, n := range c.f.Nodes {
			follows := slices.ContainsFunc(n.Inputs, func(in *plan.Input) bool { return in.Role == plan.Stream && c.kept[in.From.Node] })
			if follows && !c.kept[i] {
				c.kept[i], grown = true, true
			}
		}
	}
	stage := c.f.Nodes[c.at].Name
	for i, n := range c.f.Nodes {
		for _, in := range n.Inputs {
			switch {
			case !c.kept[in.From.Node]:
			case i == c.at:
				return fmt.Errorf("stage %s reads what follows from it, so what enters there cannot be told from what comes round", stage)
			case in.Role == plan.TableAtEnd:
				return fmt.Errorf("stage %s makes a table of what follows from %s, and what was joined without the new rows would have to be processed again, too: start a new run", n.Name, stage)
			}
		}
	}
	return nil
}

// enter makes the source that the letters enter through.
func (c *cutter) enter() error {
	n := c.f.Nodes[c.at]
	feed := &letters{again: c.again, open: c.open}
	if n.Source != nil {
		rows, ok := n.Source.(plan.Rereader)
		if !ok {
			return fmt.Errorf("source %s cannot read a row by itself", n.Name)
		}
		feed.rows, c.narrow.Rows = rows, rows
		source := *n
		source.Source, source.Warnings = feed, nil
		c.narrow.At = c.add(c.at, &source)
		s, _ := c.f.Graph.Stage(n.Name)
		c.stages = append(c.stages, s)
		return nil
	}
	var in *plan.Input
	for _, other := range n.Inputs {
		switch {
		case other.Role != plan.Stream:
		case in == nil:
			in = other
		case c.port(other).Go != c.port(in).Go:
			return fmt.Errorf("stage %s reads payloads of several types, %s and %s", n.Name, c.port(in).Type, c.port(other).Type)
		}
	}
	port := *c.port(in)
	port.Name = "out"
	feed.port, c.narrow.In = &port, &port
	c.out.Nodes = append(c.out.Nodes, &plan.Node{
		Name: Stage, Kind: "redrive", Caller: n.Caller, Ports: []*plan.Port{&port}, OnError: n.OnError,
		Turn: c.f.Nodes[in.From.Node].Turn, Source: feed,
	})
	c.stages = append(c.stages, topology.Stage{
		Name: Stage, Kind: topology.Source, Caller: n.Caller, Params: c.codec(),
		Ports: []topology.Port{{Name: port.Name, Type: c.typeOf(in)}},
	})
	return nil
}

// add adds a node that stands for node i of the whole flow.
func (c *cutter) add(i int, n *plan.Node) *plan.Node {
	c.moved[i] = len(c.out.Nodes)
	c.out.Nodes = append(c.out.Nodes, n)
	return n
}

// port returns what an input reads.
func (c *cutter) port(in *plan.Input) *plan.Port {
	from := c.f.Nodes[in.From.Node]
	if in.From.Port == plan.DeadPort {
		return from.Dead
	}
	return from.Ports[in.From.Port]
}

// keep adds the nodes that take part, and the sources of their tables.
func (c *cutter) keep() error {
	for i, n := range c.f.Nodes {
		if !c.kept[i] {
			continue
		}
		if i != c.at || n.Source == nil {
			node := *n
			c.add(i, &node)
			s, _ := c.f.Graph.Stage(n.Name)
			c.stages = append(c.stages, s)
			if i == c.at {
				c.narrow.At = &node
				c.goOn(&node)
			}
		}
		if s, _ := c.f.Graph.Stage(n.Name); s.State != nil && s.Kind != topology.Join {
			c.narrow.Fresh = append(c.narrow.Fresh, n.Name)
		}
	}
	for i, n := range c.f.Nodes {
		if c.kept[i] && len(n.Inputs) > 0 {
			if err := c.connect(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// goOn has the stage go on from what is on record about its inputs, if it is one
// that performs one effect for each.
func (c *cutter) goOn(n *plan.Node) {
	if n.Performer == nil || n.Performing.Signals != nil {
		return
	}
	p := &past{again: c.again, open: c.open, effect: n.Performer.Effects()[0]}
	n.Performing.Past = p.of
	c.out.Resources = append(c.out.Resources, p)
}

// connect gives the node that stands for node i the inputs that it has now.
func (c *cutter) connect(i int) error {
	n := c.out.Nodes[c.moved[i]]
	whole := n.Inputs
	n.Inputs = nil
	var at []int // what the handler calls each input
	for k, in := range whole {
		now := *in
		switch {
		case c.kept[in.From.Node]:
			now.From.Node = c.moved[in.From.Node]
		case in.Role == plan.TableAtEnd:
			from, err := c.table(n.Name, in)
			if err != nil {
				return err
			}
			now.From = from
		case i == c.at && len(n.Inputs) == 0: // the first stream stands for all
			now.From = plan.PortRef{}
		default:
			continue
		}
		n.Inputs, at = append(n.Inputs, &now), append(at, k)
		c.edge(n, in, &now)
	}
	if slices.Equal(at, identity(len(whole))) || n.Handler == nil {
		return nil
	}
	h := renumbered{Handler: n.Handler, at: at}
	n.Handler = h
	if e, ok := h.Handler.(plan.Ender); ok {
		n.Handler = renumberedEnder{h, e}
	}
	return nil
}

// table returns the port of a source that gives what the origin has of a table.
func (c *cutter) table(reader string, in *plan.Input) (plan.PortRef, error) {
	from := c.f.Nodes[in.From.Node]
	if in.From.Port == plan.DeadPort {
		return plan.PortRef{}, fmt.Errorf("stage %s makes a table of the dead letters of %s; that cannot be redriven", reader, from.Name)
	}
	at, ok := c.moved[in.From.Node]
	if !ok {
		at = len(c.out.Nodes)
		c.add(in.From.Node, &plan.Node{Name: from.Name, Kind: "source", Caller: from.Caller, OnError: from.OnError, Turn: from.Turn, Source: &tables{open: c.open}})
		s, _ := c.f.Graph.Stage(from.Name)
		c.stages = append(c.stages, topology.Stage{Name: from.Name, Kind: topology.Source, Group: s.Group, Caller: s.Caller, Params: c.codec()})
	}
	n, p := c.out.Nodes[at], from.Ports[in.From.Port]
	if k := slices.Index(n.Ports, p); k >= 0 {
		return plan.PortRef{Node: at, Port: k}, nil
	}
	n.Ports = append(n.Ports, p)
	feed := n.Source.(*tables)
	feed.ports = append(feed.ports, table{p, from.Name + "." + p.Name})
	c.narrow.Tables = append(c.narrow.Tables, from.Name+"."+p.Name)
	s := slices.IndexFunc(c.stages, func(s topology.Stage) bool { return s.Name == from.Name })
	c.stages[s].Ports = append(c.stages[s].Ports, topology.Port{Name: p.Name, Type: c.typeOf(in)})
	return plan.PortRef{Node: at, Port: len(n.Ports) - 1}, nil
}

// edge draws an input as it is now: the whole flow had it as was.
func (c *cutter) edge(n *plan.Node, was, now *plan.Input) {
	from := c.out.Nodes[now.From.Node]
	e := topology.Edge{From: from.Name, Port: topology.Dead, To: n.Name}
	if now.From.Port != plan.DeadPort {
		e.Port = from.Ports[now.From.Port].Name
	}
	port := c.port(was).Name
	for _, drawn := range c.f.Graph.Inputs(n.Name) {
		if drawn.From == c.f.Nodes[was.From.Node].Name && drawn.Port == port {
			e.Input, e.Via = drawn.Input, drawn.Via
		}
	}
	c.edges = append(c.edges, e)
}

// draw makes the graph.
func (c *cutter) draw() (err error) {
	c.out.Graph, err = topology.New(c.f.Name, c.stages, c.edges)
	return err
}

// typeOf is what the graph says of the payloads that an input reads.
func (c *cutter) typeOf(in *plan.Input) topology.Type {
	s, _ := c.f.Graph.Stage(c.f.Nodes[in.From.Node].Name)
	if p, ok := s.Port(c.port(in).Name); ok {
		return p.Type
	}
	return topology.Type{Name: c.port(in).Type} // dead letters
}

// codec is the parameter of a stage that says how payloads are recorded.
func (c *cutter) codec() []topology.Param {
	if name := c.f.Graph.Codec(); name != "json" {
		return []topology.Param{{Key: topology.ParamCodec, Value: name}}
	}
	return nil
}

func identity(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// A renumbered handler has fewer inputs than it was made for.
type renumbered struct {
	plan.Handler
	at []int // what the handler calls each input
}

func (h renumbered) Handle(in int, b *plan.Batch, from, to int) (int, bool, *plan.Failure) {
	return h.Handler.Handle(h.at[in], b, from, to)
}

func (h renumbered) Bury(in int, b *plan.Batch, i int, f *plan.Failure) {
	h.Handler.Bury(h.at[in], b, i, f)
}

type renumberedEnder struct {
	renumbered
	plan.Ender
}
