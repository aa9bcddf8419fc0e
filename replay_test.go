package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// journalsOf tells what a run recorded, transition by transition, but for what
// supervisors say and for what names the epoch.
func journalsOf(t *testing.T, dir string) (all []string) {
	t.Helper()
	return journalsIn(readStory(t, dir))
}

func journalsIn(s *story) (all []string) {
	for _, c := range s.told {
		line := fmt.Sprint(c.Stage, " at ", c.Time.UnixNano())
		named := len(line)
		for _, in := range c.Consumed {
			if in.Kind != journal.Resumed && (in.Kind != journal.Ended || in.End == journal.Natural) {
				line += fmt.Sprintf(" | %+v", in)
			}
		}
		if c.Position != nil {
			line += fmt.Sprintf(" | position %+v", *c.Position)
		}
		for _, o := range c.outputs {
			if o.port == journal.PortSys {
				continue
			}
			for _, r := range o.records {
				line += fmt.Sprintf(" | %s %s %v %v %s %q %s", o.port, o.typ, r.Items, r.refs, r.Key, r.Payload, strconv.FormatBool(r.FromKey))
			}
		}
		for i, changes := range c.states {
			for _, ch := range changes {
				line += fmt.Sprintf(" | %s %s=%s %v %v", c.State[i].Table, ch.Key, ch.Value, ch.Deleted, ch.Items)
			}
		}
		for _, w := range c.Open {
			line += fmt.Sprintf(" | open %v %d %s:%d %q", w.Op, w.ID, w.Journal, w.Seq, w.Data)
		}
		for _, e := range c.Ends {
			if e.Kind == journal.Natural {
				line += fmt.Sprintf(" | end %+v", e)
			}
		}
		if len(line) > named {
			all = append(all, line)
		}
	}
	return all
}

