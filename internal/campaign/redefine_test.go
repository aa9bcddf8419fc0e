package campaign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/policy"
)

// A bank is called by a flow whose definition changes while a run of it is
// unfinished. It outlives crashes.
type bank struct {
	mu    sync.Mutex
	calls []payment
}

type payment struct {
	n       int
	key     string
	checked bool // by the stage that the second definition has
}

type bill struct {
	N       int
	Checked bool
}

// bills is how many the flow pays.
const bills = 14

func (b *bank) pay(_ context.Context, c effect.Call, v bill) (bill, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, payment{v.N, c.Key, v.Checked})
	return v, nil
}

// flow is the flow with or without the stage that checks.
func (b *bank) flow(checks bool) *weir.Definition {
	return weir.Define("bills", func(f *weir.Flow) {
		var all []bill
		for i := range bills {
			all = append(all, bill{N: i + 1})
		}
		in := weir.From(f, "in", few[bill]{all, 3})
		due := weir.Map(in, "due", func(v bill) (bill, error) { return v, nil })
		if checks {
			due = weir.Map(due, "check", func(v bill) (bill, error) { return bill{v.N, true}, nil })
		}
		paid, failed := weir.Perform(due, "pay", effect.KeyedByInput("pay", b.pay), weir.Concurrency(3), policy.Retry{Max: 3, Delay: time.Microsecond})
		weir.Each(paid, "book", none[bill])
		weir.Each(failed, "complain", none[weir.Failed[bill]])
	})
}

func (b *bank) run(t testing.TB, fsys vfs.FS, checks bool) (weir.Summary, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
	defer cancel()
	return b.flow(checks).Run(ctx, options(fsys))
}

// settled returns which bills have an outcome on record, as far as a next process
// will see.
func settled(disk vfs.FS) (map[string]bool, error) {
	done := map[string]bool{}
	dir, err := newest(disk, "bills")
	if dir == "" || err != nil {
		return done, err
	}
	view, err := segment.OpenView(disk, dir)
	if err != nil {
		return nil, err
	}
	in, err := view.Read(0)
	if err != nil {
		return nil, err
	}
	var p journal.Placed
	for trs := journal.Transitions(in); ; {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return done, view.Close()
		} else if err != nil {
			return nil, err
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port != journal.PortFx || o.Type != plan.EntryOutcome {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				e, err := plan.ParseEntry(o.Type, rec.Payload)
				if err != nil {
					return nil, err
				}
				done[e.Key] = true
			}
		}
	}
}

// A planned start is where the plan says that the stage that checks begins.
func plannedStart(t testing.TB, b *bank, disk *vfs.Memory) (uint64, error) {
	t.Helper()
	world := vfs.NewFaults(disk, nil)
	p, err := b.flow(true).PlanResume(t.Context(), options(world))
	switch {
	case err != nil:
		return 0, err
	case len(p.Refusals) > 0:
		return 0, fmt.Errorf("the plan refuses: %v", p.Refusals)
	case world.Count() > 0:
		return 0, fmt.Errorf("the plan changed the disk %d times", world.Count())
	}
	for _, s := range p.Stages {
		if s.Name == "check" {
			return s.Inputs[0].From, nil
		}
	}
	return 0, errors.New("the plan does not tell of check")
}

// judge says what is wrong in the end. from is where the plan said that check
// begins; zero if the run was begun with it.
func (b *bank) judge(t testing.TB, disk *vfs.Memory, from uint64) (wrong []string) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dir, err := newest(disk, "bills")
	if err != nil {
		return []string{err.Error()}
	}
	o, err := inspect(t.Context(), disk, dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, p := range o.problems {
		bad("check: %v", p)
	}
	checked := map[int]bool{}
	var numbers []int
	for _, payload := range o.ports["check.out"] {
		var v bill
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			bad("%v", err)
		}
		checked[v.N] = true
		numbers = append(numbers, v.N)
	}
	for n := int(from); n <= bills; n++ {
		if n > 0 && !checked[n] {
			bad("bill %d was not checked, and the plan said that all from %d on are", n, from)
		}
	}
	if len(numbers) != len(checked) || len(numbers) > 0 && numbers[0] != max(1, int(from)) {
		bad("checked were %v, the plan said from %d on", numbers, from)
	}
	numbers = nil
	for _, payload := range o.ports["pay.out"] {
		var v bill
		if err := json.Unmarshal([]byte(payload), &v); err != nil {
			bad("%v", err)
		}
		numbers = append(numbers, v.N)
	}
	if len(numbers) != bills || !slices.IsSorted(numbers) || len(slices.Compact(slices.Clone(numbers))) != bills {
		bad("paid were %v", numbers)
	}
	keys := map[int]string{}
	for _, c := range b.calls {
		if k, ok := keys[c.n]; ok && k != c.key {
			bad("bill %d was paid with the keys %s and %s", c.n, k, c.key)
		}
		keys[c.n] = c.key
		if c.checked != checked[c.n] {
			bad("bill %d went to the bank checked: %v, and was it: %v", c.n, c.checked, checked[c.n])
		}
	}
	return wrong
}

