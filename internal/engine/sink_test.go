package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// receipts returns what the log says of a sink's deliveries.
func receipts(t *testing.T, log *memory.Log, stage string) []evidence.Receipt {
	t.Helper()
	var out []evidence.Receipt
	for _, r := range records(t, log, stage, evidence.Receipts) {
		e, err := evidence.Parse[evidence.Receipt]([]byte(r))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestDeliveryFailures(t *testing.T) {
	flaky := func(until int) func(context.Context, int, []int64) error {
		return func(_ context.Context, attempt int, _ []int64) error {
			if attempt < until {
				return errRefused
			}
			return nil
		}
	}
	single := func(bad int64, until int) func(int64, int) error {
		return func(v int64, attempt int) error {
			if v == bad && attempt < until {
				return errRefused
			}
			return nil
		}
	}
	retry := &plan.Retry{Max: 3, Delay: time.Second, Factor: 2}
	for _, tc := range []struct {
		name   string
		setup  func(s *sink)
		status string
		out    []int64
		dead   []string
		took   time.Duration
		says   []string // of receipts
	}{
		{"none", func(*sink) {}, evidence.Completed, []int64{1, 2, 3, 4}, nil, 0, []string{"success 1-4"}},
		{"some records", func(s *sink) { s.fail = single(3, 99) }, evidence.Completed, []int64{1, 2, 4}, []string{"3"}, 0, []string{"partial 1-4 [3]"}},
		{"a record, retried", func(s *sink) { s.fail, s.node.Guards.Retry = single(3, 3), retry }, evidence.Completed, []int64{1, 2, 4, 3}, nil, 3 * time.Second, []string{"success 1-4"}},
		{"a delivery", func(s *sink) { s.refuse = flaky(99) }, evidence.Completed, nil, []string{"1", "2", "3", "4"}, 0, []string{"failed 1-4 [1 2 3 4]"}},
		{"a delivery, retried", func(s *sink) { s.refuse, s.node.Guards.Retry = flaky(3), retry }, evidence.Completed, []int64{1, 2, 3, 4}, nil, 3 * time.Second, []string{"success 1-4"}},
		{"a delivery, too often", func(s *sink) { s.refuse, s.node.Guards.Retry = flaky(4), retry }, evidence.Completed, nil, []string{"1", "2", "3", "4"}, 3 * time.Second, []string{"failed 1-4 [1 2 3 4]"}},
		{"a delivery for good", func(s *sink) {
			s.node.Guards.Retry = retry
			s.refuse = func(context.Context, int, []int64) error { return event.Mark(event.KindPermanent, errRefused) }
		}, evidence.Completed, nil, []string{"1", "2", "3", "4"}, 0, []string{"failed 1-4 [1 2 3 4]"}},
		{"a delivery fails the stage", func(s *sink) { s.refuse, s.node.OnError.Error = flaky(99), plan.Fail }, evidence.Failed, nil, nil, 0, nil},
		{"a panic fails the stage", func(s *sink) {
			s.refuse = func(context.Context, int, []int64) error { panic("oh") }
		}, evidence.Failed, nil, nil, 0, nil},
		{"a budget", func(s *sink) { s.refuse, s.node.OnError.Budget = flaky(99), plan.Budget{InARow: 2} }, evidence.Failed, nil, []string{"1", "2"}, 0, []string{"failed 1-2 [1 2]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, w, log := newBuild(), &world{}, newLog(memory.Options{})
				b.source("numbers", 4, upTo(4)...)
				s := b.sink("out", w, "numbers")
				tc.setup(s)
				began := time.Now()
				res := wait(t, start(t, b, log), tc.status)
				if took := time.Since(began); took != tc.took {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if !slices.Equal(w.values(), tc.out) || res.Out != uint64(len(tc.out)) {
					t.Errorf("delivered %v, counted %d, want %v", w.values(), res.Out, tc.out)
				}
				if got := records(t, log, "out", "dead"); !slices.Equal(got, tc.dead) {
					t.Errorf("dead letters %v, want %v", got, tc.dead)
				}
				var says []string
				for _, r := range receipts(t, log, "out") {
					say := fmt.Sprintf("%s %d-%d", r.Status, r.From, r.To)
					if len(r.Failed) > 0 {
						say += fmt.Sprint(" ", r.Failed)
					}
					says = append(says, say)
				}
				if !slices.Equal(says, tc.says) {
					t.Errorf("receipts %q, want %q", says, tc.says)
				}
			})
		})
	}
}

// What comes behind a delivery that failed was not tried, and is delivered when it is
// known what the failure means. No mark says that it was before.
func TestDeliveryBehindAFailedOne(t *testing.T) {
	for name, setup := range map[string]func(*sink){
		"plain": func(*sink) {},
		"held":  func(s *sink) { s.holds, s.node.Flush = true, time.Minute },
		"marks": func(s *sink) { s.marks = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, w, log := newBuild(), &world{}, newLog(memory.Options{})
				b.source("a", 1, upTo(20)...)
				b.source("b", 1, 101, 102, 103)
				b.source("c", 1, 201, 202, 203)
				s := &marking{sink: b.sink("out", w, "a", "b", "c"), tried: map[string]uint64{}}
				s.node.Sink = s
				setup(s.sink)
				s.refuse = func(_ context.Context, _ int, vs []int64) error {
					if w.calls == 0 {
						time.Sleep(time.Second) // the others gather
					}
					if slices.Contains(vs, 4) || slices.Contains(vs, 11) || slices.Contains(vs, 102) {
						return event.Invalid(errRefused)
					}
					return nil
				}
				res := wait(t, start(t, b, log), evidence.Completed)
				var got [3][]int64
				for _, v := range w.values() {
					got[v/100] = append(got[v/100], v)
				}
				want := slices.DeleteFunc(upTo(20), func(v int64) bool { return v == 4 || v == 11 })
				if !slices.Equal(got[0], want) || !slices.Equal(got[1], []int64{101, 103}) || !slices.Equal(got[2], []int64{201, 202, 203}) || res.Out != 23 {
					t.Errorf("delivered %v, counted %d", got, res.Out)
				}
				if dead := slices.Sorted(slices.Values(records(t, log, "out", "dead"))); !slices.Equal(dead, []string{"102", "11", "4"}) {
					t.Errorf("dead letters %v", dead)
				}
				for _, m := range s.wrong {
					t.Error(m)
				}
			})
		})
	}
}

