package engine_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// everywhere has the power fail before every operation, not every fifth.
var everywhere = flag.Bool("everywhere", false, "crash before every operation")

const runDir = "/data/numbers/run"

// openRun opens the run on a disk, or begins it.
func openRun(disk vfs.FS) (*segment.Log, error) {
	o := segment.Options{Now: func() time.Time { return time.Unix(0, 0) }}
	log, _, err := segment.Open(disk, runDir, o)
	if errors.Is(err, fs.ErrNotExist) {
		return segment.Create(disk, runDir, manifest, o)
	}
	return log, err
}

// runOn runs the flow on a disk as far as it gets.
func runOn(disk vfs.FS, b *build) (engine.Result, error) {
	log, err := openRun(disk)
	if err != nil {
		return engine.Result{}, err
	}
	defer log.Close()
	state, err := engine.Recover(b.flow, log)
	if err != nil {
		return engine.Result{}, err
	}
	r, err := engine.Start(context.Background(), engine.Config{
		Flow: b.flow, Log: log, State: state, Batch: 4, Checkpoint: engine.Checkpoint{Bytes: 1},
	})
	if err != nil {
		return engine.Result{}, err
	}
	return r.Wait()
}

// The power fails before operations on the disk, all of them with -everywhere, and what was not
// synced survives in part or not at all. The resumed run holds what a run holds
// that never died; what a sink stored with marks is delivered once; and no sink
// was given what the log then lacks.
func TestPowerFailsEverywhere(t *testing.T) {
	flow := func(w, dead *world) *build {
		b := numbers(w, dead)
		for _, n := range b.flow.Nodes {
			if s, ok := n.Sink.(*sink); ok {
				s.holds, s.marks = false, true
			}
		}
		return b
	}
	synctest.Test(t, func(t *testing.T) {
		calm := vfs.NewFaults(vfs.NewMemory(), nil)
		w, dead := &world{}, &world{}
		res, err := runOn(calm, flow(w, dead))
		if err != nil || res.Status != evidence.Completed {
			t.Fatalf("without a crash: %+v, %v", res, err)
		}
		wantOut, wantDead := slices.Sorted(slices.Values(w.values())), slices.Sorted(slices.Values(dead.values()))
		step := 5
		switch {
		case *everywhere:
			step = 1
		case testing.Short():
			step = 17
		}
		for n := 1; n <= calm.Count(); n += step {
			rng := rand.New(rand.NewPCG(uint64(n), 7))
			disk := vfs.NewMemory()
			w, dead := &world{}, &world{}
			res, err := runOn(vfs.NewFaults(disk, vfs.StopAt(n)), flow(w, dead))
			if err == nil && res.Status != evidence.Completed {
				t.Fatalf("power fails before %d: %+v without an error", n, res)
			}
			after := disk.Crash(rng)
			res, err = runOn(after, flow(w, dead))
			if err != nil || res.Status != evidence.Completed {
				t.Fatalf("power fails before %d: resumed: %+v, %v", n, res, err)
			}
			for _, d := range []struct{ got, want []int64 }{{w.values(), wantOut}, {dead.values(), wantDead}} {
				if got := slices.Sorted(slices.Values(d.got)); !slices.Equal(got, d.want) {
					t.Fatalf("power fails before %d: delivered %v, want %v", n, got, d.want)
				}
			}
			if err := holds(after, map[string]int{"numbers.out": 20, "odd.out": 16, "odd.dead": 4, "sums.out": 8, "plus.out": 8}); err != nil {
				t.Fatalf("power fails before %d: %v", n, err)
			}
		}
	})
}

// holds checks that journals on a disk have so many records, each sequence once.
func holds(disk vfs.FS, want map[string]int) error {
	log, err := openRun(disk)
	if err != nil {
		return err
	}
	defer log.Close()
	in, err := log.Read(0)
	if err != nil {
		return err
	}
	got := map[string]int{}
	var p journal.Placed
	for trs := journal.Transitions(in); trs.Next(&p) == nil; {
		for i := range p.Outputs {
			o := &p.Outputs[i]
			name := p.Stage + "." + o.Port
			if int(o.First) != got[name]+1 {
				return fmt.Errorf("%s: record %d follows record %d", name, o.First, got[name])
			}
			got[name] += o.Count
		}
	}
	for name, n := range want {
		if got[name] != n {
			return fmt.Errorf("%s holds %d records, want %d", name, got[name], n)
		}
	}
	return nil
}
