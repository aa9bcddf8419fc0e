package weirtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/weirtest"
)

type order struct {
	ID    string
	Cents int64
}

type config struct{ Limit int64 }

var shop = weir.DefineWith("shop", config{Limit: 100}, func(f *weir.Flow, cfg config) {
	var orders weir.Stream[order]
	f.Group("web", func() {
		orders = weir.From(f, "orders", weir.Chan(make(chan order))) // never ends
	})
	small, large := weir.Split2(orders, "size", func(o order, small, large weir.Emit[order]) error {
		switch {
		case o.Cents < 0:
			return event.Invalid(errors.New("negative"))
		case o.Cents > cfg.Limit:
			large(o)
		default:
			small(o)
		}
		return nil
	}, weir.Ports("small", "large"))
	total := weir.Reduce(weir.All(small), "total", weir.Zero, func(sum *int64, o order) error { *sum += o.Cents; return nil })
	weir.Each(large, "review", func(ctx context.Context, o order) error {
		time.Sleep(time.Hour) // not in tests
		return errors.New("nobody is there")
	})
	weir.Each(total, "book", func(context.Context, int64) error { return errors.New("closed") })
})

func TestRun(t *testing.T) {
	res := weirtest.Run(t, shop, weirtest.Settings(config{Limit: 10}),
		weirtest.Feed("web/orders", order{"a", 5}, order{"b", 50}, order{"c", -1}, order{"d", 6}))
	if res.Status != weir.Completed || res.In != 4 || res.Out != 2 || res.Dead != 1 {
		t.Errorf("summary = %+v", res.Summary)
	}
	for _, port := range []string{"size.large", "review"} {
		if diff := cmp.Diff([]order{{"b", 50}}, weirtest.Read[order](t, res, port)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", port, diff)
		}
	}
	for _, port := range []string{"total.out", "total", "book"} {
		if diff := cmp.Diff([]int64{11}, weirtest.Read[int64](t, res, port)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", port, diff)
		}
	}
	want := []weir.Failed[order]{{Input: order{"c", -1}, Ref: event.Ref{Stage: "web/orders", Port: "out", Seq: 3}, Kind: event.KindValidation, Reason: "negative"}}
	if diff := cmp.Diff(want, weirtest.Read[weir.Failed[order]](t, res, "size.dead")); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
	if got := weirtest.Read[order](t, res, "size.never"); len(got) != 0 {
		t.Errorf("a port that was never written holds %v", got)
	}
}

func TestRunOfNothing(t *testing.T) {
	res := weirtest.Run(t, shop, weirtest.Feed[order]("web/orders"))
	if got := weirtest.Read[int64](t, res, "book"); res.In != 0 || len(got) != 0 {
		t.Errorf("summary %+v, booked %v", res.Summary, got)
	}
}
