package engine

import (
	"runtime"
	"time"
)

// A gatherer lets executions that are about to say something do so before what the
// others said is placed: one transition for all costs little more than one for each.
// Whoever wakes a goroutine hands it the processor, so without that a stage would
// place what the first of many said while the others wait to be run.
//
// It yields once. Where others compute, that takes as long as they are given; it then
// does without for a while, longer each time.
type gatherer struct {
	yielded bool // since the last round
	skip    int  // so many rounds
	slow    int  // what skip begins with the next time
}

const (
	yieldMost = time.Millisecond // what a yield may take
	skipLeast = 64
	skipMost  = 1 << 16
)

// yields reports whether it yielded: what came meanwhile is to be taken in.
func (g *gatherer) yields() bool {
	switch {
	case g.yielded:
		g.yielded = false
		return false
	case g.skip > 0:
		g.skip--
		return false
	}
	began := time.Now()
	runtime.Gosched()
	if time.Since(began) > yieldMost {
		g.slow = min(max(2*g.slow, skipLeast), skipMost)
		g.skip = g.slow
	} else {
		g.slow = 0
	}
	g.yielded = true
	return true
}
