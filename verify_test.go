package weir_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir"
)

type verOrder struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Total    int    `json:"total"`
}

type verQuote struct {
	Order string    `json:"order"`
	Price int       `json:"price"`
	At    time.Time `json:"at"`
}

type verSum struct {
	Orders int `json:"orders"`
	Total  int `json:"total"`
}

type verCustomer struct {
	Name  string `json:"name"`
	Level int    `json:"level"`
}

// shopBuild is what differs between builds of the shop.
type shopBuild struct {
	price func(verOrder) verQuote
	add   func(*verSum, verOrder)
	extra func(verOrder) bool
	edit  func(*weir.Flow)
}

func shopOrders(n int) []verOrder {
	all := make([]verOrder, n)
	for i := range all {
		all[i] = verOrder{ID: fmt.Sprint("o", i+1), Customer: fmt.Sprint("c", i%7), Total: i}
	}
	return all
}

// shop has stateless stages with dead letters, state, a join and sinks, one of
// which fails now and then.
func shop(n int, b shopBuild) *weir.Definition {
	if b.price == nil {
		b.price = func(o verOrder) verQuote { return verQuote{Order: o.ID, Price: 2 * o.Total} }
	}
	if b.add == nil {
		b.add = func(s *verSum, o verOrder) { s.Orders++; s.Total += o.Total }
	}
	return weir.Define("shop", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice(shopOrders(n)))
		var people []verCustomer
		for i := range 5 {
			people = append(people, verCustomer{Name: fmt.Sprint("c", i), Level: i})
		}
		customers := weir.From(f, "customers", weir.Slice(people))
		valid := weir.FlatMap(orders, "validate", func(o verOrder, emit weir.Emit[verOrder]) error {
			if o.Total%10 == 3 {
				return errors.New("a three")
			}
			emit(o)
			if b.extra != nil && b.extra(o) {
				emit(o)
			}
			return nil
		})
		byCustomer := weir.KeyBy(valid, func(o verOrder) string { return o.Customer })
		quotes := weir.Map(valid, "quote", func(o verOrder) (verQuote, error) { return b.price(o), nil })
		sums := weir.Reduce(byCustomer, "totals", weir.Zero[string, verSum], func(s *verSum, o verOrder) error {
			b.add(s, o)
			return nil
		}, weir.EmitEvery(5), weir.EmitAtEnd())
		table := weir.TableOf(weir.KeyBy(customers, func(c verCustomer) string { return c.Name }))
		joined, unmatched := weir.Join(byCustomer, table, "level", func(o verOrder, c verCustomer) (verQuote, error) {
			return verQuote{Order: o.ID, Price: c.Level}, nil
		})
		weir.Each(quotes, "ship", func(_ context.Context, q verQuote) error {
			if q.Price%100 == 4 {
				return errors.New("nobody at home")
			}
			return nil
		})
		weir.Each(sums, "tell", func(context.Context, verSum) error { return nil })
		weir.Each(weir.Merge(joined), "post", func(context.Context, verQuote) error { return nil })
		weir.Each(unmatched, "greet", func(context.Context, verOrder) error { return nil })
		if b.edit != nil {
			b.edit(f)
		}
	})
}

func recordShop(t *testing.T, def *weir.Definition) (dir string) {
	t.Helper()
	return recorded(t, def).Dir
}

func recorded(t *testing.T, def *weir.Definition) weir.Summary {
	t.Helper()
	sum, err := def.Run(t.Context(), weir.Options{Dir: t.TempDir(), Logger: quiet})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("run: %+v, %v", sum, err)
	}
	return sum
}

