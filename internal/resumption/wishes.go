package resumption

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/nearest"
	"github.com/weirflow/weir/topology"
)

// Wishes are what the user asked for, as it was written.
type Wishes struct {
	Start  []string // "stage=now", "stage=begin", "stage=orders.out:17"
	Map    []string // "new=old"
	Retire []string // "stage"
}

// A wish for a start.
type wish struct {
	text string
	word string    // now or begin; empty if it is a record
	ref  event.Ref // the first record to be read
	used bool
}

// wishes reads what was asked for and finds out which stages are others under new
// names.
func (m *maker) wishes() {
	for _, text := range m.Wishes.Map {
		now, was, ok := strings.Cut(text, "=")
		if !ok {
			m.refuse("", "", "write it as --map NEW=OLD", "%q does not say which stage has another's place", text)
			continue
		}
		m.rename(now, was)
	}
	for _, name := range m.Wishes.Retire {
		if _, ok := m.Was.Stage(name); !ok {
			m.refuse(name, "", "leave it out"+hint(name, m.Was), "there was no stage %s to retire", name)
		}
	}
	for _, text := range m.Wishes.Start {
		m.ask(text)
	}
}

// ask reads a wish for a start.
func (m *maker) ask(text string) {
	name, at, ok := strings.Cut(text, "=")
	if !ok {
		m.refuse("", "", "write it as --start STAGE=now, STAGE=begin or STAGE=orders.out:17", "%q does not say where a stage starts", text)
		return
	}
	if _, ok := m.Now.Stage(name); !ok {
		m.refuse(name, "", "leave it out"+hint(name, m.Now), "there is no stage %s to start", name)
		return
	}
	w := &wish{text: text}
	if at == "now" || at == "begin" {
		w.word = at
	} else {
		var err error
		if w.ref, err = event.ParseRef(at); err != nil {
			m.refuse(name, "", "write now, begin or the first record that it reads", "--start %s is not understood: %v", text, err)
			return
		}
	}
	m.asks[name] = append(m.asks[name], w)
}

// hint names the stage that may have been meant.
func hint(name string, g *topology.Graph) string {
	if best := nearest.Name(name, g.Order()); best != "" {
		return fmt.Sprintf(", or did you mean %s?", best)
	}
	return ""
}

// rename has a stage take over what another had.
func (m *maker) rename(now, was string) {
	s, inNow := m.Now.Stage(now)
	o, inWas := m.Was.Stage(was)
	_, stays := m.Now.Stage(was)
	_, there := m.Was.Stage(now)
	switch {
	case !inNow:
		m.refuse(now, "", "leave it out"+hint(now, m.Now), "there is no stage %s to take the place of %s", now, was)
	case !inWas:
		m.refuse(now, "", "leave it out"+hint(was, m.Was), "there was no stage %s whose place %s could take", was, now)
	case stays:
		m.refuse(now, "", "leave it out, or take "+was+" out of the flow", "stage %s cannot take the place of %s, which is still there", now, was)
	case there:
		m.refuse(now, "", "leave it out", "stage %s cannot take the place of another, it has one of its own", now)
	case m.old[now] != "" || m.now[was] != "":
		m.refuse(now, "", "name each stage once", "stage %s or %s is mapped twice", now, was)
	case s.Kind != o.Kind || operator(s) != operator(o):
		m.refuse(now, "", "name a stage that does the same", "stage %s (%s) cannot take the place of %s (%s)", now, described(s), was, described(o))
	case m.ended(was) && (s.Kind == topology.Source || s.Kind == topology.Sink):
		m.refuse(now, "", "leave it under its old name until the run is completed", "stage %s has ended for good and cannot go on as %s", was, now)
	default:
		m.old[now], m.now[was] = was, now
	}
}

func operator(s topology.Stage) string {
	for _, p := range s.Params {
		if p.Key == "operator" {
			return p.Value
		}
	}
	return ""
}

func described(s topology.Stage) string {
	if op := operator(s); op != "" {
		return op
	}
	return string(s.Kind)
}

func (m *maker) retired(name string) bool { return slices.Contains(m.Wishes.Retire, name) }
