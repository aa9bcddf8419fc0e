package recovery_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// A table is keyed state for tests.
type table struct {
	name    string
	entries map[string]entry
}

type entry struct {
	Value string
	At    journal.LSN
}

func newTable(name string) *table { return &table{name: name, entries: map[string]entry{}} }

func (t *table) Name() string { return t.name }

func (t *table) Apply(c journal.Change, at journal.LSN, _ uint64) error {
	if c.Deleted {
		delete(t.entries, string(c.Key))
	} else {
		t.entries[string(c.Key)] = entry{string(c.Value), at}
	}
	return nil
}

func (t *table) Snapshot(yield func(key, value []byte, at journal.LSN) error) error {
	for _, k := range slices.Sorted(maps.Keys(t.entries)) {
		if err := yield([]byte(k), []byte(t.entries[k].Value), t.entries[k].At); err != nil {
			return err
		}
	}
	return nil
}

// A model is what a stage of the model run remembers, kept by hand.
type model struct {
	recovery.Stage
	inputs []string
	table  *table
	ended  map[string]bool // ports

	taken *snapshot // written, and not yet named by a checkpoint
}

type snapshot struct {
	name string
	sum  [32]byte
	at   journal.LSN
	redo journal.LSN
	next uint64 // ID of the open work that is accepted next
}

// A world is a run of a, which feeds b and c; b feeds c and d, d feeds itself.
type world struct {
	t      *rapid.T
	log    *memory.Log
	stages map[string]*model
	names  []string
	gone   map[string]*model // stages that the definition has no more
	epoch  uint64
	serial int
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, log: memory.New(journal.Manifest{Run: "r", Flow: "f"}, memory.Options{}), stages: map[string]*model{}, gone: map[string]*model{}, epoch: 1}
	for _, s := range []struct {
		name   string
		inputs []string
	}{
		{"a", nil},
		{"b", []string{"a.out"}},
		{"c/sink", []string{"a.out", "b.out"}},
		{"d", []string{"b.out", "d.out"}},
	} {
		m := &model{inputs: s.inputs, table: newTable("t"), ended: map[string]bool{}}
		m.Name, m.NextOpen = s.name, 1
		m.Cursors, m.Ports = map[string]journal.Cursor{}, map[string]recovery.Port{}
		w.stages[s.name] = m
		w.names = append(w.names, s.name)
	}
	return w
}

func (w *world) text() string {
	w.serial++
	return fmt.Sprint("v", w.serial)
}

// act appends one random transition of a random stage and follows it by hand.
func (w *world) act() {
	m := w.stages[rapid.SampledFrom(w.names).Draw(w.t, "stage")]
	t := journal.Transition{Stage: m.Name, Number: m.Frames + 1}
	w.consume(m, &t)
	if m.inputs == nil && rapid.Bool().Draw(w.t, "position") {
		t.Position = &journal.Position{Value: w.text()}
		m.Position = t.Position
	}
	if !m.ended["out"] {
		w.write(m, &t, "out", "blob", rapid.SampledFrom([]int{0, 1, 3, 5000}).Draw(w.t, "records"), w.text())
	}
	changed := w.remember(m, &t)
	if m.Name == "c/sink" {
		changed = w.receipt(m, &t) || changed
	}
	if rapid.IntRange(0, 9).Draw(w.t, "end") == 0 {
		kind := rapid.SampledFrom([]journal.EndKind{journal.Natural, journal.Truncated, journal.Poison}).Draw(w.t, "kind")
		for _, port := range slices.Sorted(maps.Keys(m.Ports)) {
			p := m.Ports[port]
			t.Ends = append(t.Ends, journal.End{Port: port, Kind: kind, Count: p.Count, Digest: p.Digest})
			if kind == journal.Natural {
				p.End = kind
				m.Ports[port], m.ended[port] = p, true
			}
		}
	}
	if rapid.IntRange(0, 9).Draw(w.t, "mark") == 0 {
		m.Watermark = int64(w.serial)
		t.Marks = []journal.Watermark{{Port: "out", Time: m.Watermark}}
	}
	if s := m.taken; s != nil && rapid.Bool().Draw(w.t, "checkpoint") {
		t.Check = w.checkpoint(m, s)
		m.taken = nil
		m.Snapshot, m.At, m.Redo = s.name, s.at, s.redo
		m.Open = slices.Clone(m.Open)
		for i := range m.Open {
			if m.Open[i].ID < s.next { // the snapshot has it
				m.Open[i].Wrote, m.Open[i].Foreign = w.epoch, 0
			}
		}
	}
	first, last := w.append(m, t)
	if changed {
		for k, e := range m.table.entries {
			if e.At == 0 {
				m.table.entries[k] = entry{e.Value, last}
			}
		}
		if m.Redo == 0 {
			m.Redo = first
		}
		if m.taken != nil && m.taken.redo == 0 {
			m.taken.redo = first
		}
	}
}

