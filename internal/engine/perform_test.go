package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// acting is a flow that performs one effect for each of n values.
func acting(s *service, w *world, n int, change ...func(*performer)) *build {
	b := newBuild()
	b.source("numbers", 7, upTo(n)...)
	p := b.perform("act", s, "numbers")
	b.sink("out", w, "act")
	for _, fn := range change {
		fn(p)
	}
	return b
}

func concurrency(n int) func(*performer) {
	return func(p *performer) { p.node.Performing.Concurrency = n }
}

func unordered(p *performer) { p.node.Performing.Unordered = true }

// reopen ends a log and opens it again.
func reopen(t *testing.T, log *memory.Log) *memory.Log {
	t.Helper()
	_ = log.Close()
	again, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// takes has the service take longer for smaller numbers.
func takes(ctx context.Context, v int64) error {
	select {
	case <-time.After(time.Duration(100-v) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestOutputsLeaveInOrderOfInputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = takes
		wait(t, start(t, acting(s, w, 50, concurrency(8)), log), evidence.Completed)
		if got, want := values(t, log, "act", "out"), plus100(upTo(50)); !slices.Equal(got, want) {
			t.Errorf("outputs %v, want %v", got, want)
		}
		if s.most != 8 {
			t.Errorf("%d calls at once, want 8", s.most)
		}
		if got := len(w.values()); got != 50 {
			t.Errorf("delivered %d, want 50", got)
		}
	})
}

func TestOutputsLeaveAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = takes
		wait(t, start(t, acting(s, w, 8, concurrency(8), unordered), log), evidence.Completed)
		want := plus100(upTo(8))
		slices.Reverse(want)
		if got := values(t, log, "act", "out"); !slices.Equal(got, want) {
			t.Errorf("outputs %v, want %v", got, want)
		}
	})
}

// Inputs of one key are acted on one after the other, others beside them.
func TestOneAtATimeForEachKey(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*performer)
	}{{"ordered", func(*performer) {}}, {"unordered", unordered}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, log := newService(), &world{}, newLog(memory.Options{})
				s.answer = takes
				key := func(p *performer) { p.key = func(v int64) string { return strconv.FormatInt(v%3, 10) } }
				wait(t, start(t, acting(s, w, 30, concurrency(8), key, tc.change), log), evidence.Completed)
				if len(s.twice) > 0 || s.most != 3 {
					t.Errorf("%v at once twice, %d calls at once, want 3", s.twice, s.most)
				}
				for k := range int64(3) {
					of := slices.DeleteFunc(s.inOrder(), func(v int64) bool { return v%3 != k })
					if !slices.IsSorted(of) || len(of) != 10 {
						t.Errorf("key %d: calls in the order %v", k, of)
					}
				}
			})
		})
	}
}