// A process dies before every operation of a flow, and the run goes on with a stage
// inserted before the effect, while calls are in flight; that process dies, too,
// before every operation, and in the middle of the next. No effect whose outcome is
// on record is called again, nothing is lost or doubled, and what the plan said is
// what happens.
func TestInsertedBeforeAnEffectCrashEverywhere(t *testing.T) {
	t.Parallel()
	b, disk := &bank{}, vfs.NewMemory()
	world := vfs.NewFaults(disk, nil)
	if sum, err := b.run(t, world, false); err != nil || sum.Status != weir.Completed {
		t.Fatalf("the run that nothing happens to: %+v, %v", sum, err)
	}
	ops := world.Count()
	var middle, again, changed atomic.Int64
	each(t, ops*3, func(i int) {
		n, seed := 1+(i-1)/3, (i-1)%3
		rng := rand.New(rand.NewPCG(uint64(i), 4))
		b, disk := &bank{}, vfs.NewMemory()
		crash := func() {
			if seed == 0 {
				disk = disk.Kill()
			} else {
				disk = disk.Crash(rng)
			}
		}
		world := vfs.NewFaults(disk, vfs.StopAt(n))
		sum, err := b.run(t, world, false)
		if !world.Stopped() && err == nil && sum.Status == weir.Completed {
			return // another schedule, with fewer operations
		}
		crash()
		var from uint64
		known := map[string]bool{}
		fail := func(format string, args ...any) {
			t.Errorf("death before operation %d of %d, seed %d: %s", n, ops, seed, fmt.Sprintf(format, args...))
		}
		for session := 0; ; session++ {
			done, err := settled(disk)
			if err != nil {
				fail("%v", err)
				return
			}
			b.mu.Lock()
			made := len(b.calls)
			b.mu.Unlock()
			for k := range done {
				known[k] = true
			}
			dir, err := newest(disk, "bills")
			if err != nil {
				fail("%v", err)
				return
			}
			if dir != "" && from == 0 {
				if from, err = plannedStart(t, b, disk); err != nil && !errors.Is(err, weir.ErrNoRun) {
					fail("%v", err)
					return
				}
			}
			var stop func(vfs.Op) vfs.Fault
			if session < 2 && seed > 0 {
				stop = vfs.StopAt(1 + rng.IntN(ops))
				if session == 0 && n%2 == 0 {
					stop = vfs.StopAt(1 + rng.IntN(12)) // about where the epoch is entered
				}
			}
			world := vfs.NewFaults(disk, stop)
			o := options(world)
			if dir != "" {
				o.Run = path.Base(dir)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
			sum, err := b.flow(true).Run(ctx, o)
			cancel()
			again.Add(1)
			b.mu.Lock()
			for _, c := range b.calls[made:] {
				if known[c.key] {
					fail("session %d: bill %d was paid again, its outcome was on record", session, c.n)
				}
			}
			b.mu.Unlock()
			if world.Stopped() {
				crash()
				if dir == "" || !redefined(t, disk) {
					from = 0 // the epoch was not entered: the next process plans again
				}
				continue
			}
			if err != nil && !errors.Is(err, weir.ErrNoRun) || err == nil && sum.Status != weir.Completed {
				fail("session %d: %+v, %v", session, sum, err)
				return
			}
			break
		}
		if from > 1 && from <= bills {
			middle.Add(1)
		}
		if redefined(t, disk) {
			changed.Add(1)
			if wrong := b.judge(t, disk, from); len(wrong) > 0 {
				fail("\n%s", strings.Join(wrong, "\n"))
			}
		}
	})
	t.Logf("%d runs changed, in %d of them check begins in the middle; %d sessions went on", changed.Load(), middle.Load(), again.Load())
	if !t.Failed() && (middle.Load() == 0 || changed.Load() == 0) {
		t.Error("no run changed in the middle")
	}
}

// redefined reports whether the newest run has an epoch with another definition.
func redefined(t testing.TB, disk vfs.FS) bool {
	t.Helper()
	dir, err := newest(disk, "bills")
	if dir == "" || err != nil {
		return false
	}
	m, err := segment.ReadManifest(disk, dir)
	if err != nil {
		t.Error(err)
	}
	for range m.Redefinitions() {
		return true
	}
	return false
}