func (w *world) append(m *model, t journal.Transition) (first, last journal.LSN) {
	var enc journal.Encoder
	frames, err := enc.Encode(&t)
	if err != nil {
		w.t.Fatalf("Encode: %v", err)
	}
	last, err = w.log.Append(context.Background(), journal.Normal, frames...)
	if err != nil {
		w.t.Fatalf("Append: %v", err)
	}
	m.Frames += uint64(len(frames))
	m.Last = last
	if t.Check != nil {
		m.Checked = last
	}
	return last - journal.LSN(len(frames)) + 1, last
}

func (w *world) consume(m *model, t *journal.Transition) {
	for _, j := range m.inputs {
		name, port, _ := strings.Cut(j, ".")
		up := w.stages[name]
		c := m.Cursors[j]
		if up == nil {
			up = w.gone[name]
		}
		n := rapid.Uint64Range(0, 3).Draw(w.t, "consumed")
		if to := min(c.Seq+n, up.Ports[port].Count); to > c.Seq {
			t.Consumed = append(t.Consumed, journal.Consumed{Kind: journal.Run, Journal: j, From: c.Seq + 1, To: to})
			m.Cursors[j] = journal.Cursor{Journal: j, Seq: to}
			c = m.Cursors[j]
		}
		if up.ended[port] && c.Seq == up.Ports[port].Count && c.End == 0 {
			t.Consumed = append(t.Consumed, journal.Consumed{Kind: journal.Ended, Journal: j, End: journal.Natural})
			m.Cursors[j] = journal.Cursor{Journal: j, Seq: c.Seq, End: journal.Natural}
		} else if rapid.IntRange(0, 19).Draw(w.t, "truncated") == 0 {
			t.Consumed = append(t.Consumed, journal.Consumed{Kind: journal.Ended, Journal: j, End: journal.Truncated})
			if _, ok := m.Cursors[j]; !ok {
				m.Cursors[j] = journal.Cursor{Journal: j}
			}
		}
	}
}

func (w *world) write(m *model, t *journal.Transition, port, typ string, n int, payload string) {
	if n == 0 {
		return
	}
	p := m.Ports[port]
	o := journal.Output{Port: port, Type: typ, First: p.Count + 1, Count: n}
	item := -1
	for range n {
		o.Records, item = journal.AppendRecord(o.Records, item, &journal.Record{Payload: []byte(payload)})
	}
	o.Digest = p.Digest + uint64(w.serial)
	p.Count, p.Digest = p.Count+uint64(n), o.Digest
	t.Outputs = append(t.Outputs, o)
	m.Ports[port] = p
}

// remember changes tables, timers and open work.
func (w *world) remember(m *model, t *journal.Transition) (changed bool) {
	if n := rapid.IntRange(0, 2).Draw(w.t, "changes"); n > 0 {
		s := journal.State{Table: "t", Count: n}
		for range n {
			c := journal.Change{Key: []byte(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(w.t, "key"))}
			if c.Deleted = rapid.IntRange(0, 3).Draw(w.t, "deleted") == 0; c.Deleted {
				delete(m.table.entries, string(c.Key))
			} else {
				c.Value = []byte(w.text())
				m.table.entries[string(c.Key)] = entry{Value: string(c.Value)} // LSN when placed
			}
			s.Changes = journal.AppendChange(s.Changes, &c)
		}
		t.State, changed = []journal.State{s}, true
	}
	if len(m.Timers) > 0 && rapid.IntRange(0, 2).Draw(w.t, "timer") == 0 {
		if rapid.Bool().Draw(w.t, "due") {
			t.Consumed = append(t.Consumed, journal.Consumed{Kind: journal.TimerDue, ID: m.Timers[0].ID})
		} else {
			t.Timers = append(t.Timers, journal.Timer{ID: m.Timers[0].ID})
		}
		m.Timers, changed = m.Timers[1:len(m.Timers):len(m.Timers)], true
	}
	if rapid.IntRange(0, 2).Draw(w.t, "set") == 0 {
		timer := journal.Timer{ID: w.text(), Key: []byte("k"), At: int64(w.serial), Reason: "why"}
		t.Timers = append(t.Timers, timer)
		m.Timers, changed = append(m.Timers, timer), true
	}
	for i := len(m.Open) - 1; i >= 0; i-- {
		switch rapid.IntRange(0, 3).Draw(w.t, "work") {
		case 0:
			t.Open = append(t.Open, journal.OpenWork{Op: journal.OpenClose, ID: m.Open[i].ID})
			m.Open, changed = slices.Delete(slices.Clone(m.Open), i, i+1), true
		case 1:
			data := []byte(w.text())
			t.Open = append(t.Open, journal.OpenWork{Op: journal.OpenUpdate, ID: m.Open[i].ID, Data: data})
			m.Open = slices.Clone(m.Open)
			m.Open[i].Updates, changed = append(slices.Clone(m.Open[i].Updates), data), true
		}
	}
	if rapid.IntRange(0, 2).Draw(w.t, "accept") == 0 {
		work := journal.OpenWork{Op: journal.OpenAdd, ID: m.NextOpen, Epoch: journal.ID{byte(w.serial)}, Journal: "a.out", Seq: 1, Data: []byte(w.text())}
		t.Open = append(t.Open, work)
		m.Open, changed = append(m.Open, recovery.Open{OpenWork: work, Wrote: w.epoch}), true
		m.NextOpen++
	}
	return changed
}

