package campaign_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/policy"
)

// inputs of the flow of effects.
const performed = 8

// effects is a flow with a stage for each safety class, ordered and not, with keys
// and without.
func (p *provider) effects() *weir.Definition {
	session := p.now()
	// Another process would ask for something else: what is on record must win.
	to := func(v int) (money, error) { return money{Input: v, Session: session}, nil }
	from := func(_ int, r receiptOf) (receiptOf, error) { return r, nil }
	adapt := func(e effect.Effect[money, receiptOf]) effect.Effect[int, receiptOf] {
		return effect.Adapt(e, to, from)
	}
	return weir.Define("effects", func(f *weir.Flow) {
		var all []int
		for i := range performed {
			all = append(all, i+1)
		}
		in := weir.From(f, "in", few[int]{all, 3})
		add := func(in weir.Input[int], name string, e effect.Effect[int, receiptOf], opts ...weir.EffectOption) {
			opts = append(opts, weir.Concurrency(4), policy.Retry{Max: 3, Delay: time.Microsecond}, policy.Settle(time.Millisecond))
			done, failed := weir.Perform(in, name, e, opts...)
			weir.Each(done, name+"_done", none[receiptOf])
			weir.Each(failed, name+"_failed", none[weir.Failed[int]])
		}
		add(in, "idempotent", adapt(effect.Idempotent("idempotent", func(ctx context.Context, m money) (receiptOf, error) {
			return p.act("idempotent", false)(ctx, effect.Call{Attempt: 2}, m) // it is not told which
		})))
		add(in, "keyed", adapt(effect.Keyed("keyed", func(m money) string { return fmt.Sprint("k", m.Input) }, p.act("keyed", true))))
		add(weir.KeyBy(in, func(v int) int { return v % 3 }), "by_input", adapt(effect.KeyedByInput("by_input", p.act("by_input", true))))
		add(in, "at_least_once", adapt(effect.AtLeastOnce("at_least_once", p.act("at_least_once", false))), weir.AsCompleted())
		add(in, "at_most_once", adapt(effect.AtMostOnce("at_most_once", p.act("at_most_once", false), p.ask("at_most_once"))))
		add(in, "by_person", adapt(effect.AtMostOnce("by_person", p.act("by_person", false), effect.AskAPerson[money, receiptOf])))
	})
}

// ears hear when a run waits for decisions.
type ears struct {
	slog.Handler
	heard chan struct{}
}

func (e ears) Enabled(context.Context, slog.Level) bool { return true }

func (e ears) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "waiting for decisions" {
		select {
		case e.heard <- struct{}{}:
		default:
		}
	}
	return nil
}

// runs runs a flow in a process of its own until it ends, or waits for decisions:
// then it is stopped. during may do something meanwhile; it ends with its context.
func (p *provider) runs(t testing.TB, fsys vfs.FS, run string, flow func() *weir.Definition, during func(context.Context, *weir.Run)) (weir.Summary, error) {
	t.Helper()
	p.mu.Lock()
	p.session++
	session := p.session
	p.mu.Unlock()
	o := options(fsys)
	o.Run = run
	waits := ears{quiet.Handler(), make(chan struct{}, 1)}
	o.Logger = slog.New(waits)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errHangs)
	defer cancel()
	r, err := flow().Start(ctx, o)
	if err != nil {
		return weir.Summary{}, err
	}
	if during != nil {
		within, end := context.WithCancel(ctx)
		var meanwhile sync.WaitGroup
		meanwhile.Go(func() { during(within, r) })
		defer meanwhile.Wait()
		defer end()
	}
	select {
	case <-waits.heard:
		err = r.Stop(ctx)
	case <-r.Done():
	}
	sum, ended := r.Wait()
	if ended != nil {
		err = ended
	}
	if errors.Is(err, errHangs) {
		t.Fatalf("the run hangs: %+v\n%s", r.Progress(), strings.Join(p.stuck(t, fsys, sum.Dir), "\n"))
	}
	p.mu.Lock()
	p.epochs[session] = sum.Epoch
	p.mu.Unlock()
	return sum, err
}

