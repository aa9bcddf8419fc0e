package weir

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/plan"
)

// An Emission says when a stage with state emits the entry of a key. Several may
// be given, each works for itself; the default is [EmitAtEnd].
type Emission struct{ e plan.Emission }

// ApplyEmit adds the emission to a stage.
func (e Emission) ApplyEmit(s *plan.StateSettings) {
	if e.e.Rule == plan.EmitEvery && e.e.Every < 1 {
		s.Faults = append(s.Faults, fmt.Sprintf("EmitEvery(%d); give it at least 1", e.e.Every))
	}
	s.Emit = append(s.Emit, e.e)
}

// Reset returns e with the entry removed after each emission, so that the key
// starts afresh with its next input.
func (e Emission) Reset() Emission {
	e.e.Reset = true
	return e
}

// EmitAtEnd emits once, when the input has come to its natural end: the entries
// in ascending order of their keys.
func EmitAtEnd() Emission { return Emission{plan.Emission{Rule: plan.EmitAtEnd}} }

// EmitEvery emits the entry of a key after each n of its inputs.
func EmitEvery(n int) Emission { return Emission{plan.Emission{Rule: plan.EmitEvery, Every: n}} }

// EmitAlways emits the entry of a key after each of its inputs.
func EmitAlways() Emission { return EmitEvery(1) }

// EmitOnChange emits the entry of a key after an input, if its encoding then
// differs from what was emitted last.
func EmitOnChange() Emission { return Emission{plan.Emission{Rule: plan.EmitOnChange}} }

// describeEmissions is what the graph says.
func describeEmissions(rules []plan.Emission) string {
	var parts []string
	for _, r := range rules {
		var text string
		switch r.Rule {
		case plan.EmitAtEnd:
			text = "at end"
		case plan.EmitEvery:
			text = fmt.Sprintf("every %d", r.Every)
		case plan.EmitOnChange:
			text = "on change"
		}
		if r.Reset {
			text += " reset"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// emissions are the rules of one stage.
type emissions struct {
	rules  []plan.Emission
	counts bool // some rule needs the number of inputs
}

func newEmissions(rules []plan.Emission) emissions {
	return emissions{rules, slices.ContainsFunc(rules, func(r plan.Emission) bool { return r.Every > 1 })}
}

// A tally is what the emissions of a stage remember for a key.
type tally struct {
	Inputs int64  `json:"inputs,omitempty"` // since the entry began, if some rule counts them
	Shown  string `json:"shown,omitempty"`  // digest of what EmitOnChange saw last
}

// after tells whether an entry that took one more input is emitted, and whether
// it is then removed. encode returns the encoding of what would be emitted.
func (e *emissions) after(m *tally, encode func() ([]byte, error)) (emit, reset bool, err error) {
	if e.counts {
		m.Inputs++
	}
	for i := range e.rules {
		r := &e.rules[i]
		due := false
		switch r.Rule {
		case plan.EmitAtEnd: // see atEnd
		case plan.EmitEvery:
			due = r.Every == 1 || m.Inputs%int64(r.Every) == 0
		case plan.EmitOnChange:
			data, err := encode()
			if err != nil {
				return false, false, err
			}
			sum := sha256.Sum256(data)
			shown := base64.RawStdEncoding.EncodeToString(sum[:16])
			due, m.Shown = shown != m.Shown, shown
		}
		if due {
			emit, reset = true, reset || r.Reset
		}
	}
	return emit, reset, nil
}

// atEnd tells whether entries are emitted at the end, and whether they are then
// removed.
func (e *emissions) atEnd() (emit, reset bool) {
	for _, r := range e.rules {
		if r.Rule == plan.EmitAtEnd {
			emit, reset = true, reset || r.Reset
		}
	}
	return emit, reset
}