// marking is a sink that compares each mark with what was delivered.
type marking struct {
	*sink
	tried map[string]uint64 // the last record, by journal
	wrong []string
}

func (s *marking) Open(ctx context.Context, at plan.At) (plan.Deliverer, error) {
	_, err := s.sink.Open(ctx, at)
	return s, err
}

func (s *marking) Marks() plan.Marker {
	if !s.marks {
		return nil
	}
	return s
}

func (s *marking) Commit(ctx context.Context, parts []plan.Part, attempt int, mark string) error {
	for _, p := range parts {
		s.tried[p.Batch.Journal] = p.Batch.First + uint64(p.To) - 1
	}
	var m map[string]struct{ Seq uint64 }
	if err := json.Unmarshal([]byte(mark), &m); err != nil {
		return err
	}
	for journal, at := range m {
		if at.Seq > s.tried[journal] {
			s.wrong = append(s.wrong, fmt.Sprintf("a mark is at %s:%d, tried is %d", journal, at.Seq, s.tried[journal]))
		}
	}
	return s.sink.Commit(ctx, parts, attempt, mark)
}

// What a sink holds has a receipt only after a flush; Flush bounds how long it
// waits.
func TestHeldUntilFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		src := b.source("numbers", 1, upTo(100)...)
		src.hold = slowly
		s := b.sink("out", w, "numbers")
		s.holds, s.node.Flush = true, 10*time.Second
		r := start(t, b, log)
		time.Sleep(5*time.Second + soon/2)
		if len(w.values()) != 0 || len(receipts(t, log, "out")) != 0 {
			t.Errorf("after 5 s: delivered %v, receipts %v", w.values(), receipts(t, log, "out"))
		}
		wait(t, r, evidence.Completed)
		if got := w.values(); !slices.Equal(got, upTo(100)) {
			t.Errorf("delivered %v", got)
		}
		if w.flushes < 9 || w.flushes > 12 {
			t.Errorf("%d flushes of 100 records in 100 s, want about 10", w.flushes)
		}
	})
}

