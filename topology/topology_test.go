package topology_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/topology"
)

func typ(name, schema string, fields ...string) topology.Type {
	t := topology.Type{Name: name, Schema: schema}
	for _, f := range fields {
		n, ty, _ := strings.Cut(f, " ")
		t.Fields = append(t.Fields, topology.Field{Name: n, Type: ty})
	}
	return t
}

func out(name, typeName string) topology.Port {
	return topology.Port{Name: name, Type: typ(typeName, "h-"+typeName)}
}

// payments is the flow that the examples and most tests use.
func payments() (stages []topology.Stage, edges []topology.Edge) {
	key := typ("string", "")
	stages = []topology.Stage{
		{Name: "web", Kind: topology.Source, Ports: []topology.Port{out("out", "Order")}, Caller: "main.go:10"},
		{Name: "store", Kind: topology.Source, Ports: []topology.Port{out("out", "Order")}},
		{Name: "validate", Kind: topology.Transform, Ports: []topology.Port{
			{Name: "valid", Type: typ("Valid", "v1", "id string")}, out("invalid", "Invalid"),
		}},
		{
			Name: "authorize", Kind: topology.Effect, Ports: []topology.Port{out("done", "Decided"), out("failed", "Failed")},
			Key: &key, Effects: []topology.Action{{Name: "authorize", Version: "1", Safety: "keyed"}}, Policies: []string{"retry 3", "timeout 2s"},
		},
		{Name: "ship", Kind: topology.Sink, Guarantee: "exactly once"},
		{Name: "notify", Kind: topology.Sink, Guarantee: "at least once"},
	}
	edges = []topology.Edge{
		{From: "web", Port: "out", To: "validate"},
		{From: "store", Port: "out", To: "validate"},
		{From: "validate", Port: "valid", To: "authorize", Via: "key by string"},
		{From: "authorize", Port: "done", To: "ship"},
		{From: "validate", Port: "invalid", To: "notify"},
		{From: "validate", Port: "dead", To: "notify"},
	}
	return stages, edges
}

func build(t testing.TB, stages []topology.Stage, edges []topology.Edge) *topology.Graph {
	t.Helper()
	g, err := topology.New("payments", stages, edges)
	if err != nil {
		t.Fatalf("New() = %v", err)
	}
	return g
}

func loop() (stages []topology.Stage, edges []topology.Edge) {
	stages = []topology.Stage{
		{Name: "src", Kind: topology.Source, Ports: []topology.Port{out("out", "T")}},
		{Name: "again", Kind: topology.Iterate, Ports: []topology.Port{out("out", "T")}},
		{Name: "body", Kind: topology.Transform, Ports: []topology.Port{out("next", "T"), out("done", "T")}},
		{Name: "end", Kind: topology.Sink},
	}
	edges = []topology.Edge{
		{From: "src", Port: "out", To: "again"},
		{From: "again", Port: "out", To: "body"},
		{From: "body", Port: "next", To: "again", Input: 1},
		{From: "body", Port: "done", To: "end"},
	}
	return stages, edges
}

func TestNewReportsAllProblemsTogether(t *testing.T) {
	stages, edges := payments()
	stages = append(stages,
		topology.Stage{Name: "web", Kind: topology.Source, Caller: "main.go:90"},
		topology.Stage{Name: "Bad Name", Kind: "wizard", Params: []topology.Param{{Key: "a"}, {Key: "a"}, {}}},
		topology.Stage{Name: "ports", Kind: topology.Transform, Group: "/", Ports: []topology.Port{out("sys", "T"), out("x", "T"), out("x", ""), out("X", "T")}},
		topology.Stage{Name: "fx_stage", Kind: topology.Effect, Guarantee: "\xff", Effects: []topology.Action{{Name: "a", Safety: "s"}, {Name: "a", Safety: "s"}, {}}},
	)
	edges = append(edges,
		topology.Edge{From: "validat", Port: "valid", To: "ship"},
		topology.Edge{From: "validate", Port: "vald", To: "ship"},
		topology.Edge{From: "validate", Port: "sys", To: "ship"},
		topology.Edge{From: "validate", Port: "valid", To: "shipp"},
		topology.Edge{From: "validate", Port: "valid", To: "store"},
		topology.Edge{From: "web", Port: "out", To: "validate"},
		topology.Edge{From: "web", Port: "out", To: "authorize", Input: 7},
		topology.Edge{From: "web", Port: "out", To: "ports", Input: -1},
		topology.Edge{From: "web", Port: "out", To: "fx_stage", Input: 1, Via: "\xff"},
	)
	_, err := topology.New("Pay", stages, edges)
	if _, ok := errors.AsType[*topology.ValidationError](err); !ok {
		t.Fatalf("New() error = %v, want a ValidationError", err)
	}
	for _, want := range []string{
		`flow name "Pay" is not a name`,
		"two stages are called web: main.go:10 and main.go:90",
		`name "Bad Name" is not a name`,
		`unknown kind "wizard"`,
		"parameter a is given twice",
		"a parameter has no key",
		`group "/" is not a name`,
		"port sys is reserved",
		"two ports are called x",
		"port x has no payload type",
		`port name "X" is not a name`,
		"effect a is declared twice",
		"needs a name and a safety class",
		`"\xff" is not valid UTF-8`,
		"there is no stage validat; did you mean validate?",
		"stage validate has no port vald; did you mean valid?",
		"reads the reserved port validate.sys",
		"is read by stage shipp, which does not exist; did you mean ship?",
		"a source reads nothing",
		"stage validate: reads web.out twice at input 0",
		"stage authorize: has inputs 0 and 7 and none between",
		"input index -1 of web.out",
		"stage fx_stage: has no input 0",
		`view "\xff" is not valid UTF-8`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New() error lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("the error:\n%v", err)
	}
}

