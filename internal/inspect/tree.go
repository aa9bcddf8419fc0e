package inspect

import (
	"fmt"
	"strings"

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
		root := &node{}
		explain(root, x)
		return c.tree(root)
	})
}

// explain turns an explanation into n.
func explain(n *node, x *history.Explanation) {
	n.text = short(&x.Record)
	for i := range x.Calls {
		called(n, &x.Calls[i])
	}
	for i := range x.Causes {
		because(n, &x.Causes[i])
	}
}

// short is a record in one line of a tree.
func short(r *history.Record) string {
	return fmt.Sprintf("%s  %s", r.Ref, content(r))
}

func because(n *node, cause *history.Cause) {
	switch {
	case cause.Change != nil:
		changed(n, "state", cause.Change)
	case cause.Kind == history.CauseState:
		n.add("state of " + line(cause.Value) + ": " + cause.Left)
	case cause.Ref != nil:
		sub := n.add("")
		if cause.Input != nil {
			explain(sub, cause.Input)
		} else {
			sub.text = fmt.Sprintf("%s  (%s)", cause.Ref, cause.Left)
			if cause.To > 0 {
				sub.text = fmt.Sprintf("%s to %d  (%s)", cause.Ref, cause.To, cause.Left)
			}
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
func changed(n *node, what string, ch *history.Change) {
	after := line(ch.After)
	if ch.Deleted {
		after = "deleted"
	}
	sub := n.add(fmt.Sprintf("%s %s[%s] = %s", what, ch.Table, line(ch.Key), after))
	for i := range ch.Causes {
		because(sub, &ch.Causes[i])
	}
	switch {
	case ch.Before != nil:
		changed(n, "before", ch.Before)
	case ch.Left != "":
		n.add("(" + ch.Left + ")")
	}
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

// came writes what came of a record, each effect below the first record that it
// followed from.
func (c *call) came(x *history.Impact) error {
	root := &node{text: short(&x.Record)}
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
		if e.Kind == history.EffectCall {
			called(above, e.Call)
			continue
		}
		text := effect(e)
		if len(also) > 0 {
			text += "  (also of " + strings.Join(also, ", ") + ")"
		}
		sub := above.add(text)
		if e.Kind == history.EffectRecord {
			nodes[e.Record.Ref] = sub
		}
	}
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

func effect(e *history.Effect) string {
	switch e.Kind {
	case history.EffectRecord:
		return short(e.Record)
	case history.EffectReceipt:
		status := map[string]string{"success": "delivered", "failed": "not delivered", "partial": "delivered in part"}[e.Status]
		return fmt.Sprintf("%s by %s  (%s)", status, e.Stage, e.Record.Ref)
	case history.EffectOpen:
		return fmt.Sprintf("accepted by %s, not finished", e.Stage)
	}
	after := line(e.Value)
	if e.Deleted {
		after = "deleted"
	}
	return fmt.Sprintf("state of %s: %s[%s] = %s", e.Stage, e.Table, line(e.Key), after)
}