// A process, or the power, dies before every operation that changes the disk of a
// run that performs effects of every class, and the run goes on. What the provider
// saw and what the log says must agree with every promise about effects.
func TestEffectsCrashEverywhere(t *testing.T) {
	t.Parallel()
	p, disk := newProvider(), vfs.NewMemory()
	world := vfs.NewFaults(disk, nil)
	sum, err := p.runs(t, world, "", p.effects, nil)
	if err != nil || sum.Status != weir.Stopped || sum.InDoubt != 1 || sum.Open != 1 {
		t.Fatalf("the run that nothing happens to: %+v, %v", sum, err)
	}
	for _, w := range p.outcome(t, disk, sum) {
		t.Error(w)
	}
	p.decide(t, world, disk, "effects")
	for sum.Status == weir.Stopped && sum.Epoch < 10 { // it may be stopped before it has read the decision, too
		sum, err = p.runs(t, world, "", p.effects, nil)
	}
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("once everything is decided: %+v, %v", sum, err)
	}
	for _, w := range p.outcome(t, disk, sum) {
		t.Error(w)
	}
	ops := world.Count()
	var deaths, again atomic.Int64
	each(t, ops, func(n int) {
		for seed := range 3 {
			if !*everywhere && seed != n/8%3 {
				continue
			}
			p, disk := newProvider(), vfs.NewMemory()
			world := vfs.NewFaults(disk, vfs.StopAt(n))
			sum, err := p.runs(t, world, "", p.effects, nil)
			rng := rand.New(rand.NewPCG(uint64(n), uint64(seed)))
			var wrong []string
			for session := 0; len(wrong) == 0 && session < 30; session++ {
				switch died := world.Stopped(); {
				case died && seed == 0:
					disk = disk.Kill()
				case died:
					disk = disk.Crash(rng)
				case err == nil && sum.Status == weir.Stopped:
					wrong = p.outcome(t, disk, sum)
					p.decide(t, world, disk, "effects")
				}
				if !world.Stopped() && (err != nil || sum.Status != weir.Stopped) {
					break
				}
				if world.Stopped() {
					deaths.Add(1)
					stop := func(vfs.Op) vfs.Fault { return vfs.Fault{} }
					if seed == 2 && session < 2 { // and once more, while it goes on
						stop = vfs.StopAt(1 + rng.IntN(ops))
					}
					world = vfs.NewFaults(disk, stop)
				}
				run := ""
				if dir, err := newest(disk, "effects"); err == nil && dir != "" {
					run = path.Base(dir)
				}
				sum, err = p.runs(t, world, run, p.effects, nil)
				if errors.Is(err, weir.ErrNoRun) { // it was completed, and the process died then
					sum, err = weir.Summary{Status: weir.Completed}, nil
				}
				again.Add(1)
			}
			if err != nil || sum.Status != weir.Completed {
				wrong = append(wrong, fmt.Sprintf("%+v, %v", sum, err))
			} else {
				wrong = append(wrong, p.outcome(t, disk, sum)...)
			}
			if len(wrong) > 0 {
				t.Errorf("death before operation %d of %d, seed %d:\n%s", n, ops, seed, strings.Join(wrong, "\n"))
			}
		}
	})
	t.Logf("%d boundaries: %d deaths, %d runs continued", ops, deaths.Load(), again.Load())
}

