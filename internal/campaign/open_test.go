package campaign_test

import (
	"context"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// counted is a service that counts its calls by key.
type counted struct {
	mu    sync.Mutex
	calls map[string]int
}

func (c *counted) call(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[key]++
}

// take returns the calls since the last take.
func (c *counted) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.calls
	c.calls = map[string]int{}
	return was
}

// Ten thousand orchestrations wait, each after a call. The next process has another
// handler, which draws at random what it does: no call is repeated, what does not fit
// the record is parked and not fatal, everything else comes to its end. Those that wait
// hold no goroutine.
func TestTenThousandOpenOrchestrations(t *testing.T) {
	inputs, working := 10_000, 16
	if testing.Short() {
		inputs = 1000
	}
	var numbers []int
	for n := range inputs {
		numbers = append(numbers, n)
	}
	var reserved, shipped counted
	reserved.take()
	shipped.take()
	build := func(decide func(s *weir.Steps, n int) error, done *counted) *weir.Definition {
		return weir.Define("waiting", func(f *weir.Flow) {
			reserve := effect.KeyedByInput("reserve", func(_ context.Context, c effect.Call, _ int) (string, error) { reserved.call(c.Key); return c.Key, nil })
			ship := effect.KeyedByInput("ship", func(_ context.Context, c effect.Call, _ string) (int, error) { shipped.call(c.Key); return 0, nil })
			in := weir.From(f, "in", weir.Slice(numbers))
			out, failed := weir.Orchestrate(in, "go", func(s *weir.Steps, n int, emit weir.Emit[int]) error {
				key, err := weir.Do(s, "reserve", reserve, n)
				if err != nil {
					return err
				}
				if err := decide(s, n); err != nil {
					return err
				}
				if err := weir.Sleep(s, "wait", time.Hour); err != nil {
					return err
				}
				if _, err := weir.Do(s, "ship", ship, key); err != nil {
					return err
				}
				emit(n)
				return nil
			}, weir.Using(reserve), weir.Using(ship), weir.Concurrency(working), weir.MaxOpen(2*inputs))
			weir.Each(out, "out", func(_ context.Context, n int) error { done.call(strconv.Itoa(n)); return nil })
			weir.Each(failed, "sorry", func(_ context.Context, n weir.Failed[int]) error { t.Errorf("failed: %+v", n); return nil })
		})
	}
	synctest.Test(t, func(t *testing.T) {
		var done counted
		done.take()
		options := weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: vfs.NewMemory()}}
		start := func(def *weir.Definition, goOn time.Duration) (_ weir.Summary, goroutines int) {
			before := runtime.NumGoroutine()
			r, err := def.Start(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(goOn)
			synctest.Wait()
			goroutines = runtime.NumGoroutine() - before
			if err := r.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Fatal(err)
			}
			sum, err := r.Wait()
			if err != nil {
				t.Fatal(err)
			}
			return sum, goroutines
		}

		sum, goroutines := start(build(func(*weir.Steps, int) error { return nil }, &done), 30*time.Minute)
		if sum.Status != weir.Stopped || int(sum.Open) != inputs || sum.InDoubt != 0 {
			t.Fatalf("before: %+v", sum)
		}
		if goroutines > working+50 {
			t.Errorf("%d goroutines while %d wait", goroutines, inputs)
		}
		if calls := reserved.take(); len(calls) != inputs {
			t.Errorf("%d of %d were reserved", len(calls), inputs)
		}

		// One in eight wants another step than the one that is on record; one in eight takes
		// a new one where no other is behind it on record; the others draw what nobody sees.
		sum, goroutines = start(build(func(s *weir.Steps, n int) error {
			switch rand.IntN(8) {
			case 0:
				return weir.Sleep(s, "another wait", time.Minute)
			case 1:
				_, err := weir.Capture(s, "drawn", func() (int, error) { return rand.Int(), nil })
				return err
			default:
				return nil
			}
		}, &done), 3*time.Hour)
		if goroutines > working+50 {
			t.Errorf("%d goroutines with what is parked", goroutines)
		}
		if calls := reserved.take(); len(calls) != 0 {
			t.Errorf("%d calls were repeated", len(calls))
		}
		ended := len(done.take())
		if sum.Status != weir.Stopped || sum.InDoubt != sum.Open || ended+int(sum.Open) != inputs || sum.Open == 0 || ended < inputs/2 {
			t.Errorf("%d came to their end; %+v", ended, sum)
		}
		calls := shipped.take()
		for key, n := range calls {
			if n != 1 {
				t.Errorf("%s was shipped %d times", key, n)
			}
		}
		if len(calls) < ended {
			t.Errorf("%d were shipped, and %d came to their end", len(calls), ended)
		}

		// What is parked stays so with the first handler, too, until somebody decides.
		open := sum.Open
		sum, _ = start(build(func(*weir.Steps, int) error { return nil }, &done), 3*time.Hour)
		if sum.Open != open || sum.InDoubt != open || len(reserved.take()) > 0 || len(shipped.take()) > 0 {
			t.Errorf("afterwards: %+v", sum)
		}
	})
}

