package weir

import (
	"slices"
	"strings"
)

// Unverified leaves fields of what a stage records out of what verify compares:
// for values that no one can compute again, such as a time that a handler has
// taken from the clock. journal is a port, "quote.out", its dead letters,
// "quote.dead", or a table of state, "totals#state"; fields are paths into the
// payload as it is recorded, "fetched_at" or "price.at".
func (f *Flow) Unverified(journal string, fields ...string) {
	at := f.open()
	stage, _, ok := strings.Cut(journal, "#")
	if !ok {
		stage, _ = splitJournal(journal)
	}
	f.atEnd = append(f.atEnd, func() {
		switch _, known := f.index[stage]; {
		case !known:
			f.problem("", at, "fields of %s are left unverified, but there is no stage %q", journal, stage)
		case len(fields) == 0 || slices.Contains(fields, ""):
			f.problem(stage, at, "Unverified names no field of %s", journal)
		}
	})
	if f.plan.Masks == nil {
		f.plan.Masks = map[string][]string{}
	}
	f.plan.Masks[journal] = append(f.plan.Masks[journal], fields...)
}
