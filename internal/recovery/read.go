package recovery

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A Violation says where a log contradicts itself, though every frame is whole.
type Violation struct { //nolint:errname // the word of the run log for it
	Stage    string
	Journal  string      // "" if it is about the stage's frames or memory
	Seq      uint64      // of Journal: where what is there parts from what must be
	LSN      journal.LSN // of the transition that shows it
	Expected string
	Found    string
}

func (v *Violation) Error() string {
	where := fmt.Sprintf("frame %d of stage %s", v.LSN, v.Stage)
	if v.Journal != "" {
		where += fmt.Sprintf(", at %s:%d", v.Journal, v.Seq)
	}
	return fmt.Sprintf("the log contradicts itself in %s: expected %s, found %s", where, v.Expected, v.Found)
}

// A Log is what recovery needs of a run's log: a journal.Log just opened, or a
// view of one that somebody else owns.
type Log interface {
	journal.Source
	Head() journal.LSN
	Tails() map[string]journal.Tail
	ReadSnapshot(name string) ([]byte, error)
	Manifest() journal.Manifest
}

// Read returns where every stage of the run stood at the head of log. An owner
// calls it before it appends anything.
//
// Tables are filled by stage; they must be empty. A stage without an entry in
// tables keeps its state unread; one with an entry must have every table that
// its log changes.
//
// The error is a [*Violation] if the log contradicts itself, or what the log
// said; then tables hold nothing of use.
func Read(log Log, tables map[string][]Table) (*State, error) {
	return ReadInto(log, func(stage, name string) (Table, error) {
		list, ok := tables[stage]
		if !ok {
			return nil, nil
		}
		for _, t := range list {
			if t.Name() == name {
				return t, nil
			}
		}
		return nil, fmt.Errorf("stage %s has recorded state in table %q, which it does not have now", stage, name)
	})
}

