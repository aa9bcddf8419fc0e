package weir

import (
	"maps"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// Unverified leaves fields of what a stage records out of what verify compares:
// for values that no one can compute again, such as a time that a handler has
// taken from the clock. What they are of is a port, "quote.out", its dead letters,
// "quote.dead", what its effects asked for, "quote.fx", or a table of state,
// "totals#state".
//
// Fields are paths into the payload as it is recorded, "fetched_at" or "price.at".
// A list is passed through: "lines.at" is at in each of the lines. "*" is any
// member of an object, such as the keys of a map: "prices.*.at". What is below a
// path is left out with it. On the port fx they begin with "request": where only
// the hash of a request is on record, it is not compared then.
func (f *Flow) Unverified(of string, fields ...string) {
	at := f.open()
	stage, _, ok := strings.Cut(of, "#")
	if !ok {
		stage, _ = splitJournal(of)
	}
	f.atEnd = append(f.atEnd, func() {
		i, known := f.index[stage]
		if !known {
			f.problem("", at, "fields of %s are left unverified, but there is no stage %q%s", of, stage, hint(stage, slices.Collect(maps.Keys(f.index))))
			return
		}
		if have := journalsOf(f.plan.Nodes[i]); !slices.Contains(have, of) {
			f.problem(stage, at, "fields of %s are left unverified, and the stage has %s", of, strings.Join(have, ", "))
		}
		if len(fields) == 0 {
			f.problem(stage, at, "Unverified names no field of %s", of)
		}
		for _, path := range fields {
			if slices.Contains(strings.Split(path, "."), "") || strings.ContainsAny(path, "[]") {
				f.problem(stage, at, "Unverified names %q of %s: want names joined by dots, such as price.at; lists are passed through", path, of)
			}
		}
	})
	if f.plan.Masks == nil {
		f.plan.Masks = map[string][]string{}
	}
	f.plan.Masks[of] = append(f.plan.Masks[of], fields...)
}

// journalsOf names what a stage records and verify compares.
func journalsOf(n *plan.Node) (names []string) {
	for _, p := range n.Ports {
		names = append(names, n.Name+"."+p.Name)
	}
	if n.Dead != nil {
		names = append(names, n.Name+"."+n.Dead.Name)
	}
	if n.Performer != nil {
		names = append(names, n.Name+"."+journal.PortFx)
	}
	for _, t := range n.Tables {
		names = append(names, n.Name+"#"+t.Name())
	}
	return names
}
