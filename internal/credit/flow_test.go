package credit_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/credit"
)

// Backpressure does not change what finishes: over random acyclic topologies
// and random schedules, a flow that finishes with unlimited windows finishes
// with windows of one record.
func TestWindowsOfOneFinish(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		flow := drawFlow(t)
		seed := rapid.Uint64().Draw(t, "schedule")
		unlimited := credit.Window{Records: 1 << 60, Bytes: 1 << 60}
		if err := flow.run(unlimited, seed, true); err != nil {
			t.Fatalf("with unlimited windows: %v", err)
		}
		if err := flow.run(credit.Window{Records: 1, Bytes: 1}, seed, true); err != nil {
			t.Fatalf("with windows of 1: %v\n%s", err, flow)
		}
	})
}

// The test above can fail: without deferral the diamond in which a join reads
// one side to its end first stands still, and the waits-for chain says why.
func TestDiamondNeedsDeferral(t *testing.T) {
	flow := diamond()
	if err := flow.run(credit.Window{Records: 1, Bytes: 1}, 1, true); err != nil {
		t.Errorf("with deferral: %v", err)
	}
	err := flow.run(credit.Window{Records: 1, Bytes: 1}, 1, false)
	if err == nil {
		t.Fatal("finished without deferral")
	}
	want := "src waits for credit of src→right from right waits for credit of right→join from join waits for input of left→join from left waits for input of src→left from src, which is in this chain"
	if err.Error() != want {
		t.Errorf("chain:\n got %v\nwant %v", err, want)
	}
}

// node is a stage of the simulation: stage i reads the ports of stages before
// it. What it does with an input depends on its place only.
type node struct {
	name    string
	inputs  []input
	source  int   // records, if it has no inputs
	fanout  []int // records that the k-th input makes, cyclic
	hydrate bool  // reads input 0 to its end first
	ordered bool  // takes an input only when every input has one or has ended
}

type input struct{ stage, edge int } // the edge of that stage's port

type flow struct{ nodes []*node }

func (f flow) String() string {
	var s string
	for _, n := range f.nodes {
		s += fmt.Sprintf("%+v\n", *n)
	}
	return s
}

func (f *flow) add(n *node, readers []int, reads ...int) {
	for _, from := range reads {
		n.inputs = append(n.inputs, input{from, readers[from]})
		readers[from]++
	}
	f.nodes = append(f.nodes, n)
}

func diamond() *flow {
	f, r := &flow{}, make([]int, 5)
	f.add(&node{name: "src", source: 5}, r)
	f.add(&node{name: "left", fanout: []int{1}}, r, 0)
	f.add(&node{name: "right", fanout: []int{1}}, r, 0)
	f.add(&node{name: "join", hydrate: true, fanout: []int{1}}, r, 1, 2)
	f.add(&node{name: "sink", fanout: []int{0}}, r, 3)
	return f
}

func drawFlow(t *rapid.T) *flow {
	f := &flow{}
	n := rapid.IntRange(2, 9).Draw(t, "stages")
	readers := make([]int, n)
	for i := range n {
		node := &node{name: fmt.Sprintf("s%d", i), source: rapid.IntRange(0, 12).Draw(t, "records")}
		node.fanout = rapid.SliceOfN(rapid.IntRange(0, 3), 1, 4).Draw(t, "fanout")
		var reads []int
		if i > 0 && rapid.IntRange(0, 3).Draw(t, "inner") > 0 {
			for range rapid.IntRange(1, 3).Draw(t, "inputs") {
				reads = append(reads, rapid.IntRange(0, i-1).Draw(t, "from"))
			}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				node.hydrate = true
			case 1:
				node.ordered = true
			}
		}
		f.add(node, readers, reads...)
	}
	return f
}

