package weirtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/policy"
	"github.com/weirflow/weir/weirtest"
)

type (
	receipt struct{ ID, No string }
	nod     struct{ OK bool }
)

var nods = weir.NewSignal[nod]("nod")

var errReal = errors.New("the real service was called")

// service is a service that no test may call.
func service(_ context.Context, _ effect.Call, _ order) (receipt, error) { return receipt{}, errReal }

func keyed(name string) effect.Effect[order, receipt] {
	return effect.Keyed(name, func(o order) string { return o.ID }, service)
}

func byInput(name string) effect.Effect[order, receipt] { return effect.KeyedByInput(name, service) }

func once(name string) effect.Effect[order, receipt] {
	return effect.AtMostOnce(name, service, effect.AskAPerson[order, receipt])
}

// desk is a flow that performs effects of several classes, with durable functions
// that sleep, wait for signals and take back what they did.
var desk = weir.Define("desk", func(f *weir.Flow) {
	authorize, charge, refund, book := keyed("authorize"), byInput("charge"), byInput("refund"), once("book")
	in := weir.From(f, "orders", weir.Slice([]order{}))
	authorized, refused := weir.Perform(weir.KeyBy(in, func(o order) string { return o.ID[:1] }), "authorize", authorize,
		weir.Concurrency(3), policy.Retry{Max: 3, Delay: time.Second})
	orders := weir.Map(authorized, "back", func(r receipt) (order, error) {
		var cents int64
		_, err := fmt.Sscanf(r.No, "a%d", &cents)
		return order{r.ID, cents}, err
	})
	paid, failed := weir.Orchestrate(orders, "settle", func(s *weir.Steps, o order, emit weir.Emit[receipt]) error {
		emit(receipt{o.ID, "begun"})
		got, err := weir.Do(s, "charge", charge, o)
		if err != nil {
			return err
		}
		weir.Compensate(s, "refund", refund, o)
		if err := weir.Sleep(s, "think", time.Hour); err != nil {
			return err
		}
		said, came, err := weir.Await(s, nods, o.ID, time.Hour)
		if err != nil {
			return err
		}
		if !came || !said.OK {
			return fmt.Errorf("nobody nodded: %t", came)
		}
		if _, err := weir.Do(s, "book", book, o); err != nil {
			return err
		}
		emit(got)
		return nil
	}, weir.Using(charge), weir.Using(refund), weir.Using(book, policy.Retry{Max: 3}, policy.Settle(time.Second)))
	total := weir.Reduce(weir.All(paid), "total", weir.Zero, func(n *int, _ receipt) error { *n++; return nil })
	weir.Each(total, "count", none[int])
	weir.Each(paid, "paid", none[receipt])
	weir.Each(failed, "failed", none[weir.Failed[order]])
	weir.Each(refused, "refused", none[weir.Failed[order]])
})

func none[T any](context.Context, T) error { return errors.New("not in tests") }

func answers() []weirtest.Option {
	say := func(prefix string) func(order) (receipt, error) {
		return func(o order) (receipt, error) {
			switch {
			case o.ID == "b-refused" && prefix == "a":
				return receipt{}, effect.Permanent(errors.New("no"))
			case o.ID == "c-no-stock" && prefix == "o":
				return receipt{}, effect.Permanent(errors.New("no"))
			}
			return receipt{o.ID, fmt.Sprint(prefix, o.Cents)}, nil
		}
	}
	return []weirtest.Option{
		weirtest.Feed("orders", order{"a1", 1}, order{"b-refused", 2}, order{"c-no-stock", 3}, order{"c1", 4}),
		weirtest.Answer("authorize", say("a")),
		weirtest.Answer("charge", say("c")),
		weirtest.Answer("refund", say("r")),
		weirtest.Answer("book", say("o")),
		weirtest.Send(nods, "a1", nod{true}),
		weirtest.Send(nods, "c-no-stock", nod{true}),
		weirtest.Send(nods, "c1", nod{false}),
	}
}

