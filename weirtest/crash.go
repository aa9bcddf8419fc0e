package weirtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

// CrashEverywhere runs def once on a disk in memory, and then again and again: each
// time the process is killed, or the power is cut, before another one of the
// operations that change the disk, and the run goes on in another process. However
// it was cut, the run must end as the first one did:
//
//   - every data port and dead letters hold the same payloads, in whatever order,
//   - the same calls are made of effects, each with one key and one request, none
//     once its outcome is on record, and none twice of what happens at most once,
//   - every sink gets everything, nothing twice without being told so, and nothing
//     that it has given a receipt for,
//   - history.Run.Check finds nothing, and verify finds the run identical.
//
// So the flow must not depend on which of independent inputs comes first, and its
// handlers must be deterministic. Effects are answered ([Answer]), because a crash
// test calls no service; sources are fed, unless they hold their values.
//
// It takes some hundredths of a second for each operation, of which a flow of ten
// stages makes a few hundred; see [Every]. With -short it crashes at every twentieth.
func CrashEverywhere(t *testing.T, def *weir.Definition, opts ...Option) {
	t.Helper()
	ops, deaths, err := crashEverywhere(t, def, opts)
	if err != nil {
		t.Fatalf("weirtest: %v", err)
	}
	t.Logf("weirtest: %d operations on the disk, %d deaths", ops, deaths)
}

// Every has [CrashEverywhere] crash at every n-th operation only.
func Every(n int) Option { return option(func(s *setup) { s.every = n }) }

func crashEverywhere(t *testing.T, def *weir.Definition, opts []Option) (ops, deaths int, err error) {
	t.Helper()
	calm := newCampaign(def, opts, nil)
	if err := calm.bubble(t, nil, calm); err != nil {
		return 0, 0, fmt.Errorf("the run that nothing happens to: %w", err)
	}
	ops, step := calm.world.Count(), max(calm.setup.every, 1)
	if testing.Short() && calm.setup.every == 0 {
		step = 20
	}
	for n := 1; n <= ops; n += step {
		rng := rand.New(rand.NewPCG(uint64(n), 0))
		after, how := (*vfs.Memory).Kill, "the process was killed"
		if n/step%2 == 0 {
			after, how = func(m *vfs.Memory) *vfs.Memory { return m.Crash(rng) }, "the power was cut"
		}
		err := newCampaign(def, opts, vfs.StopAt(n)).bubble(t, func(m *vfs.Memory) *vfs.Memory { deaths++; return after(m) }, calm)
		if err != nil {
			return ops, deaths, fmt.Errorf("%s before operation %d of %d on the disk, and then: %w", how, n, ops, err)
		}
	}
	return ops, deaths, nil
}

// A campaign is one run on a disk, over several processes.
type campaign struct {
	def   *weir.Definition
	setup *setup
	disk  *vfs.Memory
	world *vfs.Faults // around disk

	epochs map[int]uint64 // by session
	sum    weir.Summary
	left   *Result
	check  []history.Problem
	same   *weir.Verification
}

func newCampaign(def *weir.Definition, opts []Option, fault func(vfs.Op) vfs.Fault) *campaign {
	c := &campaign{def: def, setup: newSetup(opts), disk: vfs.NewMemory(), epochs: map[int]uint64{}}
	c.world = vfs.NewFaults(c.disk, fault)
	return c
}

// bubble runs the campaign to its end and says what is wrong with what it left
// behind. after makes the disk that there is after a death.
func (c *campaign) bubble(t *testing.T, after func(*vfs.Memory) *vfs.Memory, calm *campaign) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if err = c.run(t.Context(), after); err == nil {
			err = c.read(t.Context())
		}
	})
	if err != nil {
		return err
	}
	if wrong := c.judge(calm); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

func (c *campaign) options(run string) weir.Options {
	return weir.Options{
		Dir: "/data", Run: run, SegmentSize: 16 << 10, CheckpointBytes: 4 << 10,
		Logger:  slog.New(slog.DiscardHandler),
		Harness: &plan.Harness{FS: c.world, Edit: c.edit, Batch: 3, Window: 4, Paranoid: true},
	}
}

// edit puts the doubles into the flow; effects that would call a service are
// refused.
func (c *campaign) edit(f *plan.Flow) error {
	if err := c.setup.edit(f); err != nil {
		return err
	}
	for _, n := range f.Nodes {
		if n.Performer == nil {
			continue
		}
		for _, e := range n.Performer.Effects() {
			if !slices.Contains(c.setup.answered, e) {
				return fmt.Errorf("stage %s performs effect %s: give CrashEverywhere an Answer for it", n.Name, e.Name)
			}
		}
	}
	return nil
}

const manyDeaths = 100

// run has processes work at the run until one ends otherwise than by a death.
func (c *campaign) run(ctx context.Context, after func(*vfs.Memory) *vfs.Memory) error {
	for range manyDeaths {
		dir, err := c.newest()
		if err != nil {
			return err
		}
		run := ""
		if dir != "" {
			run = path.Base(dir)
		}
		sum, err := c.setup.process(ctx, c.def, c.options(run))
		c.epochs[c.setup.session] = sum.Epoch
		switch {
		case c.world.Stopped():
			if err == nil && sum.Status != weir.Completed {
				return fmt.Errorf("the process died, and the run says that it is %s", sum.Status)
			}
			c.disk = after(c.disk)
			c.world = vfs.NewFaults(c.disk, nil)
		case errors.Is(err, weir.ErrNoRun): // it is completed, and the process died then
			return nil
		default:
			c.sum = sum
			return err
		}
	}
	return errors.New("it does not come to an end")
}

// newest returns the directory of the newest run, "" if there is none.
func (c *campaign) newest() (string, error) {
	runs := path.Join("/data", c.def.Name())
	entries, err := c.disk.ReadDir(runs)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, e := range slices.Backward(entries) {
		dir := path.Join(runs, e.Name())
		if _, err := segment.ReadManifest(c.disk, dir); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// read reads what the run left behind.
func (c *campaign) read(ctx context.Context) (err error) {
	dir, err := c.newest()
	if err != nil {
		return err
	}
	view, err := segment.OpenView(c.disk, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	c.left = newResult()
	if err := c.left.collect(view); err != nil {
		return err
	}
	run, err := history.Of(view)
	if err != nil {
		return err
	}
	report, err := run.Check(ctx)
	if err != nil {
		return err
	}
	c.check = report.Problems
	o := c.options("")
	c.same, err = c.def.Verify(ctx, dir, weir.VerifyOptions{Config: c.setup.config, Logger: o.Logger, Harness: o.Harness})
	return err
}
