package perform_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// What may be decided depends on what a call is parked for; what may not be has it
// looked at again, as the record says. Nothing but "not done" and "retry" about a
// call in doubt has it made again.
func TestDecisionsByWhatIsParked(t *testing.T) {
	open := plan.Entry{Type: plan.EntryAttempt, Step: "pay", Effect: "charge", Attempt: 1, Request: []byte(`{"ID":"7 !"}`)}
	done := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "charge", Attempt: 1, Outcome: plan.OutcomeDone, Final: true, Result: []byte(`[1]`)}
	other := plan.Entry{Type: plan.EntryOutcome, Step: "pay", Effect: "transfer", Attempt: 1, Outcome: plan.OutcomeDone, Final: true, Result: []byte(`{"Text":"there"}`)}
	byHand := plan.Payload(`{"Text":"by hand"}`)
	for _, c := range []struct {
		past    []plan.Entry
		parked  string
		verdict string
		want    string
		calls   int
	}{
		{[]plan.Entry{open}, plan.ParkedInDoubt, perform.DecideNotDone, "answered", 1},
		{[]plan.Entry{open}, plan.ParkedInDoubt, perform.DecideRetry, "answered", 1},
		{[]plan.Entry{open}, plan.ParkedInDoubt, perform.DecideDone, "answered", 0},
		{[]plan.Entry{open}, plan.ParkedInDoubt, perform.DecideFailed, "failed unknown", 0},
		{[]plan.Entry{open}, plan.ParkedInDoubt, perform.DecideContinue, "parked in doubt", 0},
		{[]plan.Entry{open}, plan.ParkedCrash, perform.DecideRetry, "parked in doubt", 0},
		{[]plan.Entry{open}, plan.ParkedCrash, perform.DecideContinue, "parked in doubt", 0},
		{[]plan.Entry{open}, plan.ParkedCrash, perform.DecideNotDone, "parked in doubt", 0},
		{[]plan.Entry{open}, plan.ParkedCrash, perform.DecideFailed, "failed unknown", 0},
		{nil, plan.ParkedCrash, perform.DecideRetry, "answered", 1},
		{nil, plan.ParkedCrash, perform.DecideFailed, "failed ", 0},
		{[]plan.Entry{open, done}, plan.ParkedUnreadable, perform.DecideRetry, "parked unreadable", 0},
		{[]plan.Entry{open, done}, plan.ParkedUnreadable, perform.DecideContinue, "parked unreadable", 0},
		{[]plan.Entry{open, done}, plan.ParkedUnreadable, perform.DecideNotDone, "parked unreadable", 0},
		{[]plan.Entry{open, done}, plan.ParkedUnreadable, perform.DecideDone, "answered", 0},
		{[]plan.Entry{open, done}, plan.ParkedUnreadable, perform.DecideFailed, "failed yes", 0},
		{[]plan.Entry{other}, plan.ParkedDiverged, perform.DecideContinue, "answered", 1},
		{[]plan.Entry{other}, plan.ParkedDiverged, perform.DecideRetry, "parked diverged", 0},
		{[]plan.Entry{other}, plan.ParkedDiverged, perform.DecideDone, "answered", 0},
		{[]plan.Entry{other}, plan.ParkedDiverged, perform.DecideFailed, "failed ", 0},
	} {
		w := &world{safety: plan.AtMostOnce, keys: map[string]int{}, nobody: true, durable: c.past}
		w.durable = append(w.durable, plan.Entry{Type: plan.EntryParked, Step: "pay", Outcome: c.parked, Reason: "it says"},
			plan.Entry{Type: plan.EntryDecision, Step: "pay", Outcome: c.verdict, By: "ann", ID: "d1"})
		if c.verdict == perform.DecideDone {
			w.durable[len(w.durable)-1].Result = byHand
		}
		var a perform.Answer
		synctest.Test(t, func(*testing.T) { a = w.run() })
		got := map[perform.State]string{perform.Answered: "answered", perform.Failed: "failed " + string(a.Happened), perform.Parked: "parked " + a.Parked}[a.State]
		if got != c.want || len(w.calls) != c.calls {
			t.Errorf("%s, %q: %s with %d calls (%+v), want %s with %d", c.parked, c.verdict, got, len(w.calls), a.Failure, c.want, c.calls)
		}
	}
}

// A look is an execution of which everything is placed and durable at once.
type look struct {
	input   plan.Accepted
	history []plan.Entry
	said    []plan.Entry
}

func (l *look) Context() context.Context { return context.Background() }
func (l *look) Waiting() context.Context { return context.Background() }
func (l *look) Input() *plan.Accepted    { return &l.input }
func (l *look) History() []plan.Entry    { return l.history }
func (l *look) Now() time.Time           { return time.Now() }
func (l *look) Durable() error           { return nil }
func (l *look) Asked(plan.Entry) error   { return nil }

func (l *look) Record(_ func(), entries ...plan.Entry) error {
	l.said = append(l.said, entries...)
	return nil
}

