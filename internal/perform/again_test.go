package perform_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// A copy's calls have the keys of its original.
func TestKeyOfACopy(t *testing.T) {
	in := &plan.Accepted{Run: "01JZ0000000000000000000000", Stage: "charge", Input: event.RecordID{Epoch: [16]byte{1}, Journal: "orders.out", Seq: 17}}
	copied := &plan.Accepted{
		Run: "01K00000000000000000000000", Stage: "charge", Input: event.RecordID{Epoch: [16]byte{2}, Journal: "redrive.out", Seq: 1},
		Original: plan.Original{Run: in.Run, ID: in.Input},
	}
	if got, want := perform.Key(copied, ""), perform.Key(in, ""); got != want {
		t.Errorf("key %s, want %s", got, want)
	}
	copied.Original = plan.Original{}
	if perform.Key(copied, "") == perform.Key(in, "") {
		t.Error("another input has the same key")
	}
}

// again has a call that failed made once more, by code that asks for something else.
func (w *world) again() perform.Answer {
	decided := plan.Entry{By: "redrive", Reason: "charge.failed:1", At: time.Now()}
	if _, may := perform.MayHaveHappened(w.durable); !may {
		w.calls = nil // another request may be made
	}
	w.durable = perform.Again("pay", w.durable, []byte(`{"ID":"7 "}`), w.safety, decided)
	w.lives, w.dieAt = 1, 0
	return w.run()
}

// Every class, every two fates, with and without retries: what failed is made again,
// and happens once.
func TestAgain(t *testing.T) {
	failed, answered := 0, 0
	for _, safety := range classes {
		for _, retry := range []*plan.Retry{nil, {Max: 2, Delay: 100 * time.Millisecond, Factor: 2}} {
			for _, first := range fates {
				for _, second := range fates {
					for _, then := range fates {
						w := &world{safety: safety, fates: []fate{first, second, then}, policy: plan.Guards{Timeout: timeout, Retry: retry}, keys: map[string]int{}}
						var a perform.Answer
						synctest.Test(t, func(*testing.T) {
							a = w.run()
							time.Sleep(30 * timeout)
							synctest.Wait()
							if a.State != perform.Failed {
								return
							}
							failed++
							a = w.again()
							time.Sleep(30 * timeout)
							synctest.Wait()
							w.judge(a)
							if a.State == perform.Answered {
								answered++
							}
						})
						if len(w.faults) > 0 {
							t.Fatalf("%s: %q, retry %v: %+v\n%s\nrecord:\n%s", safety, w.fates, retry != nil, a, strings.Join(w.faults, "\n"), list(w.durable))
						}
					}
				}
			}
		}
	}
	if failed < 300 || answered < 100 {
		t.Errorf("%d calls failed, %d were then answered", failed, answered)
	}
}

// What happened is not made again: its recorded answer goes through the code that
// can use it now.
func TestAgainWithARecordedResult(t *testing.T) {
	w := &world{safety: plan.KeyedByInput, keys: map[string]int{}, from: errLost}
	a := w.run()
	if a.State != perform.Failed || a.Happened != perform.Yes {
		t.Fatalf("%+v", a)
	}
	if step, may := perform.MayHaveHappened(w.durable); !may || step != "pay" {
		t.Errorf("MayHaveHappened = %q, %v", step, may)
	}
	w.from = nil
	a = w.again()
	if a.State != perform.Answered || len(w.calls) != 1 || w.acted != 1 {
		t.Errorf("%+v after %d calls", a, len(w.calls))
	}
	if out, ok := a.Out.(receipt); !ok || !strings.HasPrefix(out.Text, "for ") {
		t.Errorf("answered %+v", a.Out)
	}
}