func TestNewChecksTheWhole(t *testing.T) {
	transform := func(name string) topology.Stage {
		return topology.Stage{Name: name, Kind: topology.Transform, Ports: []topology.Port{out("out", "T")}}
	}
	edge := func(from, to string) topology.Edge { return topology.Edge{From: from, Port: "out", To: to} }
	src := topology.Stage{Name: "src", Kind: topology.Source, Ports: []topology.Port{out("out", "T")}}
	for _, tc := range []struct {
		name   string
		stages []topology.Stage
		edges  []topology.Edge
		want   []string
	}{
		{"nothing", nil, nil, []string{"no source"}},
		{"no input", []topology.Stage{src, transform("a")}, nil, []string{"stage a: reads nothing"}},
		{
			"unreachable",
			[]topology.Stage{src, transform("a"), transform("b")},
			[]topology.Edge{edge("a", "b")},
			[]string{"stage a: reads nothing", "stage b: no source reaches it"},
		},
		{
			"cycles",
			[]topology.Stage{src, transform("a"), transform("b"), transform("c")},
			[]topology.Edge{edge("src", "a"), edge("b", "a"), edge("a", "b"), edge("src", "c"), edge("c", "c")},
			[]string{"cycle without Iterate: a, b;", "cycle without Iterate: c;"},
		},
	} {
		_, err := topology.New("f", tc.stages, tc.edges)
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: New() = %v, want %q", tc.name, err, want)
			}
		}
	}
	if _, err := topology.New("f", make([]topology.Stage, topology.MaxStages+1), nil); err == nil || !strings.Contains(err.Error(), "the limit is 4096") {
		t.Errorf("New() with too many stages = %v", err)
	}
}

func TestGraphAccess(t *testing.T) {
	stages, edges := payments()
	g := build(t, stages, edges)
	if got, want := g.Order(), []string{"store", "web", "validate", "authorize", "notify", "ship"}; !slices.Equal(got, want) {
		t.Errorf("Order() = %v, want %v", got, want)
	}
	if got := g.Inputs("validate"); len(got) != 2 || got[0].From != "store" || got[1].From != "web" {
		t.Errorf("Inputs(validate) = %v", got)
	}
	if got := g.Readers("validate", "dead"); len(got) != 1 || got[0].Name() != "validate.dead → notify#0" {
		t.Errorf("Readers(validate, dead) = %v", got)
	}
	if got := g.Inputs("nobody"); len(got) != 0 {
		t.Errorf("Inputs(nobody) = %v", got)
	}
	if _, ok := g.Stage("nobody"); ok || g.Len() != 6 || len(g.Cycles()) != 0 || len(g.Components()) != 6 {
		t.Errorf("Stage(nobody) = %v, Len %d, Cycles %v, Components %v", ok, g.Len(), g.Cycles(), g.Components())
	}
	v, _ := g.Stage("validate")
	if p, ok := v.Port("valid"); !ok || p.Type.Name != "Valid" {
		t.Errorf("Port(valid) = %v, %v", p, ok)
	}
}

func TestGraphDoesNotShareWithItsMaker(t *testing.T) {
	stages, edges := payments()
	g := build(t, stages, edges)
	before := g.Fingerprint()
	stages[2].Ports[0].Name, stages[3].Key.Name, edges[0].From = "hacked", "hacked", "hacked"
	if g.Fingerprint() != before {
		t.Error("changing the slices given to New changed the graph")
	}
}

