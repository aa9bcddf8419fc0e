package campaign_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
)

// options are those of every run in these campaigns: small transitions and
// segments, frequent snapshots, everything decoded again.
func options(fsys vfs.FS) weir.Options {
	return weir.Options{
		Dir: "/data", Logger: quiet, SegmentSize: 16 << 10, CheckpointBytes: 4 << 10,
		Harness: &plan.Harness{FS: fsys, Batch: 3, Window: 4, Paranoid: true},
	}
}

// run runs the shop on fsys. A run that hangs fails the test.
func (s *shop) run(t testing.TB, fsys vfs.FS, o weir.Options) (weir.Summary, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
	defer cancel()
	sum, err := s.flow().Run(ctx, o)
	if errors.Is(err, errHangs) {
		buf := make([]byte, 1<<20)
		t.Fatalf("the run hangs:\n%s", buf[:runtime.Stack(buf, true)])
	}
	return sum, err
}

var errHangs = errors.New("it hangs")

// calm runs the shop on a disk that works and returns the outcome and how many
// mutating operations it took.
func calm(t *testing.T) (*outcome, int) {
	t.Helper()
	s, disk := newShop(), vfs.NewMemory()
	stock(t, disk)
	world := vfs.NewFaults(disk, nil)
	sum, err := s.run(t, world, options(world))
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("the run that nothing happens to: %+v, %v", sum, err)
	}
	dir, err := newest(disk, "shop")
	if err != nil {
		t.Fatal(err)
	}
	o, err := inspect(t.Context(), disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.judge(o, o, disk) {
		t.Error(w)
	}
	if len(o.ports["validate.dead"]) == 0 || len(o.ports["enrich.unmatched"]) == 0 || len(o.ports["totals.dead"]) == 0 || len(o.ports["web.dead"]) == 0 {
		t.Errorf("the flow does not do everything that it should: %v", o.sorted())
	}
	return o, world.Count()
}

// resume goes on with the run on disk until it is completed and says what is
// wrong then. Sessions before the last end as disturb says.
func (s *shop) resume(t *testing.T, disk *vfs.Memory, want *outcome, disturb func(session int) func(vfs.Op) vfs.Fault, after func(*vfs.Memory) *vfs.Memory) (*vfs.Memory, []string) {
	t.Helper()
	for session := 1; ; session++ {
		var f func(vfs.Op) vfs.Fault
		if disturb != nil {
			f = disturb(session)
		}
		dir, err := newest(disk, "shop")
		if err != nil {
			return disk, []string{err.Error()}
		}
		world := vfs.NewFaults(disk, f)
		o := options(world)
		if dir != "" {
			o.Run = path.Base(dir)
		}
		sum, err := s.run(t, world, o)
		if world.Stopped() {
			if err == nil && sum.Status != weir.Completed {
				return disk, []string{fmt.Sprintf("the world ended and the run says %+v", sum)}
			}
			disk = after(disk)
			continue
		}
		if err != nil && !errors.Is(err, weir.ErrNoRun) { // it is completed
			if f != nil {
				disk = after(disk)
				continue
			}
			return disk, []string{"resume: " + err.Error()}
		}
		if dir, err = newest(disk, "shop"); err != nil {
			return disk, []string{err.Error()}
		}
		got, err := inspect(t.Context(), disk, dir)
		if err != nil {
			return disk, []string{"inspect: " + err.Error()}
		}
		return disk, s.judge(got, want, disk)
	}
}

// everywhere has campaigns visit every boundary, not every eighth.
var everywhere = flag.Bool("everywhere", false, "crash and fail at every operation")

// each calls fn for numbers from 1 to n, for all of them with -everywhere, with
// two at work at once.
func each(t *testing.T, n int, fn func(i int)) {
	t.Helper()
	step := 8
	switch {
	case *everywhere:
		step = 1
	case testing.Short():
		step = 40
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := int(next.Add(1))*step - step + 1; i <= n && !t.Failed(); i = int(next.Add(1))*step - step + 1 {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// A process, or the power, dies before every operation that changes the disk,
// and the run goes on: with whatever sectors and names survived it ends like a run
// that nothing happened to.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	want, ops := calm(t)
	var boundaries, resumed atomic.Int64
	each(t, ops, func(n int) {
		for seed := range 3 {
			s, disk := newShop(), vfs.NewMemory()
			stock(t, disk)
			world := vfs.NewFaults(disk, vfs.StopAt(n))
			sum, err := s.run(t, world, options(world))
			if !world.Stopped() && err == nil { // another schedule, with fewer operations
				return
			}
			if err == nil && sum.Status != weir.Completed {
				t.Errorf("operation %d: %+v without an error", n, sum)
			}
			boundaries.Add(1)
			rng := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
			crash := func(m *vfs.Memory) *vfs.Memory {
				if seed == 0 {
					return m.Kill()
				}
				return m.Crash(rng)
			}
			var again func(int) func(vfs.Op) vfs.Fault
			if seed == 2 { // and once more, while it goes on
				again = func(session int) func(vfs.Op) vfs.Fault {
					if session > 2 {
						return nil
					}
					return vfs.StopAt(1 + rng.IntN(ops))
				}
			}
			_, wrong := s.resume(t, crash(disk), want, again, crash)
			resumed.Add(1)
			if len(wrong) > 0 {
				t.Errorf("death before operation %d of %d, seed %d (%v):\n%s", n, ops, seed, err, strings.Join(wrong, "\n"))
			}
		}
	})
	t.Logf("%d boundaries: %d deaths, %d runs continued", ops, boundaries.Load(), resumed.Load())
}
