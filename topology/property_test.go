package topology_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/topology"
)

// drawGraph makes a valid graph: stage i reads only stages before it, except
// that an iterate stage may also read later ones that it reaches.
func drawGraph(t *rapid.T) (stages []topology.Stage, edges []topology.Edge) {
	word := rapid.SampledFrom([]string{"", "a", "b", "key <&> \"x\"", "\u2028"})
	kinds := []topology.Kind{topology.Transform, topology.Stateful, topology.Join, topology.Effect, topology.Iterate, topology.Sink}
	n := rapid.IntRange(1, 8).Draw(t, "stages")
	for i := range n {
		s := topology.Stage{Name: fmt.Sprintf("s%d", i), Kind: topology.Source}
		if i > 0 && rapid.IntRange(0, 4).Draw(t, "inner") > 0 {
			s.Kind = rapid.SampledFrom(kinds).Draw(t, "kind")
		}
		for p := range rapid.IntRange(1, 3).Draw(t, "ports") {
			s.Ports = append(s.Ports, topology.Port{Name: fmt.Sprintf("p%d", p), Type: typ("T"+word.Draw(t, "type"), word.Draw(t, "schema"))})
		}
		if rapid.Bool().Draw(t, "state") {
			st := typ("S", word.Draw(t, "state schema"), "f "+word.Draw(t, "field"))
			st.Shape = word.Draw(t, "state shape")
			s.State = &st
		}
		if rapid.Bool().Draw(t, "dead") {
			dead := typ("Failed", word.Draw(t, "dead schema"))
			s.Dead = &dead
		}
		if rapid.Bool().Draw(t, "param") {
			s.Params = []topology.Param{{Key: "z", Value: word.Draw(t, "z")}, {Key: "a", Value: word.Draw(t, "a")}}
		}
		s.Guarantee, s.Caller = word.Draw(t, "guarantee"), word.Draw(t, "caller")
		stages = append(stages, s)
		if s.Kind == topology.Source {
			continue
		}
		for in := range rapid.IntRange(1, 2).Draw(t, "inputs") {
			from := rapid.IntRange(0, i-1).Draw(t, "from")
			port := topology.Dead
			if k := rapid.IntRange(-1, len(stages[from].Ports)-1).Draw(t, "port"); k >= 0 {
				port = stages[from].Ports[k].Name
			}
			edges = append(edges, topology.Edge{From: stages[from].Name, Port: port, To: s.Name, Input: in, Via: word.Draw(t, "via")})
		}
		if s.Kind == topology.Iterate && rapid.Bool().Draw(t, "self") {
			edges = append(edges, topology.Edge{From: s.Name, Port: "p0", To: s.Name, Input: len(edges) - slices.IndexFunc(edges, func(e topology.Edge) bool { return e.To == s.Name })})
		}
	}
	return stages, edges
}

func draw(t *rapid.T) *topology.Graph {
	stages, edges := drawGraph(t)
	g, err := topology.New("f", stages, edges)
	if err != nil {
		t.Fatalf("New() of a generated graph = %v", err)
	}
	return g
}

func TestJSONRoundTripAndNormalForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stages, edges := drawGraph(t)
		g, err := topology.New("f", stages, edges)
		if err != nil {
			t.Fatalf("New() = %v", err)
		}
		b, err := g.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := topology.Parse(b)
		if err != nil {
			t.Fatalf("Parse(%s) = %v", b, err)
		}
		again, _ := back.MarshalJSON()
		if !bytes.Equal(b, again) || back.Fingerprint() != g.Fingerprint() || len(topology.Diff(g, back)) != 0 {
			t.Fatalf("round trip changed\n%s\nto\n%s", b, again)
		}
		other, err := topology.New("f", rapid.Permutation(stages).Draw(t, "stage order"), rapid.Permutation(edges).Draw(t, "edge order"))
		if err != nil {
			t.Fatal(err)
		}
		if c, _ := other.MarshalJSON(); !bytes.Equal(b, c) || other.Mermaid() != g.Mermaid() || other.Text() != g.Text() {
			t.Fatal("the order of declaration shows")
		}
	})
}

// A manifest embeds the graph; json escapes it again, and it still reads back.
func TestEmbeddedInADocument(t *testing.T) {
	stages, edges := payments()
	type manifest struct{ Topology *topology.Graph }
	b, err := json.Marshal(manifest{build(t, stages, edges)})
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(b, &m); err != nil || m.Topology.Fingerprint() != build(t, stages, edges).Fingerprint() {
		t.Errorf("Unmarshal() = %v, or another graph", err)
	}
}

