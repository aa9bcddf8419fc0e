// Package fsm holds exhaustive transition tables and a pure step over them.
//
// A supervisor in Weir is a table and one goroutine. The goroutine turns what
// arrives into events, calls [Table.Step] and performs the actions it gets
// back, in order. Everything that can be decided is decided in the table; the
// table does no I/O, reads no clock and starts nothing.
//
// A table is complete: for every pair of a state and an event kind it says
// what happens, as one of
//
//   - a transition: the next state and the actions to perform;
//   - an ignore, with the reason why the event means nothing here;
//   - a refusal, with the reason why the event must not arrive here.
//
// A pair may have several branches; the first whose guard holds is taken, and
// the last has no guard. [Builder.Build] refuses a table with a missing pair
// and names all of them.
//
//	b := fsm.New[State, Kind, Event, Action](Closed, states, kinds)
//	b.On(Closed, Push).When("locked", Event.Locked).Ignore("a locked door stays closed")
//	b.On(Closed, Push).Go(Open, RingBell)
//	b.On(Open, Push).Ignore("it is open")
//	door, err := b.Build()
//	next, actions, err := door.Step(Closed, Event{Kind: Push})
package fsm

import (
	"fmt"
	"iter"
)

// Event is what a table steps over. Kind selects the pair, the guards of the
// pair look at the rest. Kind must not depend on anything but the event.
type Event[K comparable] interface {
	Kind() K
}

// Outcome says what a branch does.
type Outcome uint8

// The outcomes of a branch.
const (
	Transition Outcome = iota + 1 // a next state and actions; the next state may be the same
	Ignore                        // nothing happens; the branch has a reason
	Refuse                        // a protocol error; the branch has a reason
)

func (o Outcome) String() string {
	switch o {
	case Transition:
		return "transition"
	case Ignore:
		return "ignore"
	case Refuse:
		return "error"
	default:
		return fmt.Sprintf("outcome(%d)", uint8(o))
	}
}

// Branch is one way a pair can go. It is a description for tests and
// documentation; Do is shared with the table and must not be changed.
type Branch[S comparable, A any] struct {
	When    string // what the guard asks; empty for the branch taken otherwise
	Outcome Outcome
	To      S      // next state of a transition
	Do      []A    // actions of a transition, in order
	Reason  string // why an ignore or a refusal
}

// Pair is one cell of the table.
type Pair[S, K comparable, A any] struct {
	State    S
	Event    K
	Branches []Branch[S, A]
}

// ProtocolError says that an event arrived in a state where it must not. The
// state is unchanged and there is nothing to perform. The owner of the table
// turns it into a failure event of its own, so that the table decides what it
// means.
type ProtocolError struct {
	State  string
	Event  string
	Reason string
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("event %s in state %s: %s", e.Event, e.State, e.Reason)
}

// Table is a complete transition table over states S, event kinds K, events E
// and actions A. It is immutable and safe for concurrent use. Tables are made
// by [New].
type Table[S, K comparable, E Event[K], A any] struct {
	initial S
	states  []S
	kinds   []K
	stateAt map[S]int
	kindAt  map[K]int
	cells   []cell[S, E, A] // len(states) × len(kinds)
}

type cell[S comparable, E any, A any] struct {
	branches []branch[S, E, A]
}

type branch[S comparable, E any, A any] struct {
	Branch[S, A]
	guard func(E) bool
	err   *ProtocolError
}

// Initial returns the state in which a machine begins.
func (t *Table[S, K, E, A]) Initial() S { return t.initial }

// States returns the states in declared order. The caller owns the slice.
func (t *Table[S, K, E, A]) States() []S { return append([]S(nil), t.states...) }

// Events returns the event kinds in declared order. The caller owns the slice.
func (t *Table[S, K, E, A]) Events() []K { return append([]K(nil), t.kinds...) }

// Step returns the state after the event and the actions to perform, in order.
// The actions belong to the table and must not be changed. An ignored event
// leaves the state and gives no actions. The error is a [*ProtocolError]; then
// the state is unchanged and there are no actions. Step allocates nothing
// unless state or event are unknown to the table.
func (t *Table[S, K, E, A]) Step(state S, event E) (S, []A, error) {
	b, err := t.take(state, event)
	switch {
	case err != nil:
		return state, nil, err
	case b.Outcome == Refuse:
		return state, nil, b.err
	case b.Outcome == Ignore:
		return state, nil, nil
	default:
		return b.To, b.Do, nil
	}
}

// Look returns the branch that Step would take, without taking it. For a state
// or event that the table does not know it is a refusal.
func (t *Table[S, K, E, A]) Look(state S, event E) Branch[S, A] {
	b, err := t.take(state, event)
	if err != nil {
		return Branch[S, A]{Outcome: Refuse, Reason: err.Reason}
	}
	return b.Branch
}

func (t *Table[S, K, E, A]) take(state S, event E) (*branch[S, E, A], *ProtocolError) {
	s, okState := t.stateAt[state]
	k, okKind := t.kindAt[event.Kind()]
	if !okState || !okKind {
		return nil, &ProtocolError{
			State: fmt.Sprint(state), Event: fmt.Sprint(event.Kind()),
			Reason: "the table does not know this state or event",
		}
	}
	bs := t.cells[s*len(t.kinds)+k].branches
	for i := range bs {
		if bs[i].guard == nil || bs[i].guard(event) {
			return &bs[i], nil
		}
	}
	panic("fsm: a built table has a branch without a guard in every pair")
}

// Pairs yields every cell, states in declared order and within a state the
// events in declared order.
func (t *Table[S, K, E, A]) Pairs() iter.Seq[Pair[S, K, A]] {
	return func(yield func(Pair[S, K, A]) bool) {
		for s, state := range t.states {
			for k, kind := range t.kinds {
				p := Pair[S, K, A]{State: state, Event: kind}
				for _, b := range t.cells[s*len(t.kinds)+k].branches {
					p.Branches = append(p.Branches, b.Branch)
				}
				if !yield(p) {
					return
				}
			}
		}
	}
}

// Count is how many branches of a state have each outcome.
type Count struct {
	Transitions, Ignores, Errors int
}

// Count returns the counts for one state; zero for a state the table does not
// know.
func (t *Table[S, K, E, A]) Count(state S) Count {
	var c Count
	s, ok := t.stateAt[state]
	if !ok {
		return c
	}
	for k := range t.kinds {
		for _, b := range t.cells[s*len(t.kinds)+k].branches {
			switch b.Outcome {
			case Transition:
				c.Transitions++
			case Ignore:
				c.Ignores++
			case Refuse:
				c.Errors++
			}
		}
	}
	return c
}