func TestAnswer(t *testing.T) {
	res := weirtest.Run(t, desk, answers()...)
	if res.Status != weir.Completed || res.InDoubt != 0 {
		t.Errorf("summary = %+v", res.Summary)
	}
	var paid, failed []string
	for _, r := range weirtest.Read[receipt](t, res, "paid") {
		if r.No != "begun" {
			paid = append(paid, r.ID+" "+r.No)
		}
	}
	for _, f := range weirtest.Read[weir.Failed[order]](t, res, "failed") {
		failed = append(failed, f.Input.ID)
	}
	if len(paid) != 1 || paid[0] != "a1 c1" || len(failed) != 2 || len(weirtest.Read[weir.Failed[order]](t, res, "refused")) != 1 {
		t.Errorf("paid %q, failed %q", paid, failed)
	}
}

// A call that nobody can know about is left in doubt, and the run is stopped there.
func TestAnswerInDoubt(t *testing.T) {
	lost := 0
	def := weir.Define("doubts", func(f *weir.Flow) {
		done, _ := weir.Perform(weir.From(f, "orders", weir.Slice([]order{{"1", 1}, {"2", 2}})), "book", once("book"))
		weir.Each(done, "done", none[receipt])
	})
	res := weirtest.Run(t, def, weirtest.Answer("book", func(o order) (receipt, error) {
		if o.ID == "1" {
			lost++
			return receipt{}, errors.New("connection lost")
		}
		return receipt{o.ID, "b"}, nil
	}))
	if got := weirtest.Read[receipt](t, res, "done"); res.Status != weir.Stopped || res.InDoubt != 1 || lost != 1 || len(got) != 1 {
		t.Errorf("summary %+v, asked %d times, done %v", res.Summary, lost, got)
	}
}

func TestCrashEverywhere(t *testing.T) {
	weirtest.CrashEverywhere(t, desk, append(answers(), weirtest.Every(3))...)
}

// What CrashEverywhere is for is found.
func TestCrashEverywhereFinds(t *testing.T) {
	numbers := []order{{"a", 1}, {"b", 2}, {"c", 3}, {"d", 4}, {"e", 5}, {"f", 6}, {"g", 7}}
	var seen atomic.Int64
	for _, c := range []struct {
		name string
		flow func(f *weir.Flow)
		says string
	}{
		{"state beside the log", func(f *weir.Flow) {
			sum := int64(0) // of a process, and lost with it
			in := weir.From(f, "orders", weir.Slice(numbers))
			weir.Each(weir.Map(in, "sums", func(o order) (int64, error) { sum += o.Cents; return sum, nil }), "out", none[int64])
		}, "sums.out lacks"},
		{"a handler that is not a function of its input", func(f *weir.Flow) {
			in := weir.From(f, "orders", weir.Slice(numbers))
			weir.Each(weir.Map(in, "numbers", func(order) (int64, error) { return seen.Add(1), nil }), "out", none[int64])
		}, "is otherwise when it is computed again"},
		{"an effect that would be called", func(f *weir.Flow) {
			charge := keyed("charge")
			done, _ := weir.Perform(weir.From(f, "orders", weir.Slice(numbers)), "charge", charge)
			weir.Each(done, "done", none[receipt])
		}, "give CrashEverywhere an Answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen.Store(0)
			def := weir.Define("wrong", c.flow)
			if err := weirtest.Crashes(t, def, weirtest.Every(1)); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("found %v, want %q", err, c.says)
			}
		})
	}
}

func TestAnswerMistakes(t *testing.T) {
	for says, o := range map[string]weirtest.Option{
		"no such stage and no such effect":        weirtest.Answer("chrage", func(order) (r receipt, err error) { return }),
		"performs 3 effects":                      weirtest.Answer("settle", func(order) (r receipt, err error) { return }),
		"takes a function from int to string":     weirtest.Answer("charge", func(int) (s string, err error) { return }),
		"the flow has no such source; it has":     weirtest.Feed[order]("order"),
		"has values of int, the source puts out ": weirtest.Feed[int]("orders"),
	} {
		if err := weirtest.Crashes(t, desk, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error with %q", err, says)
		}
	}
}
