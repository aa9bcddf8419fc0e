package weir

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/redrive"
	"github.com/weirflow/weir/internal/resilience"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/topology"
)

// Why a run does not start.
var (
	// ErrInUse says that another process owns the run.
	ErrInUse = journal.ErrInUse
	// ErrUnfinished says that there is an unfinished run, with RefuseUnfinished.
	ErrUnfinished = errors.New("the newest run is unfinished")
	// ErrNoRun says that Options.Run names no run that can be continued.
	ErrNoRun = errors.New("no such unfinished run")
	// ErrNoDir says that there is no data directory, with RequireDir.
	ErrNoDir = errors.New("the data directory does not exist")
)

// A DefinitionError says that a run cannot be continued, or replayed, because the
// flow had another definition, which differs in what shapes the record.
type DefinitionError struct {
	Run         string
	Differences []topology.Difference // from the recorded definition to the present one
	Refusals    []ResumeRefusal       // what cannot be gone on with, and what to do
}

// Error lists the differences, what is refused, and what to do.
func (e *DefinitionError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s had another definition of this flow:", e.Run)
	for _, d := range e.Differences {
		if d.Shapes {
			b.WriteString("\n  " + d.Text)
		}
	}
	if len(e.Refusals) > 0 && len(e.Differences) > 0 {
		b.WriteString("\nso it cannot be gone on with:")
	}
	for _, r := range e.Refusals {
		b.WriteString("\n  " + r.Text)
		if r.Hint != "" {
			b.WriteString(":\n    " + r.Hint)
		}
	}
	return b.String()
}

// prepared is a run that is about to start.
type prepared struct {
	flow     *plan.Flow
	policies *resilience.Set // of flow
	log      journal.Log
	manifest journal.Manifest
	dir      string
	inbox    *inbox.Box // nil in memory
	logger   *slog.Logger
}

// prepare finds or makes the run and opens its log.
func (d *Definition) prepare(o Options) (*prepared, error) {
	if o.Dir == "" {
		if o.Run != "" || o.RequireDir {
			return nil, fmt.Errorf("flow %s: run %q is to be continued, but there is no data directory: set Options.Dir", d.name, o.Run)
		}
		return d.inMemory(o)
	}
	s, err := openStore(o, d.name)
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	run, err := s.find(o)
	switch {
	case err != nil:
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	case run == "":
		b, err := d.assemble(o.Config, nil, o)
		if err != nil {
			return nil, err
		}
		return d.create(s, b, b.manifest(d.name), o)
	}
	return d.resume(s, run, o)
}

// built is a flow with its settings.
type built struct {
	flow        *plan.Flow
	narrow      *redrive.Narrow // nil unless it is what a redrive runs
	policies    *resilience.Set
	settings    []journal.Setting
	definition  json.RawMessage
	fingerprint string
	drifts      []drift // from the settings of the recorded run
}

// assemble wires the flow with settings and checks it; with again it is what a
// redrive runs of it.
func (d *Definition) assemble(cfg any, again *journal.Redrive, o Options) (*built, error) {
	f, err := d.wire(cfg)
	if err != nil {
		return nil, err
	}
	cfg, err = d.settings(cfg)
	if err != nil {
		return nil, err
	}
	b := &built{flow: f.plan, policies: f.policies}
	if again != nil {
		if b.narrow, err = redrive.NarrowTo(f.plan, again, d.opener(again, o)); err != nil {
			return nil, fmt.Errorf("redrive run %s: %w", again.Run, err)
		}
		b.flow = b.narrow.Flow
	}
	b.fingerprint = b.flow.Graph.Fingerprint()
	if b.settings, err = recordSettings(cfg, o.Sources); err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	if b.definition, err = b.flow.Graph.MarshalJSON(); err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	if o.Harness.Edit != nil {
		if err := o.Harness.Edit(b.flow); err != nil {
			return nil, err
		}
	}
	for _, n := range b.flow.Nodes {
		for _, w := range n.Warnings {
			o.Logger.Warn("stage warning", slog.String("stage", n.Name), slog.String("warning", w))
		}
	}
	return b, nil
}

func (b *built) manifest(flow string) journal.Manifest {
	return journal.Manifest{
		Format: journal.FormatVersion, Run: ulid.Make().String(), Flow: flow,
		Created:     time.Now().UTC(), //nolint:forbidigo // the edge: a run begins
		Fingerprint: b.fingerprint, Definition: b.definition, Settings: b.settings,
	}
}

// inMemory makes a run of which nothing survives.
func (d *Definition) inMemory(o Options) (*prepared, error) {
	b, err := d.assemble(o.Config, nil, o)
	if err != nil {
		return nil, err
	}
	m := b.manifest(d.name)
	p := &prepared{flow: b.flow, policies: b.policies, manifest: m, logger: o.Logger}
	if o.Harness.Log != nil {
		p.log = o.Harness.Log(m)
		now := p.log.Manifest()
		if err := b.rememberRun(&now); err != nil {
			return nil, err
		}
	} else {
		p.log = memory.New(m, memory.Options{Build: buildIdentity(), Config: b.fingerprint})
	}
	return p, nil
}