// What may have happened and must not happen twice is in doubt again, and a person
// is asked again; what is sent is what was sent.
func TestAgainInDoubt(t *testing.T) {
	w := inDoubt(t)
	w.durable = append(w.durable, plan.Entry{Type: plan.EntryDecision, Step: "pay", Outcome: perform.DecideFailed, By: "ann", ID: "d1"})
	if a := w.run(); a.State != perform.Failed || a.Happened != perform.Maybe {
		t.Fatalf("%+v", a)
	}
	calls := len(w.calls)
	if a := w.again(); a.State != perform.Parked || len(w.calls) != calls {
		t.Fatalf("%+v, %d calls more", a, len(w.calls)-calls)
	}
	for _, e := range w.durable {
		if e.Final {
			t.Errorf("final: %+v", e)
		}
	}
	w.durable = append(w.durable, plan.Entry{Type: plan.EntryDecision, Step: "pay", Outcome: perform.DecideRetry, By: "bob", ID: "d2"})
	if a := w.run(); a.State != perform.Answered || len(w.calls) != calls+1 || w.calls[calls] != w.calls[0] {
		t.Errorf("%+v, calls %q", a, w.calls)
	}
}

// What an input was put aside for in the recorded run stands against nothing, and a
// result that only could not be read is there for code that can.
func TestAgainAfterItWasPutAside(t *testing.T) {
	code := []byte(`{"ID":"7 changed"}`)
	asked := func(typ string, attempt int) plan.Entry {
		return plan.Entry{Type: typ, Step: "pay", Effect: "charge", Version: "v1", Key: "k", Attempt: attempt, Request: code}
	}
	parked := func(what string) plan.Entry {
		return plan.Entry{Type: plan.EntryParked, Step: "pay", Outcome: what}
	}
	said := func(verdict string) plan.Entry {
		return plan.Entry{Type: plan.EntryDecision, Step: "pay", Outcome: verdict, By: "ann", ID: "d1"}
	}
	ended := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 1, Outcome: plan.OutcomeUnknown}
	givenUp := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 1, Outcome: plan.OutcomeUnknown, Final: true, By: "ann", ID: "d1"}
	lastOne := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 2, Outcome: plan.OutcomeUnknown, Final: true}
	done := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 1, Outcome: plan.OutcomeDone, Final: true, Result: []byte(`{"Text":"for k"}`)}
	unread := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 1, Outcome: plan.OutcomeDone, Final: true, Kind: event.KindDecode, By: "ann", ID: "d1"}
	for _, c := range []struct {
		name    string
		history []plan.Entry
		calls   int
	}{
		{"in doubt", []plan.Entry{asked(plan.EntryIntent, 1), ended, parked(plan.ParkedInDoubt), said(perform.DecideFailed), givenUp}, 1},
		{"crash", []plan.Entry{asked(plan.EntryIntent, 1), parked(plan.ParkedCrash), said(perform.DecideFailed), givenUp}, 1},
		{"diverged", []plan.Entry{asked(plan.EntryIntent, 1), ended, parked(plan.ParkedDiverged), said(perform.DecideFailed), givenUp}, 1},
		{"another call, which a person says does not count", []plan.Entry{
			{Type: plan.EntryIntent, Step: "pay", Effect: "other", Attempt: 1}, parked(plan.ParkedDiverged), said(perform.DecideContinue), asked(plan.EntryAttempt, 2), ended, givenUp,
		}, 1},
		{"and it went on, and came to nothing", []plan.Entry{
			asked(plan.EntryIntent, 1), parked(plan.ParkedUnreadable), said(perform.DecideRetry), asked(plan.EntryAttempt, 2), lastOne,
		}, 1},
		{"the request cannot be read", []plan.Entry{asked(plan.EntryIntent, 1), ended, parked(plan.ParkedUnreadable), said(perform.DecideFailed), givenUp}, 1},
		{"the result cannot be read", []plan.Entry{asked(plan.EntryIntent, 1), done, parked(plan.ParkedUnreadable), said(perform.DecideFailed), unread}, 0},
	} {
		w := &world{safety: plan.KeyedByInput, keys: map[string]int{}, durable: c.history}
		if a := w.again(); a.State != perform.Answered || len(w.calls) != c.calls {
			t.Errorf("%s: %+v after %d calls, want an answer after %d\n%s", c.name, a, len(w.calls), c.calls, list(w.durable))
		}
	}
}

