package weir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/resumption"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/topology"
)

// A ResumePlan says what going on with an unfinished run means for a flow whose
// definition is not the one that the run had. Its JSON form is what
// `resume --plan --json` prints.
type ResumePlan struct {
	Run   string `json:"run"`
	Flow  string `json:"flow"`
	Dir   string `json:"dir"`
	Epoch uint64 `json:"epoch"` // that would begin
	// At is the frame up to which the run was looked at. If a process owns the run,
	// Owner says which; where stages begin is then as of that frame, and moves on.
	At    journal.LSN `json:"at"`
	Owner string      `json:"owner,omitempty"`

	Changed     bool                  `json:"changed"` // in what shapes the record
	Differences []topology.Difference `json:"differences,omitempty"`
	Stages      []ResumeStage         `json:"stages"` // in the order in which data flows, then those that are gone
	Refusals    []ResumeRefusal       `json:"refusals,omitempty"`
}

// What a plan consists of.
type (
	// ResumeStage says where one stage begins.
	ResumeStage = resumption.Stage
	// ResumeInput says where it begins to read a journal.
	ResumeInput = resumption.Input
	// ResumeRefusal is a reason not to go on, and what to do.
	ResumeRefusal = resumption.Refusal
)

// How a [ResumeStage] comes into the epoch.
const (
	StageGoesOn  = resumption.GoesOn
	StageNew     = resumption.New
	StageRenamed = resumption.Renamed
	StageEnded   = resumption.Ended // for good, in an earlier epoch
	StageGone    = resumption.Gone
)

