// Package supervise holds the state tables of pipeline and stages and the pure
// data that goes with them. It decides; the engine performs.
//
// [Pipeline] and [Stage] are the two machines. Each is a state of an
// exhaustive table ([PipelineTable], [StageTable]) and the facts that the
// guards of the table look at: what was asked for ([Intent]), what is still
// pending ([Barrier]), how inputs ended ([Ending]). The owner of a machine is
// one goroutine, which does this for each event that arrives:
//
//	step := p.Step(event)
//	perform(step.Actions)           // in order; the first that fails ends the list
//	for due, ok := p.Due(); ok; due, ok = p.Due() {
//		perform(p.Step(due).Actions) // what follows from what is known
//	}
//
// An action that fails becomes an event (Error, or LogPoisoned when the log
// can take no more), as does a protocol error of Step; so the table decides
// what a failure means.
//
// docs/fsm.md is rendered from the tables.
package supervise

import "fmt"

// name returns the name at v, for the String methods of the constants.
func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%T(%d)", v, uint8(v))
}

// all returns the constants 1 … n.
func all[T ~uint8](n T) []T {
	out := make([]T, 0, n)
	for v := T(1); v <= n; v++ {
		out = append(out, v)
	}
	return out
}