// create makes a new run on disk.
func (d *Definition) create(s *store, b *built, m journal.Manifest, o Options) (*prepared, error) {
	dir := filepath.Join(s.runs, m.Run)
	log, err := segment.Create(s.fsys, dir, m, segment.Options{
		Sync: o.Sync, SegmentSize: o.SegmentSize, Enter: segment.Enter{Build: buildIdentity(), Config: b.fingerprint},
		Paused: o.paused,
	})
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	attrs := []any{slog.String("flow", d.name), slog.String("run", m.Run)}
	if again := m.Redrive; again != nil {
		attrs = append(attrs, slog.String("redrives", again.Run), slog.String("stage", again.Stage), slog.Uint64("letters", again.Count()))
	}
	o.Logger.Info("new run", append(attrs, slog.String("dir", dir))...)
	return &prepared{flow: b.flow, policies: b.policies, log: log, manifest: m, dir: dir, logger: o.Logger}, nil
}

// resume goes on with a run.
func (d *Definition) resume(s *store, run string, o Options) (*prepared, error) {
	dir := filepath.Join(s.runs, run)
	m, err := segment.ReadManifest(s.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	cfg, err := d.settings(o.Config)
	if err != nil {
		return nil, err
	}
	cfg, drifts, err := restoreSettings(cfg, m.Settings, o.Sources)
	if err != nil {
		return nil, fmt.Errorf("flow %s, run %s: %w", d.name, run, err)
	}
	b, err := d.assemble(cfg, m.Redrive, o)
	if err != nil {
		return nil, err
	}
	var other *planned
	log, report, err := segment.Open(s.fsys, dir, segment.Options{
		Sync: o.Sync, SegmentSize: o.SegmentSize, Paused: o.paused,
		Enter: segment.Enter{
			Build: buildIdentity(), Config: b.fingerprint,
			Redefine: b.redefine(o, &other), Settings: withNew(m.Settings, b.settings),
		},
	})
	if changed, ok := errors.AsType[*DefinitionError](err); ok {
		return nil, fmt.Errorf("flow %s: %w", d.name, changed)
	}
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	now := log.Manifest()
	epoch, last := now.Epochs[len(now.Epochs)-1], m.Epochs[len(m.Epochs)-1]
	attrs := []any{
		slog.String("flow", d.name), slog.String("run", run), slog.Uint64("epoch", epoch.Number),
		slog.Uint64("from_lsn", uint64(report.Head)),
	}
	if report.Cut > 0 {
		attrs = append(attrs, slog.Int64("cut_bytes", report.Cut))
	}
	o.Logger.Info("continued run", append(attrs, slog.String("dir", dir))...)
	if epoch.Build != last.Build {
		o.Logger.Info("code changed", slog.Uint64("since_epoch", last.Number), slog.String("was", last.Build), slog.String("is", epoch.Build))
	}
	for _, drift := range drifts {
		o.Logger.Warn("a setting is not as the run began", drift.attrs()...)
	}
	if other != nil {
		other.tell(o.Logger)
	}
	return &prepared{flow: b.flow, policies: b.policies, log: log, manifest: now, dir: dir, logger: o.Logger}, nil
}

// oneDefinition refuses a run in which not all epochs had the definition of a flow.
func oneDefinition(m *journal.Manifest, now *topology.Graph) error {
	periods, err := periodsOf(m)
	if err != nil {
		return fmt.Errorf("run %s: %w", m.Run, err)
	}
	if len(periods) > 1 {
		return &DefinitionError{Run: m.Run, Refusals: []ResumeRefusal{{
			Text: fmt.Sprintf("its definition changed with epoch %d, and what was recorded before and after is not of one flow", periods[0].UpTo+1),
		}}}
	}
	if was := periods[0].Graph; was.Fingerprint() != now.Fingerprint() {
		return &DefinitionError{Run: m.Run, Differences: topology.Diff(was, now)}
	}
	return nil
}

// paused tells people that the run waits for space, or that it goes on.
func (o *Options) paused(why error) {
	if why != nil {
		o.Logger.Warn("the disk is full: the run waits, nothing is lost, and goes on when there is space", slog.String("error", why.Error()))
	} else {
		o.Logger.Info("there is space again: the run goes on")
	}
	if fn := o.Observer.Paused; fn != nil {
		fn(why)
	}
}

// buildIdentity says which code this is: the revision, or the version of the
// main module, as the Go tool recorded it.
func buildIdentity() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision + dirty
}