func replayed(t *testing.T, def *weir.Definition, dir string, o weir.Options) weir.Summary {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Logger = quiet
	sum, err := def.Replay(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestReplayIsTheRun(t *testing.T) {
	var calls atomic.Int64
	amount := func(o verOrder) int { return o.Total }
	for name, def := range map[string]*weir.Definition{
		"pure": shop(700, shopBuild{}), "effects": tills(200, amount, &calls), "mutable": mutable(),
	} {
		t.Run(name, func(t *testing.T) {
			was := recorded(t, def)
			dir := was.Dir
			made := calls.Load()
			first := replayed(t, def, dir, weir.Options{})
			if diff := cmp.Diff(was, first, cmpopts.IgnoreFields(was, "Run", "Dir", "Took")); diff != "" || first.In == 0 || first.Out == 0 {
				t.Errorf("the replay came to something else (-run +replay):\n%s", diff)
			}
			if diff := cmp.Diff(journalsOf(t, dir), journalsOf(t, first.Dir)); diff != "" {
				t.Errorf("the replay is not the run (-run +replay):\n%.4000s", diff)
			}
			again := replayed(t, def, first.Dir, weir.Options{})
			if diff := cmp.Diff(journalsOf(t, first.Dir), journalsOf(t, again.Dir)); diff != "" {
				t.Errorf("the replay of the replay is not the replay:\n%.2000s", diff)
			}
			for _, d := range []string{first.Dir, again.Dir} {
				if v := verifyShop(t, def, d, weir.VerifyOptions{Chain: true}); v.Outcome != weir.Identical || v.At.Chain == "" {
					t.Errorf("verify of the replay: %s, %v, %+v", v.Outcome, v.Skipped, v.Differences[:min(3, len(v.Differences))])
				}
			}
			if calls.Load() != made {
				t.Errorf("the replays made %d calls", calls.Load()-made)
			}
		})
	}
}

// A world is everything outside: whoever touches it while it is closed fails the
// test.
type world struct {
	t      *testing.T
	closed atomic.Bool
	secret weir.Secret
	addr   string
}

func (w *world) touch(what string) {
	if w.closed.Load() {
		w.t.Errorf("%s was touched", what)
	}
}

func (w *world) Read(context.Context, weir.Position) iter.Seq2[weir.Batch[int], error] {
	w.touch("the source")
	return func(yield func(weir.Batch[int], error) bool) {
		for i := range 10 {
			if !yield(weir.Batch[int]{Values: []int{i}, Position: weir.Position(strconv.Itoa(i))}, nil) {
				return
			}
		}
	}
}

func (w *world) Bounded() bool { return true }

func (w *world) Open(context.Context, weir.At) (weir.Writer[string], error) {
	w.touch("the sink")
	return w, nil
}

func (w *world) Deliver(context.Context, []weir.Delivery[string]) error {
	w.touch("the sink")
	return nil
}
func (w *world) Close() error { return nil }

func (w *world) flow() *weir.Definition {
	type config struct{ Token weir.Secret }
	return weir.DefineWith("outside", config{w.secret}, func(f *weir.Flow, c config) {
		conn := weir.Open(f, "conn", func(ctx context.Context) (net.Conn, func() error, error) {
			w.touch("the resource")
			if c.Token == "" {
				return nil, nil, errors.New("no token")
			}
			var d net.Dialer
			n, err := d.DialContext(ctx, "tcp", w.addr)
			if err != nil {
				return nil, nil, err
			}
			return n, n.Close, nil
		})
		call := effect.KeyedByInput("call.v1", func(ctx context.Context, _ effect.Call, n int) (string, error) {
			w.touch("the effect")
			c, err := conn.Get(ctx)
			if err != nil {
				return "", err
			}
			_, err = fmt.Fprintln(c, n)
			return fmt.Sprint("called ", n), err
		})
		done, _ := weir.Perform(weir.From(f, "numbers", weir.Source[int](w)), "call", call)
		weir.Into(done, "out", w)
	})
}

// A replay needs no network, no credentials, and opens nothing.
func TestReplayTouchesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 100)
	go func() {
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
			accepted <- struct{}{}
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	w := &world{t: t, secret: "hush", addr: l.Addr().String()}
	dir := recordShop(t, w.flow())
	if len(accepted) != 1 {
		t.Fatalf("the run connected %d times", len(accepted))
	}
	w.closed.Store(true)
	w.secret = ""
	sum := replayed(t, w.flow(), dir, weir.Options{})
	if sum.Status != weir.Completed || sum.In != 10 || sum.Out != 10 {
		t.Errorf("replay: %+v", sum)
	}
	verifyShop(t, w.flow(), dir, weir.VerifyOptions{})
	if len(accepted) != 1 {
		t.Errorf("%d connections", len(accepted))
	}
	_ = l.Close()
}

func TestReplayDelivers(t *testing.T) {
	var got memo[int]
	def := weir.Define("deliver", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3}))
		twice := weir.Map(ns, "twice", func(n int) (int, error) { return 2 * n, nil })
		weir.Each(twice, "say", func(ctx context.Context, n int) error {
			if n == 4 {
				return errors.New("not four")
			}
			return got.add(ctx, n)
		})
	})
	data := t.TempDir()
	run, err := def.Run(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	got.all = nil
	sum := replayed(t, def, run.Dir, weir.Options{Dir: data})
	if len(got.all) != 0 || sum.Out != 2 || sum.Dead != 1 {
		t.Errorf("without Deliver: delivered %v, %+v", got.all, sum)
	}
	sum = replayed(t, def, run.Dir, weir.Options{Dir: data, Deliver: true})
	if !slices.Equal(got.all, []int{2, 6}) || sum.Status != weir.Completed || sum.Out != 2 || sum.Dead != 1 {
		t.Errorf("with Deliver: delivered %v, %+v", got.all, sum)
	}
	if v := verifyShop(t, def, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify: %s %+v", v.Outcome, v.Differences)
	}
	// Replays are no runs to go on with.
	next, err := def.Run(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil || next.Epoch != 1 || next.Run == sum.Run {
		t.Errorf("the next run: %+v, %v", next, err)
	}
}

// A run that was stopped is replayed as far as it came, and the replay is no run to
// go on with.
func TestReplayOfAnUnfinishedRun(t *testing.T) {
	def := stoppable(3000)
	data := t.TempDir()
	r, err := def.Start(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	was, _ := r.Wait()
	sum := replayed(t, def, was.Dir, weir.Options{Dir: data})
	if was.Status == weir.Stopped && sum.Status != weir.Stopped || sum.In != was.In {
		t.Errorf("the run: %+v, its replay: %+v", was, sum)
	}
	if _, err := def.Start(t.Context(), weir.Options{Dir: data, Run: sum.Run, Logger: quiet}); !errors.Is(err, weir.ErrNoRun) {
		t.Errorf("to go on with a replay: %v", err)
	}
	done, err := def.Run(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil || done.Run != was.Run || done.Status != weir.Completed {
		t.Errorf("going on: %+v, %v", done, err)
	}
	whole := replayed(t, def, was.Dir, weir.Options{Dir: data})
	if diff := cmp.Diff(journalsOf(t, was.Dir), journalsOf(t, whole.Dir)); diff != "" {
		t.Errorf("the replay of two epochs is not the run:\n%.2000s", diff)
	}
}

func stoppable(n int) *weir.Definition {
	return weir.Define("stoppable", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice(shopOrders(n)))
		weir.Each(weir.Reduce(weir.KeyBy(orders, func(o verOrder) string { return o.Customer }), "totals", weir.Zero[string, verSum],
			func(s *verSum, o verOrder) error { s.Orders++; s.Total += o.Total; return nil }, weir.EmitEvery(10)), "say",
			func(context.Context, verSum) error { return nil })
	})
}

// Other code makes other records of the same inputs.
func TestReplayWithOtherCode(t *testing.T) {
	dir := recordShop(t, shop(400, shopBuild{}))
	more := shop(400, shopBuild{extra: func(o verOrder) bool { return o.Total%50 == 1 }})
	sum := replayed(t, more, dir, weir.Options{})
	direct := recordShop(t, more)
	for _, port := range []string{"validate.out", "validate.dead", "quote.out"} {
		a, b := payloadsOf(t, sum.Dir, port), payloadsOf(t, direct, port)
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("%s differs from that of a run of the other code (-run +replay):\n%.1000s", port, diff)
		}
	}
	if v := verifyShop(t, more, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify of the replay with the code it was made with: %s, %v, %+v", v.Outcome, v.Skipped, v.Differences[:min(3, len(v.Differences))])
	}
}

