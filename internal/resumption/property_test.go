package resumption_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/resumption"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A shape is a flow that is easily changed: what each stage reads.
type shape map[string][]string

func (s shape) graph(t testing.TB) *topology.Graph {
	t.Helper()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		kind := "transform"
		if len(s[name]) == 0 {
			kind = "source"
		}
		line := name + " " + kind
		for _, from := range s[name] {
			line += " " + from + ".out"
		}
		lines = append(lines, line)
	}
	return graph(t, lines...)
}

func (s shape) clone() shape {
	c := shape{}
	for name, in := range s {
		c[name] = slices.Clone(in)
	}
	return c
}

// drawShape makes a flow in which each stage reads some before it.
func drawShape(t *rapid.T) shape {
	s := shape{}
	for i := range rapid.IntRange(2, 7).Draw(t, "stages") {
		var in []string
		for j := range i {
			if rapid.IntRange(0, 2).Draw(t, "reads") == 0 {
				in = append(in, fmt.Sprintf("s%d", j))
			}
		}
		s[fmt.Sprintf("s%d", i)] = in
	}
	return s
}

// drawState lets each stage stand anywhere.
func drawState(t *rapid.T, s shape) *recovery.State {
	st := &recovery.State{Stages: map[string]*recovery.Stage{}}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		st.Stages[name] = &recovery.Stage{
			Name: name, NextOpen: 1, Cursors: map[string]journal.Cursor{},
			Ports: map[string]recovery.Port{"out": {Count: rapid.Uint64Range(0, 4).Draw(t, "written")}},
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		for _, from := range s[name] {
			n := st.Stages[from].Ports["out"].Count
			if rapid.Bool().Draw(t, "drained") {
				st.Stages[name].Cursors[from+".out"] = journal.Cursor{Seq: n}
			} else {
				st.Stages[name].Cursors[from+".out"] = journal.Cursor{Seq: rapid.Uint64Range(0, n).Draw(t, "read")}
			}
		}
	}
	return st
}

// edit changes a flow once: a stage comes between others, goes, reads something
// more or less, or has another name.
func edit(t *rapid.T, s shape, serial int, w *resumption.Wishes) {
	names := slices.Sorted(maps.Keys(s))
	name := rapid.SampledFrom(names).Draw(t, "stage")
	fresh := fmt.Sprintf("n%d", serial)
	switch rapid.IntRange(0, 5).Draw(t, "edit") {
	case 0: // between name and some of its readers
		for _, reader := range names {
			if i := slices.Index(s[reader], name); i >= 0 && rapid.Bool().Draw(t, "through") {
				s[reader][i], s[fresh] = fresh, []string{name}
			}
		}
	case 1: // out from between
		if len(names) > 2 {
			in := s[name]
			delete(s, name)
			for _, reader := range names {
				i := slices.Index(s[reader], name)
				if i < 0 {
					continue
				}
				s[reader] = slices.Delete(s[reader], i, i+1)
				for _, from := range in {
					if !slices.Contains(s[reader], from) && reader != from {
						s[reader] = append(s[reader], from)
					}
				}
			}
		}
	case 2: // beside the others
		s[fresh] = []string{name}
		if rapid.Bool().Draw(t, "asks") {
			w.Start = append(w.Start, fresh+"="+rapid.SampledFrom([]string{"now", "begin", name + ":1"}).Draw(t, "where"))
		}
	case 3: // reads less
		if len(s[name]) > 1 {
			s[name] = s[name][1:]
		}
	case 4: // another name
		in := s[name]
		delete(s, name)
		s[fresh] = in
		for _, reader := range names {
			if i := slices.Index(s[reader], name); i >= 0 {
				s[reader][i] = fresh
			}
		}
		if strings.HasPrefix(name, "s") && rapid.Bool().Draw(t, "told") {
			w.Map = append(w.Map, fresh+"="+name)
		}
	case 5: // nobody needs it any more
		w.Retire = append(w.Retire, "s1")
	}
}

// downstream returns the stages of which stop is true that a stage leads to.
func (s shape) downstream(name string, stop func(string) bool) map[string]bool {
	if stop(name) {
		return map[string]bool{name: true}
	}
	found := map[string]bool{}
	for reader, in := range s {
		if slices.Contains(in, name) {
			maps.Copy(found, s.downstream(reader, stop))
		}
	}
	return found
}

