package weir

import (
	"github.com/weirflow/weir/internal/plan"
)

// A sharing is a policy that stages have in common by its name.
type sharing struct{ stage, settings string }

// share reports policies that another stage gave other settings under the same
// name: there is one of each name, and which one's settings hold would be chance.
func (f *Flow) share(stage, caller string, g *plan.Guards) {
	check := func(kind, name, settings string) {
		if name == "" {
			return
		}
		key := kind + " " + name
		before, ok := f.shared[key]
		if !ok {
			f.shared[key] = sharing{stage, settings}
		} else if before.settings != settings {
			f.problem(stage, caller, "the %s %s is %s here and %s at stage %s; what is shared by name has the same settings everywhere",
				kind, name, settings, before.settings, before.stage)
		}
	}
	if g.Breaker != nil {
		check("breaker", g.Breaker.Name, g.Breaker.String())
	}
	if g.Bulkhead != nil {
		check("bulkhead", g.Bulkhead.Name, g.Bulkhead.String())
	}
	if g.Rate != nil {
		check("rate", g.Rate.Name, g.Rate.String())
	}
}
