package fsm

import (
	"fmt"
	"strings"
)

// Mermaid renders the transitions as a state diagram. Transitions without an
// effect on the state are left out when they have no actions. The text depends
// on nothing but the table.
func (t *Table[S, K, E, A]) Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	fmt.Fprintf(&b, "    [*] --> %v\n", t.initial)
	leaves := make([]bool, len(t.states))
	for p := range t.Pairs() {
		for _, br := range p.Branches {
			if br.Outcome != Transition || (br.To == p.State && len(br.Do) == 0) {
				continue
			}
			if br.To != p.State {
				leaves[t.stateAt[p.State]] = true
			}
			fmt.Fprintf(&b, "    %v --> %v: %v", p.State, br.To, p.Event)
			if br.When != "" {
				fmt.Fprintf(&b, " [%s]", plain(br.When))
			}
			if len(br.Do) > 0 {
				fmt.Fprintf(&b, " / %s", plain(list(br.Do)))
			}
			b.WriteByte('\n')
		}
	}
	for i, s := range t.states {
		if !leaves[i] {
			fmt.Fprintf(&b, "    %v --> [*]\n", s)
		}
	}
	return b.String()
}

// Markdown renders the whole product: the transitions as a table, then for
// every state what it ignores and what it refuses, with the reasons. The text
// depends on nothing but the table.
func (t *Table[S, K, E, A]) Markdown() string {
	var b strings.Builder
	b.WriteString("| state | event | when | next | actions |\n|---|---|---|---|---|\n")
	for p := range t.Pairs() {
		for _, br := range p.Branches {
			if br.Outcome == Transition {
				fmt.Fprintf(&b, "| %v | %v | %s | %v | %s |\n", p.State, p.Event, cellText(br.When), br.To, cellText(list(br.Do)))
			}
		}
	}
	for _, out := range []struct {
		outcome Outcome
		title   string
	}{{Ignore, "Ignored"}, {Refuse, "Refused"}} {
		fmt.Fprintf(&b, "\n%s:\n\n| state | event | when | reason |\n|---|---|---|---|\n", out.title)
		t.reasons(&b, out.outcome)
	}
	return b.String()
}

// reasons writes one row for consecutive events of a state that share guard
// and reason.
func (t *Table[S, K, E, A]) reasons(b *strings.Builder, outcome Outcome) {
	type row struct {
		events       []string
		when, reason string
	}
	for _, state := range t.states {
		var rows []row
		for p := range t.Pairs() {
			if p.State != state {
				continue
			}
			for _, br := range p.Branches {
				if br.Outcome != outcome {
					continue
				}
				found := false
				for i := range rows {
					if rows[i].when == br.When && rows[i].reason == br.Reason {
						rows[i].events = append(rows[i].events, fmt.Sprint(p.Event))
						found = true
						break
					}
				}
				if !found {
					rows = append(rows, row{[]string{fmt.Sprint(p.Event)}, br.When, br.Reason})
				}
			}
		}
		for _, r := range rows {
			fmt.Fprintf(b, "| %v | %s | %s | %s |\n", state, strings.Join(r.events, ", "), cellText(r.when), cellText(r.reason))
		}
	}
}

func list[A any](do []A) string {
	var b strings.Builder
	for i, a := range do {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, a)
	}
	return b.String()
}

// plain keeps a label inside what Mermaid reads as one line of text.
func plain(s string) string {
	return strings.NewReplacer("\n", " ", ":", " ", ";", ",").Replace(s)
}

func cellText(s string) string {
	return strings.NewReplacer("\n", " ", "|", "\\|").Replace(s)
}