// ReadInto is Read with a function that is asked once for each table of a stage;
// no table means that its state is not read.
func ReadInto(log Log, table func(stage, name string) (Table, error)) (*State, error) {
	r := reader{
		log:    log,
		head:   log.Head(),
		table:  table,
		stages: map[string]*stage{},
		state:  &State{Stages: map[string]*Stage{}, Terminals: map[uint64]evidence.Terminal{}},
	}
	m := log.Manifest()
	for e := range m.Redefinitions() {
		r.redefined = append(r.redefined, e)
	}
	tails := log.Tails()
	names := slices.Sorted(maps.Keys(tails))
	for _, name := range names {
		if err := r.checkpoint(name, tails[name]); err != nil {
			return nil, err
		}
	}
	r.prepare()
	r.state.From = r.head + 1
	for _, name := range names {
		need, err := r.begin(name, tails[name])
		if err != nil {
			return nil, err
		}
		r.state.From = min(r.state.From, need)
	}
	if err := r.forward(); err != nil {
		return nil, err
	}
	r.enter(math.MaxUint64)
	for _, name := range slices.Sorted(maps.Keys(r.stages)) {
		s := r.stages[name]
		if s.empty() {
			continue
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
		r.state.Stages[name] = &s.Stage
	}
	if err := r.compare(); err != nil {
		return nil, err
	}
	return r.state, nil
}

// A reader is one Read.
type reader struct {
	log    Log
	head   journal.LSN
	table  func(stage, name string) (Table, error)
	stages map[string]*stage
	state  *State

	redefined []*journal.Epoch // epochs with another definition that are not entered yet, in order
}

// checkpoint reads the newest checkpoint of a stage.
func (r *reader) checkpoint(name string, tail journal.Tail) error {
	s := r.stage(name)
	if tail.Checkpoint == 0 {
		return nil
	}
	p, err := journal.TransitionAt(r.log, tail.Checkpoint)
	if err != nil {
		return fmt.Errorf("checkpoint of stage %s: %w", name, err)
	}
	r.state.Read += int(p.Frames())
	if p.Stage != name || p.Check == nil {
		return &Violation{Stage: name, LSN: p.Last, Expected: "a checkpoint of this stage", Found: "another transition"}
	}
	s.base, s.epoch = p, p.Epoch
	return nil
}

// begin loads the checkpoint of a stage and returns the first LSN that must be
// read because of it.
func (r *reader) begin(name string, tail journal.Tail) (need journal.LSN, err error) {
	s := r.stage(name)
	p := s.base
	if p == nil {
		return r.first(name), nil
	}
	s.load(p)
	if err := r.snapshot(s, p.Check); err != nil {
		return 0, err
	}
	need = r.head + 1
	if tail.Last > p.Last {
		need = p.Last + 1
	}
	if s.Redo != 0 {
		need = min(need, s.Redo)
	}
	return need, nil
}

// stage returns the fold of the named stage.
func (r *reader) stage(name string) *stage {
	s, ok := r.stages[name]
	if !ok {
		s = newStage(name, r.table)
		r.stages[name] = s
	}
	return s
}

// snapshot loads what checkpoint c names into s.
func (r *reader) snapshot(s *stage, c *journal.Checkpoint) error {
	if c.Snapshot == "" {
		return nil
	}
	data, err := r.log.ReadSnapshot(c.Snapshot)
	if err != nil {
		return fmt.Errorf("stage %s: snapshot of the checkpoint at frame %d: %w", s.Name, s.check, err)
	}
	if sum := sha256.Sum256(data); sum != c.Sum {
		return &Violation{
			Stage: s.Name, LSN: s.check,
			Expected: fmt.Sprintf("snapshot %s with SHA-256 %x", c.Snapshot, c.Sum),
			Found:    fmt.Sprintf("%x over %d bytes", sum, len(data)),
		}
	}
	err = ParseSnapshot(data, &s.Stage, func(table string, c journal.Change, at journal.LSN) error {
		return s.apply(table, c, at, s.epoch)
	})
	if err != nil {
		return fmt.Errorf("stage %s: snapshot %s: %w", s.Name, c.Snapshot, err)
	}
	s.unpack()
	return nil
}

// forward folds every transition from State.From to the head.
func (r *reader) forward() (err error) {
	if r.state.From > r.head {
		return nil
	}
	in, err := r.log.Read(r.state.From)
	if err != nil {
		return fmt.Errorf("read from frame %d: %w", r.state.From, err)
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	var p journal.Placed
	for {
		err := ts.Next(&p)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.state.Read += int(p.Frames())
		r.enter(p.Epoch)
		if err := r.stage(p.Stage).fold(&p); err != nil {
			return err
		}
		if p.Stage == evidence.Pipeline {
			if err := r.terminal(&p); err != nil {
				return err
			}
		}
	}
}

// terminal notes what the pipeline says at the end of an epoch.
func (r *reader) terminal(p *journal.Placed) error {
	return each(p, journal.PortSys, evidence.TypeTerminal, func(t evidence.Terminal) {
		r.state.Terminals[p.Epoch] = t
	})
}

// compare holds what stages have consumed against what the others have written.
func (r *reader) compare() error {
	trimmed := r.log.Manifest().Kept != nil
	for _, name := range slices.Sorted(maps.Keys(r.state.Stages)) {
		s := r.state.Stages[name]
		for _, j := range slices.Sorted(maps.Keys(s.Cursors)) {
			c := s.Cursors[j]
			dot := strings.LastIndexByte(j, '.')
			up, known := r.state.Stages[j[:max(dot, 0)]]
			if !known && trimmed {
				continue // nothing of a stage that is gone was kept
			}
			var port Port
			if known {
				port = up.Ports[j[dot+1:]]
			}
			if c.Seq > port.Count {
				return &Violation{
					Stage: name, Journal: j, Seq: port.Count + 1, LSN: s.Last,
					Expected: fmt.Sprintf("no more consumed than the %d records written", port.Count), Found: strconv.FormatUint(c.Seq, 10),
				}
			}
			if c.End == journal.Natural && (port.End != journal.Natural || c.Seq != port.Count) {
				return &Violation{
					Stage: name, Journal: j, Seq: c.Seq + 1, LSN: s.Last,
					Expected: fmt.Sprintf("the end of a journal that ended after %d records", c.Seq),
					Found:    fmt.Sprintf("%d records and %s", port.Count, ending(port.End)),
				}
			}
		}
	}
	return nil
}

func ending(k journal.EndKind) string {
	if k == journal.Natural {
		return "a natural end"
	}
	return "no natural end"
}

// each calls fn with every record of one type that p wrote to a port.
func each[E evidence.Trying | evidence.Receipt | evidence.Terminal](p *journal.Placed, port, typ string, fn func(E)) error {
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != port || o.Type != typ {
			continue
		}
		rs := journal.NewRecords(o)
		var rec journal.Record
		for {
			seq, ok := rs.Next(&rec)
			if !ok {
				break
			}
			e, err := evidence.Parse[E](rec.Payload)
			if err != nil {
				return fmt.Errorf("frame %d: record %s.%s:%d: %w", p.Last, p.Stage, port, seq, err)
			}
			fn(e)
		}
		if err := rs.Err(); err != nil {
			return fmt.Errorf("frame %d: records of %s.%s: %w", p.Last, p.Stage, port, err)
		}
	}
	return nil
}

// finish puts what was folded in maps into the order that Stage promises, and gives
// the tables what they did not get yet.
func (s *stage) finish() error {
	s.Open = s.Open[:0:0]
	for _, id := range slices.Sorted(maps.Keys(s.open)) {
		s.Open = append(s.Open, *s.open[id])
	}
	s.Timers = slices.SortedFunc(maps.Values(s.timers), func(a, b journal.Timer) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.ID, b.ID), bytes.Compare(a.Key, b.Key))
	})
	s.Trying = slices.DeleteFunc(s.Trying, func(t Trying) bool {
		open := slices.ContainsFunc(s.Open, func(o Open) bool { return o.Journal == t.Journal && o.Seq == t.Seq })
		return t.Seq <= s.Cursors[t.Journal].Seq && !open
	})
	s.Ended = false
	for name, p := range s.Ports {
		if reserved(name) {
			continue
		}
		if s.Ended = p.End == journal.Natural; !s.Ended {
			break
		}
	}
	rows := s.rows
	s.rows = nil
	return rows.each(s.apply)
}