func TestDiffAgreesWithFingerprint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		shapes := slices.ContainsFunc(topology.Diff(a, b), func(d topology.Difference) bool { return d.Shapes })
		if same := a.Fingerprint() == b.Fingerprint(); same == shapes {
			t.Fatalf("fingerprints equal: %v, Diff() = %v", same, topology.Diff(a, b))
		}
	})
}

func TestOrderRespectsEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := draw(t)
		order := g.Order()
		comp := map[string]int{}
		total := 0
		for i, c := range g.Components() {
			total += len(c)
			for _, s := range c {
				comp[s] = i
			}
		}
		if len(order) != g.Len() || total != g.Len() || len(comp) != g.Len() {
			t.Fatalf("Order() has %d stages, Components() %d, want %d", len(order), total, g.Len())
		}
		for e := range g.Edges() {
			if comp[e.From] > comp[e.To] {
				t.Fatalf("%s: component %d after %d", e.Name(), comp[e.From], comp[e.To])
			}
			if comp[e.From] != comp[e.To] && slices.Index(order, e.From) > slices.Index(order, e.To) {
				t.Fatalf("%s: reader before writer in %v", e.Name(), order)
			}
		}
	})
}

// Components against the definition: two stages share one when each reaches
// the other.
func TestComponentsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		stages := []topology.Stage{{Name: "src", Kind: topology.Source, Ports: []topology.Port{out("out", "T")}}}
		var edges []topology.Edge
		reach := make([][]bool, n)
		for i := range n {
			reach[i] = make([]bool, n)
			reach[i][i] = true
			name := fmt.Sprintf("s%d", i)
			stages = append(stages, topology.Stage{Name: name, Kind: topology.Iterate, Ports: []topology.Port{out("out", "T")}})
			edges = append(edges, topology.Edge{From: "src", Port: "out", To: name})
		}
		for i := range n {
			for j := range n {
				if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
					edges = append(edges, topology.Edge{From: fmt.Sprintf("s%d", i), Port: "out", To: fmt.Sprintf("s%d", j)})
					reach[i][j] = true
				}
			}
		}
		for k := range n {
			for i := range n {
				for j := range n {
					reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
				}
			}
		}
		g, err := topology.New("f", stages, edges)
		if err != nil {
			t.Fatal(err)
		}
		comp := map[string]int{}
		for i, c := range g.Components() {
			for _, s := range c {
				comp[s] = i
			}
		}
		for i := range n {
			for j := range n {
				same := comp[fmt.Sprintf("s%d", i)] == comp[fmt.Sprintf("s%d", j)]
				if want := reach[i][j] && reach[j][i]; same != want {
					t.Fatalf("s%d and s%d in one component: %v, want %v", i, j, same, want)
				}
			}
		}
	})
}

// A long chain must not cost stack, nor more than a moment.
func TestDeepGraph(t *testing.T) {
	const n = topology.MaxStages
	stages := make([]topology.Stage, n)
	edges := make([]topology.Edge, 0, n)
	for i := range n {
		stages[i] = topology.Stage{Name: fmt.Sprintf("s%d", i), Kind: topology.Transform, Ports: []topology.Port{out("out", "T")}}
		if i > 0 {
			edges = append(edges, topology.Edge{From: stages[i-1].Name, Port: "out", To: stages[i].Name})
		}
	}
	stages[0].Kind = topology.Source
	g := build(t, stages, edges)
	if order := g.Order(); order[0] != "s0" || order[n-1] != fmt.Sprintf("s%d", n-1) {
		t.Errorf("Order() begins with %v and ends with %v", order[0], order[n-1])
	}
}

func FuzzParse(f *testing.F) {
	for _, flow := range []func() ([]topology.Stage, []topology.Edge){payments, loop} {
		stages, edges := flow()
		g, err := topology.New("f", stages, edges)
		if err != nil {
			f.Fatal(err)
		}
		b, _ := g.MarshalJSON()
		f.Add(b)
	}
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"flow":"f","stages":[{"name":"a","kind":"source","params":[]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := topology.Parse(data)
		if err != nil {
			return
		}
		b, err := g.MarshalJSON()
		if err != nil {
			t.Fatalf("MarshalJSON() of a parsed graph = %v", err)
		}
		back, err := topology.Parse(b)
		if err != nil {
			t.Fatalf("Parse of our own JSON = %v\n%s", err, b)
		}
		if again, _ := back.MarshalJSON(); !bytes.Equal(b, again) || back.Fingerprint() != g.Fingerprint() {
			t.Fatalf("round trip changed\n%s\nto\n%s", b, again)
		}
		_, _, _ = g.Text(), g.Mermaid(), g.DOT()
	})
}