// A window of one record does not wait for a flush that waits for more.
func TestHeldWithNarrowWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w := newBuild(), &world{}
		b.source("numbers", 1, upTo(20)...)
		s := b.sink("out", w, "numbers")
		s.holds, s.node.Flush = true, time.Hour
		began := time.Now()
		wait(t, start(t, b, newLog(memory.Options{}), func(c *engine.Config) { c.Window.Records = 1 }), evidence.Completed)
		if time.Since(began) > time.Minute || len(w.values()) != 20 {
			t.Errorf("took %v, delivered %v", time.Since(began), w.values())
		}
	})
}

// A sink that stores marks delivers exactly once, wherever the run dies.
func TestMarksDeliverOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for at := journal.LSN(1); at < 60; at++ {
			fatal := at
			log := newLog(memory.Options{Fault: func(next journal.LSN) error {
				if next == fatal {
					return errDied
				}
				return nil
			}})
			w := &world{}
			flow := func() *build {
				b := newBuild()
				b.source("a", 2, upTo(10)...)
				b.source("b", 3, 101, 102, 103, 104, 105)
				b.sink("out", w, "a", "b").marks = true
				return b
			}
			r := start(t, flow(), log, func(c *engine.Config) { c.Window.Records = 2 })
			if res, _ := r.Wait(); res.Status == evidence.Interrupted {
				fatal = 0
				var err error
				if log, err = log.Reopen(); err != nil {
					t.Fatal(err)
				}
				wait(t, start(t, flow(), log), evidence.Completed)
			}
			got := slices.Sorted(slices.Values(w.values()))
			if want := append(upTo(10), 101, 102, 103, 104, 105); !slices.Equal(got, want) {
				t.Fatalf("death at %d: delivered %v", at, got)
			}
			var n uint64
			for _, r := range receipts(t, log, "out") {
				n += r.To - r.From + 1
			}
			if n != 15 {
				t.Fatalf("death at %d: receipts for %d records", at, n)
			}
		}
	})
}

// A mark that the log does not contain is refused.
func TestForeignMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct{ mark, want string }{
			{`{"numbers.out":{"epoch":"00000000000000000000000000000000","seq":3}}`, "ahead of the log"},
			{`{"numbers.out":{"epoch":"00000000000000000000000000000000","seq":99}}`, "ahead of the log"},
			{`not a mark`, "not one that Weir wrote"},
		} {
			w, log := &world{}, newLog(memory.Options{})
			flow := func() *build {
				b := newBuild()
				src := b.source("numbers", 2, upTo(10)...)
				src.open = true
				b.sink("out", w, "numbers").marks = true
				return b
			}
			r := start(t, flow(), log)
			synctest.Wait()
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = log.Close()
			log, err := log.Reopen()
			if err != nil {
				t.Fatal(err)
			}
			w.mark = tc.mark
			if res := wait(t, start(t, flow(), log), evidence.Failed); !strings.Contains(res.Reason, tc.want) {
				t.Errorf("mark %s: %s", tc.mark, res.Reason)
			}
		}
	})
}

// A crash between the steps of putting a result in place leads to exactly one
// result.
func TestFinishingAfterCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for at := journal.LSN(1); at < 30; at++ {
			fatal := at
			log := newLog(memory.Options{Fault: func(next journal.LSN) error {
				if next == fatal {
					return errDied
				}
				return nil
			}})
			w := &world{}
			flow := func() *build {
				b := newBuild()
				b.source("numbers", 5, upTo(5)...)
				s := b.sink("out", w, "numbers")
				s.finishes = true
				s.crash = func(step string) {
					if step == "finish" && !strings.Contains(phases(t, log), "finalizing") {
						t.Errorf("death at %d: finished before finalizing was on record", at)
					}
				}
				return b
			}
			r := start(t, flow(), log)
			if res, _ := r.Wait(); res.Status == evidence.Interrupted {
				fatal = 0
				var err error
				if log, err = log.Reopen(); err != nil {
					t.Fatal(err)
				}
				wait(t, start(t, flow(), log), evidence.Completed)
			}
			if got := phases(t, log); got != "finalizing finalized" {
				t.Errorf("death at %d: phases %q", at, got)
			}
			if w.renamed == 0 || w.renamed > 2 {
				t.Errorf("death at %d: put in place %d times", at, w.renamed)
			}
		}
	})
}