// payloadsOf are the records of one port, without the dead letters' reasons.
func payloadsOf(t *testing.T, dir, name string) (all []string) {
	t.Helper()
	return payloadsIn(readStory(t, dir), name)
}

func payloadsIn(s *story, name string) (all []string) {
	for _, p := range s.spots() {
		if p.journal == name {
			all = append(all, string(s.at(p).Payload))
		}
	}
	return all
}

// A replay may be cut short at any operation of the disk: what is left of it can be
// read and verified, is no run to go on with, and another replay is the run.
func TestReplayCutShort(t *testing.T) {
	def := shop(40, shopBuild{})
	disk := vfs.NewMemory()
	was, err := def.Run(t.Context(), weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: disk, Batch: 4}})
	if err != nil || was.Status != weir.Completed {
		t.Fatalf("run: %+v, %v", was, err)
	}
	cut, readable, seen := 0, 0, map[string]bool{}
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 1; ; n += step {
		world := vfs.NewFaults(disk, vfs.StopAt(n))
		sum, err := def.Replay(t.Context(), was.Dir, weir.Options{Dir: "/data", Logger: quiet, SegmentSize: 8 << 10, Harness: &plan.Harness{FS: world}})
		if !world.Stopped() {
			if err != nil || sum.Status != weir.Completed {
				t.Errorf("a replay of which nothing is cut: %+v, %v", sum, err)
			}
			break
		}
		cut++
		if err == nil && sum.Status == weir.Completed && n < 3 {
			t.Errorf("operation %d: the disk is gone, and the replay is %+v", n, sum)
		}
		after := disk.Crash(rand.New(rand.NewPCG(uint64(n), 1)))
		disk = after
		entries, err := after.ReadDir("/data/shop")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			dir := "/data/shop/" + e.Name()
			m, err := segment.ReadManifest(after, dir)
			if dir == was.Dir || seen[dir] || err != nil {
				continue // or it had not begun
			}
			seen[dir] = true
			readable++
			if m.Baseline != was.Run {
				t.Errorf("operation %d: the baseline of %s is %q", n, e.Name(), m.Baseline)
			}
			if v := verifyOn(t, def, after, dir, weir.VerifyOptions{Chain: true}); v.Outcome != weir.Identical && (v.Outcome != weir.Inconclusive || v.At.LSN > 0) {
				t.Errorf("operation %d: what is left is %s: %+v", n, v.Outcome, v.Differences)
			}
			if s, err := segment.Check(after, dir); err != nil || len(s.Damage) > 0 {
				t.Errorf("operation %d: what is left is damaged: %+v, %v", n, s.Damage, err)
			}
			_, err = def.Start(t.Context(), weir.Options{Dir: "/data", Run: e.Name(), Logger: quiet, Harness: &plan.Harness{FS: after}})
			if !errors.Is(err, weir.ErrNoRun) {
				t.Errorf("operation %d: to go on with it: %v", n, err)
			}
		}
		again, err := def.Replay(t.Context(), was.Dir, weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: after}})
		if err != nil || again.Status != weir.Completed {
			t.Fatalf("operation %d: another replay: %+v, %v", n, again, err)
		}
		seen[again.Dir] = true
		if diff := cmp.Diff(journalsIn(readStoryOn(t, disk, was.Dir)), journalsIn(readStoryOn(t, after, again.Dir))); diff != "" {
			t.Errorf("operation %d: another replay is not the run:\n%.500s", n, diff)
		}
	}
	if cut < 10 || readable < 5 {
		t.Errorf("%d replays were cut short, %d could be read", cut, readable)
	}
	t.Logf("%d replays were cut short, %d could be read", cut, readable)
}

