package weir_test

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
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/policy"
)

type verCharge struct {
	Order  string `json:"order"`
	Amount int    `json:"amount"`
}

type verPaid struct {
	Order string `json:"order"`
	Auth  string `json:"auth"`
}

// tills is a flow with an effect of each safety class, on a service that fails now
// and then. It counts what is called.
func tills(n int, amount func(verOrder) int, calls *atomic.Int64) *weir.Definition {
	answer := func(v verOrder, p verPaid) (verPaid, error) {
		if v.Total%31 == 7 {
			return p, errors.New("an answer that cannot be used")
		}
		return p, nil
	}
	charge := func(_ context.Context, c effect.Call, r verCharge) (verPaid, error) {
		calls.Add(1)
		switch {
		case r.Amount%17 == 3 && c.Attempt == 1:
			return verPaid{}, effect.DidNotHappen(errors.New("busy"))
		case r.Amount%23 == 5:
			return verPaid{}, effect.Permanent(errors.New("no such card"))
		case r.Amount%29 == 11 && c.Attempt == 1:
			return verPaid{}, errors.New("connection lost")
		}
		return verPaid{Order: r.Order, Auth: fmt.Sprint(r.Amount, "#", c.Attempt)}, nil
	}
	ask := func(o verOrder) (verCharge, error) {
		if o.Total%37 == 9 {
			return verCharge{}, errors.New("nothing to charge")
		}
		return verCharge{Order: o.ID, Amount: amount(o)}, nil
	}
	return weir.Define("tills", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice(shopOrders(n)))
		byCustomer := weir.KeyBy(orders, func(o verOrder) string { return o.Customer })
		for name, e := range map[string]effect.Effect[verCharge, verPaid]{
			"idempotent": effect.Idempotent("idempotent", func(ctx context.Context, r verCharge) (verPaid, error) {
				return charge(ctx, effect.Call{Attempt: 2}, r)
			}),
			"keyed":    effect.Keyed("keyed", func(r verCharge) string { return "till/" + r.Order }, charge),
			"by_input": effect.KeyedByInput("by_input", charge),
			"repeated": effect.AtLeastOnce("repeated", charge),
		} {
			paid, failed := weir.Perform(byCustomer, name, effect.Adapt(e, ask, answer), policy.Retry{Max: 3, Delay: time.Microsecond}, weir.Concurrency(4))
			weir.Each(paid, name+"_paid", func(context.Context, verPaid) error { return nil })
			weir.Each(failed, name+"_failed", func(context.Context, weir.Failed[verOrder]) error { return nil })
		}
	})
}

func TestVerifyEffects(t *testing.T) {
	var calls atomic.Int64
	amount := func(o verOrder) int { return o.Total }
	dir := recordShop(t, tills(300, amount, &calls))
	made := calls.Load()
	if made < 4*300 {
		t.Fatalf("%d calls", made)
	}
	v := verifyShop(t, tills(300, amount, &calls), dir, weir.VerifyOptions{})
	if v.Outcome != weir.Identical {
		t.Errorf("outcome %s, %d differences, skipped %v: %+v", v.Outcome, v.Found, v.Skipped, v.Differences[:min(3, len(v.Differences))])
	}
	if late := verifyShop(t, tills(300, amount, &calls), dir, weir.VerifyOptions{From: "keyed.out:100"}); late.Outcome != weir.Identical {
		t.Errorf("from the middle: %s, %v, %+v", late.Outcome, late.Skipped, late.Differences[:min(3, len(late.Differences))])
	}
	other := func(o verOrder) int {
		if o.ID == "o150" {
			return o.Total + 1
		}
		return o.Total
	}
	v = verifyShop(t, tills(300, other, &calls), dir, weir.VerifyOptions{Stages: []string{"keyed"}})
	if v.Found != 1 || v.Differences[0].Journal != "keyed.fx" || v.Differences[0].Fields[0] != (weir.DifferenceField{Path: "request.amount", Recorded: "149", Computed: "150"}) {
		t.Errorf("another request: %d differences, %+v", v.Found, v.Differences)
	}
	v = verifyShop(t, tills(300, other, &calls), dir, weir.VerifyOptions{})
	for _, d := range v.Differences {
		if !strings.HasSuffix(d.Journal, ".fx") {
			t.Errorf("difference %+v", d)
		}
	}
	if v.Found != 4 {
		t.Errorf("%d differences, want one for each effect", v.Found)
	}
	if calls.Load() != made {
		t.Errorf("verify made %d calls", calls.Load()-made)
	}
}

// Attempts are counted on after a decision to call again.
func TestVerifyADecidedRetry(t *testing.T) {
	first := true
	charge := effect.AtMostOnce("charge", func(context.Context, effect.Call, int) (string, error) {
		if first {
			first = false
			return "", errors.New("connection lost")
		}
		return "charged", nil
	}, effect.AskAPerson[int, string])
	def := weir.Define("decided", func(f *weir.Flow) {
		done, failed := weir.Perform(weir.From(f, "in", weir.Slice([]int{1, 2})), "charge", charge, weir.HoldInDoubt())
		weir.Each(done, "charged", func(context.Context, string) error { return nil })
		weir.Each(failed, "failed", func(context.Context, weir.Failed[int]) error { return nil })
	})
	o := weir.Options{Dir: t.TempDir(), Logger: quiet}
	held, err := def.Run(t.Context(), o)
	if err == nil || held.InDoubt != 1 {
		t.Fatalf("%+v, %v", held, err)
	}
	run, err := history.Open(held.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for c, err := range run.Open(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Waits() {
			d := inbox.Decision{Stage: c.Stage, Input: *c.InputID, Verdict: "retry"}
			if _, err := inbox.Put(vfs.OS, held.Dir, inbox.Message{At: time.Now(), By: "ann", Decision: &d}); err != nil {
				t.Fatal(err)
			}
		}
	}
	sum, err := def.Run(t.Context(), o)
	if err != nil || sum.Run != held.Run || sum.Status != weir.Completed || sum.Out != 2 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if v := verifyShop(t, def, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("%s, skipped %v: %+v", v.Outcome, v.Skipped, v.Differences)
	}
}
