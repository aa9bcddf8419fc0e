package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/policy"
)

// A till is a flow that gives inputs up while it is broken, and a bank that knows
// keys. Both outlive crashes.
type till struct {
	mu     sync.Mutex
	broken bool
	known  map[string]bool         // keys that were acted on
	done   map[int]int             // how often an input was paid
	keys   map[int]map[string]bool // that an input was asked for with
}

// paidFor is how many inputs the flow has.
const paidFor = 15

func (b *till) pay(_ context.Context, c effect.Call, n int) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := n / 10
	if b.keys[of] == nil {
		b.keys[of] = map[string]bool{}
	}
	b.keys[of][c.Key] = true
	if b.broken && of%5 == 1 {
		return 0, effect.Permanent(errors.New("closed"))
	}
	if !b.known[c.Key] {
		b.known[c.Key] = true
		b.done[of]++
	}
	if b.broken && of%5 == 2 {
		return 0, errLost // its answer
	}
	return n, nil
}

func (b *till) flow() *weir.Definition {
	return weir.Define("till", func(f *weir.Flow) {
		var all []int
		for i := range paidFor {
			all = append(all, i+1)
		}
		in := weir.From(f, "in", few[int]{all, 4})
		checked := weir.Map(in, "check", func(n int) (int, error) {
			if b.broken && n%5 == 0 {
				return 0, errors.New("not checked")
			}
			return n, nil
		})
		mod := func(n int) int { return n % 3 }
		rows := weir.TableOf(weir.KeyBy(weir.From(f, "rows", few[int]{[]int{0, 1, 2}, 1}), mod))
		priced, _ := weir.Join(weir.KeyBy(checked, mod), rows, "price", func(n, row int) (int, error) { return 10*n + row, nil })
		paid, _ := weir.Perform(priced, "pay", effect.KeyedByInput("pay", b.pay), weir.Concurrency(2), policy.Retry{Max: 2, Delay: time.Microsecond})
		weir.Into(paid, "write", jsonl.Write[int]("/out/paid.jsonl"))
	})
}

// newTill runs the broken flow on a disk that works, and mends it.
func newTill(t testing.TB) (b *till, disk *vfs.Memory, run string) {
	t.Helper()
	b, disk = &till{broken: true, known: map[string]bool{}, done: map[int]int{}, keys: map[int]map[string]bool{}}, vfs.NewMemory()
	sum, err := b.flow().Run(t.Context(), options(disk))
	if err != nil || sum.Status != weir.Completed || sum.Failed != 6 || sum.Dead != 9 {
		t.Fatalf("the run to redrive: %+v, %v", sum, err)
	}
	b.broken = false
	return b, disk, sum.Run
}