// A replay that dies while it delivers goes on with what has no receipt.
func TestReplayGoesOnDelivering(t *testing.T) {
	var got memo[int]
	var die func()
	def := weir.Define("deliver", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
		weir.Each(ns, "say", func(ctx context.Context, n int) error {
			if n == 4 && die != nil {
				die()
				return context.Cause(ctx)
			}
			return got.add(ctx, n)
		}, weir.FlushEvery(0))
	})
	disk := vfs.NewMemory()
	o := weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: disk, Batch: 1}}
	was, err := def.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got.all = nil
	world := vfs.NewFaults(disk, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	die = func() { world.Stop(); cancel() }
	o.Deliver, o.Harness = true, &plan.Harness{FS: world, Batch: 1}
	sum, _ := def.Replay(ctx, was.Dir, o)
	if sum.Run == "" || sum.Status == weir.Completed {
		t.Fatalf("the replay that died: %+v", sum)
	}
	die = nil
	first := slices.Clone(got.all)
	next, err := def.Run(t.Context(), weir.Options{Dir: "/data", Run: sum.Run, Logger: quiet, Harness: &plan.Harness{FS: disk.Kill(), Batch: 1}})
	if err != nil || next.Status != weir.Completed || next.Run != sum.Run {
		t.Fatalf("going on with it: %+v, %v", next, err)
	}
	slices.Sort(got.all)
	if all := slices.Compact(got.all); slices.Contains(first, 4) || !slices.Equal(all, []int{1, 2, 3, 4, 5, 6}) || next.Out != 6 {
		t.Errorf("delivered %v, of which %v before the death; %+v", all, first, next)
	}
}
