package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// The slowest reader governs: a writer is never ahead of one by more than the
// window and one transition, also when there are several readers.
func TestCreditBoundsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, window := range []int{1, 10, 100} {
			b, slow, fast, log := newBuild(), &world{}, &world{}, newLog(memory.Options{})
			b.source("numbers", 5, upTo(1000)...)
			b.handle("inc", add(1), "numbers")
			b.sink("fast", fast, "inc")
			s := b.sink("slow", slow, "inc")
			s.refuse = func(ctx context.Context, _ int, _ []int64) error { return slowly(ctx, 0) }
			r := start(t, b, log, func(c *engine.Config) { c.Window.Records, c.Batch = uint64(window), 10 })
			for range 20 {
				time.Sleep(soon)
				for _, e := range r.Snapshot().Edges {
					if e.Used >= uint64(window+10) {
						t.Errorf("window %d: %s→%s uses %d", window, e.Journal, e.Reader, e.Used)
					}
				}
			}
			if ahead := len(fast.values()) - len(slow.values()); ahead > window+20 {
				t.Errorf("window %d: the fast sink is ahead by %d", window, ahead)
			}
			wait(t, r, evidence.Completed)
			if len(slow.values()) != 1000 || len(fast.values()) != 1000 {
				t.Errorf("window %d: delivered %d and %d", window, len(slow.values()), len(fast.values()))
			}
		}
	})
}

func TestSnapshotSaysWhereTheRunIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		src := b.source("numbers", 5, upTo(10)...)
		src.open = true
		b.handle("inc", func(h *handler, _ int, v int64) error {
			if v == 7 {
				return errRefused
			}
			h.ports[0].emit(v)
			return nil
		}, "numbers")
		b.sink("out", w, "inc")
		r := start(t, b, newLog(memory.Options{}))
		synctest.Wait()
		p := r.Snapshot()
		if p.Status != "running" || len(p.Stages) != 3 || len(p.Edges) != 2 {
			t.Fatalf("%+v", p)
		}
		for i, want := range []engine.StageProgress{
			{Name: "numbers", State: "Running", In: 10, Out: 10},
			{Name: "inc", State: "Running", In: 10, Out: 9, Dead: 1},
			{Name: "out", State: "Running", In: 9, Out: 9},
		} {
			if p.Stages[i] != want {
				t.Errorf("stage %+v, want %+v", p.Stages[i], want)
			}
		}
		for _, e := range p.Edges {
			if e.Used != 0 || e.Health != "idle" || e.Appended != e.Consumed {
				t.Errorf("edge %+v", e)
			}
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		p = r.Snapshot()
		if p.Status != "ended" {
			t.Errorf("status %s", p.Status)
		}
		for i, want := range []uint64{10, 10, 9} {
			if got := p.Stages[i]; got.In != want {
				t.Errorf("at the end, which is no record: %+v, want %d in", got, want)
			}
		}
	})
}

