package verify

import "strings"

// A mask is a path into payloads that is not compared, name by name. A list is
// passed through: what is masked is so in each of its elements. The name "*" is
// every name. The empty mask is everything.
type mask []string

// masks are those of a flow, by journal, or "stage#table" for state.
type masks map[string][]mask

func parseMasks(of map[string][]string) masks {
	all := masks{}
	for name, paths := range of {
		for _, p := range paths {
			all[name] = append(all[name], strings.Split(p, "."))
		}
	}
	return all
}

// of returns the masks of a journal: below a member of its records, if that is not
// empty.
func (m masks) of(journal, below string) []mask {
	if below == "" {
		return m[journal]
	}
	return within(m[journal], below)
}

// within returns what masks leave out of a member.
func within(all []mask, name string) (inner []mask) {
	for _, m := range all {
		if len(m) > 0 && (m[0] == name || m[0] == "*") {
			inner = append(inner, m[1:])
		}
	}
	return inner
}
