package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/weirtest"
)

// A service stands for that of payments: what it is asked for an order is refused
// or lost if that says so.
type service struct {
	refuse, lose map[string]string // by order: what is
}

func (s service) does(kind string) func(Order) (Receipt, error) {
	return func(o Order) (Receipt, error) {
		switch kind {
		case s.refuse[o.ID]:
			return Receipt{}, effect.Permanent(event.Mark(event.KindPermanent, fmt.Errorf("no %s", kind)))
		case s.lose[o.ID]:
			return Receipt{}, errors.New("connection lost")
		}
		return Receipt{Kind: kind, ID: kind + " of " + o.ID, OK: true}, nil
	}
}

func (s service) answers() []weirtest.Option {
	options := []weirtest.Option{weirtest.Answer("authorize", func(o Order) (Decision, error) {
		r, err := s.does("authorization")(o)
		return Decision{o, r.OK && o.Cents != 13_07}, err
	})}
	for effect, kind := range map[string]string{
		"bank.charge.v1": "charge", "bank.refund.v1": "refund",
		"warehouse.book.v1": "booking", "warehouse.cancel.v1": "cancellation", "warehouse.ship.v1": "shipment",
	} {
		options = append(options, weirtest.Answer(effect, s.does(kind)))
	}
	return options
}

func feed(web, store []Order) []weirtest.Option {
	return []weirtest.Option{weirtest.Feed("web_orders", web...), weirtest.Feed("store_orders", store...)}
}

// Every way that an order can go.
func TestEveryWay(t *testing.T) {
	s := service{
		refuse: map[string]string{"no charge": "charge", "no stock": "booking", "no address": "shipment", "no refund": "shipment"},
		lose:   map[string]string{"no answer": "authorization", "no word": "charge", "in doubt": "booking", "no refund": "refund"},
	}
	var web []Order
	for _, id := range []string{"paid", "no answer", "no charge", "no word", "no stock", "no address", "no refund", "in doubt"} {
		web = append(web, Order{id, "ada", "lamp", 1000})
	}
	web = append(web, Order{"declined", "ben", "lamp", 13_07}, Order{"nothing", "ben", "lamp", 0}, Order{"large", "ben", "lamp", 600_000})
	store := []Order{{"twice", "cleo", "rug", 500}, {"twice", "cleo", "rug", 500}}
	res := weirtest.Run(t, payments, append(feed(web, store), s.answers()...)...)

	paid := map[string]int64{}
	for _, p := range weirtest.Read[Paid](t, res, "write_paid") {
		paid[p.ID] += p.Fee
	}
	if diff := cmp.Diff(map[string]int64{"paid": 39, "twice": 32}, paid); diff != "" {
		t.Errorf("paid, with fees (-want +got):\n%s", diff)
	}
	told := map[string]string{}
	for _, n := range weirtest.Read[Notice](t, res, "notify") {
		told[n.ID] += n.Reason
	}
	if diff := cmp.Diff(map[string]string{
		"declined": "your bank declined the payment", "nothing": "there is nothing to pay", "twice": "we have this order already",
		"no charge": "charge: permanent: no charge", "no stock": "book: permanent: no booking", "no address": "ship: permanent: no shipment",
	}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	cases := map[string]string{}
	for _, c := range weirtest.Read[Case](t, res, "manual_review") {
		cases[c.Order.ID] += c.Stands
	}
	if diff := cmp.Diff(map[string]string{"large": "no", "no answer": "no", "no word": "unknown", "no refund": "unknown"}, cases); diff != "" {
		t.Errorf("to be looked at, and what stands (-want +got):\n%s", diff)
	}
	if res.Status != weir.Stopped || res.InDoubt != 1 {
		t.Errorf("summary = %+v, want one in doubt", res.Summary)
	}
}

// What is refused late is taken back, the latest first, and only what was done.
func TestCompensations(t *testing.T) {
	for refused, want := range map[string][]string{
		"charge":   {"authorization", "charge"},
		"booking":  {"authorization", "charge", "booking", "refund"},
		"shipment": {"authorization", "charge", "booking", "shipment", "cancellation", "refund"},
		"":         {"authorization", "charge", "booking", "shipment"},
	} {
		var asked []string
		options := feed([]Order{{"1", "ada", "lamp", 1000}}, nil)
		s := service{refuse: map[string]string{"1": refused}}
		does := func(kind string) func(Order) (Receipt, error) {
			return func(o Order) (Receipt, error) {
				asked = append(asked, kind)
				return s.does(kind)(o)
			}
		}
		options = append(options,
			weirtest.Answer("authorize", func(o Order) (Decision, error) { asked = append(asked, "authorization"); return Decision{o, true}, nil }),
			weirtest.Answer("bank.charge.v1", does("charge")),
			weirtest.Answer("bank.refund.v1", does("refund")),
			weirtest.Answer("warehouse.book.v1", does("booking")),
			weirtest.Answer("warehouse.cancel.v1", does("cancellation")),
			weirtest.Answer("warehouse.ship.v1", does("shipment")))
		weirtest.Run(t, payments, options...)
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("%q is refused: asked for (-want +got):\n%s", refused, diff)
		}
	}
}

// Wherever the process dies, a few orders end as if it had not.
func TestCrashes(t *testing.T) {
	t.Parallel()
	s := service{refuse: map[string]string{"2": "booking", "3": "shipment"}}
	web := []Order{{"1", "ada", "lamp", 1000}, {"2", "ada", "rug", 2000}, {"3", "ben", "sofa", 3000}, {"4", "ben", "sofa", 0}}
	weirtest.CrashEverywhere(t, payments, append(append(feed(web, []Order{{"5", "cleo", "rug", 13_07}}), s.answers()...), weirtest.Every(5))...)
}