// PlanResume says what [Definition.Run] would do with the unfinished run that o
// names, or the flow's newest: where each stage would begin, how many records that
// is, and what is refused. It takes no lock, writes nothing, and works beside a
// process that owns the run. Errors are those of going on, except that refusals are
// in the plan: [ErrNoRun] if there is no unfinished run.
func (d *Definition) PlanResume(_ context.Context, o Options) (_ *ResumePlan, err error) {
	o = o.orDefaults()
	s, err := findStore(o, d.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("flow %s: %w: there is no data directory %s", d.name, ErrNoRun, o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	o.Continue = ContinueUnfinished
	run, err := s.find(o)
	if err == nil && run == "" {
		err = fmt.Errorf("%w in %s", ErrNoRun, s.runs)
	}
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	dir := filepath.Join(s.runs, run)
	view, err := segment.OpenView(s.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	m := view.Manifest()
	b, err := d.rebuild(&m, m.Redrive, o.Config, o)
	if err != nil {
		return nil, err
	}
	log := asOf{view, view.Head()}
	owner, owned, err := view.Owner()
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	if owned {
		log.head = view.Durable()
	}
	p, err := b.plan(log, o)
	if err != nil {
		return nil, fmt.Errorf("flow %s, run %s: %w", d.name, run, err)
	}
	p.Dir, p.At = dir, log.head
	if owned {
		p.Owner = "another process"
		if owner.PID != 0 {
			p.Owner = fmt.Sprintf("process %d on %s", owner.PID, owner.Host)
		}
	}
	return p.ResumePlan, nil
}

// asOf is a log as it was at a frame.
type asOf struct {
	journal.View
	head journal.LSN
}

func (v asOf) Head() journal.LSN { return v.head }

// Tails leaves out what came later: a stage whose newest checkpoint did is read
// from the beginning.
func (v asOf) Tails() map[string]journal.Tail {
	tails := v.View.Tails()
	for name, t := range tails {
		if t.Checkpoint > v.head {
			t.Checkpoint = 0
		}
		t.Last = min(t.Last, v.head)
		tails[name] = t
	}
	return tails
}

func (v asOf) Read(from journal.LSN) (journal.Reader, error) {
	r, err := v.View.Read(from)
	return until{r, v.head}, err
}

// until is a reader that ends at a frame.
type until struct {
	journal.Reader
	head journal.LSN
}

func (r until) Next() (journal.Entry, error) {
	e, err := r.Reader.Next()
	if err == nil && e.LSN > r.head {
		return journal.Entry{}, io.EOF
	}
	return e, err
}

// A planned is a plan with what it means.
type planned struct {
	*ResumePlan
	means journal.Redefinition
}

// plan plans how the flow goes on with the run in log.
func (b *built) plan(log journal.View, o Options) (*planned, error) {
	m := log.Manifest()
	periods, err := periodsOf(&m)
	if err != nil {
		return nil, err
	}
	was := periods[len(periods)-1].Graph
	moved := map[string]string{} // what stages shall have been
	for _, text := range o.Map {
		if now, old, ok := strings.Cut(text, "="); ok {
			moved[now] = old
		}
	}
	remember(b.flow, &m, periods, moved)
	held := rowsOf{keep: b.changedState(periods)}
	state, err := recovery.ReadInto(log, held.table)
	if err != nil {
		return nil, err
	}
	p, err := resumption.Make(resumption.Question{
		Was: was, Now: b.flow.Graph, Before: periods, State: state, Rows: held.rows(),
		Wishes: resumption.Wishes{Start: o.Start, Map: o.Map, Retire: o.Retire},
		Reads:  b.reads, NameAt: m.NameAt,
		Author: func(journal string, seq uint64) (uint64, error) { return authorOf(log, journal, seq) },
	})
	if err != nil {
		return nil, err
	}
	p.Refusals = append(p.Refusals, b.unreadable(p, state, &held)...)
	all := &ResumePlan{
		Run: m.Run, Flow: m.Flow, Epoch: m.Epochs[len(m.Epochs)-1].Number + 1, Changed: was.Fingerprint() != b.fingerprint,
		Differences: p.Differences, Stages: p.Stages, Refusals: p.Refusals,
	}
	if !all.Changed {
		all.Refusals = nil // what was asked for was done, or is for another run
	}
	p.Means.Definition = b.definition
	return &planned{all, p.Means}, nil
}

// periodsOf returns every definition of a run with the last epoch that ran it; none
// if the manifest does not have them.
func periodsOf(m *journal.Manifest) ([]resumption.Period, error) {
	var all []resumption.Period
	if len(m.Definition) == 0 {
		return nil, nil
	}
	for i, e := range m.Epochs {
		if i == 0 || e.Redefined != nil {
			g, err := topology.Parse(m.DefinitionAt(e.Number))
			if err != nil {
				return nil, fmt.Errorf("the definition of epoch %d: %w", e.Number, err)
			}
			all = append(all, resumption.Period{Graph: g})
		}
		all[len(all)-1].UpTo = e.Number
	}
	return all, nil
}

// changedState returns the stages of earlier definitions whose state was of
// another type than that of a stage that may have it.
func (b *built) changedState(periods []resumption.Period) map[string]bool {
	now := map[string]bool{}
	for s := range b.flow.Graph.Stages() {
		if s.State != nil {
			now[s.State.Schema] = true
		}
	}
	changed := map[string]bool{}
	for _, p := range periods {
		for s := range p.Graph.Stages() {
			if s.State != nil && !now[s.State.Schema] {
				changed[s.Name] = true
			}
		}
	}
	return changed
}

// node returns a stage of the flow.
func (b *built) node(name string) *plan.Node {
	i := slices.IndexFunc(b.flow.Nodes, func(n *plan.Node) bool { return n.Name == name })
	return b.flow.Nodes[i]
}

// reads tells how the flow reads what was recorded as another type.
func (b *built) reads(p resumption.Place, was topology.Type) plan.Reading {
	n := b.node(p.Stage)
	var what any
	switch p.Port {
	case resumption.State:
		what = n.Kept
	case resumption.OpenWork:
		what = n.Performer
	case topology.Dead:
		what = n.Dead.Decoder
	default:
		i := slices.IndexFunc(n.Ports, func(q *plan.Port) bool { return q.Name == p.Port })
		what = n.Ports[i].Decoder
	}
	if r, ok := what.(plan.Rememberer); ok {
		return r.Reads(was)
	}
	return plan.Unreadable
}

// remember tells everything in the flow that is recorded what it was in earlier
// epochs of the run. moved names the stages that shall have the memory of others.
func remember(f *plan.Flow, m *journal.Manifest, periods []resumption.Period, moved map[string]string) {
	for _, n := range f.Nodes {
		now, _ := f.Graph.Stage(n.Name)
		before := func(epoch uint64) string {
			if was, ok := moved[n.Name]; ok {
				return m.NameAt(was, epoch)
			}
			return m.NameAt(n.Name, epoch)
		}
		tell := func(what any, now *topology.Type, of func(g *topology.Graph, epoch uint64) *topology.Type) {
			r, ok := what.(plan.Rememberer)
			if !ok || now == nil {
				return
			}
			var past plan.Past
			for _, p := range periods {
				was := of(p.Graph, p.UpTo)
				if was != nil && was.Name == now.Name && was.Schema == now.Schema {
					was = nil
				}
				past = append(past, plan.Was{UpTo: p.UpTo, Type: was})
			}
			r.Remember(past)
		}
		for _, p := range n.Ports {
			tell(p.Decoder, portType(f.Graph, n.Name, p.Name), func(g *topology.Graph, _ uint64) *topology.Type { return portType(g, n.Name, p.Name) })
		}
		if n.Dead != nil {
			tell(n.Dead.Decoder, now.Dead, func(g *topology.Graph, _ uint64) *topology.Type {
				s, _ := g.Stage(n.Name)
				return s.Dead
			})
		}
		if n.Kept != nil {
			tell(n.Kept, now.State, func(g *topology.Graph, epoch uint64) *topology.Type {
				s, _ := g.Stage(before(epoch))
				return s.State
			})
		}
		if n.Performer != nil {
			tell(n.Performer, portType(f.Graph, n.Name, plan.PortFailed), func(g *topology.Graph, epoch uint64) *topology.Type {
				return portType(g, before(epoch), plan.PortFailed)
			})
		}
	}
}

func portType(g *topology.Graph, stage, port string) *topology.Type {
	s, _ := g.Stage(stage)
	p, ok := s.Port(port)
	if !ok {
		return nil
	}
	return &p.Type
}

// rememberRun is remember for a run that the flow goes on with.
func (b *built) rememberRun(m *journal.Manifest) error {
	periods, err := periodsOf(m)
	if err == nil {
		remember(b.flow, m, periods, nil)
	}
	return err
}

// rowsOf counts what stages have in their tables.
type rowsOf struct {
	keep   map[string]bool // stages whose values are kept to be tried
	tables []*heldTable
}

type heldTable struct {
	stage, name string
	keep        bool
	rows        map[string]heldRow
}

type heldRow struct {
	value []byte
	epoch uint64
}

func (r *rowsOf) table(stage, name string) (recovery.Table, error) {
	if name == plan.EndTable {
		return nil, nil
	}
	t := &heldTable{stage: stage, name: name, keep: r.keep[stage], rows: map[string]heldRow{}}
	r.tables = append(r.tables, t)
	return t, nil
}

func (t *heldTable) Name() string { return t.name }

func (t *heldTable) Apply(c journal.Change, _ journal.LSN, epoch uint64) error {
	if c.Deleted {
		delete(t.rows, string(c.Key))
		return nil
	}
	row := heldRow{epoch: epoch}
	if t.keep {
		row.value = slices.Clone(c.Value)
	}
	t.rows[string(c.Key)] = row
	return nil
}

func (r *rowsOf) rows() map[string]resumption.Rows {
	all := map[string]resumption.Rows{}
	for _, t := range r.tables {
		rows := all[t.stage]
		rows.Count += len(t.rows)
		for _, row := range t.rows {
			if !slices.Contains(rows.Epochs, row.epoch) {
				rows.Epochs = append(rows.Epochs, row.epoch)
			}
		}
		slices.Sort(rows.Epochs)
		all[t.stage] = rows
	}
	return all
}

// unreadable refuses state that upcasters do not take, each stage with the first of
// it, and notes which accepted inputs they do not take.
func (b *built) unreadable(p *resumption.Plan, state *recovery.State, held *rowsOf) (refusals []ResumeRefusal) {
	refuse := func(stage, format string, args ...any) {
		refusals = append(refusals, ResumeRefusal{Stage: stage, Text: fmt.Sprintf(format, args...), Hint: "mend the upcaster"})
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		if s.How == resumption.New || s.How == resumption.Gone {
			continue
		}
		was, n := s.Name, b.node(s.Name)
		if s.Was != "" {
			was = s.Was
		}
		if k, ok := n.Kept.(interface {
			Name() string
			Try(data []byte, epoch uint64) error
		}); ok {
			if key, err := held.try(was, k.Name(), k.Try); err != nil {
				refuse(s.Name, "the state of stage %s for key %s cannot be read: %v", s.Name, key, err)
			}
		}
		r, ok := n.Performer.(plan.Renewer)
		at := state.Stages[was]
		if !ok || at == nil {
			continue
		}
		for j := range at.Open {
			if _, err := r.Renew(at.Open[j].Data, at.Open[j].Wrote); err != nil {
				s.Notes = append(s.Notes, fmt.Sprintf("%s:%d, which it has accepted, becomes a dead letter: %v", at.Open[j].Journal, at.Open[j].Seq, err))
			}
		}
	}
	return refusals
}

// try calls fn with the values of a table that were kept, in the order of their
// keys, up to one for which it fails.
func (r *rowsOf) try(stage, table string, fn func(data []byte, epoch uint64) error) (key string, err error) {
	for _, t := range r.tables {
		if t.stage != stage || t.name != table || !t.keep {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(t.rows)) {
			if err := fn(t.rows[key].value, t.rows[key].epoch); err != nil {
				return key, err
			}
		}
	}
	return "", nil
}

// goneTotals is what stages did for the run that a flow does not have any more.
func goneTotals(now *topology.Graph, m journal.Manifest, state *recovery.State) (engine.Totals, error) {
	periods, err := periodsOf(&m)
	if err != nil {
		return engine.Totals{}, err
	}
	var sum engine.Totals
	for name, at := range state.Stages {
		if _, ok := now.Stage(name); ok {
			continue
		}
		for _, p := range slices.Backward(periods) {
			s, ok := p.Graph.Stage(name)
			if !ok {
				continue
			}
			sum.Dead += at.Ports[event.PortDead].Count
			switch s.Kind {
			case topology.Source:
				for _, port := range s.Ports {
					sum.In += at.Ports[port.Name].Count
				}
			case topology.Sink:
				sum.Out += at.Receipted
			case topology.Effect:
				n := at.Ports[plan.PortFailed].Count
				sum.Failed += n
				if len(p.Graph.Readers(name, plan.PortFailed)) == 0 { // nobody knew
					sum.Dead += n
				}
			default:
			}
			break
		}
	}
	return sum, nil
}

// authorOf returns the epoch that wrote a record.
func authorOf(log journal.View, name string, seq uint64) (epoch uint64, err error) {
	from, err := log.Find(name, seq)
	if err != nil {
		return 0, err
	}
	in, err := log.Read(from)
	if err != nil {
		return 0, err
	}
	ts := journal.Transitions(in)
	defer func() { err = errors.Join(err, ts.Close()) }()
	stage, port := splitJournal(name)
	var p journal.Placed
	for {
		if err := ts.Next(&p); err != nil {
			return 0, err
		}
		for i := range p.Outputs {
			if o := &p.Outputs[i]; p.Stage == stage && o.Port == port && o.First <= seq && seq < o.First+uint64(o.Count) {
				return p.Epoch, nil
			}
		}
	}
}

// redefine answers what the flow means for the run that it goes on with; to gets
// the plan if it is another definition.
func (b *built) redefine(o Options, to **planned) journal.Redefine {
	return func(log journal.View) (*journal.Redefinition, error) {
		m := log.Manifest()
		was, err := topology.Parse(m.DefinitionAt(0))
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", m.Run, err)
		}
		if was.Fingerprint() == b.fingerprint {
			return nil, b.rememberRun(&m)
		}
		p, err := b.plan(log, o)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", m.Run, err)
		}
		if len(p.Refusals) > 0 {
			return nil, &DefinitionError{Run: m.Run, Differences: p.Differences, Refusals: p.Refusals}
		}
		*to = p
		return &p.means, nil
	}
}

// tell logs what another definition means: one line for each start, and for what
// people should know.
func (p *planned) tell(log *slog.Logger) {
	for _, d := range p.Differences {
		if d.Shapes {
			log.Info("the flow changed", slog.String("what", d.Text))
		}
	}
	for _, s := range p.Stages {
		for _, in := range s.Inputs {
			switch {
			case s.How == resumption.Gone, strings.HasSuffix(in.Why, "given up"):
				log.Warn("records are given up", slog.String("stage", s.Name), slog.String("journal", in.Journal), slog.Uint64("from", in.From), slog.Uint64("records", in.Passed))
			case in.Moved || s.How == resumption.New:
				log.Info("stage starts", slog.String("stage", s.Name), slog.String("journal", in.Journal), slog.Uint64("from", in.From), slog.Uint64("records", in.Records), slog.String("why", in.Why))
			}
		}
		if s.How == resumption.Renamed {
			log.Info("stage goes on under another name", slog.String("stage", s.Name), slog.String("was", s.Was))
		}
		for _, n := range s.Notes {
			log.Info("stage changed", slog.String("stage", s.Name), slog.String("what", n))
		}
	}
}
