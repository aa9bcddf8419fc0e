package history_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/sample"
)

// lines renders an explanation as indented text.
func lines(x *history.Explanation, indent string) []string {
	out := []string{indent + x.Record.Ref.String()}
	for _, c := range x.Causes {
		out = append(out, cause(c, indent+" ")...)
	}
	return out
}

func cause(c history.Cause, indent string) []string {
	switch {
	case c.To > 0:
		return []string{fmt.Sprintf("%s%s to %d: %s", indent, c.Ref, c.To, c.Left)}
	case c.Input != nil:
		return lines(c.Input, indent)
	case c.Change != nil:
		out := []string{fmt.Sprintf("%s%s[%s]=%s %s", indent, c.Change.Table, c.Change.Key, c.Change.After, c.Change.Left)}
		for _, c := range c.Change.Causes {
			out = append(out, cause(c, indent+" ")...)
		}
		if c.Change.Before != nil {
			out = append(out, cause(history.Cause{Change: c.Change.Before}, indent)...)
		}
		return out
	case c.Ref != nil:
		return []string{indent + c.Ref.String() + ": " + c.Left}
	}
	return []string{indent + c.Kind + " " + c.Value + c.Left}
}

func TestWhy(t *testing.T) {
	r := view(t, completed(t))
	for _, c := range []struct {
		ref    string
		limits history.Limits
		want   []string
	}{
		{"validate.dead:1", history.Limits{}, []string{
			"validate.dead:1",
			" orders.out:5",
			"  position row 6",
		}},
		{"totals:3", history.Limits{}, []string{
			"totals.out:3",
			" validate.valid:3",
			"  orders.out:4",
			"   position row 6",
			` totals[ann]={"customer":"ann","cents":600} `,
			"  validate.valid:3: shown above",
			` totals[ann]={"customer":"ann","cents":200} `,
			"  validate.valid:2",
			"   orders.out:2",
			"    position row 3",
		}},
		{"totals:6", history.Limits{Depth: 1}, []string{
			"totals.out:6",
			` totals[bob]={"customer":"bob","cents":100} `,
			"  validate.valid:1: beyond the limit",
		}},
		{"totals:5", history.Limits{Depth: 1, Chain: 2}, []string{
			"totals.out:5",
			` totals[ann]={"customer":"ann","cents":1200} `,
			"  validate.valid:4: beyond the limit",
			` totals[ann]={"customer":"ann","cents":600} earlier changes: beyond the limit`,
			"  validate.valid:3: beyond the limit",
		}},
		{"ship:1", history.Limits{Depth: 2}, []string{
			"ship.receipts:1",
			" totals.out:1",
			"  validate.valid:1: beyond the limit",
			`  totals[bob]={"customer":"bob","cents":100} `,
			"   validate.valid:1: beyond the limit",
			" totals.out:2",
			"  validate.valid:2: beyond the limit",
			`  totals[ann]={"customer":"ann","cents":200} `,
			"   validate.valid:2: beyond the limit",
		}},
	} {
		x, err := r.Why(t.Context(), ref(t, c.ref), c.limits)
		if err != nil {
			t.Errorf("Why(%s): %v", c.ref, err)
			continue
		}
		if diff := cmp.Diff(c.want, lines(x, "")); diff != "" {
			t.Errorf("Why(%s) (-want +got):\n%s", c.ref, diff)
		}
	}
}

func TestImpact(t *testing.T) {
	show := func(i *history.Impact) []string {
		var out []string
		for _, e := range i.Effects {
			var of []string
			for _, r := range e.Of {
				of = append(of, r.String())
			}
			line := fmt.Sprintf("%s ← %s: %s", e.Stage, strings.Join(of, " "), e.Kind)
			switch e.Kind {
			case history.EffectRecord:
				line += " " + e.Record.Ref.String()
			case history.EffectState:
				line += " " + e.Key
			case history.EffectReceipt:
				line += " " + e.Status
			}
			out = append(out, line)
		}
		if len(i.Waiting) > 0 {
			out = append(out, "waiting "+strings.Join(i.Waiting, " "))
		}
		return out
	}
	w := sample.New()
	log := begun(t, w)
	check := func(name string, want []string) {
		t.Helper()
		i, err := view(t, log).Impact(t.Context(), ref(t, name), history.Limits{})
		if err != nil {
			t.Fatalf("Impact(%s): %v", name, err)
		}
		if diff := cmp.Diff(want, show(i)); diff != "" {
			t.Errorf("Impact(%s) (-want +got):\n%s", name, diff)
		}
	}
	check("orders:4", []string{
		"validate ← orders.out:4: record validate.valid:3",
		"totals ← validate.valid:3: record totals.out:3",
		"totals ← validate.valid:3: state ann",
		"totals ← validate.valid:3: record totals.out:4", // which adds to that state
		"waiting ship",
	})
	if err := w.Finish(log); err != nil {
		t.Fatal(err)
	}
	check("orders:5", []string{"validate ← orders.out:5: record validate.dead:1"})
	check("orders:1", []string{
		"validate ← orders.out:1: record validate.valid:1",
		"totals ← validate.valid:1: record totals.out:1",
		"totals ← validate.valid:1: state bob",
		"ship ← totals.out:1: receipt success",
		"totals ← validate.valid:1: record totals.out:6",
		"ship ← totals.out:6: receipt success",
	})
}
