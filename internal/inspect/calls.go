package inspect

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/history"
)

// called adds a call to a tree, with its decisions below it.
func called(n *node, x *history.Call) {
	sub := n.add(callLine(x))
	for i := range x.Decisions {
		d := &x.Decisions[i]
		sub.add(fmt.Sprintf("%s, %s  (%s)", decided(d), stamp(d.At), d.Record))
	}
	for _, d := range x.Drifts {
		sub.add("drift: " + line(d))
	}
}

// callLine is a call in one line of a tree.
func callLine(x *history.Call) string {
	what := named(x)
	if x.Kind == history.KindCall && x.Effect == "" {
		what = "a call"
	}
	s := fmt.Sprintf("%s by %s: %s", what, of(x.Stage, x.Step), x.State)
	var parts []string
	if x.Attempts > 0 {
		parts = append(parts, Plural(uint64(x.Attempts), "attempt"))
	}
	if x.Took > 0 {
		parts = append(parts, took(x.Took))
	}
	if x.Safety != "" {
		parts = append(parts, x.Safety)
	}
	if x.Key != "" && x.Kind == history.KindCall {
		parts = append(parts, "key "+line(x.Key))
	}
	if x.Signal != "" {
		parts = append(parts, "for "+strings.TrimSpace(line(x.Signal)+" "+line(x.Key)))
	}
	if x.By != "" && len(x.Decisions) == 0 {
		parts = append(parts, "says "+line(x.By))
	}
	if len(x.Code) > 0 {
		parts = append(parts, "code "+line(strings.Join(x.Code, ", ")))
	}
	if len(parts) > 0 {
		s += ", " + strings.Join(parts, ", ")
	}
	switch {
	case x.Reason != "":
		s += "  " + line(x.Reason)
	case x.Result != nil:
		s += "  " + line(string(x.Result))
	}
	return s
}
