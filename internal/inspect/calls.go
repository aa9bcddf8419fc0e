package inspect

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/history"
)

// called adds a call to a tree, behind the name of what made it, with its decisions
// below it.
func (w *teller) called(n *node, by string, x *history.Call) {
	if by != "" {
		by += ": "
	}
	sub := n.add(by + w.call(x))
	for i := range x.Decisions {
		d := &x.Decisions[i]
		sub.add(fmt.Sprintf("%s  %s  (%s)", decided(d), w.when(d.At), d.Record))
	}
	for _, d := range x.Drifts {
		sub.add("drift: " + firstOf(line(d), "the code asked for something else; what is on record was used"))
	}
}

// call is a call in one line of a tree: what it came to first, how after it.
func (w *teller) call(x *history.Call) string {
	s := whatHappened(x)
	if !x.Last.IsZero() {
		s += "  " + w.when(x.Last)
	}
	switch {
	case x.Reason != "":
		s += "  " + line(x.Reason)
	case x.Result != nil:
		s += "  " + line(string(x.Result))
	}
	var parts []string
	if x.Attempts > 0 {
		how := Plural(uint64(x.Attempts), "attempt")
		if x.Took > 0 {
			how += " in " + took(x.Took)
		}
		parts = append(parts, how)
	}
	if x.Safety != "" {
		parts = append(parts, x.Safety)
	}
	if x.Key != "" && x.Kind == history.KindCall {
		parts = append(parts, "key "+line(x.Key))
	}
	if x.By != "" && len(x.Decisions) == 0 {
		parts = append(parts, "says "+line(x.By))
	}
	if code := strings.Join(x.Code, ", "); code != "" && code != w.code {
		parts = append(parts, "code "+line(code))
	}
	if len(parts) > 0 {
		s += "  (" + strings.Join(parts, " · ") + ")"
	}
	return s
}

// whatHappened names a call and says what it came to.
func whatHappened(x *history.Call) string {
	switch x.Kind {
	case history.KindCapture:
		return "captured"
	case history.KindWait:
		return waited(x)
	case history.KindExecution:
		return "the input as such: " + x.State
	}
	return firstOf(strings.TrimSpace(line(x.Effect)+" "+line(x.Version)), "a call") + " " + x.State
}

func waited(x *history.Call) string {
	switch {
	case x.State == history.CallWaiting && x.Signal == "":
		return "waits until " + stamp(x.Until)
	case x.State == history.CallWaiting:
		return "waits for the signal"
	case x.Signal == "" && x.Result == nil:
		return "the time came"
	default:
		return "the signal came"
	}
}