// What an emission and a recorded entry follow from is on record.
func TestCausesOfWhatIsPerformed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		wait(t, start(t, acting(s, w, 3), log), evidence.Completed)
		in, err := log.Read(0)
		if err != nil {
			t.Fatal(err)
		}
		var p journal.Placed
		var got []string
		for trs := journal.Transitions(in); trs.Next(&p) == nil; {
			for i := range p.Outputs {
				o := &p.Outputs[i]
				if p.Stage != "act" || o.Port == journal.PortSys {
					continue
				}
				rs, rec := journal.NewRecords(o), journal.Record{}
				for {
					seq, ok := rs.Next(&rec)
					if !ok {
						break
					}
					line := fmt.Sprintf("%s:%d", o.Port, seq)
					for _, r := range rec.Refs {
						line += fmt.Sprintf(" %s:%d", o.Journals[r.Journal], r.Seq)
					}
					got = append(got, line)
				}
			}
		}
		slices.Sort(got)
		want := []string{
			"fx:1 numbers.out:1", "fx:2 numbers.out:1", "fx:3 numbers.out:2", "fx:4 numbers.out:2", "fx:5 numbers.out:3", "fx:6 numbers.out:3",
			"out:1 numbers.out:1 act.fx:2", "out:2 numbers.out:2 act.fx:4", "out:3 numbers.out:3 act.fx:6",
		}
		if !slices.Equal(got, want) {
			t.Errorf("causes:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// No call leaves before what it follows from is durable, and no more calls than
// slots are of unknown outcome, whenever the power goes.
func TestSlotsAreFreeWhenOutcomesAreDurable(t *testing.T) {
	for most, change := range map[int]func(*performer){
		3: func(*performer) {},
		1: func(p *performer) { p.key = func(int64) string { return "k" } }, // the next of a key waits for the one before
	} {
		synctest.Test(t, func(t *testing.T) {
			s, w, log := newService(), &world{}, newLog(memory.Options{Manual: true})
			r := start(t, acting(s, w, 10, concurrency(3), change, func(p *performer) { p.execute = unrecorded }), log)
			for calls := 0; calls < 10; {
				synctest.Wait()
				if now := len(s.inOrder()); now > calls+most {
					t.Fatalf("%d calls after %d, where %d may be unknown", now, calls, most)
				} else {
					calls = now
				}
				log.Sync()
			}
			for range 20 {
				synctest.Wait()
				log.Sync()
			}
			wait(t, r, evidence.Completed)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{Manual: true})
		r := start(t, acting(s, w, 10, concurrency(3)), log)
		for range 3 { // open, accepted, attempts: none durable
			synctest.Wait()
		}
		if n := len(s.inOrder()); n != 0 {
			t.Errorf("%d calls before anything was durable", n)
		}
		log.Crash()
		wait(t, r, evidence.Interrupted)
	})
}

// unrecorded calls without a record of the attempt, as for an effect that may be
// repeated at will.
func unrecorded(p *performer, x plan.Execution, v int64) plan.Result {
	if x.Durable() != nil || p.service.call(x, v) != nil {
		return plan.Result{State: plan.Interrupted}
	}
	return plan.Result{
		State: plan.Finished, Entries: []plan.Entry{{Type: plan.EntryOutcome, Outcome: plan.OutcomeDone, Final: true}}, Emit: func() { p.out.emit(v) },
	}
}

// What many executions come to say at once is placed together.
func TestExecutionsSharePlacing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that all but one wait to be run
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		answered := make(chan struct{})
		s.answer = func(context.Context, int64) error {
			<-answered
			return nil
		}
		const n = 32
		r := start(t, acting(s, w, n, concurrency(n)), log)
		synctest.Wait()
		before := log.Head()
		close(answered)
		wait(t, r, evidence.Completed)
		in, err := log.Read(before + 1)
		if err != nil {
			t.Fatal(err)
		}
		var p journal.Placed
		placed := 0
		for trs := journal.Transitions(in); trs.Next(&p) == nil; {
			if p.Stage == "act" && slices.ContainsFunc(p.Outputs, func(o journal.Output) bool { return o.Port == journal.PortFx }) {
				placed++
			}
		}
		if calls := len(s.inOrder()); calls != n || placed > n/8 {
			t.Errorf("the outcomes of %d calls were placed in %d transitions", calls, placed)
		}
	})
}