func TestMayHaveHappened(t *testing.T) {
	outcome := func(step, what string, final bool) plan.Entry {
		return plan.Entry{Type: plan.EntryOutcome, Step: step, Outcome: what, Final: final, Attempt: 1}
	}
	attempt := func(step string) plan.Entry { return plan.Entry{Type: plan.EntryAttempt, Step: step, Attempt: 1} }
	for _, c := range []struct {
		name    string
		history []plan.Entry
		step    string
		may     bool
	}{
		{"nothing", nil, "", false},
		{"done", []plan.Entry{attempt("a"), outcome("a", plan.OutcomeDone, true)}, "a", true},
		{"refused", []plan.Entry{attempt("a"), outcome("a", plan.OutcomeNotDone, true)}, "", false},
		{"rejected", []plan.Entry{outcome("a", plan.OutcomeRejected, true)}, "", false},
		{"unknown", []plan.Entry{attempt("a"), outcome("a", plan.OutcomeUnknown, true)}, "a", true},
		{"cut off", []plan.Entry{attempt("a")}, "a", true},
		{"one refused, one done", []plan.Entry{attempt("a"), outcome("a", plan.OutcomeNotDone, true), attempt("b"), outcome("b", plan.OutcomeDone, true)}, "b", true},
		{"captured", []plan.Entry{{Type: plan.EntryCapture, Step: "now"}}, "", false},
		{"fell back", []plan.Entry{attempt("a"), outcome("a", plan.OutcomeNotDone, false), outcome("a", plan.OutcomeFallback, true)}, "", false},
		{"fell back from what is unknown", []plan.Entry{outcome("a", plan.OutcomeUnknown, false), outcome("a", plan.OutcomeFallback, true)}, "a", true},
	} {
		if step, may := perform.MayHaveHappened(slices.Clone(c.history)); step != c.step || may != c.may {
			t.Errorf("%s: MayHaveHappened = %q, %v, want %q, %v", c.name, step, may, c.step, c.may)
		}
	}
}

func TestAgainGoesOnFromTheRecord(t *testing.T) {
	history := []plan.Entry{
		{Type: plan.EntryIntent, Key: "k", Attempt: 1, Emitted: 2},
		{Type: plan.EntryAttempt, Step: "other", Attempt: 1},
		{Type: plan.EntryOutcome, Outcome: plan.OutcomeUnknown, Attempt: 1},
		{Type: plan.EntryAttempt, Key: "k", Attempt: 2},
		{Type: plan.EntryOutcome, Outcome: plan.OutcomeUnknown, Attempt: 2, Final: true, Emitted: 1},
	}
	before := slices.Clone(history)
	decided := plan.Entry{By: "redrive", Reason: "why"}
	want := []plan.Entry{
		{Type: plan.EntryIntent, Key: "k", Attempt: 1, Request: []byte("asked")},
		{Type: plan.EntryOutcome, Outcome: plan.OutcomeUnknown, Attempt: 1},
		{Type: plan.EntryAttempt, Key: "k", Attempt: 2},
		{Type: plan.EntryOutcome, Outcome: plan.OutcomeUnknown, Attempt: 2},
		{Type: plan.EntryDecision, Outcome: perform.DecideRetry, By: "redrive", Reason: "why"},
	}
	if diff := cmp.Diff(want, perform.Again("", history, []byte("asked"), plan.Keyed, decided)); diff != "" {
		t.Errorf("Again (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:4], perform.Again("", history, []byte("asked"), plan.AtMostOnce, decided)); diff != "" {
		t.Errorf("Again, at most once (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, history); diff != "" {
		t.Errorf("the record was changed (-before +after):\n%s", diff)
	}
	history[4].Outcome = plan.OutcomeNotDone
	if diff := cmp.Diff(want[4:], perform.Again("", history, []byte("asked"), plan.Keyed, decided)); diff != "" {
		t.Errorf("Again of what did not happen (-want +got):\n%s", diff)
	}
}
