package weir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/journal/segment"
)

// Replay executes the recorded run in the directory dir again, as far as it is
// durable, into a new run under o.Dir (in memory if that is empty), which names the
// recorded one as its baseline. Sources give what they gave, effects end as they
// ended, timers and signals come as they came, inputs are consumed in the recorded
// order, and time is as it was. Nothing outside is touched: no source, sink, effect
// or resource is opened, and no secret is needed. The run is completed, or stopped
// if the recorded one had not come to its end.
//
// With o.Deliver the sinks deliver once everything else is replayed and durable;
// that needs a recorded run that is completed. Their deliveries have ids of their
// own. If the process dies meanwhile, the run is gone on with as any other is, by
// Options.Run, and delivers what it has no receipt for. A replay that was cut short
// before that is not gone on with: begin another, and remove it.
//
// The flow is built with the recorded settings, but for those from the command
// line, and must be of the recorded definition: else the error is a
// [*DefinitionError]. Other code of handlers gives other records. Handlers that are
// not deterministic, because they read the clock or randomness or depend on the
// order of a map, come out differently each time. An effect that was not asked
// when the run was recorded has no outcome, and ends the replay with an error.
func (d *Definition) Replay(ctx context.Context, dir string, o Options) (Summary, error) {
	o = o.orDefaults()
	fsys := o.Harness.FS
	if fsys == nil {
		fsys = vfs.OS
	}
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return Summary{}, fmt.Errorf("replay run in %s: %w", dir, err)
	}
	defer func() { _ = view.Close() }() // it was only read
	was := view.Manifest()
	b, err := d.rebuild(&was, was.Redrive, o.Config, o)
	if err != nil {
		return Summary{}, err
	}
	if err := oneDefinition(&was, b.flow.Graph); err != nil {
		return Summary{}, fmt.Errorf("flow %s: %w", d.name, err)
	}
	p, err := d.newReplay(&was, b, o)
	if err != nil {
		return Summary{}, err
	}
	began := time.Now() //nolint:forbidigo // the edge: how long it takes is told
	done, err := verify.Replay(ctx, verify.ReplayConfig{
		Flow: b.flow, Log: view, Upto: view.Durable(), Out: p.log, Sinks: o.Deliver,
	})
	if err == nil && o.Deliver && !done.Complete {
		err = fmt.Errorf("run %s had not come to its end; only what is complete is delivered by a replay", was.Run)
	}
	if err != nil {
		return Summary{}, errors.Join(fmt.Errorf("flow %s, replay of run %s: %w", d.name, was.Run, err), p.log.Close())
	}
	if done.Drift > 0 {
		o.Logger.WarnContext(ctx, "this code asks for other things than were asked for; the recorded outcomes were used", slog.Uint64("differences", done.Drift))
	}
	if o.Deliver {
		return d.deliverReplay(ctx, p, o)
	}
	took := time.Since(began) //nolint:forbidigo // likewise
	status, err := done.Conclude(ctx, p.log, took)
	if err != nil {
		return Summary{}, errors.Join(fmt.Errorf("replay of run %s: %w", was.Run, err), p.log.Close())
	}
	sum := Summary{
		Status: Status(status), Run: p.manifest.Run, Dir: p.dir, Epoch: 1,
		In: done.In, Out: done.Out, Dead: done.Dead, Failed: done.Failed, Open: done.Open, InDoubt: done.InDoubt, Took: took,
	}
	if err := p.log.Close(); err != nil {
		o.Logger.WarnContext(ctx, "the log was not closed well", slog.String("run", sum.Run), slog.Any("error", err))
	}
	return sum, nil
}

// newReplay makes the run that a replay writes.
func (d *Definition) newReplay(was *journal.Manifest, b *built, o Options) (*prepared, error) {
	m := b.manifest(d.name)
	m.Baseline, m.Root, m.Redrive = was.Run, cmp.Or(was.Root, was.Run), was.Redrive
	p := &prepared{flow: b.flow, manifest: m, logger: o.Logger}
	if o.Dir == "" {
		if o.Deliver {
			return nil, fmt.Errorf("flow %s: what a replay delivers is kept: set Options.Dir", d.name)
		}
		p.log = memory.New(m, memory.Options{Build: buildIdentity(), Config: b.fingerprint})
		return p, nil
	}
	s, err := openStore(o, d.name)
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	p.dir = filepath.Join(s.runs, m.Run)
	p.log, err = segment.Create(s.fsys, p.dir, m, segment.Options{
		Sync: o.Sync, SegmentSize: o.SegmentSize, Enter: segment.Enter{Build: buildIdentity(), Config: b.fingerprint}, Paused: o.paused,
	})
	if err != nil {
		return nil, fmt.Errorf("flow %s: %w", d.name, err)
	}
	o.Logger.Info("new run", slog.String("flow", d.name), slog.String("run", m.Run), slog.String("replays", was.Run), slog.String("dir", p.dir))
	return p, nil
}

// deliverReplay goes on with a replay in which everything has ended but the sinks.
func (d *Definition) deliverReplay(ctx context.Context, p *prepared, o Options) (Summary, error) {
	if err := p.log.Close(); err != nil {
		return Summary{}, fmt.Errorf("replay %s: %w", p.manifest.Run, err)
	}
	o.Run, o.replays = p.manifest.Run, true
	return d.Run(ctx, o)
}