// A run that dies before any one of its transitions and goes on holds what a run
// holds that never died; a recorded outcome is not called for again.
func TestPerformAfterDeathAtEveryTransition(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change []func(*performer)
	}{
		{"ordered", []func(*performer){concurrency(4)}},
		{"unordered", []func(*performer){concurrency(4), unordered}},
		{"one at a time", nil},
		{"by key", []func(*performer){concurrency(4), func(p *performer) { p.key = func(v int64) string { return strconv.FormatInt(v%2, 10) } }}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				died := 0
				for fatal, more := journal.LSN(1), true; more; fatal++ {
					more = false
					s, w := newService(), &world{}
					s.answer = takes
					at := fatal
					log := newLog(memory.Options{Fault: func(next journal.LSN) error {
						if next == at {
							more = true
							return errDied
						}
						return nil
					}})
					known := map[int64]int{}
					flow := func() *build {
						return acting(s, w, 12, append(tc.change, func(p *performer) { p.repeats = true })...)
					}
					config := func(c *engine.Config) { c.Checkpoint.Bytes, c.Batch, c.Window.Records = 500, 4, 4 }
					if res, _ := start(t, flow(), log, config).Wait(); res.Status == evidence.Interrupted {
						died++
						at = 0
						log = reopen(t, log)
						for _, e := range outcomes(t, log) {
							known[e] = s.called(e)
						}
						wait(t, start(t, flow(), log, config), evidence.Completed)
					}
					got := values(t, log, "act", "out")
					if tc.name != "unordered" && !slices.Equal(got, plus100(upTo(12))) {
						t.Fatalf("death at %d: outputs %v", fatal, got)
					}
					if slices.Sort(got); !slices.Equal(got, plus100(upTo(12))) {
						t.Fatalf("death at %d: outputs %v", fatal, got)
					}
					for v, calls := range known {
						if now := s.called(v); now != calls {
							t.Errorf("death at %d: %d was called %d times, and %d times once its outcome was on record", fatal, v, calls, now-calls)
						}
					}
				}
				if died < 20 {
					t.Errorf("only %d deaths", died)
				}
			})
		})
	}
}

// outcomes returns the inputs of which an outcome is on record.
func outcomes(t *testing.T, log *memory.Log) (vs []int64) {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var p journal.Placed
	for trs := journal.Transitions(in); trs.Next(&p) == nil; {
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port != journal.PortFx || o.Type != plan.EntryOutcome {
				continue
			}
			rs, rec := journal.NewRecords(o), journal.Record{}
			for {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				vs = append(vs, int64(rec.Refs[0].Seq)) // numbers.out:7 holds 7
			}
		}
	}
	return vs
}

// 64 calls are in flight and the first of them hangs while checkpoints are
// taken; then the process dies. All outcomes are known, and the one that is not is
// in doubt.
func TestOpenWorkIsInCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		hangs := true
		s.answer = func(ctx context.Context, v int64) error {
			if v == 1 && hangs {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}
		config := func(c *engine.Config) { c.Checkpoint.Bytes = 1000 }
		start(t, acting(s, w, 64, concurrency(64)), log, config)
		synctest.Wait()
		if n := len(s.inOrder()); n != 64 {
			t.Fatalf("%d calls, want 64", n)
		}
		if got := values(t, log, "act", "out"); len(got) != 0 {
			t.Fatalf("outputs %v before the first", got)
		}
		if n := checkpoints(t, log, "act"); n < 2 {
			t.Fatalf("%d checkpoints", n)
		}
		log.Kill()
		synctest.Wait()
		log = reopen(t, log)
		b := acting(s, w, 64, concurrency(64))
		r := start(t, b, log, config)
		synctest.Wait()
		doubts := r.InDoubt()
		if len(doubts) != 1 || doubts[0].Input.Seq != 1 || doubts[0].Reason == "" {
			t.Fatalf("in doubt: %+v, want the first", doubts)
		}
		if got, want := values(t, log, "act", "out"), plus100(upTo(64)[1:]); !slices.Equal(got, want) {
			t.Errorf("outputs %v, want all but the first", got)
		}
		if n := len(s.inOrder()); n != 64 {
			t.Errorf("%d calls in all, want 64", n)
		}
		p := b.flow.Nodes[1].Performer.(*performer)
		if len(p.latest) != 64+63 || p.latest[0].Type != plan.EntryAttempt {
			t.Errorf("restored with %d entries", len(p.latest))
		}
		decide(t, r, doubts[0], "d1", nil)
		wait(t, r, evidence.Completed)
		if got := values(t, log, "act", "out"); got[63] != 101 {
			t.Errorf("the last output is %d, want the one that was in doubt", got[63])
		}
	})
}

func checkpoints(t *testing.T, log *memory.Log, stage string) (n int) {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var p journal.Placed
	for trs := journal.Transitions(in); trs.Next(&p) == nil; {
		if p.Stage == stage && p.Check != nil {
			n++
		}
	}
	return n
}