// Of two calls of a hedge one may have happened although the other says that it
// did not.
func TestHedgeKeepsTheDoubt(t *testing.T) {
	for _, c := range []struct {
		answers [2]error // of the first call, after two seconds, and of the second, after three
		want    perform.Happened
	}{
		{[2]error{errLost, effect.DidNotHappen(errors.New("busy"))}, perform.Maybe},
		{[2]error{errLost, effect.Permanent(errors.New("no"))}, perform.Maybe},
		{[2]error{effect.Permanent(errors.New("no")), errLost}, perform.Maybe},
		{[2]error{effect.Permanent(errors.New("no")), effect.DidNotHappen(errors.New("busy"))}, perform.No},
	} {
		synctest.Test(t, func(t *testing.T) {
			var n atomic.Int32
			calls := make(chan int, 2)
			calls <- 0
			calls <- 1
			e, err := effect.Idempotent("look", func(context.Context, order) (receipt, error) {
				i := <-calls
				n.Add(1)
				time.Sleep(2 * time.Second)
				return receipt{}, c.answers[i]
			}).Plan(event.JSON)
			if err != nil {
				t.Fatal(err)
			}
			g := perform.Guarded{Effect: e, Guards: plan.Guards{Hedge: &plan.Hedge{After: time.Second, Max: 2}, Timeout: 2500 * time.Millisecond}}
			a := perform.Do(&look{}, g, "", order{"7"}, nil)
			if a.State != perform.Failed || a.Happened != c.want || n.Load() != 2 {
				t.Errorf("%v: %+v after %d calls, want happened %q", c.answers, a, n.Load(), c.want)
			}
		})
	}
}

// What is too long to be recorded is a matter of the call: a request is not sent, a
// result is not known.
func TestTooLongToRecord(t *testing.T) {
	long := strings.Repeat("x", plan.MaxValue)
	calls := 0
	for _, c := range []struct {
		name  string
		in    order
		data  string // what was accepted
		res   string
		want  string
		calls int
	}{
		{"request", order{long}, "", "", "failed too_large ", 0},
		{"request that is the input", order{long}, `{"ID":"` + long + `"}`, "", "answered", 1},
		{"result", order{"7"}, "", long, "failed too_large unknown", 1},
	} {
		calls = 0
		e, err := effect.KeyedByInput("charge", func(context.Context, effect.Call, order) (receipt, error) {
			calls++
			return receipt{c.res}, nil
		}).Plan(event.JSON)
		if err != nil {
			t.Fatal(err)
		}
		l := &look{input: plan.Accepted{Data: []byte(c.data)}}
		a := perform.Do(l, perform.Guarded{Effect: e}, "", c.in, nil)
		got := "answered"
		if a.State == perform.Failed {
			got = fmt.Sprintf("failed %s %s", a.Failure.Kind, a.Happened)
		}
		for _, entry := range append(l.said, a.Entries...) {
			if n := len(entry.Request) + len(entry.Result); n > plan.MaxValue {
				t.Errorf("%s: %s has %d bytes", c.name, entry.Type, n)
			}
		}
		if got != c.want || calls != c.calls {
			t.Errorf("%s: %s with %d calls, want %s with %d", c.name, got, calls, c.want, c.calls)
		}
	}
}

// A key that would come back from the record as another is none.
func TestKeysThatCannotBeRecorded(t *testing.T) {
	for says, key := range map[string]string{"is empty": "", "is not UTF-8": "k\xff", "4097 bytes": strings.Repeat("k", 4097)} {
		calls := 0
		e, err := effect.Keyed("charge", func(order) string { return key }, func(context.Context, effect.Call, order) (receipt, error) {
			calls++
			return receipt{}, nil
		}).Plan(event.JSON)
		if err != nil {
			t.Fatal(err)
		}
		a := perform.Do(&look{}, perform.Guarded{Effect: e}, "", order{"7"}, nil)
		if a.State != perform.Failed || a.Happened != perform.No || a.Failure.Kind != event.KindValidation || !strings.Contains(a.Failure.Err.Error(), says) || calls != 0 {
			t.Errorf("%s: %+v, %v, %d calls", says, a, a.Failure, calls)
		}
	}
}

// A request that is written in no bytes at all is recorded as that, not taken for the
// input.
func TestEmptyRequest(t *testing.T) {
	var sent []string
	e, err := effect.KeyedByInput("charge", func(_ context.Context, _ effect.Call, o order) (receipt, error) {
		sent = append(sent, o.ID)
		return receipt{}, errLost
	}).Plan(event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	e.AppendReq = func(dst []byte, req any) ([]byte, error) { return append(dst, req.(order).ID...), nil }
	e.DecodeReq = func(data []byte) (any, error) { return order{string(bytes.Clone(data))}, nil }
	l := &look{input: plan.Accepted{Data: []byte("the input")}}
	for range 2 {
		perform.Do(l, perform.Guarded{Effect: e, Guards: plan.Guards{Retry: &plan.Retry{Max: 9}}}, "", order{}, l.said[:min(len(l.said), 1)])
		if len(l.said) > 1 {
			l.said = l.said[:1]
		}
	}
	for _, s := range sent {
		if s != "" {
			t.Fatalf("sent %q, want nothing but empty requests", sent)
		}
	}
}