func (w *world) receipt(m *model, t *journal.Transition) bool {
	if rapid.Bool().Draw(w.t, "no receipt") || m.ended[evidence.Receipts] {
		return false
	}
	r := evidence.Receipt{Status: "success", Journal: "a.out", From: 1, To: rapid.Uint64Range(1, 9).Draw(w.t, "to")}
	switch rapid.IntRange(0, 3).Draw(w.t, "outcome") {
	case 0:
		r.Status, r.Failed = "partial", []uint64{1}
		m.Receipted += r.To - 1
	case 1:
		r.Status = "failed"
	default:
		m.Receipted += r.To
	}
	if rapid.Bool().Draw(w.t, "noted") {
		r.Note, r.Phase = w.text(), "finalizing"
		m.Note, m.Phase = r.Note, r.Phase
	}
	w.write(m, t, evidence.Receipts, evidence.TypeReceipt, 1, string(evidence.Append(nil, r)))
	return true
}

// snapshot writes what a random stage remembers.
func (w *world) snapshot() {
	m := w.stages[rapid.SampledFrom(w.names).Draw(w.t, "snapshot")]
	data, err := recovery.AppendSnapshot(nil, &m.Stage, []*table{m.table})
	if err != nil {
		w.t.Fatalf("AppendSnapshot: %v", err)
	}
	s := &snapshot{name: fmt.Sprintf("%s-%d.snap", strings.ReplaceAll(m.Name, "/", "-"), w.log.Head()), sum: sha256.Sum256(data), at: w.log.Head(), next: m.NextOpen}
	if err := w.log.WriteSnapshot(s.name, data); err != nil {
		w.t.Fatalf("WriteSnapshot: %v", err)
	}
	m.taken = s
}

func (w *world) checkpoint(m *model, s *snapshot) *journal.Checkpoint {
	c := &journal.Checkpoint{Position: m.Position, Snapshot: s.name, Sum: s.sum, At: s.at, Redo: s.redo, Watermark: m.Watermark}
	for _, j := range slices.Sorted(maps.Keys(m.Cursors)) {
		c.Cursors = append(c.Cursors, m.Cursors[j])
	}
	for _, name := range slices.Sorted(maps.Keys(m.Ports)) {
		p := m.Ports[name]
		c.Ports = append(c.Ports, journal.End{Port: name, Kind: p.End, Count: p.Count, Digest: p.Digest})
	}
	return c
}

// reopen begins the next epoch, in which what open work holds is of the epoch
// whose checkpoint it was read from.
func (w *world) reopen(o memory.Options) {
	w.log.Kill()
	log, err := w.log.ReopenAs(o)
	if err != nil {
		w.t.Fatalf("Reopen: %v", err)
	}
	w.log = log
	w.epoch++
}

// recover opens the run again and compares.
func (w *world) recover() {
	w.reopen(memory.Options{})
	w.compare(true)
}