// run plays the flow with the given windows until every stage has ended, one
// stage at a time as the seed says, and only stages that were woken. It
// returns the waits-for chain of the first stage that stands when nobody is
// awake.
func (f *flow) run(w credit.Window, seed uint64, deferral bool) error {
	s := &sim{flow: f, rng: rand.New(rand.NewPCG(seed, 1)), deferral: deferral}
	for i := range f.nodes {
		var edges []credit.Edge
		for _, n := range f.nodes {
			for _, in := range n.inputs {
				if in.stage == i {
					edges = append(edges, credit.Edge{Reader: n.name, Window: w})
				}
			}
		}
		p, err := credit.NewPort(0, edges...)
		if err != nil {
			return err
		}
		s.ports = append(s.ports, p)
		s.awake = append(s.awake, true)
	}
	s.ended, s.taken = make([]bool, len(f.nodes)), make([]int, len(f.nodes))
	for {
		var ready []int
		for i := range f.nodes {
			if s.awake[i] && !s.ended[i] {
				ready = append(ready, i)
			}
		}
		if len(ready) == 0 {
			break
		}
		i := ready[s.rng.IntN(len(ready))]
		if !s.step(i) {
			s.awake[i] = false
		}
	}
	for i, n := range f.nodes {
		if !s.ended[i] {
			return fmt.Errorf("%v", credit.WaitsFor(n.name, s.waits()))
		}
	}
	return nil
}

type sim struct {
	flow     *flow
	rng      *rand.Rand
	deferral bool
	ports    []*credit.Port
	awake    []bool
	ended    []bool
	taken    []int // inputs taken, or records of a source
}

func (s *sim) available(in input) bool {
	return s.ports[in.stage].Consumed(in.edge) < s.ports[in.stage].Head()
}

func (s *sim) over(in input) bool { return s.ended[in.stage] && !s.available(in) }

// wants lists which inputs the stage would take from now.
func (s *sim) wants(n *node) []bool {
	wants := make([]bool, len(n.inputs))
	complete := true
	for _, in := range n.inputs {
		complete = complete && (s.available(in) || s.over(in))
	}
	for k, in := range n.inputs {
		switch {
		case n.hydrate && !s.over(n.inputs[0]):
			wants[k] = k == 0
		case n.ordered:
			wants[k] = complete || !s.available(in)
		default:
			wants[k] = true
		}
	}
	return wants
}

// step lets a stage do one thing and reports whether it could.
func (s *sim) step(i int) bool {
	n, port := s.flow.nodes[i], s.ports[i]
	if len(n.inputs) == 0 {
		if s.taken[i] == n.source {
			s.end(i)
			return true
		}
		if !port.Ask() {
			return false
		}
		s.taken[i]++
		s.append(i, 1)
		return true
	}
	var can []int
	all := true
	for k, wanted := range s.wants(n) {
		in := n.inputs[k]
		from := s.ports[in.stage]
		if wanted {
			from.Accept(in.edge, from.Consumed(in.edge))
		} else if s.deferral && from.Decline(in.edge) {
			s.awake[in.stage] = true
		}
		if wanted && s.available(in) {
			can = append(can, k)
		}
		all = all && s.over(in)
	}
	if all {
		s.end(i) // control does not wait for credit
		return true
	}
	if len(can) == 0 || !port.Ask() {
		return false
	}
	in := n.inputs[can[s.rng.IntN(len(can))]]
	from := s.ports[in.stage]
	if from.Consume(in.edge, from.Consumed(in.edge)+1, 1) {
		s.awake[in.stage] = true
	}
	s.append(i, n.fanout[s.taken[i]%len(n.fanout)])
	s.taken[i]++
	return true
}

func (s *sim) append(i, records int) {
	s.ports[i].Append(uint64(records), uint64(records))
	s.tell(i)
}

func (s *sim) end(i int) {
	s.ended[i] = true
	s.tell(i)
}

// tell wakes the readers of a stage.
func (s *sim) tell(i int) {
	for j, n := range s.flow.nodes {
		for _, in := range n.inputs {
			if in.stage == i {
				s.awake[j] = true
			}
		}
	}
}

func (s *sim) waits() []credit.Wait {
	var out []credit.Wait
	for i, n := range s.flow.nodes {
		if s.ended[i] {
			continue
		}
		if at, blocked := s.ports[i].Blocking(); blocked {
			for _, r := range s.flow.nodes {
				for _, in := range r.inputs {
					if in == (input{i, at}) {
						out = append(out, credit.Wait{Stage: n.name, On: r.name, Edge: n.name + "→" + r.name, Why: credit.ForCredit})
					}
				}
			}
			continue
		}
		for k, wanted := range s.wants(n) {
			if from := s.flow.nodes[n.inputs[k].stage]; wanted && !s.over(n.inputs[k]) {
				out = append(out, credit.Wait{Stage: n.name, On: from.name, Edge: from.name + "→" + n.name, Why: credit.ForInput})
			}
		}
	}
	return out
}