// A stop waits for calls in flight; at its deadline they are cut short and stay
// open.
func TestStopWaitsForCallsUntilItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = func(ctx context.Context, _ int64) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		flow := func() *build { return acting(s, w, 4, concurrency(2), func(p *performer) { p.repeats = true }) }
		r := start(t, flow(), log)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		if err := r.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stop = %v", err)
		}
		res := wait(t, r, evidence.Cancelled)
		if got := values(t, log, "act", "out"); !slices.Equal(got, plus100(upTo(2))) || res.Open != 2 {
			t.Errorf("outputs %v, open %d", got, res.Open)
		}
		log = reopen(t, log)
		wait(t, start(t, flow(), log), evidence.Completed)
		if got := values(t, log, "act", "out"); !slices.Equal(got, plus100(upTo(4))) {
			t.Errorf("outputs %v", got)
		}
	})
}

// What is known when a run is cut short is recorded.
func TestOutcomeIsRecordedAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = func(ctx context.Context, _ int64) error {
			<-ctx.Done()
			return nil // it has just answered
		}
		r := start(t, acting(s, w, 4, concurrency(2)), log)
		synctest.Wait()
		if err := r.Cancel(); err != nil {
			t.Fatal(err)
		}
		wait(t, r, evidence.Cancelled)
		s.answer = nil
		log = reopen(t, log)
		wait(t, start(t, acting(s, w, 4, concurrency(2)), log), evidence.Completed)
		for v := range int64(4) {
			if n := s.called(v + 1); n != 1 {
				t.Errorf("%d was called %d times", v+1, n)
			}
		}
	})
}

// A panic fails the stage; its input stays open and is executed again.
func TestPanicWhilePerforming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		flow := func(broken bool) *build {
			return acting(s, w, 6, concurrency(2), func(p *performer) {
				p.repeats = true
				p.execute = func(p *performer, x plan.Execution, v int64) plan.Result {
					if broken && v == 3 {
						panic("broken code")
					}
					return p.act(x, v)
				}
			})
		}
		res := wait(t, start(t, flow(true), log), evidence.Failed)
		if res.Kind != "panic" || !strings.Contains(res.Reason, "numbers.out:3") {
			t.Errorf("result %+v", res)
		}
		log = reopen(t, log)
		wait(t, start(t, flow(false), log), evidence.Completed)
		if got := values(t, log, "act", "out"); !slices.Equal(got, plus100(upTo(6))) {
			t.Errorf("outputs %v", got)
		}
	})
}

// A suspended input is executed again at its time, without a slot meanwhile,
// across restarts; a stop does not wait for it.
func TestSuspendedUntilATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		flow := func() *build {
			return acting(s, w, 3, unordered, func(p *performer) {
				p.execute = func(p *performer, x plan.Execution, v int64) plan.Result {
					past := x.History()
					waits := last(past, plan.EntryWaiting)
					switch {
					case waits == nil:
						e := plan.Entry{Type: plan.EntryWaiting, Step: "pause", At: x.Now().Add(time.Duration(4-v) * time.Hour)}
						return plan.Result{State: plan.Suspended, Entries: []plan.Entry{e}, Wake: plan.Wake{Step: "pause", At: e.At}}
					case last(past, plan.EntryWoken) == nil:
						return plan.Result{State: plan.Suspended, Wake: plan.Wake{Step: "pause", At: waits.At}}
					}
					return plan.Result{State: plan.Finished, Emit: func() { p.out.emit(v) }}
				}
			})
		}
		r := start(t, flow(), log)
		<-time.After(90 * time.Minute)
		synctest.Wait()
		if got := values(t, log, "act", "out"); !slices.Equal(got, []int64{3}) {
			t.Errorf("outputs %v after 90 minutes, want the third", got)
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if res := wait(t, r, evidence.Stopped); res.Open != 2 || res.InDoubt != 0 {
			t.Errorf("%+v", res)
		}
		log = reopen(t, log)
		wait(t, start(t, flow(), log), evidence.Completed)
		if got := values(t, log, "act", "out"); !slices.Equal(got, []int64{3, 2, 1}) {
			t.Errorf("outputs %v", got)
		}
	})
}
