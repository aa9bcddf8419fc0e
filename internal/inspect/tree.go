package inspect

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
)

// A node is a line of a tree, with what is below it.
type node struct {
	text  string
	nodes []*node
}

func (n *node) add(text string) *node {
	sub := &node{text: text}
	n.nodes = append(n.nodes, sub)
	return sub
}

// tree writes n and what is below it.
func (c *call) tree(n *node) error {
	if err := c.println(n.text); err != nil {
		return err
	}
	return c.branches(n, "")
}

func (c *call) branches(n *node, indent string) error {
	for i, sub := range n.nodes {
		edge, below := "├─ ", "│  "
		if i == len(n.nodes)-1 {
			edge, below = "└─ ", "   "
		}
		if err := c.println(indent + edge + sub.text); err != nil {
			return err
		}
		if err := c.branches(sub, indent+below); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) limits() (history.Limits, error) {
	if min(c.limit, c.depth, c.chain, c.fan) < 0 {
		return history.Limits{}, usagef("--limit, --depth, --chain and --fan are not negative")
	}
	return history.Limits{Records: c.limit, Depth: c.depth, Chain: c.chain, Fan: c.fan}, nil
}

// asked calls f with the record and the limits that the command names.
func (c *call) asked(f func(r *history.Run, ref event.Ref, limits history.Limits) error) error {
	limits, err := c.limits()
	if err != nil {
		return err
	}
	return c.with(func(r *history.Run) error {
		ref, err := c.ref(r)
		if err != nil {
			return err
		}
		return f(r, ref, limits)
	})
}

func why(c *call) error {
	return c.asked(func(r *history.Run, ref event.Ref, limits history.Limits) error {
		x, err := r.Why(c.ctx, ref, limits)
		if err != nil {
			return err
		}
		if c.json {
			return c.write(x)
		}
		w := &teller{day: day(x.At), code: x.Code}
		if err := c.println(fmt.Sprintf("%s · %s UTC · frame %d%s", x.Record.Ref, x.At.UTC().Format("2006-01-02 15:04:05.000"), x.Record.LSN, by(x.Code))); err != nil {
			return err
		}
		root := &node{}
		w.explain(root, x, "")
		root.text = fmt.Sprintf("%s  %s", x.Record.Ref, content(&x.Record))
		return c.tree(root)
	})
}

func by(code string) string {
	if code == "" {
		return ""
	}
	return " · code " + line(code)
}

// A teller tells what happened: with the time of the day, and the code where it is
// not that of what is told of.
type teller struct{ day, code string }

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

func (w *teller) when(t time.Time) string {
	if d := day(t); d != w.day {
		return d + " " + t.UTC().Format("15:04:05.000")
	}
	return t.UTC().Format("15:04:05.000")
}

// explain turns an explanation into n, behind some words.
func (w *teller) explain(n *node, x *history.Explanation, words string) {
	n.text = words + w.record(&x.Record)
	if x.Code != "" && x.Code != w.code {
		n.text += "  (code " + line(x.Code) + ")"
	}
	for i := range x.Calls {
		w.called(n, line(x.Calls[i].Step), &x.Calls[i])
	}
	if x.Left != "" {
		n.add("(" + x.Left + ")")
	}
	for i := range x.Causes {
		w.because(n, &x.Causes[i])
	}
}

// record is a record in one line of a tree.
func (w *teller) record(r *history.Record) string {
	return fmt.Sprintf("%s  %s  %s", r.Ref, w.when(r.Recorded), content(r))
}

func (w *teller) because(n *node, cause *history.Cause) {
	words := ""
	if cause.Kind == history.CauseSignal && cause.Ref != nil {
		words = "signal " + line(cause.Value) + " made of "
	}
	switch {
	case cause.Change != nil:
		w.changed(n, "", cause.Change)
	case cause.Kind == history.CauseState:
		n.add("state of " + line(cause.Value) + ": " + cause.Left)
	case cause.Ref != nil:
		sub := n.add("")
		switch {
		case cause.Input != nil:
			w.explain(sub, cause.Input, words)
		case cause.To > cause.Ref.Seq:
			sub.text = fmt.Sprintf("%s to %d  (%s)", cause.Ref, cause.To, cause.Left)
		default:
			sub.text = fmt.Sprintf("%s%s  (%s)", words, cause.Ref, cause.Left)
		}
		if cause.Run != "" {
			sub.text = "run " + cause.Run + "  " + sub.text
		}
	case cause.Kind == history.CausePosition:
		text := "read by the source, up to position " + line(cause.Value)
		if cause.Part != "" {
			text += " of part " + line(cause.Part)
		}
		n.add(text)
	default:
		n.add(cause.Kind + " " + line(cause.Value))
	}
}

// changed adds a change of state and, after it, the chain before it.
func (w *teller) changed(n *node, what string, ch *history.Change) {
	text := what + entry(ch.Table, ch.Key)
	if ch.Later > 0 {
		text += fmt.Sprintf(" (%s later)", Plural(uint64(ch.Later), "input"))
	}
	if ch.Deleted {
		text += " deleted"
	} else {
		text += " = " + line(ch.After)
	}
	sub := n.add(text)
	for i := range ch.Causes {
		w.because(sub, &ch.Causes[i])
	}
	switch {
	case ch.Before != nil:
		w.changed(n, "before: ", ch.Before)
	case ch.Left != "":
		n.add("(" + ch.Left + ")")
	}
}

// entry names a key of a table. Most stages have one table, called state.
func entry(table, key string) string {
	if table != "state" {
		table = "state " + table
	}
	return fmt.Sprintf("%s[%s]", line(table), line(key))
}

func impact(c *call) error {
	return c.asked(func(r *history.Run, ref event.Ref, limits history.Limits) error {
		x, err := r.Impact(c.ctx, ref, limits)
		if err != nil {
			return err
		}
		if c.json {
			return c.write(x)
		}
		return c.came(x)
	})
}

// came writes what came of a record.
func (c *call) came(x *history.Impact) error {
	w := &teller{day: day(x.Record.Recorded), code: x.Code}
	root := &node{}
	w.grow(root, x)
	if err := c.tree(root); err != nil {
		return err
	}
	if x.Left != "" {
		return c.printf("not shown: %s; --limit shows more\n", x.Left)
	}
	if len(x.Waiting) > 0 {
		return c.printf("more may come: %s has not read all of it\n", strings.Join(x.Waiting, ", "))
	}
	if len(x.Effects) == 0 {
		return c.printf("nothing followed from it\n")
	}
	return nil
}

// grow turns an impact into root, each effect below the first record that it followed
// from.
func (w *teller) grow(root *node, x *history.Impact) {
	root.text = w.record(&x.Record)
	nodes := map[event.Ref]*node{x.Record.Ref: root}
	for i := range x.Effects {
		e := &x.Effects[i]
		above, also := root, []string{}
		for k, ref := range e.Of {
			if n := nodes[ref]; n != nil && k == 0 {
				above = n
			} else {
				also = append(also, ref.String())
			}
		}
		if e.Kind == history.EffectReceipt { // below each of what it settles
			for _, ref := range e.Of {
				if n := nodes[ref]; n != nil {
					n.add(w.effect(e))
				}
			}
			continue
		}
		if e.Kind == history.EffectCall {
			w.called(above, of(e.Stage, e.Call.Step), e.Call)
			continue
		}
		text := w.effect(e)
		if len(also) > 0 {
			text += "  (also of " + few(also) + ")"
		}
		sub := above.add(text)
		if e.Kind == history.EffectRecord {
			nodes[e.Record.Ref] = sub
		}
	}
	for i := range x.Redriven {
		r := &x.Redriven[i]
		above := nodes[r.Of]
		if above == nil {
			above = root
		}
		sub := above.add("")
		if r.Impact != nil {
			w.grow(sub, r.Impact)
			sub.text = "redriven by run " + r.Run + "  " + sub.text
		} else {
			sub.text = fmt.Sprintf("redriven by run %s  (%s)", r.Run, r.Left)
		}
	}
}

// few names some of many.
func few(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func (w *teller) effect(e *history.Effect) string {
	switch e.Kind {
	case history.EffectRecord:
		return w.record(e.Record)
	case history.EffectReceipt:
		status := map[string]string{"success": "delivered", "failed": "not delivered", "partial": "delivered in part"}[e.Status]
		return fmt.Sprintf("%s by %s  %s  (%s)", status, e.Stage, w.when(e.Record.Recorded), e.Record.Ref)
	case history.EffectOpen:
		return fmt.Sprintf("accepted by %s, not finished", e.Stage)
	case history.EffectSignal:
		return fmt.Sprintf("signal %s kept by %s", strings.TrimSpace(line(e.Signal)+" "+line(e.Key)), e.Stage)
	}
	after := " = " + line(e.Value)
	if e.Deleted {
		after = " deleted"
	}
	return fmt.Sprintf("%s: %s%s", e.Stage, entry(e.Table, e.Key), after)
}
