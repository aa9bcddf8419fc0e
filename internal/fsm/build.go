package fsm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Builder collects the cells of a table. Its methods never fail; what is wrong
// is reported by Build, all of it together.
type Builder[S, K comparable, E Event[K], A any] struct {
	table    *Table[S, K, E, A]
	problems []string
}

// New begins a table that starts in initial. The order of states and kinds is
// the order of everything that is derived from the table.
func New[S, K comparable, E Event[K], A any](initial S, states []S, kinds []K) *Builder[S, K, E, A] {
	b := &Builder[S, K, E, A]{table: &Table[S, K, E, A]{
		initial: initial,
		states:  slices.Clone(states),
		kinds:   slices.Clone(kinds),
		stateAt: make(map[S]int, len(states)),
		kindAt:  make(map[K]int, len(kinds)),
		cells:   make([]cell[S, E, A], len(states)*len(kinds)),
	}}
	for i, s := range states {
		if _, twice := b.table.stateAt[s]; twice {
			b.problem("state %v is listed twice", s)
		}
		b.table.stateAt[s] = i
	}
	for i, k := range kinds {
		if _, twice := b.table.kindAt[k]; twice {
			b.problem("event %v is listed twice", k)
		}
		b.table.kindAt[k] = i
	}
	if _, ok := b.table.stateAt[initial]; !ok {
		b.problem("initial state %v is not listed", initial)
	}
	return b
}

func (b *Builder[S, K, E, A]) problem(format string, args ...any) {
	b.problems = append(b.problems, fmt.Sprintf(format, args...))
}

// Rule is the beginning of a branch for one or several events of a state; one
// of its methods Go, Stay, Ignore and Refuse finishes it.
type Rule[S, K comparable, E Event[K], A any] struct {
	b     *Builder[S, K, E, A]
	state S
	kinds []K
	when  string
	guard func(E) bool
}

// On begins a branch. Branches of one pair are tried in the order in which
// they are written.
func (b *Builder[S, K, E, A]) On(state S, kinds ...K) Rule[S, K, E, A] {
	if len(kinds) == 0 {
		b.problem("a rule of state %v names no event", state)
	}
	return Rule[S, K, E, A]{b: b, state: state, kinds: kinds}
}

// When guards the branch. The text says for people what the guard asks; the
// guard must be pure. A rule has one guard.
func (r Rule[S, K, E, A]) When(text string, guard func(E) bool) Rule[S, K, E, A] {
	if text == "" || guard == nil {
		r.b.problem("a guard of state %v, event %v has no text or no function", r.state, r.kinds)
		return r
	}
	if r.guard != nil {
		r.b.problem("a rule of state %v, event %v has two guards", r.state, r.kinds)
	}
	r.when, r.guard = text, guard
	return r
}

// Go makes the branch a transition to next with the given actions.
func (r Rule[S, K, E, A]) Go(next S, do ...A) {
	if _, ok := r.b.table.stateAt[next]; !ok {
		r.b.problem("state %v goes to %v, which is not listed", r.state, next)
	}
	r.add(Branch[S, A]{Outcome: Transition, To: next, Do: slices.Clip(slices.Clone(do))})
}

// Stay makes the branch a transition to the same state with the given actions.
func (r Rule[S, K, E, A]) Stay(do ...A) { r.Go(r.state, do...) }

// Ignore makes the branch an ignore. The reason is for people and must be given.
func (r Rule[S, K, E, A]) Ignore(reason string) {
	r.add(Branch[S, A]{Outcome: Ignore, To: r.state, Reason: reason})
}

// Refuse makes the branch a protocol error. The reason is for people and must
// be given.
func (r Rule[S, K, E, A]) Refuse(reason string) {
	r.add(Branch[S, A]{Outcome: Refuse, To: r.state, Reason: reason})
}

func (r Rule[S, K, E, A]) add(to Branch[S, A]) {
	t := r.b.table
	if to.Outcome != Transition && strings.TrimSpace(to.Reason) == "" {
		r.b.problem("state %v, event %v: %s without a reason", r.state, r.kinds, to.Outcome)
	}
	s, ok := t.stateAt[r.state]
	if !ok {
		r.b.problem("rule for state %v, which is not listed", r.state)
		return
	}
	for _, kind := range r.kinds {
		k, ok := t.kindAt[kind]
		if !ok {
			r.b.problem("rule for event %v, which is not listed", kind)
			continue
		}
		c := &t.cells[s*len(t.kinds)+k]
		if n := len(c.branches); n > 0 && c.branches[n-1].guard == nil {
			r.b.problem("state %v, event %v: a branch after the one without a guard", r.state, kind)
			continue
		}
		to.When = r.when
		br := branch[S, E, A]{Branch: to, guard: r.guard}
		if to.Outcome == Refuse {
			br.err = &ProtocolError{State: fmt.Sprint(r.state), Event: fmt.Sprint(kind), Reason: to.Reason}
		}
		c.branches = append(c.branches, br)
	}
}

// Build returns the table, or an error that names every problem: missing
// pairs, pairs whose branches all have a guard, branches that can never be
// taken, reasons not given, states that nothing leads to. The builder must not
// be used afterwards.
func (b *Builder[S, K, E, A]) Build() (*Table[S, K, E, A], error) {
	t := b.table
	reached := make([]bool, len(t.states))
	if i, ok := t.stateAt[t.initial]; ok {
		reached[i] = true
	}
	var missing []string
	for s, state := range t.states {
		for k, kind := range t.kinds {
			bs := t.cells[s*len(t.kinds)+k].branches
			switch {
			case len(bs) == 0:
				missing = append(missing, fmt.Sprintf("(%v, %v)", state, kind))
			case bs[len(bs)-1].guard != nil:
				b.problem("state %v, event %v: every branch has a guard; say what happens otherwise", state, kind)
			}
			for _, br := range bs {
				if br.Outcome == Transition && br.To != state {
					if i, ok := t.stateAt[br.To]; ok {
						reached[i] = true
					}
				}
			}
		}
	}
	if len(missing) > 0 {
		b.problem("%d missing pairs: %s", len(missing), strings.Join(missing, ", "))
	}
	for i, ok := range reached {
		if !ok {
			b.problem("nothing leads to state %v", t.states[i])
		}
	}
	if len(b.problems) > 0 {
		return nil, errors.New("transition table: " + strings.Join(b.problems, "; "))
	}
	return t, nil
}
