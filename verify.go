package weir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resumption"
	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/topology"
)

// VerifyOptions say what of a run is verified. The zero value is all of it.
type VerifyOptions struct {
	// Stages are those that are executed again. Empty means all.
	Stages []string
	// From and To are records, such as "orders:17" or "validate.dead:3": only what
	// was done from the one to the other, in the order of the log, is executed
	// again; what comes before is taken as it is recorded. Empty means the
	// beginning and the end of the run.
	From, To string
	// MaxDifferences is how many are listed; all are counted. Zero means 100.
	MaxDifferences int
	// Chain has the chain of the log computed, too, so that the verdict says of
	// which bytes it speaks. It reads the log once more; a damaged one is refused.
	Chain bool

	// Config and Sources are as in [Options]: the flow is built with the settings
	// that the run began with, but for those from the command line.
	Config  any
	Sources map[string]string
	// Logger is told what people should know. Nil means slog.Default().
	Logger *slog.Logger

	// Harness is for package weirtest.
	Harness *plan.Harness
}

// Verify executes the run in the directory dir again, as far as it is durable,
// and compares what comes out with what is recorded. Nothing is written and
// nothing outside is touched: no source, sink, effect or resource is opened.
//
// That the run differs is data in the verdict. Errors: a
// [*topology.ValidationError], a run of another flow or one that cannot be read,
// the end of ctx.
//
// Handlers must be deterministic: what reads the clock, randomness or anything
// outside comes out differently, and is reported.
func (d *Definition) Verify(ctx context.Context, dir string, o VerifyOptions) (v *Verification, err error) {
	if o.Harness == nil {
		o.Harness = &plan.Harness{}
	}
	fsys := o.Harness.FS
	if fsys == nil {
		fsys = vfs.OS
	}
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("verify run in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	m := view.Manifest()
	b, err := d.rebuild(&m, m.Redrive, o.Config, Options{Sources: o.Sources, Logger: o.Logger, Harness: o.Harness})
	if err != nil {
		return nil, err
	}
	periods, err := periodsOf(&m)
	if err != nil {
		return nil, fmt.Errorf("flow %s, run %s: %w", d.name, m.Run, err)
	}
	remember(b.flow, &m, periods, nil)
	was := m.Fingerprint
	if n := len(periods); n > 1 {
		was = periods[n-1].Graph.Fingerprint()
	}
	upto := view.Durable()
	c := verify.Config{
		Flow: b.flow, Log: view, Upto: upto, Stages: o.Stages, Max: o.MaxDifferences, Was: definitionAt(periods),
		Open: func() (verify.Log, func() error, error) {
			again, err := segment.OpenView(fsys, dir)
			if err != nil {
				return nil, nil, err
			}
			return again, again.Close, nil
		},
	}
	for _, r := range []struct {
		text string
		ref  *event.Ref
	}{{o.From, &c.From}, {o.To, &c.To}} {
		if *r.ref, err = b.ref(r.text); err != nil {
			return nil, err
		}
	}
	found, err := verify.Run(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("flow %s, run %s: %w", d.name, m.Run, err)
	}
	v = &Verification{
		Format: reportFormat, Run: m.Run, Flow: m.Flow, Dir: dir,
		Part:       VerifiedPart{o.Stages, o.From, o.To},
		Definition: TwoSides{was, b.fingerprint},
		Verified:   time.Now().UTC(), //nolint:forbidigo // the edge: a report is dated
	}
	for _, c := range b.drifts {
		v.Settings = append(v.Settings, c.changed())
	}
	v.conclude(found, &m)
	if o.Chain {
		if v.At.Chain, err = chainAt(fsys, dir, v.At.LSN); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// definitionAt returns the definition that an epoch ran.
func definitionAt(periods []resumption.Period) func(epoch uint64) *topology.Graph {
	return func(epoch uint64) *topology.Graph {
		i := slices.IndexFunc(periods, func(p resumption.Period) bool { return epoch <= p.UpTo })
		if i < 0 {
			return nil
		}
		return periods[i].Graph
	}
}

// rebuild builds the flow with the settings of a recorded run; with again it is what
// a redrive runs of it.
func (d *Definition) rebuild(m *journal.Manifest, again *journal.Redrive, config any, o Options) (*built, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if m.Flow != d.name {
		return nil, fmt.Errorf("run %s is of flow %s, this is %s", m.Run, m.Flow, d.name)
	}
	cfg, err := d.settings(config)
	if err != nil {
		return nil, err
	}
	cfg, drifts, err := restoreSettings(cfg, m.Settings, o.Sources)
	if err != nil {
		return nil, fmt.Errorf("flow %s, run %s: %w", d.name, m.Run, err)
	}
	for _, drift := range drifts {
		o.Logger.Warn("a setting is not as the run began", drift.attrs()...)
	}
	b, err := d.assemble(cfg, again, o)
	if err == nil {
		b.drifts = drifts
	}
	return b, err
}

// chainAt returns the chain value after a frame of a run that is whole.
func chainAt(fsys vfs.FS, dir string, at journal.LSN) (string, error) {
	f, err := segment.CheckUpTo(fsys, dir, at)
	switch {
	case err != nil:
		return "", err
	case len(f.Damage) > 0:
		return "", fmt.Errorf("run %s is damaged, so there is nothing to compare with: %w; see check", f.Run, f.Damage[0])
	}
	return f.ChainAt, nil
}

// ref reads the name of a record: "stage:seq" is of the stage's only data port.
func (b *built) ref(text string) (event.Ref, error) {
	if text == "" {
		return event.Ref{}, nil
	}
	ref, err := event.ParseRef(text)
	if err != nil {
		return event.Ref{}, fmt.Errorf("%w: %w", ErrNoRecord, err)
	}
	s, ok := b.flow.Graph.Stage(ref.Stage)
	if !ok {
		var names []string
		for s := range b.flow.Graph.Stages() {
			names = append(names, s.Name)
		}
		return event.Ref{}, fmt.Errorf("%w: %s is of stage %q%s", ErrNoRecord, text, ref.Stage, hint(ref.Stage, names))
	}
	if ref.Port == "" {
		if len(s.Ports) != 1 {
			var names []string
			for _, p := range s.Ports {
				names = append(names, p.Name)
			}
			return event.Ref{}, fmt.Errorf("%w: which port of %s does %s mean? It has %s", ErrNoRecord, s.Name, text, strings.Join(names, ", "))
		}
		ref.Port = s.Ports[0].Name
	}
	return ref, nil
}