// stuck says what is open in a run.
func (p *provider) stuck(t testing.TB, fsys vfs.FS, dir string) (open []string) {
	t.Helper()
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return []string{err.Error()}
	}
	defer view.Close()
	run, err := history.Of(view)
	if err != nil {
		return []string{err.Error()}
	}
	for c, err := range run.Open(t.Context()) {
		if err != nil {
			return append(open, err.Error())
		}
		if !c.Ended() {
			open = append(open, fmt.Sprintf("%s %s/%s is %s for %s %s", c.Input, c.Stage, c.Step, c.State, c.Signal, c.Key))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(open, fmt.Sprintf("signals that were handed in: %v", p.handed))
}

// decide hands in the truth about every call in doubt, as a person would.
func (p *provider) decide(t testing.TB, world vfs.FS, disk *vfs.Memory, flow string) {
	t.Helper()
	dir, err := newest(disk, flow)
	if err != nil {
		t.Fatal(err)
	}
	view, err := segment.OpenView(disk, dir)
	if err != nil {
		t.Fatal(err)
	}
	run, err := history.Of(view)
	if err != nil {
		t.Fatal(err)
	}
	for c, err := range run.Open(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if !c.Waits() {
			continue
		}
		d := inbox.Decision{Stage: c.Stage, Input: *c.InputID, Step: c.Step, Verdict: "not done"}
		if p.happened(c.Effect, int(c.Input.Seq)) {
			d.Verdict = "done"
			d.Result = fmt.Appendf(nil, `{"input":%d,"no":"%s%d"}`, c.Input.Seq, c.Effect, c.Input.Seq)
		}
		if _, err := inbox.Put(world, dir, inbox.Message{At: time.Now().UTC(), By: "somebody", Decision: &d}); err != nil && !errors.Is(err, vfs.ErrCrashed) {
			t.Fatal(err)
		}
	}
	if err := view.Close(); err != nil {
		t.Fatal(err)
	}
}

// outcome says what is wrong with a run that has done all that it can.
func (p *provider) outcome(t testing.TB, disk *vfs.Memory, sum weir.Summary) (wrong []string) {
	t.Helper()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dir, err := newest(disk, "effects")
	if err != nil {
		t.Fatal(err)
	}
	o, err := inspect(t.Context(), disk, dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, problem := range o.problems {
		bad("check: %s", problem)
	}
	settled, undone, err := entriesOf(disk, dir)
	if err != nil {
		return []string{err.Error()}
	}
	wrong = append(wrong, p.judge(settled, undone)...)
	open := uint64(0)
	for _, stage := range []string{"idempotent", "keyed", "by_input", "at_least_once", "at_most_once", "by_person"} {
		var done, failed []int
		for _, text := range o.ports[stage+".out"] {
			var r receiptOf
			if err := json.Unmarshal([]byte(text), &r); err != nil || r.No != fmt.Sprint(stage, r.Input) {
				bad("%s: result %s, %v", stage, text, err)
			}
			done = append(done, r.Input)
		}
		for _, text := range o.ports[stage+".failed"] {
			var f weir.Failed[int]
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				bad("%s: failure %s, %v", stage, text, err)
			}
			if f.Input%5 != 0 || f.Ref.Seq != uint64(f.Input) {
				bad("%s: failure %s", stage, text)
			}
			failed = append(failed, f.Input)
		}
		if stage != "at_least_once" && stage != "by_person" && (!slices.IsSorted(done) || !slices.IsSorted(failed)) {
			bad("%s: results in the order %v, failures in the order %v", stage, done, failed)
		}
		all := slices.Sorted(slices.Values(slices.Concat(done, failed)))
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			bad("%s: something came out twice: %v", stage, all)
		}
		if missing := performed - len(all); stage == "by_person" {
			open = uint64(missing)
		} else if missing > 0 {
			bad("%s: %v came out, %d are missing", stage, all, missing)
		}
		if n := len(o.ports[stage+".dead"]); n > 0 {
			bad("%s: %d dead letters", stage, n)
		}
	}
	if sum.InDoubt != open || sum.Open != open {
		bad("the summary says %d in doubt of %d open, %d did not come out", sum.InDoubt, sum.Open, open)
	}
	return wrong
}

// entriesOf returns what is on record about the calls of a run, by effect and
// input: the epoch of the final outcome, and how often it says that it did not
// happen.
func entriesOf(fsys vfs.FS, dir string) (settled map[string]uint64, undone map[string]int, err error) {
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	in, err := view.Read(0)
	if err != nil {
		return nil, nil, err
	}
	trs := journal.Transitions(in)
	defer func() { err = errors.Join(err, trs.Close()) }()
	settled, undone = map[string]uint64{}, map[string]int{}
	var p journal.Placed
	for trs.Next(&p) == nil {
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port != journal.PortFx || o.Type != plan.EntryOutcome && o.Type != plan.EntryDecision {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				e, err := plan.ParseEntry(o.Type, rec.Payload)
				if err != nil {
					return nil, nil, err
				}
				of := fmt.Sprint(cmp.Or(e.Effect, e.Step, p.Stage), " ", rec.Refs[0].Seq)
				if e.Final {
					settled[of] = p.Epoch
				}
				if e.Outcome == plan.OutcomeNotDone {
					undone[of]++
				}
			}
		}
	}
	return settled, undone, nil
}
