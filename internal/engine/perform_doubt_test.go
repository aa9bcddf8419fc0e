package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// decide hands a decision over; it must be answered with want.
func decide(t *testing.T, r *engine.Run, d engine.InDoubt, id string, want error) {
	t.Helper()
	told := make(chan error, 1)
	err := r.Hand(engine.Handed{
		Stage: d.Stage, ID: d.ID, Consumed: journal.Consumed{Kind: journal.Decided, ID: id},
		Entries: []plan.Entry{{Type: plan.EntryDecision, Outcome: plan.OutcomeDone, By: "somebody", ID: id}},
		Told:    func(_ journal.LSN, err error) { told <- err },
	})
	if err == nil {
		err = <-told
	}
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("Hand(%s) = %v, want %v", id, err, want)
	}
}

// doubtful has the service lose every answer about v.
func doubtful(vs ...int64) func(context.Context, int64) error {
	return func(_ context.Context, v int64) error {
		if slices.Contains(vs, v) {
			return errors.New("connection lost")
		}
		return nil
	}
}

// An input in doubt holds up only those of its key, and the end of the run until
// it is decided about.
func TestInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = doubtful(3, 8)
		flow := func() *build {
			return acting(s, w, 12, concurrency(2), func(p *performer) {
				p.key = func(v int64) string {
					if v%5 == 3 { // 3, 8
						return "k"
					}
					return ""
				}
			})
		}
		r := start(t, flow(), log)
		synctest.Wait()
		if p := r.Snapshot(); p.Status != "waiting for decisions" {
			t.Errorf("status %q", p.Status)
		}
		doubts := r.InDoubt()
		if len(doubts) != 1 || doubts[0].Input.Seq != 3 || doubts[0].Reason != "connection lost" || s.called(8) != 0 {
			t.Fatalf("in doubt: %+v, and the next of its key was called %d times", doubts, s.called(8))
		}
		if got := values(t, log, "act", "out"); len(got) != 10 || !slices.IsSorted(got) {
			t.Errorf("outputs %v", got)
		}
		decide(t, r, engine.InDoubt{Stage: "act", ID: 99}, "d0", engine.ErrNotOpen)
		decide(t, r, engine.InDoubt{Stage: "numbers", ID: 1}, "d0", engine.ErrNotOpen)
		if err := r.Stop(t.Context()); err != nil { // a stop does not wait
			t.Fatal(err)
		}
		res := wait(t, r, evidence.Stopped)
		if res.InDoubt != 1 || res.Open != 2 {
			t.Errorf("result %+v, want 1 in doubt of 2 open", res)
		}
		log = reopen(t, log)
		r = start(t, flow(), log)
		synctest.Wait()
		if doubts = r.InDoubt(); len(doubts) != 1 || s.called(3) != 1 {
			t.Fatalf("after a restart: in doubt %+v, called %d times", doubts, s.called(3))
		}
		decide(t, r, doubts[0], "d1", nil)
		synctest.Wait()
		decide(t, r, engine.InDoubt{Stage: "act", ID: doubts[0].ID}, "d1", engine.ErrNotOpen)
		if doubts = r.InDoubt(); len(doubts) != 1 || doubts[0].Input.Seq != 8 {
			t.Fatalf("in doubt then: %+v, want the next of its key", doubts)
		}
		decide(t, r, doubts[0], "d2", nil)
		wait(t, r, evidence.Completed)
		got := values(t, log, "act", "out")
		if !slices.Equal(got[10:], []int64{103, 108}) || s.called(3) != 1 || s.called(8) != 1 {
			t.Errorf("outputs %v, calls %d and %d", got, s.called(3), s.called(8))
		}
		if n := len(terminals(t, log)); n != 2 {
			t.Errorf("%d terminal records", n)
		}
	})
}

// People are told each time that the run waits for them, and not while a call is
// under way.
func TestWaitsForDecisionsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = doubtful(3, 8)
		slow, begun := make(chan struct{}), make(chan struct{}, 12)
		s.before = func(_ plan.Execution, v int64) {
			if v == 8 {
				begun <- struct{}{}
				<-slow
			}
		}
		b := acting(s, w, 12, concurrency(2), func(p *performer) { p.key = func(v int64) string { return strconv.FormatInt(v%5, 10) } })
		var told strings.Builder
		r := start(t, b, log, func(c *engine.Config) { c.Logger = slog.New(slog.NewTextHandler(&told, nil)) })
		synctest.Wait()
		decide(t, r, r.InDoubt()[0], "d1", nil)
		<-begun
		synctest.Wait()
		if p := r.Snapshot(); p.Status != "ending" {
			t.Errorf("while the next is called, the status is %q", p.Status)
		}
		close(slow)
		synctest.Wait()
		if p := r.Snapshot(); p.Status != "waiting for decisions" || strings.Count(told.String(), "waiting for decisions") != 2 {
			t.Errorf("status %q, told:\n%s", p.Status, told.String())
		}
		decide(t, r, r.InDoubt()[0], "d2", nil)
		wait(t, r, evidence.Completed)
	})
}

// A stage that holds fails with words, and goes on when it is known.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = doubtful(3)
		flow := func() *build { return acting(s, w, 12, func(p *performer) { p.node.Performing.Hold = true }) }
		r := start(t, flow(), log)
		res := wait(t, r, evidence.Failed)
		if !strings.Contains(res.Reason, "numbers.out:3: connection lost") || !strings.Contains(res.Reason, "effects resolve") {
			t.Errorf("reason %q", res.Reason)
		}
		if s.called(4) != 0 {
			t.Error("the next was called")
		}
		log = reopen(t, log)
		r = start(t, flow(), log)
		synctest.Wait()
		if s.called(4) != 0 || len(r.InDoubt()) != 1 {
			t.Errorf("after a restart: called %d times, in doubt %v", s.called(4), r.InDoubt())
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(t, r, evidence.Stopped)
		log = reopen(t, log)
		r = start(t, flow(), log)
		synctest.Wait()
		decide(t, r, r.InDoubt()[0], "d1", nil)
		wait(t, r, evidence.Completed)
		if got := slices.Sorted(slices.Values(values(t, log, "act", "out"))); !slices.Equal(got, plus100(upTo(12))) {
			t.Errorf("outputs %v", got)
		}
	})
}
