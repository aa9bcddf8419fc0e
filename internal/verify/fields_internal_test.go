package verify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	for _, tt := range []struct{ name, was, now, masks, want string }{
		{"a member", `{"a":1,"b":2}`, `{"a":1,"b":3}`, "", "payload.b 2->3"},
		{"members", `{"a":1,"b":2}`, `{"a":4,"b":3}`, "", "payload.a 1->4, payload.b 2->3"},
		{"below", `{"a":{"b":{"c":1}}}`, `{"a":{"b":{"c":2}}}`, "", "payload.a.b.c 1->2"},
		{"of a list", `{"l":[{"at":1},{"at":2}]}`, `{"l":[{"at":1},{"at":3}]}`, "", "payload.l[1].at 2->3"},
		{"a longer list", `{"l":[1]}`, `{"l":[1,2]}`, "", "payload.l [1]->[1,2]"},
		{"absent", `{"a":1}`, `{"a":1,"b":null,"c":2}`, "", "payload.c ->2"},
		{"another type", `{"a":1}`, `{"a":"1"}`, "", `payload.a 1->"1"`},
		{"no object", `1`, `2`, "", "payload 1->2"},
		{"large numbers", `{"n":12345678901234567890}`, `{"n":12345678901234567891}`, "", "payload.n 12345678901234567890->12345678901234567891"},
		{"a name that is no name", `{"a.b":1,"":2}`, `{"a.b":2,"":3}`, "", `payload[""] 2->3, payload["a.b"] 1->2`},
		{"the same in other bytes", `{"a":1,"b":2}`, `{"b":2,"a":1}`, "", `payload {"a":1,"b":2}->{"b":2,"a":1}`},
		{"no JSON", "\x01", "\x02", "", "payload \x01->\x02"},
		{"masked", `{"at":1,"b":2}`, `{"at":2,"b":2}`, "at", ""},
		{"masked, and another", `{"at":1,"b":2}`, `{"at":2,"b":3}`, "at", "payload.b 2->3"},
		{"masked below", `{"p":{"at":1,"c":1}}`, `{"p":{"at":2,"c":1}}`, "p.at", ""},
		{"masked with all below", `{"p":{"at":1,"c":1}}`, `{"p":[]}`, "p", ""},
		{"masked in a list", `{"l":[{"at":1,"v":1},{"at":2,"v":1}]}`, `{"l":[{"at":3,"v":1},{"at":4,"v":2}]}`, "l.at", "payload.l[1].v 1->2"},
		{"masked in lists of lists", `{"l":[[{"at":1}]]}`, `{"l":[[{"at":2}]]}`, "l.at", ""},
		{"masked in a map", `{"by":{"x":{"at":1,"v":1},"y":{"at":2,"v":1}}}`, `{"by":{"x":{"at":3,"v":1},"y":{"at":4,"v":5}}}`, "by.*.at", "payload.by.y.v 1->5"},
		{"masked is not longer", `{"at":1,"att":2}`, `{"at":2,"att":3}`, "at", "payload.att 2->3"},
		{"a list at the top", `[{"at":1}]`, `[{"at":2}]`, "at", ""},
		{"masked and absent", `{"at":1}`, `{}`, "at", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &stage{v: &verifier{}}
			var names []string
			if tt.masks != "" {
				names = strings.Fields(tt.masks)
			}
			m := parseMasks(map[string][]string{"j": names})
			var got []string
			for _, f := range s.paths("payload", []byte(tt.was), []byte(tt.now), m.of("j", "")) {
				got = append(got, fmt.Sprintf("%s %s->%s", f.Path, f.Recorded, f.Computed))
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("differences %q, want %q", text, tt.want)
			}
		})
	}
}

func TestMasksBelow(t *testing.T) {
	m := parseMasks(map[string][]string{"pay.fx": {"request.at", "result", "request.lines.*"}})
	if got := fmt.Sprint(m.of("pay.fx", "request")); got != "[[at] [lines *]]" {
		t.Errorf("below request: %s", got)
	}
	if got := m.of("pay.fx", "key"); got != nil {
		t.Errorf("below key: %v", got)
	}
	if got := m.of("other.fx", "request"); got != nil {
		t.Errorf("of another journal: %v", got)
	}
}

// Never a panic, and what is no difference is none, whatever the payloads are.
func FuzzPaths(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":2}]}`), []byte(`{"a":[1,{"b":3}]}`), "a.b")
	f.Add([]byte(`null`), []byte("\xff"), "*")
	f.Fuzz(func(t *testing.T, was, now []byte, path string) {
		s := &stage{v: &verifier{}}
		m := parseMasks(map[string][]string{"j": {path}})
		s.paths("payload", was, now, m.of("j", ""))
		if json.Valid(was) {
			if got := s.paths("payload", was, was, nil); len(got) > 1 {
				t.Errorf("%q differs from itself: %v", was, got)
			}
		}
	})
}