func phases(t *testing.T, log *memory.Log) string {
	t.Helper()
	var out []string
	for _, r := range receipts(t, log, "out") {
		if r.Phase != "" {
			out = append(out, r.Phase)
		}
	}
	return strings.Join(out, " ")
}

// A stop does not put a result in place, and the sink learns its note again.
func TestStopDoesNotFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := &world{}, newLog(memory.Options{})
		flow := func(open bool) *build {
			b := newBuild()
			b.source("numbers", 5, upTo(5)...).open = open
			b.sink("out", w, "numbers").finishes = true
			return b
		}
		r := start(t, flow(true), log)
		synctest.Wait()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.prepares+w.renamed > 0 || w.closed != 1 {
			t.Errorf("a stop prepared %d, put in place %d, closed %d", w.prepares, w.renamed, w.closed)
		}
		_ = log.Close()
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, start(t, flow(false), log), evidence.Completed)
		if len(w.opened) != 2 || w.opened[1].Note != "n5" || w.opened[1].Epoch != 2 || w.renamed != 1 {
			t.Errorf("opened %+v, put in place %d times", w.opened, w.renamed)
		}
	})
}

func TestSinkThatDoesNotOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuild()
		b.source("numbers", 5, upTo(5)...)
		n, _ := b.node("out", "sink")
		n.Sink = closedSink{}
		b.inputs(n, []string{"numbers"})
		log := newLog(memory.Options{})
		if res := wait(t, start(t, b, log), evidence.Failed); res.Stage != "out" || !strings.Contains(res.Reason, "open the sink: no such host") {
			t.Errorf("result %+v", res)
		}
		if got := records(t, log, "numbers", "out"); len(got) > 0 {
			t.Errorf("the source read %v", got)
		}
	})
}

type closedSink struct{ plan.Sink }

func (closedSink) Open(context.Context, plan.At) (plan.Deliverer, error) {
	return nil, errors.New("no such host")
}

// A receipt that the log did not take before the run was cancelled is not among
// the last words of its sink: what it accounts for is delivered again, behind the
// note of the receipt before it.
func TestReceiptThatWasNotPlaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, w := newLog(memory.Options{}), &world{}
		var full atomic.Bool
		flow := func() *build {
			b := newBuild()
			b.source("numbers", 5, upTo(15)...)
			s := b.sink("out", w, "numbers")
			s.finishes = true // it keeps notes
			s.fail = func(v int64, _ int) error {
				if v == 8 {
					full.Store(true)
				}
				return nil
			}
			return b
		}
		r := start(t, flow(), log, narrow, func(c *engine.Config) { c.Log = noRoom{log, "out", &full} })
		synctest.Wait() // the receipt for 6 to 10 waits for room
		_ = r.Cancel()
		wait(t, r, evidence.Cancelled)
		log = again(t, log)
		wait(t, start(t, flow(), log, narrow), evidence.Completed)
		if len(w.opened) != 2 || w.opened[1].Note != "n5" {
			t.Errorf("opened %+v, want the note n5", w.opened)
		}
		if got := slices.Compact(slices.Sorted(slices.Values(w.values()))); !slices.Equal(got, upTo(15)) {
			t.Errorf("delivered %v, want 1 to 15", w.values())
		}
	})
}

// A noRoom is a log that has no room for one stage while full, except for what
// it says when it was told to end.
type noRoom struct {
	*memory.Log
	stage string
	full  *atomic.Bool
}

func (l noRoom) Append(ctx context.Context, u journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	if frames[0].Stage == l.stage && l.full.Load() && ctx.Done() != nil {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return l.Log.Append(ctx, u, frames...)
}