// redrives returns the runs on disk that redrive a run.
func redrives(fsys vfs.FS, of string) (runs []journal.Manifest, err error) {
	entries, err := fsys.ReadDir("/data/till")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		m, err := segment.ReadManifest(fsys, path.Join("/data/till", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if m.Redrive != nil && m.Redrive.Run == of {
			runs = append(runs, m)
		}
	}
	return runs, nil
}

// goes redrives what the stage gave up on, or goes on with the run that does.
func (b *till) goes(t testing.TB, world vfs.FS, disk *vfs.Memory, of, stage string) error {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
	defer cancel()
	begun, err := redrives(disk, of)
	if err != nil {
		t.Fatal(err)
	}
	var r *weir.Run
	if len(begun) == 0 {
		r, err = b.flow().Redrive(ctx, weir.Letters{Run: of, Stage: stage}, options(world))
	} else {
		o := options(world)
		o.Run = begun[0].Run
		if r, err = b.flow().Start(ctx, o); errors.Is(err, weir.ErrNoRun) {
			return nil // completed
		}
	}
	if err != nil {
		return err
	}
	sum, err := r.Wait()
	if errors.Is(err, errHangs) {
		buf := make([]byte, 1<<20)
		t.Fatalf("the run hangs:\n%s", buf[:runtime.Stack(buf, true)])
	}
	if err == nil && sum.Status != weir.Completed {
		err = fmt.Errorf("%+v", sum)
	}
	return err
}

// judge says what is wrong once the letters of a stage are redriven.
func (b *till) judge(t testing.TB, disk *vfs.Memory, of, stage string) (wrong []string) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	_, err := b.flow().Redrive(t.Context(), weir.Letters{Run: of, Stage: stage}, options(disk))
	if !errors.Is(err, weir.ErrNoLetters) {
		bad("redriving once more: %v", err)
	}
	runs, err := redrives(disk, of)
	if err != nil || len(runs) != 1 {
		return append(wrong, fmt.Sprintf("%d runs redrive, %v", len(runs), err))
	}
	o, err := inspect(t.Context(), disk, "/data/till/"+runs[0].Run)
	if err != nil {
		return append(wrong, err.Error())
	}
	for _, p := range o.problems {
		bad("check: %s", p)
	}
	var want []string
	for n := 1; n <= paidFor; n++ {
		if stage == "check" && n%5 == 0 || stage == "pay" && (n%5 == 1 || n%5 == 2) {
			want = append(want, strconv.Itoa(10*n+n%3))
		}
	}
	slices.Sort(want)
	got := slices.Sorted(slices.Values(o.ports["pay.out"]))
	if !slices.Equal(got, want) {
		bad("came out: %v, want %v", got, want)
	}
	text, err := vfs.ReadFile(disk, "/out/paid.jsonl."+runs[0].Run, 1<<20)
	lines := strings.Fields(string(text))
	slices.Sort(lines)
	if err != nil || !slices.Equal(lines, want) {
		bad("written: %v, %v, want %v", lines, err, want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for n := 1; n <= paidFor; n++ {
		payable := stage == "check" || n%5 != 0
		if stage == "check" && n%5 == 1 {
			payable = false // it was refused, and that is not redriven here
		}
		if want := map[bool]int{true: 1}[payable]; b.done[n] != want {
			bad("%d was paid %d times", n, b.done[n])
		}
		if len(b.keys[n]) > 1 {
			bad("%d was asked for with the keys %v", n, b.keys[n])
		}
	}
	return wrong
}

// A process, or the power, dies before every operation that changes the disk while
// letters are redriven, and the redrive goes on: each letter is taken once, and what
// it asks of the world happens once, with one key.
func TestRedriveCrashEverywhere(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"check", "pay"} {
		t.Run(stage, func(t *testing.T) {
			b, disk, of := newTill(t)
			world := vfs.NewFaults(disk, nil)
			if err := b.goes(t, world, disk, of, stage); err != nil {
				t.Fatalf("the redrive that nothing happens to: %v", err)
			}
			for _, w := range b.judge(t, disk, of, stage) {
				t.Error(w)
			}
			ops := world.Count()
			var deaths, again atomic.Int64
			each(t, ops, func(n int) {
				for seed := range 3 {
					b, disk, of := newTill(t)
					world := vfs.NewFaults(disk, vfs.StopAt(n))
					err := b.goes(t, world, disk, of, stage)
					rng := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
					for session := 0; world.Stopped() && session < 5; session++ {
						deaths.Add(1)
						if seed == 0 {
							disk = disk.Kill()
						} else {
							disk = disk.Crash(rng)
						}
						stop := func(vfs.Op) vfs.Fault { return vfs.Fault{} }
						if seed == 2 && session < 2 { // and once more, while it goes on
							stop = vfs.StopAt(1 + rng.IntN(ops))
						}
						world = vfs.NewFaults(disk, stop)
						err = b.goes(t, world, disk, of, stage)
						again.Add(1)
					}
					wrong := b.judge(t, disk, of, stage)
					if err != nil {
						wrong = append(wrong, err.Error())
					}
					if len(wrong) > 0 {
						t.Errorf("death before operation %d of %d, seed %d:\n%s", n, ops, seed, strings.Join(wrong, "\n"))
					}
				}
			})
			t.Logf("%d boundaries: %d deaths, %d times it went on", ops, deaths.Load(), again.Load())
		})
	}
}