// A stage that is held up is reported with the chain of stages that wait, once,
// and so is that it goes on.
func TestStallIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		b.source("numbers", 1, upTo(20)...)
		b.handle("inc", add(1), "numbers")
		s := b.sink("out", w, "inc")
		release := make(chan struct{})
		s.refuse = func(ctx context.Context, _ int, _ []int64) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var mu sync.Mutex
		var said []string
		log := newLog(memory.Options{})
		liveness := func() (got []string) {
			for _, c := range contracts(t, log, evidence.Pipeline) {
				got = append(got, fmt.Sprintf("%s %s→%s passed %v final %v: %s", c.Contract, c.From, c.To, c.Passed, c.Final, c.Reason))
			}
			slices.Sort(got)
			return got
		}
		r := start(t, b, log, func(c *engine.Config) {
			c.Window.Records, c.Stall = 4, time.Minute
			c.Observer.Stalled = func(edge string, chain []string) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, strings.Join(append([]string{edge}, chain...), " "))
			}
		})
		time.Sleep(59 * time.Second)
		mu.Lock()
		if len(said) > 0 {
			t.Errorf("too early: %q", said)
		}
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		mu.Lock()
		want := []string{"inc.out→out out", "numbers.out→inc inc out"}
		slices.Sort(said)
		if !slices.Equal(said, want) {
			t.Errorf("reported %q, want %q", said, want)
		}
		said = nil
		mu.Unlock()
		if h := r.Snapshot().Edges[1].Health; h != "stalled" {
			t.Errorf("health %s", h)
		}
		held := "inc waits for credit of inc.out→out from out, which waits for nobody"
		evident := []string{
			"liveness inc.out→out passed false final false: stalled: out, which waits for nobody",
			"liveness inc.out→out passed false final false: suspect: out, which waits for nobody",
			"liveness numbers.out→inc passed false final false: stalled: " + held,
			"liveness numbers.out→inc passed false final false: suspect: " + held,
		}
		if diff := cmp.Diff(evident, liveness()); diff != "" {
			t.Errorf("evidence after ten minutes (-want +got):\n%s", diff)
		}
		close(release)
		wait(t, r, evidence.Completed)
		last := map[string]bool{} // whatever was seen in between, both edges passed in the end
		for _, c := range contracts(t, log, evidence.Pipeline) {
			last[c.From] = c.Passed
		}
		if !last["inc.out"] || !last["numbers.out"] {
			t.Errorf("verdicts at the end: %q", liveness())
		}
	})
}

// An edge that is read from the log is watched, too: when its reader makes
// no progress that is reported, though the writer has all its credit.
func TestStallOfAReaderFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(memory.Options{})
		stuck := make(chan struct{})
		flow := func(refuse func(ctx context.Context, _ int, _ []int64) error) *build {
			b := newBuild()
			b.source("numbers", 1, upTo(20)...)
			b.sink("out", &world{}, "numbers").refuse = refuse
			return b
		}
		r := start(t, flow(func(ctx context.Context, _ int, _ []int64) error { <-ctx.Done(); return ctx.Err() }), log)
		synctest.Wait()
		if err := r.Cancel(); err != nil {
			t.Fatal(err)
		}
		_ = log.Close()
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		var stalled atomic.Value
		r = start(t, flow(func(context.Context, int, []int64) error { <-stuck; return nil }), log, func(c *engine.Config) {
			c.Window.Records, c.Batch, c.Stall = 2, 1, time.Minute
			c.Observer.Stalled = func(edge string, chain []string) { stalled.Store(edge + " " + strings.Join(chain, " ")) }
		})
		time.Sleep(3 * time.Minute)
		if got := stalled.Load(); got != "numbers.out→out out" {
			t.Errorf("reported %v", got)
		}
		if e := r.Snapshot().Edges[0]; e.Used != 0 || !e.Deferred || e.Health != "stalled" {
			t.Errorf("edge %+v", e)
		}
		close(stuck)
		wait(t, r, evidence.Completed)
	})
}

