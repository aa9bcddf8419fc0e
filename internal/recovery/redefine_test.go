package recovery_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// redefine opens the run again with a random other definition, and follows by hand
// what it means.
func (w *world) redefine() {
	w.reopen(memory.Options{Redefine: func(v journal.View) (*journal.Redefinition, error) {
		if v.Head() != w.log.Head() {
			w.t.Fatalf("asked at frame %d of %d", v.Head(), w.log.Head())
		}
		d := &journal.Redefinition{}
		touched := map[string]bool{}
		for range rapid.IntRange(0, 2).Draw(w.t, "renamed") {
			w.rename(d, touched)
		}
		if rapid.IntRange(0, 2).Draw(w.t, "removed") == 0 {
			w.remove(d, touched)
		}
		if rapid.IntRange(0, 2).Draw(w.t, "added") == 0 {
			w.add(d, touched)
		}
		for _, name := range w.names {
			w.rewire(d, w.stages[name])
		}
		return d, nil
	}})
	w.compare(false)
}

// renames are what stages may be called.
var renames = []string{"a", "b", "c/sink", "d", "e", "f"}

// fresh returns a name that no stage has, as it was when it had one.
func (w *world) fresh(touched map[string]bool) (string, *model) {
	free := slices.DeleteFunc(slices.Clone(renames), func(n string) bool { return w.stages[n] != nil || touched[n] })
	if len(free) == 0 {
		return "", nil
	}
	name := rapid.SampledFrom(free).Draw(w.t, "name")
	m := w.gone[name]
	if m == nil {
		m = &model{table: newTable("t"), ended: map[string]bool{}}
		m.Name, m.NextOpen = name, 1
		m.Cursors, m.Ports = map[string]journal.Cursor{}, map[string]recovery.Port{}
	}
	return name, m
}

func (w *world) leave(name string) *model {
	m := w.stages[name]
	delete(w.stages, name)
	w.names = slices.DeleteFunc(w.names, func(n string) bool { return n == name })
	w.gone[name] = m
	return m
}

func (w *world) enters(name string, m *model) {
	delete(w.gone, name)
	w.stages[name] = m
	w.names = append(w.names, name)
}

func (w *world) rename(d *journal.Redefinition, touched map[string]bool) {
	name, to := w.fresh(touched)
	old := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return touched[n] })
	if to == nil || len(old) == 0 {
		return
	}
	was := rapid.SampledFrom(old).Draw(w.t, "was")
	from := w.leave(was)
	w.enters(name, to)
	touched[name], touched[was] = true, true
	to.NextOpen = from.NextOpen
	d.Renamed = append(d.Renamed, journal.Rename{Stage: name, Was: was, Open: to.NextOpen})
	to.inputs, to.table, to.Cursors, to.Position = from.inputs, from.table, from.Cursors, from.Position
	to.Note, to.Phase, to.Receipted = from.Note, from.Phase, from.Receipted
	to.Open, to.Timers = slices.Clone(from.Open), from.Timers
	for i := range to.Open {
		to.Open[i].Foreign = len(to.Open[i].Updates)
	}
	from.Position, from.Receipted = nil, 0
	from.forget()
}

func (m *model) forget() {
	m.Cursors, m.table, m.Note, m.Phase, m.Open, m.Timers, m.taken = map[string]journal.Cursor{}, newTable("t"), "", "", nil, nil, nil
	m.NextOpen = 1
}

func (w *world) remove(d *journal.Redefinition, touched map[string]bool) {
	left := slices.DeleteFunc(slices.Clone(w.names), func(n string) bool { return touched[n] })
	if len(left) < 2 {
		return
	}
	name := rapid.SampledFrom(left).Draw(w.t, "goes")
	touched[name] = true
	w.leave(name).forget()
	d.Removed = append(d.Removed, name)
}

func (w *world) add(d *journal.Redefinition, touched map[string]bool) {
	name, m := w.fresh(touched)
	if m == nil {
		return
	}
	touched[name] = true
	w.enters(name, m)
	m.inputs = nil
	d.Added = append(d.Added, name)
}

// rewire drops an input of a stage, or has it read one from the middle.
func (w *world) rewire(d *journal.Redefinition, m *model) {
	if n := len(m.inputs); n > 0 && rapid.IntRange(0, 3).Draw(w.t, "drop") == 0 {
		j := m.inputs[n-1]
		m.inputs = slices.Clone(m.inputs[:n-1])
		d.Dropped = append(d.Dropped, journal.Start{Stage: m.Name, Journal: j, Seq: m.Cursors[j].Seq})
		delete(m.Cursors, j)
	}
	if rapid.IntRange(0, 3).Draw(w.t, "start") > 0 {
		return
	}
	from := rapid.SampledFrom(w.names).Draw(w.t, "from")
	j := from + ".out"
	if slices.Contains(m.inputs, j) {
		return
	}
	at := rapid.Uint64Range(0, w.stages[from].Ports["out"].Count).Draw(w.t, "at")
	m.inputs = append(slices.Clip(m.inputs), j)
	d.Starts = append(d.Starts, journal.Start{Stage: m.Name, Journal: j, Seq: at})
	m.Cursors[j] = journal.Cursor{Journal: j, Seq: at}
}