// compare compares what is recovered with the model; bounded says that no more may
// be read than the checkpoints of today's stages ask for.
func (w *world) compare(bounded bool) {
	log := w.log
	tables := map[string][]recovery.Table{}
	want, got := map[string]*recovery.Stage{}, map[string]map[string]entry{}
	wantTables := map[string]map[string]entry{}
	need := log.Head() + 1
	tails := log.Tails()
	checks := 0
	for _, name := range w.names {
		m, t := w.stages[name], newTable("t")
		m.taken = nil // its file may be gone
		tables[name] = []recovery.Table{t}
		memory := len(m.Cursors)+len(m.Open)+len(m.Timers)+len(m.table.entries) > 0 || m.Position != nil || m.NextOpen > 1 || m.Note != "" || m.Receipted > 0
		if m.Last == 0 && !memory {
			continue
		}
		s := m.Stage
		s.Ended = len(m.Ports) > 0 && len(m.ended) == len(m.Ports)
		want[name], wantTables[name], got[name] = &s, m.table.entries, t.entries
		tail := tails[name]
		if tail.Checkpoint == 0 {
			need = 1
			continue
		}
		p, err := journal.TransitionAt(log, tail.Checkpoint)
		if err != nil {
			w.t.Fatal(err)
		}
		checks += int(p.Frames())
		if m.Redo != 0 {
			need = min(need, m.Redo)
		}
		if tail.Last > tail.Checkpoint {
			need = min(need, tail.Checkpoint+1)
		}
	}
	state, err := recovery.Read(log, tables)
	if err != nil {
		w.t.Fatalf("Read: %v", err)
	}
	for name, m := range w.gone {
		if m.Last == 0 {
			delete(state.Stages, name)
			continue
		}
		s := m.Stage // what it has written, and nothing else
		s.Ended = len(m.Ports) > 0 && len(m.ended) == len(m.Ports)
		if got := state.Stages[name]; got != nil {
			s.Snapshot, s.At, s.Redo, s.Checked = got.Snapshot, got.At, got.Redo, got.Checked
		}
		want[name] = &s
	}
	opts := []cmp.Option{cmpopts.EquateEmpty()}
	if !bounded { // what is read of a stage before its newest checkpoint is as it was then
		opts = append(opts, cmpopts.IgnoreFields(recovery.Open{}, "Wrote", "Foreign"))
	}
	if diff := cmp.Diff(want, state.Stages, opts...); diff != "" {
		w.t.Fatalf("stages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantTables, got); diff != "" {
		w.t.Fatalf("tables (-want +got):\n%s", diff)
	}
	if !bounded {
		return
	}
	if bound := int(log.Head()-need) + 1 + checks; state.Read > bound || state.From != need {
		w.t.Fatalf("read %d frames from %d, want at most %d from %d", state.Read, state.From, bound, need)
	}
}

func TestRecoveredIsWhatHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				w.recover()
			case 1, 2:
				w.snapshot()
			default:
				w.act()
			}
		}
		w.recover()
	})
}

// The frames read do not grow with the run when every stage writes a checkpoint
// now and then.
func TestReadingIsBounded(t *testing.T) {
	const interval = 20
	log := memory.New(journal.Manifest{Run: "r", Flow: "f"}, memory.Options{})
	numbers := map[string]uint64{}
	var enc journal.Encoder
	for i := range 3000 {
		stage := []string{"a", "b", "c"}[i%3]
		numbers[stage]++
		n := numbers[stage]
		rec, _ := journal.AppendRecord(nil, -1, &journal.Record{Payload: []byte("x")})
		tr := journal.Transition{
			Stage: stage, Number: n,
			Outputs: []journal.Output{{Port: "out", Type: "t", First: n, Count: 1, Records: rec, Digest: n}},
		}
		if n%interval == 0 {
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
	log.Kill()
	log, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	state, err := recovery.Read(log, nil)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	if limit := 3*interval + 3; state.Read > limit {
		t.Errorf("read %d frames of %d, want at most %d", state.Read, log.Head(), limit)
	}
	if got := state.Stages["b"].Ports["out"].Count; got != 1000 {
		t.Errorf("b has written %d records, want 1000", got)
	}
}

func FuzzParseSnapshot(f *testing.F) {
	tab := newTable("t")
	tab.entries["k"] = entry{"v", 7}
	s := &recovery.Stage{
		Name: "b", NextOpen: 3, Note: "n", Phase: "p", Receipted: 9,
		Open:   []recovery.Open{{OpenWork: journal.OpenWork{Op: journal.OpenAdd, ID: 2, Journal: "a.out", Seq: 4, Data: []byte("in")}, Updates: [][]byte{[]byte("u")}}},
		Timers: []journal.Timer{{ID: "x", Key: []byte("k"), At: -5, Reason: "r"}},
	}
	seed, err := recovery.AppendSnapshot(nil, s, []*table{tab, newTable("empty")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte("weirsnap\x01\x01b\x00\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := &recovery.Stage{Name: "b"}
		var tables []*table
		err := recovery.ParseSnapshot(data, got, func(name string, c journal.Change, at journal.LSN) error {
			if len(tables) == 0 || tables[len(tables)-1].name != name {
				tables = append(tables, newTable(name))
			}
			return tables[len(tables)-1].Apply(c, at, 1)
		})
		if err != nil || !bytes.Equal(data, seed) {
			return
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Errorf("ParseSnapshot (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tab.entries, tables[0].entries); diff != "" {
			t.Errorf("table (-want +got):\n%s", diff)
		}
	})
}
