package credit

import "strings"

// Why says what a stage waits for.
type Why string

// What stages wait for.
const (
	ForCredit Why = "credit" // On must consume the edge
	ForInput  Why = "input"  // On must append to the edge
)

// Wait is one reason why a stage does not go on. A stage that waits for input
// on several edges has a Wait for each.
type Wait struct {
	Stage string
	On    string // the stage that could end the wait
	Edge  string // for people
	Why   Why
}

// Chain is why a stage is stalled: each wait is on the stage of the next.
type Chain struct {
	Waits []Wait
	End   string // the stage at the end, which waits for nobody here or closes the circle
	Cycle bool   // End occurs earlier in the chain: nobody of the chain can go on
}

// String returns the chain as people read it.
func (c Chain) String() string {
	var b strings.Builder
	for _, w := range c.Waits {
		b.WriteString(w.Stage + " waits for " + string(w.Why) + " of " + w.Edge + " from ")
	}
	b.WriteString(c.End)
	if c.Cycle {
		b.WriteString(", which is in this chain")
	} else {
		b.WriteString(", which waits for nobody")
	}
	return b.String()
}

// Stages returns the stages of the chain in order, End last; one that closes a
// circle is not repeated.
func (c Chain) Stages() []string {
	var out []string
	for _, w := range c.Waits {
		out = append(out, w.Stage)
	}
	if c.Cycle {
		return out
	}
	return append(out, c.End)
}

// WaitsFor follows the waits from a stage to the nearest stage that waits for
// nobody: that one is to be looked at. If there is none, every chain from the
// stage closes a circle, and the first such chain is returned. Among equals
// the order of waits decides.
func WaitsFor(stage string, waits []Wait) Chain {
	by := map[string][]Wait{}
	for _, w := range waits {
		by[w.Stage] = append(by[w.Stage], w)
	}
	came := map[string]Wait{} // how a stage was first reached
	seen := map[string]bool{stage: true}
	queue := []string{stage}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if len(by[s]) == 0 {
			return Chain{Waits: back(stage, s, came), End: s}
		}
		for _, w := range by[s] {
			if !seen[w.On] {
				seen[w.On] = true
				came[w.On] = w
				queue = append(queue, w.On)
			}
		}
	}
	// No way out: the first wait of each stage leads into a circle.
	var chain Chain
	on := map[string]bool{}
	for s := stage; !chain.Cycle; s = chain.End {
		on[s] = true
		w := by[s][0]
		chain.Waits = append(chain.Waits, w)
		chain.End, chain.Cycle = w.On, on[w.On]
	}
	return chain
}

func back(from, to string, came map[string]Wait) []Wait {
	var out []Wait
	for s := to; s != from; {
		w := came[s]
		out = append([]Wait{w}, out...)
		s = w.Stage
	}
	return out
}
