package policy_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/policy"
)

func TestRetry(t *testing.T) {
	tests := []struct {
		in   policy.Retry
		want *plan.Retry
	}{
		{policy.Retry{}, &plan.Retry{Max: 3, Delay: 100 * time.Millisecond, Factor: 2}},
		{policy.Retry{Max: 5, Delay: time.Second, Factor: 1, Within: time.Minute}, &plan.Retry{Max: 5, Delay: time.Second, Factor: 1, Within: time.Minute}},
	}
	for _, tt := range tests {
		var source plan.SourceSettings
		var sink plan.SinkSettings
		var perform plan.EffectSettings
		tt.in.ApplySource(&source)
		tt.in.ApplySink(&sink)
		tt.in.ApplyEffect(&perform)
		got := []*plan.Retry{source.Guards.Retry, sink.Guards.Retry, perform.Guards.Retry}
		if diff := cmp.Diff([]*plan.Retry{tt.want, tt.want, tt.want}, got); diff != "" || len(source.Faults)+len(sink.Faults)+len(perform.Faults) > 0 {
			t.Errorf("%+v: faults %q, guards (-want +got):\n%s", tt.in, source.Faults, diff)
		}
	}
	for _, bad := range []policy.Retry{{Max: -1}, {Delay: -1}, {Within: -1}, {Factor: 0.5}, {Factor: math.NaN()}, {Factor: math.Inf(1)}} {
		var s plan.SourceSettings
		if bad.ApplySource(&s); len(s.Faults) != 1 {
			t.Errorf("%+v: faults %q, want one", bad, s.Faults)
		}
	}
}

func TestRate(t *testing.T) {
	var s plan.SinkSettings
	if (policy.Rate{}).ApplySink(&s); s.Guards.Rate != nil || len(s.Faults) > 0 {
		t.Errorf("the zero Rate is %v, faults %q; want no limit", s.Guards.Rate, s.Faults)
	}
	policy.Rate{PerSecond: 50, Name: "api"}.ApplySink(&s)
	if diff := cmp.Diff(&plan.Rate{PerSecond: 50, Burst: 1, Name: "api"}, s.Guards.Rate); diff != "" {
		t.Errorf("Rate (-want +got):\n%s", diff)
	}
	for _, bad := range []policy.Rate{{PerSecond: -1}, {PerSecond: 1, Burst: -1}, {PerSecond: math.NaN()}, {PerSecond: math.Inf(1)}} {
		var s plan.SourceSettings
		if bad.ApplySource(&s); len(s.Faults) != 1 || s.Guards.Rate != nil {
			t.Errorf("%+v: faults %q, want one", bad, s.Faults)
		}
	}
}

// Policies of an effect act in one order, however they are given; the graph shows
// them in that order.
func Example_effect() {
	authorize := effect.Idempotent("card.authorize.v1", func(context.Context, string) (string, error) { return "yes", nil })
	def := weir.Define("shop", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice([]string{"a"}))
		done, failed := weir.Perform(orders, "authorize", authorize,
			policy.Timeout(2*time.Second), policy.Rate{PerSecond: 50, Name: "gateway"},
			policy.Breaker{Failures: 5, Name: "gateway"}, policy.Retry{Max: 3})
		weir.Each(done, "ship", ship)
		weir.Each(failed, "review", func(context.Context, weir.Failed[string]) error { return nil })
	})
	g, err := def.Graph(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for s := range g.Stages() {
		for _, p := range s.Policies {
			fmt.Println(s.Name, p)
		}
	}
	// Output:
	// authorize retry(3, 100ms ×2)
	// authorize breaker(5 in a row, open 30s, probes 1, shared as gateway)
	// authorize rate(50/s, burst 1, shared as gateway)
	// authorize timeout(2s)
}

// Policies are shown with the stage that has them.
func Example() {
	def := weir.Define("shop", func(f *weir.Flow) {
		orders := weir.From(f, "orders", weir.Slice([]string{"a"}), policy.Retry{Max: 5, Within: time.Minute})
		weir.Each(orders, "ship", ship, policy.Retry{}, policy.Rate{PerSecond: 50, Burst: 10})
	})
	g, err := def.Graph(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for s := range g.Stages() {
		fmt.Println(s.Name, s.Policies)
	}
	// Output:
	// orders [retry(5, 100ms ×2, within 1m0s)]
	// ship [retry(3, 100ms ×2) rate(50/s, burst 10)]
}

func ship(context.Context, string) error { return nil }