// Whatever changes, each record of each journal is read once on behalf of every
// stage that stays, or the plan says which are not.
func TestEveryRecordIsReadOnce(t *testing.T) {
	accepted, moved := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		was := drawShape(rt)
		st := drawState(rt, was)
		now := was.clone()
		var w resumption.Wishes
		for i := range rapid.IntRange(1, 3).Draw(rt, "edits") {
			edit(rt, now, i, &w)
		}
		q := question(was.graph(t), now.graph(t), st)
		q.Wishes = w
		p, err := resumption.Make(q)
		if err != nil {
			rt.Fatal(err)
		}
		if len(p.Refusals) > 0 {
			return
		}
		accepted++
		old := map[string]string{} // by stage of now: what it was
		for name := range now {
			if _, ok := was[name]; ok {
				old[name] = name
			}
		}
		for _, m := range w.Map {
			to, from, _ := strings.Cut(m, "=")
			old[to] = from
		}
		starts := map[[2]string]resumption.Input{}
		for _, s := range p.Stages {
			if s.How == resumption.Gone {
				continue
			}
			for _, in := range s.Inputs {
				if in.Why != "" && !strings.Contains(in.Why, "given up") {
					starts[[2]string{s.Name, in.Journal}] = in
				}
				if in.Moved {
					moved++
				}
			}
		}
		// What recovery makes of it is what the plan says.
		after := applied(st, &p.Means)
		for name, ins := range now {
			for _, from := range ins {
				j := from + ".out"
				in, ok := starts[[2]string{name, j}]
				if !ok {
					rt.Fatalf("the plan does not say where %s reads %s", name, j)
				}
				if got := after[name][j]; got != in.From-1 {
					rt.Fatalf("%s reads %s from %d, the plan says %d", name, j, got+1, in.From)
				}
			}
			for j := range after[name] {
				if from := strings.TrimSuffix(j, ".out"); !slices.Contains(ins, from) {
					rt.Fatalf("%s has a cursor on %s, which it does not read", name, j)
				}
			}
		}
		for writer := range was {
			if old[writer] != writer {
				continue
			}
			j, n := writer+".out", st.Stages[writer].Ports["out"].Count
			for stage, before := range old {
				check(rt, &w, j, n, was, now, old, st, starts, stage, before)
			}
		}
	})
	if (accepted < 20 || moved == 0) && !testing.Short() { // which draws few
		t.Errorf("%d plans were made, with %d inputs that begin in the middle: too few to say anything", accepted, moved)
	}
}

// check holds what a stage read of a journal, itself or through others that went,
// against what it will read, itself or through others that came.
func check(t *rapid.T, w *resumption.Wishes, j string, n uint64, was, now shape, old map[string]string, st *recovery.State, starts map[[2]string]resumption.Input, stage, before string) {
	writer := strings.TrimSuffix(j, ".out")
	stays := func(name string) bool {
		for _, o := range old {
			if o == name {
				return true
			}
		}
		return false
	}
	there := func(name string) bool { _, ok := old[name]; return ok }
	kept := slices.Contains(now[stage], writer) && slices.Contains(was[before], writer)
	var had []uint64 // where those stood that are gone or do not read it any more
	for reader, in := range was {
		if !slices.Contains(in, writer) || !was.downstream(reader, stays)[before] || reader == before && kept {
			continue
		}
		had = append(had, st.Stages[reader].Cursors[j].Seq)
	}
	var gets []resumption.Input
	for reader, in := range now {
		if !slices.Contains(in, writer) || !now.downstream(reader, there)[stage] || reader == stage && kept {
			continue
		}
		gets = append(gets, starts[[2]string{reader, j}])
	}
	for seq := uint64(1); seq <= n; seq++ {
		for _, at := range had {
			once := seq <= at
			var anew bool
			for _, in := range gets {
				anew = anew || seq >= in.From
			}
			switch {
			case once != anew:
			case once && slices.ContainsFunc(gets, func(in resumption.Input) bool { return in.Again > 0 }):
			case !once && slices.ContainsFunc(gets, func(in resumption.Input) bool { return in.Passed > 0 }):
			case !once && len(w.Retire) > 0:
			default:
				t.Fatalf("%s:%d on behalf of %s: read before: %v, read from now on: %v (stood at %v, reads %+v)", j, seq, stage, once, anew, had, gets)
			}
		}
	}
}

// applied returns the cursors that recovery gives the stages.
func applied(st *recovery.State, d *journal.Redefinition) map[string]map[string]uint64 {
	at := map[string]map[string]uint64{}
	for name, s := range st.Stages {
		at[name] = map[string]uint64{}
		for j, c := range s.Cursors {
			at[name][j] = c.Seq
		}
	}
	for _, r := range d.Renamed {
		at[r.Stage] = at[r.Was]
		delete(at, r.Was)
	}
	for _, name := range d.Removed {
		delete(at, name)
	}
	for _, name := range d.Added {
		at[name] = map[string]uint64{}
	}
	for _, x := range d.Dropped {
		delete(at[x.Stage], x.Journal)
	}
	for _, s := range d.Starts {
		at[s.Stage][s.Journal] = s.Seq
	}
	return at
}

// A stage that comes between one writer and one reader is never refused, wherever
// they stand.
func TestInsertionIsNeverRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		was := drawShape(rt)
		st := drawState(rt, was)
		now := was.clone()
		var readers []string
		for name, in := range was {
			if len(in) > 0 {
				readers = append(readers, name)
			}
		}
		if len(readers) == 0 {
			return
		}
		slices.Sort(readers)
		reader := rapid.SampledFrom(readers).Draw(rt, "reader")
		i := rapid.IntRange(0, len(now[reader])-1).Draw(rt, "input")
		writer := now[reader][i]
		now["n"], now[reader][i] = []string{writer}, "n"
		p, err := resumption.Make(question(was.graph(t), now.graph(t), st))
		if err != nil || len(p.Refusals) > 0 {
			rt.Fatalf("%v: %v, %v", now, p.Refusals, err)
		}
		want := st.Stages[reader].Cursors[writer+".out"].Seq
		if got := applied(st, &p.Means)["n"][writer+".out"]; got != want {
			rt.Fatalf("n begins behind %d, %s stands at %d", got, reader, want)
		}
	})
}