func TestCycle(t *testing.T) {
	stages, edges := loop()
	g := build(t, stages, edges)
	if got, want := fmt.Sprint(g.Cycles()), "[[again body]]"; got != want {
		t.Errorf("Cycles() = %v, want %v", got, want)
	}
	if got, want := fmt.Sprint(g.Order()), "[src again body end]"; got != want {
		t.Errorf("Order() = %v, want %v", got, want)
	}
}

func TestFingerprintCoversWhatShapesTheRecord(t *testing.T) {
	stages, edges := payments()
	base := build(t, stages, edges).Fingerprint()
	if len(base) != 64 {
		t.Errorf("Fingerprint() = %q, want 64 hex digits", base)
	}
	for _, tc := range []struct {
		name   string
		shapes bool
		change func(s []topology.Stage, e []topology.Edge)
		text   string
	}{
		{"caller", false, func(s []topology.Stage, _ []topology.Edge) { s[0].Caller = "x:1" }, ""},
		{"policies", false, func(s []topology.Stage, _ []topology.Edge) { s[3].Policies = nil }, "policies of authorize changed: retry 3, timeout 2s → none"},
		{"guarantee", false, func(s []topology.Stage, _ []topology.Edge) { s[4].Guarantee = "none at all" }, "guarantee of ship changed: exactly once → none at all"},
		{"group", false, func(s []topology.Stage, _ []topology.Edge) { s[4].Group = "g" }, "group of ship changed: none → g"},
		{"fields", false, func(s []topology.Stage, _ []topology.Edge) { s[2].Ports[0].Type.Fields = nil }, ""},
		{"kind", true, func(s []topology.Stage, _ []topology.Edge) { s[2].Kind = topology.Stateful }, "stage validate was a transform and is now a stateful"},
		{"state", true, func(s []topology.Stage, _ []topology.Edge) { t := typ("Total", "t1"); s[2].State = &t }, "state type of validate added: Total"},
		{"key", true, func(s []topology.Stage, _ []topology.Edge) { s[3].Key = nil }, "key type of authorize removed: string"},
		{"key type", true, func(s []topology.Stage, _ []topology.Edge) { t := typ("int", ""); s[3].Key = &t }, "key type of authorize changed: string → int"},
		{"param", true, func(s []topology.Stage, _ []topology.Edge) {
			s[2].Params = []topology.Param{{Key: "emit", Value: "every 3"}}
		}, "parameter emit of validate added: every 3"},
		{"effect version", true, func(s []topology.Stage, _ []topology.Edge) { s[3].Effects[0].Version = "2" }, "version of effect authorize of authorize changed: 1 → 2"},
		{"effect safety", true, func(s []topology.Stage, _ []topology.Edge) { s[3].Effects[0].Safety = "idempotent" }, "safety of effect authorize of authorize changed: keyed → idempotent"},
		{"effect name", true, func(s []topology.Stage, _ []topology.Edge) { s[3].Effects[0].Name = "pay" }, "effect authorize of authorize removed; effect pay of authorize added (keyed)"},
		{"view", true, func(_ []topology.Stage, e []topology.Edge) { e[2].Via = "" }, "view between validate.valid and input 0 of authorize changed: key by string → none"},
		{"edge", true, func(_ []topology.Stage, e []topology.Edge) { e[3].Port = "failed" }, "input 0 of ship reads authorize.failed instead of authorize.done"},
		{"ports", true, func(s []topology.Stage, _ []topology.Edge) { slices.Reverse(s[2].Ports) }, "ports of validate are in another order: valid, invalid → invalid, valid"},
		{"port", true, func(s []topology.Stage, _ []topology.Edge) { s[2].Ports = append(s[2].Ports, out("third", "T")) }, "port validate.third added"},
		{"payload", true, func(s []topology.Stage, _ []topology.Edge) {
			s[2].Ports[0].Type = typ("Valid", "v2", "id string", "cents int64")
		}, "payload type of validate.valid changed: fields +cents int64"},
		{"payload fields", true, func(s []topology.Stage, _ []topology.Edge) {
			s[2].Ports[0].Type = typ("Ok", "v2", "nr int64")
		}, "payload type of validate.valid changed: Valid → Ok, fields -id string, +nr int64"},
		{"field type", true, func(s []topology.Stage, _ []topology.Edge) { s[2].Ports[0].Type = typ("Valid", "v2", "id int") }, "payload type of validate.valid changed: fields id string → int"},
		{"schema alone", true, func(s []topology.Stage, _ []topology.Edge) { s[2].Ports[1].Type.Schema = "sha256-0123456789" }, "payload type of validate.invalid changed: schema h-Invalid → sha256-01234"},
	} {
		s, e := payments()
		tc.change(s, e)
		old, now := build(t, stages, edges), build(t, s, e)
		if got := now.Fingerprint() != base; got != tc.shapes {
			t.Errorf("%s: fingerprint changed = %v, want %v", tc.name, got, tc.shapes)
		}
		var texts []string
		for _, d := range topology.Diff(old, now) {
			texts = append(texts, d.Text)
			if d.Shapes != tc.shapes {
				t.Errorf("%s: %q has Shapes %v", tc.name, d, d.Shapes)
			}
		}
		if got := strings.Join(texts, "; "); got != tc.text {
			t.Errorf("%s: Diff() = %q, want %q", tc.name, got, tc.text)
		}
	}
}