// An idle run writes nothing and wakes nobody: the bubble's clock stands still
// unless someone waits for it, and the log does not grow.
func TestIdleWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		b.source("numbers", 5, upTo(10)...).open = true
		last := "numbers"
		for i := range 10 {
			name := "s" + string(rune('a'+i))
			b.handle(name, add(1), last)
			last = name
		}
		b.sink("out", w, last)
		log := newLog(memory.Options{})
		r := start(t, b, log)
		time.Sleep(time.Minute) // checkpoints of what was read
		before := log.Head()
		began := time.Now()
		time.Sleep(24 * time.Hour)
		if log.Head() != before {
			t.Errorf("%d frames in a day of %v", log.Head()-before, time.Since(began))
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// What must be read again after a crash does not grow with history.
func TestCheckpointsBoundRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := func(n int) int {
			b, log := newBuild(), newLog(memory.Options{})
			b.source("numbers", 5, upTo(n)...).open = true
			b.source("idle", 5, 1).open = true
			b.fold("sums", "numbers", "idle")
			b.sink("out", &world{}, "sums")
			b.sink("rest", &world{}, "numbers")
			start(t, b, log, func(c *engine.Config) { c.Checkpoint.Bytes = 4 << 10 })
			synctest.Wait()
			log.Kill()
			synctest.Wait()
			next, err := log.Reopen()
			if err != nil {
				t.Fatal(err)
			}
			again := newBuild()
			again.source("numbers", 5, upTo(n)...)
			again.source("idle", 5, 1)
			sums := again.fold("sums", "numbers", "idle")
			again.sink("out", &world{}, "sums")
			again.sink("rest", &world{}, "numbers")
			state, err := engine.Recover(again.flow, next)
			if err != nil {
				t.Fatal(err)
			}
			var total int64
			for d := range int64(10) {
				total += sums.table.get(d)
			}
			if want := int64(n*(n+1)/2) + 1; total != want {
				t.Errorf("recovered sums of %d, want %d", total, want)
			}
			return state.Read
		}
		for _, n := range []int{1000, 20_000} { // of 400 and of 8,000 frames and more
			if got := reads(n); got > 200 {
				t.Errorf("%d frames read after %d records", got, n)
			}
		}
	})
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newBuild(), newLog(memory.Options{})
		b.source("numbers", 5, upTo(10)...)
		b.sink("out", &world{}, "numbers")
		var in, moves, contracts atomic.Int64
		wait(t, start(t, b, log, func(c *engine.Config) {
			c.Observer = engine.Observer{
				Transition: func(tr engine.Transition) { in.Add(int64(tr.Out)) },
				Moved:      func(_, _, _, _ string) { moves.Add(1) },
				Contract:   func(evidence.Contract) { contracts.Add(1) },
			}
		}), evidence.Completed)
		if in.Load() != 10 || moves.Load() < 10 || contracts.Load() != 3 {
			t.Errorf("seen %d records, %d moves, %d contracts", in.Load(), moves.Load(), contracts.Load())
		}
	})
}

// Every transition is one append with its parts in order: numbers of a stage's
// frames are contiguous over epochs.
func TestFramesAreContiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(memory.Options{})
		for range 3 {
			b := newBuild()
			b.source("numbers", 5, upTo(10)...).open = true
			b.fold("sums", "numbers")
			b.sink("out", &world{}, "sums")
			r := start(t, b, log)
			synctest.Wait()
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = log.Close()
			var err error
			if log, err = log.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		in, err := log.Read(0)
		if err != nil {
			t.Fatal(err)
		}
		last := map[string]uint64{}
		var p journal.Placed
		for trs := journal.Transitions(in); ; {
			if err := trs.Next(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if p.Number != last[p.Stage]+1 {
				t.Errorf("frame %d of %s has number %d after %d", p.First, p.Stage, p.Number, last[p.Stage])
			}
			last[p.Stage] = p.Number + p.Frames() - 1
		}
		if len(last) != 4 {
			t.Errorf("stages in the log: %v", last)
		}
	})
}

// A hundred flows start and end in one process and leave nothing behind: a bubble
// does not end before every goroutine in it has.
func TestNothingIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				b, w := newBuild(), &world{}
				src := b.source("numbers", 5, upTo(100)...)
				src.acks, src.open = true, i%4 == 0
				b.fold("sums", "numbers")
				b.sink("out", w, "sums", "numbers")
				r := start(t, b, newLog(memory.Options{}))
				switch i % 8 {
				case 0:
					_ = r.Cancel()
				case 4:
					_ = r.Stop(context.Background())
				}
				if _, err := r.Wait(); err != nil {
					t.Errorf("run %d: %v", i, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestStartRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		flow func(b *build)
		want string
	}{
		{"a name twice", func(b *build) { b.source("a", 1); b.source("a", 1) }, "two stages named a"},
		{"the pipeline's name", func(b *build) { b.source("pipeline", 1) }, "two stages named pipeline"},
		{"a journal twice", func(b *build) { b.source("a", 1); b.handle("m", add(1), "a", "a") }, "reads a.out twice"},
		{"a stage that does nothing", func(b *build) { b.node("a", "map", "out") }, "must be a source"},
		{"a handler without inputs", func(b *build) { b.handle("a", add(1)) }, "must be a source"},
	} {
		b := newBuild()
		tc.flow(b)
		_, err := engine.Start(t.Context(), engine.Config{Flow: b.flow, Log: newLog(memory.Options{})})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}