// What waits is bounded by MaxOpen, however much there is; a stop takes in what the
// edge before holds, too, which is no more than its window.
func TestMaxOpenBoundsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		def := weir.Define("bounded", func(f *weir.Flow) {
			var numbers []int
			for n := range 10_000 {
				numbers = append(numbers, n)
			}
			out, failed := weir.Orchestrate(weir.From(f, "in", weir.Slice(numbers)), "go", func(s *weir.Steps, _ int, _ weir.Emit[int]) error {
				return weir.Sleep(s, "wait", time.Hour)
			}, weir.Concurrency(8), weir.MaxOpen(100))
			weir.Each(out, "out", none[int])
			weir.Each(failed, "sorry", none[weir.Failed[int]])
		})
		const window = 1000 // records, roughly
		r, err := def.Start(t.Context(), weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: vfs.NewMemory(), Window: window}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Hour + time.Minute)
		if err := r.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Fatal(err)
		}
		if sum, err := r.Wait(); err != nil || sum.Open < 100 || sum.Open > 100+2*window || sum.In > 11*100+2*window {
			t.Errorf("%+v, %v", sum, err)
		}
	})
}

// Sixty-four calls are in flight and the first hangs, while the stage takes two
// checkpoints and more. The process dies: of the calls whose outcome is on record none
// is made again, and what follows leaves in order.
func TestFirstOf64HangsOverCheckpoints(t *testing.T) {
	const inputs, flying = 400, 64
	var numbers []int
	for n := 1; n <= inputs; n++ {
		numbers = append(numbers, n)
	}
	var keys sync.Map // by input, of each call
	calls := make([]int, inputs+1)
	var mu sync.Mutex
	var got []int
	build := func(hangs bool) *weir.Definition {
		bank := effect.KeyedByInput("bank", func(ctx context.Context, c effect.Call, n int) (int, error) {
			mu.Lock()
			calls[n]++
			mu.Unlock()
			if was, ok := keys.LoadOrStore(n, c.Key); ok && was != c.Key {
				t.Errorf("input %d is called with key %s after %s", n, c.Key, was)
			}
			if hangs && n == 1 {
				<-ctx.Done()
				return 0, context.Cause(ctx)
			}
			return n, nil
		})
		return weir.Define("bank", func(f *weir.Flow) {
			done, failed := weir.Perform(weir.From(f, "in", weir.Slice(numbers)), "charge", bank, weir.Concurrency(flying))
			weir.Each(done, "out", func(_ context.Context, n int) error { got = append(got, n); return nil })
			weir.Each(failed, "sorry", none[weir.Failed[int]])
		})
	}
	disk := vfs.NewMemory()
	world := vfs.NewFaults(disk, nil)
	options := weir.Options{Dir: "/data", Logger: quiet, CheckpointBytes: 2 << 10, Harness: &plan.Harness{FS: world, Batch: 8}}
	var dir string
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := build(true).Start(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait() // all but the first have come back
		world.Stop()
		cancel()
		sum, _ := r.Wait()
		dir = sum.Dir
	})
	disk = disk.Kill()
	finished, checkpoints := outcomes(t, disk, dir, "charge")
	if checkpoints < 2 || len(finished) < flying || finished[1] {
		t.Fatalf("%d outcomes, of the first %v, with %d checkpoints", len(finished), finished[1], checkpoints)
	}
	if len(got) > 0 {
		t.Errorf("%v left before the first", got)
	}
	before := slices.Clone(calls)
	options.Harness = &plan.Harness{FS: disk, Batch: 8}
	options.Run = path.Base(dir)
	sum, err := build(false).Run(t.Context(), options)
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	for n := range finished {
		if calls[n] != before[n] {
			t.Errorf("input %d has an outcome on record and was called again", n)
		}
	}
	if calls[1] != 2 {
		t.Errorf("the first was called %d times", calls[1])
	}
	if !slices.Equal(got, numbers) {
		t.Errorf("delivered were %v", got)
	}
}

// outcomes returns the inputs of a stage with an outcome on record, by number, and how
// many checkpoints the stage has.
func outcomes(t *testing.T, fsys vfs.FS, dir, stage string) (finished map[int]bool, checkpoints int) {
	t.Helper()
	v, err := segment.OpenView(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	in, err := v.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	finished = map[int]bool{}
	var p journal.Placed
	for ts := journal.Transitions(in); ts.Next(&p) == nil; {
		if p.Stage != stage {
			continue
		}
		if p.Check != nil {
			checkpoints++
		}
		for i := range p.Outputs {
			var rec journal.Record
			for rs := journal.NewRecords(&p.Outputs[i]); p.Outputs[i].Type == plan.EntryOutcome; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				finished[int(rec.Refs[0].Seq)] = true
			}
		}
	}
	return finished, checkpoints
}