// Whatever definitions follow one another, and wherever a run dies between, what is
// recovered is what the stages had.
func TestRedefinedIsWhatHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "step") {
			case 0:
				w.reopen(memory.Options{})
				w.compare(false)
			case 1, 2:
				w.redefine()
			case 3, 4, 5:
				w.snapshot()
			default:
				w.act()
			}
		}
		w.reopen(memory.Options{})
		w.compare(false)
	})
}

// A stage that came late is not looked for before it came, and one that left with a
// checkpoint behind it is not looked for at all.
func TestReadingIsBoundedByWhatStagesBegan(t *testing.T) {
	log := memory.New(journal.Manifest{Run: "r", Flow: "f"}, memory.Options{})
	var enc journal.Encoder
	numbers, records := map[string]uint64{}, map[string]uint64{}
	write := func(stage string, check bool) {
		t.Helper()
		numbers[stage]++
		records[stage]++
		n := records[stage]
		tr := journal.Transition{Stage: stage, Number: numbers[stage], Outputs: outputs(output("out", n, 1, n))}
		if check {
			tr.Check = &journal.Checkpoint{Ports: []journal.End{{Port: "out", Count: n, Digest: n}}, At: log.Head()}
		}
		frames, err := enc.Encode(&tr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), journal.Normal, frames...); err != nil {
			t.Fatal(err)
		}
	}
	reopen := func(d *journal.Redefinition) {
		t.Helper()
		log.Kill()
		next, err := log.ReopenAs(memory.Options{Redefine: func(journal.View) (*journal.Redefinition, error) { return d, nil }})
		if err != nil {
			t.Fatal(err)
		}
		log = next
	}
	for range 1000 {
		write("a", false)
		write("b", false)
	}
	write("a", true)
	write("b", true)
	reopen(&journal.Redefinition{Added: []string{"late"}, Removed: []string{"b"}})
	write("late", false)
	reopen(&journal.Redefinition{Renamed: []journal.Rename{{Stage: "later", Was: "late"}}})
	write("later", false)
	reopen(nil)
	state, err := recovery.Read(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	if state.From != 2003 || state.Read > 4 {
		t.Errorf("%d frames are read, from %d on", state.Read, state.From)
	}
	if got := state.Stages["b"].Ports["out"].Count; got != 1001 {
		t.Errorf("b has written %d records", got)
	}
}

// What is moved, forgotten and begun elsewhere, in the order in which it counts.
func TestRedefinition(t *testing.T) {
	log := opened(t, nil,
		journal.Transition{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 9, 9)), Position: &journal.Position{Value: "p"}},
		journal.Transition{Stage: "b", Number: 1, Consumed: consumed("a.out", 1, 4), Outputs: outputs(output("out", 1, 2, 2)), Open: []journal.OpenWork{
			{Op: journal.OpenAdd, ID: 1, Journal: "a.out", Seq: 4, Data: []byte("x")},
		}},
		journal.Transition{Stage: "c", Number: 1, Consumed: consumed("b.out", 1, 1)},
	)
	log.Kill()
	log, err := log.ReopenAs(memory.Options{Redefine: func(journal.View) (*journal.Redefinition, error) {
		return &journal.Redefinition{
			Renamed: []journal.Rename{{Stage: "bb", Was: "b", Open: 2}},
			Removed: []string{"a"}, Added: []string{"n"},
			Dropped: []journal.Start{{Stage: "c", Journal: "b.out", Seq: 1}},
			Starts:  []journal.Start{{Stage: "n", Journal: "a.out", Seq: 4}, {Stage: "c", Journal: "bb.out"}},
		}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	state, err := recovery.Read(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]uint64{"a": {}, "b": {}, "bb": {"a.out": 4}, "c": {"bb.out": 0}, "n": {"a.out": 4}}
	got := map[string]map[string]uint64{}
	for name, s := range state.Stages {
		got[name] = map[string]uint64{}
		for j, c := range s.Cursors {
			got[name][j] = c.Seq
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("cursors (-want +got):\n%s", diff)
	}
	if s := state.Stages["bb"]; len(s.Open) != 1 || s.Open[0].ID != 1 || s.NextOpen != 2 || s.Frames != 0 || len(s.Ports) != 0 {
		t.Errorf("bb is %+v", s)
	}
	if s := state.Stages["b"]; len(s.Open) != 0 || s.Frames != 1 || s.Ports["out"].Count != 2 {
		t.Errorf("b is %+v", s)
	}
	if s := state.Stages["a"]; s.Position == nil || s.Position.Value != "p" || s.Ports["out"].Count != 9 {
		t.Errorf("a is %+v", s)
	}
	m := log.Manifest()
	for _, tc := range []struct{ got, want string }{
		{m.NameAt("bb", 1), "b"},
		{m.NameAt("bb", 2), "b"},
		{m.NameAt("bb", 3), "bb"},
		{m.NameAt("c", 1), "c"},
		{m.AcceptedBy("bb", 1), "b"},
		{m.AcceptedBy("bb", 2), "bb"},
		{m.AcceptedBy("b", 1), "b"},
	} {
		if tc.got != tc.want {
			t.Errorf("a name is %s, want %s", tc.got, tc.want)
		}
	}
	if strings.Contains(string(m.DefinitionAt(0)), "?") {
		t.Error("no definition was given")
	}
}