func verifyShop(t *testing.T, def *weir.Definition, dir string, o weir.VerifyOptions) *weir.Verification {
	t.Helper()
	o.Logger = quiet
	v, err := def.Verify(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifyIdentical(t *testing.T) {
	dir := recordShop(t, shop(3000, shopBuild{}))
	v := verifyShop(t, shop(3000, shopBuild{}), dir, weir.VerifyOptions{Chain: true})
	if v.Outcome != weir.Identical || v.Found != 0 || len(v.Skipped) != 0 {
		t.Fatalf("outcome %s, %d differences, skipped %v: %+v", v.Outcome, v.Found, v.Skipped, v.Differences)
	}
	if v.Records < 3000*3 || v.Changes < 20 || len(v.At.Chain) != 64 || v.At.Epoch != 1 {
		t.Errorf("verified %d records, %d changes, %+v", v.Records, v.Changes, v.At)
	}
}

func TestVerifyFindsTheClock(t *testing.T) {
	clock := func(o verOrder) verQuote { return verQuote{Order: o.ID, Price: o.Total, At: time.Now()} }
	dir := recordShop(t, shop(50, shopBuild{price: clock}))
	v := verifyShop(t, shop(50, shopBuild{price: clock}), dir, weir.VerifyOptions{})
	if v.Outcome != weir.Different || v.Found != 45 {
		t.Fatalf("outcome %s, %d differences", v.Outcome, v.Found)
	}
	d := v.Differences[0]
	if d.Stage != "quote" || d.Journal != "quote.out" || d.Seq != 1 || len(d.Fields) != 1 || d.Fields[0].Path != "payload.at" {
		t.Errorf("the first difference is %+v", d)
	}
	masked := shop(50, shopBuild{price: clock, edit: func(f *weir.Flow) { f.Unverified("quote.out", "at") }})
	if v := verifyShop(t, masked, dir, weir.VerifyOptions{}); v.Outcome != weir.Identical || v.Stages[3].Masked+v.Stages[2].Masked+v.Stages[4].Masked != 45 {
		t.Errorf("with at left out: %s, %+v, %+v", v.Outcome, v.Differences, v.Stages)
	}
}

func TestVerifyAnotherBuild(t *testing.T) {
	dir := recordShop(t, shop(400, shopBuild{}))
	for name, tt := range map[string]struct {
		build shopBuild
		check func(t *testing.T, v *weir.Verification)
	}{
		"a price changed": {
			shopBuild{price: func(o verOrder) verQuote {
				q := verQuote{Order: o.ID, Price: 2 * o.Total}
				if o.ID == "o200" {
					q.Price++
				}
				return q
			}},
			func(t *testing.T, v *weir.Verification) {
				if len(v.Differences) != 1 || v.Differences[0].Seq != 180 {
					t.Fatalf("differences: %+v", v.Differences)
				}
				if f := v.Differences[0].Fields; len(f) != 1 || f[0] != (weir.DifferenceField{Path: "payload.price", Recorded: "398", Computed: "399"}) {
					t.Errorf("fields: %+v", f)
				}
			},
		},
		"a record inserted": {
			shopBuild{extra: func(o verOrder) bool { return o.ID == "o100" }},
			func(t *testing.T, v *weir.Verification) {
				if len(v.Differences) != 1 || v.Found != 1 {
					t.Fatalf("%d differences: %+v", v.Found, v.Differences)
				}
				if d := v.Differences[0]; d.Kind != "extra" || d.Journal != "validate.out" || d.Seq < 90 || d.Seq > 91 {
					t.Errorf("difference: %+v", d)
				}
			},
		},
		"state of one key": {
			shopBuild{add: func(s *verSum, o verOrder) {
				s.Orders++
				s.Total += o.Total
				if o.Customer == "c3" {
					s.Total++
				}
			}},
			func(t *testing.T, v *weir.Verification) {
				if len(v.Groups) != 1 || v.Groups[0].Key != "c3" || v.Groups[0].Stage != "totals" {
					t.Errorf("groups: %+v", v.Groups)
				}
				for _, d := range v.Differences {
					if d.Stage != "totals" || d.Key != "c3" || !strings.HasSuffix(d.Fields[0].Path, "total") {
						t.Errorf("difference: %+v", d)
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifyShop(t, shop(400, tt.build), dir, weir.VerifyOptions{})
			if v.Outcome != weir.Different {
				t.Fatalf("outcome %s", v.Outcome)
			}
			tt.check(t, v)
		})
	}
}

func TestVerifyRange(t *testing.T) {
	odd := shopBuild{price: func(o verOrder) verQuote { return verQuote{Order: o.ID, Price: 1} }}
	dir := recordShop(t, shop(5000, shopBuild{}))
	all := verifyShop(t, shop(5000, odd), dir, weir.VerifyOptions{MaxDifferences: 5})
	if all.Found < 4000 || len(all.Differences) != 5 {
		t.Fatalf("%d differences, %d listed", all.Found, len(all.Differences))
	}
	one := verifyShop(t, shop(5000, odd), dir, weir.VerifyOptions{Stages: []string{"totals"}})
	if one.Outcome != weir.Identical || len(one.Stages) != 1 || one.Changes == 0 {
		t.Errorf("one stage: %s, %+v", one.Outcome, one.Stages)
	}
	part := verifyShop(t, shop(5000, odd), dir, weir.VerifyOptions{From: "quote:2000", To: "quote:2000"})
	if part.Found == 0 || part.Found > 1100 {
		t.Errorf("one transition: %d differences, %+v", part.Found, part.Stages)
	}
	late := verifyShop(t, shop(5000, shopBuild{}), dir, weir.VerifyOptions{From: "totals:500"})
	if late.Outcome != weir.Identical || late.Changes == 0 || late.Changes >= all.Changes {
		t.Errorf("from the middle: %s, %d of %d changes, %+v", late.Outcome, late.Changes, all.Changes, late.Skipped)
	}
	if _, err := shop(10, odd).Verify(t.Context(), dir, weir.VerifyOptions{From: "quote:9999", Logger: quiet}); err == nil {
		t.Error("a record that is not there was found")
	}
}