func TestDiffOfStages(t *testing.T) {
	stages, edges := payments()
	old := build(t, stages, edges)
	s, e := payments()
	s = append(s, topology.Stage{Name: "enrich", Kind: topology.Transform, Ports: []topology.Port{out("out", "Decided")}})
	e[3] = topology.Edge{From: "authorize", Port: "done", To: "enrich"}
	e = append(e, topology.Edge{From: "enrich", Port: "out", To: "ship"})
	now := build(t, s, e)
	check := func(a, b *topology.Graph, want ...string) {
		t.Helper()
		var got []string
		for _, d := range topology.Diff(a, b) {
			got = append(got, d.String())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Diff() (-want +got):\n%s", diff)
		}
	}
	check(old, now, "stage enrich added between authorize and ship")
	check(now, old, "stage enrich removed between authorize and ship")
	check(old, old)

	s, e = payments()
	e = append(e[:4:4], e[5:]...) // notify keeps the dead letters only
	s = append(s, topology.Stage{Name: "audit", Kind: topology.Sink})
	e = append(e, topology.Edge{From: "web", Port: "out", To: "audit"})
	check(old, build(t, s, e), "stage audit added, reading web", "input 0 of notify no longer reads validate.invalid")
	check(build(t, s, e), old, "stage audit removed, reading web", "input 0 of notify also reads validate.invalid")

	renamed, err := topology.New("bills", stages, edges)
	if err != nil {
		t.Fatal(err)
	}
	check(old, renamed, "flow payments is now called bills")
}

func TestRenderings(t *testing.T) {
	stages, edges := payments()
	g := build(t, stages, edges)
	want := `STAGE      KIND       READS                                 OUTPUTS                       NOTES
store      source     -                                     out Order                     -
web        source     -                                     out Order                     -
validate   transform  store.out, web.out                    valid Valid, invalid Invalid  -
authorize  effect     validate.valid (key by string)        done Decided, failed Failed   authorize keyed 1, key string, retry 3, timeout 2s
notify     sink       validate.dead, validate.invalid       -                             at least once
ship       sink       authorize.done                        -                             exactly once
`
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if squeeze(g.Text()) != squeeze(want) {
		t.Errorf("Text() =\n%s\nwant\n%s", g.Text(), want)
	}
	for _, want := range []string{
		"flowchart LR\n    s3([\"store\"])\n", `s0{{"authorize"}}`, `s2[("ship")]`,
		`s4 -->|"valid (key by string)"| s0`, `s4 -.->|"dead"| s1`,
	} {
		if !strings.Contains(g.Mermaid(), want) {
			t.Errorf("Mermaid() lacks %q:\n%s", want, g.Mermaid())
		}
	}
	for _, want := range []string{
		"digraph \"payments\" {", `"validate" [label="validate\ntransform"];`,
		`"validate" -> "notify" [label="dead", style=dashed];`, `"web" -> "validate" [label="out"];`,
	} {
		if !strings.Contains(g.DOT(), want) {
			t.Errorf("DOT() lacks %q:\n%s", want, g.DOT())
		}
	}
}

func ExampleGraph_MarshalJSON() {
	g, err := topology.New("hello", []topology.Stage{
		{Name: "lines", Kind: topology.Source, Ports: []topology.Port{{Name: "out", Type: topology.Type{Name: "Line", Schema: "ab12"}}}},
		{Name: "print", Kind: topology.Sink},
	}, []topology.Edge{{From: "lines", Port: "out", To: "print"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := g.MarshalJSON()
	fmt.Println(string(b))
	// Output:
	// {"format":1,"flow":"hello","stages":[{"name":"lines","kind":"source","ports":[{"name":"out","type":{"name":"Line","schema":"ab12"}}]},{"name":"print","kind":"sink"}],"edges":[{"from":"lines","port":"out","to":"print","input":0}]}
}
