package policy_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/policy"
)

type option interface{ ApplyEffect(*plan.EffectSettings) }

// What the zero values of options mean, and what people see of them.
func TestEffectOptions(t *testing.T) {
	for _, tt := range []struct {
		opts []option
		want plan.Guards
		say  []string
	}{
		{[]option{policy.Timeout(0), policy.Heartbeat(0), policy.Settle(0), policy.Rate{}, policy.Bulkhead{}}, plan.Guards{}, nil},
		{[]option{policy.Breaker{}}, plan.Guards{Breaker: &plan.Breaker{Failures: 5, OpenFor: 30 * time.Second, Probes: 1}}, []string{"breaker(5 in a row, open 30s, probes 1)"}},
		{
			[]option{policy.Breaker{Ratio: 0.5, Name: "bank"}},
			plan.Guards{Breaker: &plan.Breaker{Ratio: 0.5, Window: 100, Least: 10, OpenFor: 30 * time.Second, Probes: 1, Name: "bank"}},
			[]string{"breaker(0.5 failed of the last 100, at least 10, open 30s, probes 1, shared as bank)"},
		},
		{
			[]option{policy.Breaker{Ratio: 1, Window: 4}},
			plan.Guards{Breaker: &plan.Breaker{Ratio: 1, Window: 4, Least: 4, OpenFor: 30 * time.Second, Probes: 1}},
			[]string{"breaker(1 failed of the last 4, at least 4, open 30s, probes 1)"},
		},
		{
			[]option{policy.Breaker{Failures: 3, Slow: time.Second, SlowRatio: 0.2, Over: time.Minute, Least: 20, OpenFor: time.Minute, Probes: 3}},
			plan.Guards{Breaker: &plan.Breaker{Failures: 3, Slow: time.Second, SlowRatio: 0.2, Over: time.Minute, Least: 20, OpenFor: time.Minute, Probes: 3}},
			[]string{"breaker(3 in a row, 0.2 over 1s of the last 1m0s, at least 20, open 1m0s, probes 3)"},
		},
		{ // in the order in which they act, whatever the order in which they are given
			[]option{
				policy.Settle(time.Minute),
				policy.Hedge{After: time.Second},
				policy.Heartbeat(time.Second),
				policy.Timeout(2 * time.Second),
				policy.Rate{PerSecond: 10},
				policy.Bulkhead{Max: 4, Name: "bank"},
				policy.Breaker{Failures: 1},
				policy.Retry{},
			},
			plan.Guards{
				Retry:    &plan.Retry{Max: 3, Delay: 100 * time.Millisecond, Factor: 2},
				Breaker:  &plan.Breaker{Failures: 1, OpenFor: 30 * time.Second, Probes: 1},
				Bulkhead: &plan.Bulkhead{Max: 4, Name: "bank"}, Rate: &plan.Rate{PerSecond: 10, Burst: 1},
				Timeout: 2 * time.Second, Alive: time.Second, Hedge: &plan.Hedge{After: time.Second, Max: 2}, Settle: time.Minute,
			},
			[]string{
				"retry(3, 100ms ×2)", "breaker(1 in a row, open 30s, probes 1)", "bulkhead(4, shared as bank)",
				"rate(10/s, burst 1)", "timeout(2s)", "heartbeat(1s)", "hedge(after 1s, at most 2)", "settle(1m0s)",
			},
		},
		{[]option{policy.Bulkhead{Max: 4}, policy.Bulkhead{}}, plan.Guards{}, nil}, // the later one holds
	} {
		var s plan.EffectSettings
		for _, o := range tt.opts {
			o.ApplyEffect(&s)
		}
		if diff := cmp.Diff(tt.want, s.Guards); diff != "" || len(s.Faults) > 0 {
			t.Errorf("%+v: faults %q, guards (-want +got):\n%s", tt.opts, s.Faults, diff)
		}
		if diff := cmp.Diff(tt.say, s.Guards.Describe()); diff != "" {
			t.Errorf("%+v: described (-want +got):\n%s", tt.opts, diff)
		}
	}
}

func TestBreakerCounts(t *testing.T) {
	var s plan.EffectSettings
	policy.Breaker{Counts: func(err error) bool { return err != nil }}.ApplyEffect(&s)
	if s.Guards.Breaker.Counts == nil || !s.Guards.Breaker.Counts(errors.New("x")) {
		t.Error("the classifier is lost")
	}
}

// What is wrong with an option is said in a sentence.
func TestWrongEffectOptions(t *testing.T) {
	for _, tt := range []struct {
		o    option
		want string
	}{
		{policy.Retry{Max: -1}, "policy.Retry is {Max:-1 Delay:0s Factor:0 Within:0s}; nothing in it is negative, and Factor is at least 1"},
		{policy.Timeout(-time.Second), "policy.Timeout is -1s; a duration is not negative"},
		{policy.Heartbeat(-time.Second), "policy.Heartbeat is -1s; a duration is not negative"},
		{policy.Settle(-time.Second), "policy.Settle is -1s; a duration is not negative"},
		{policy.Bulkhead{Max: -1}, "policy.Bulkhead.Max is -1; it is between 1 and 1000000, or 0 for no bound"},
		{policy.Bulkhead{Max: 1e9}, "policy.Bulkhead.Max is 1000000000; it is between 1 and 1000000, or 0 for no bound"},
		{policy.Hedge{}, "policy.Hedge.After is 0s; say after how long a call is slow"},
		{policy.Hedge{After: time.Second, Max: 1}, "policy.Hedge.Max is 1; it is between 2 and 100 calls at once"},
		{policy.Hedge{After: time.Second, Max: 101}, "policy.Hedge.Max is 101; it is between 2 and 100 calls at once"},
		{policy.Rate{PerSecond: -1}, "policy.Rate is {PerSecond:-1 Burst:0 Name:}; neither PerSecond nor Burst is negative"},
		{policy.Breaker{Failures: -1}, "policy.Breaker.Failures is -1; a count is not negative"},
		{policy.Breaker{Ratio: 1.5}, "policy.Breaker.Ratio is 1.5; a share is between 0 and 1"},
		{policy.Breaker{Ratio: math.NaN()}, "policy.Breaker.Ratio is NaN; a share is between 0 and 1"},
		{policy.Breaker{Slow: 1, SlowRatio: -1}, "policy.Breaker.SlowRatio is -1; a share is between 0 and 1"},
		{policy.Breaker{Ratio: 0.5, Window: 10_001}, "policy.Breaker.Window is 10001; it is between 1 and 10000 calls"},
		{policy.Breaker{Ratio: 0.5, Over: time.Millisecond}, "policy.Breaker.Over is 1ms; it is at least a second"},
		{policy.Breaker{Ratio: 0.5, Over: time.Minute, Window: 5}, "policy.Breaker has a Window of calls and one Over time; choose one"},
		{policy.Breaker{Ratio: 0.5, Least: -1}, "policy.Breaker.Least is -1; a count is not negative"},
		{policy.Breaker{Ratio: 0.5, Window: 5, Least: 6}, "policy.Breaker.Least is 6 in a Window of 5 calls; it would never open"},
		{policy.Breaker{Ratio: 0.5, Least: 101}, "policy.Breaker.Least is 101 in a Window of 100 calls; it would never open"},
		{policy.Breaker{Window: 5}, "policy.Breaker has a window and neither Ratio nor SlowRatio, which look at it"},
		{policy.Breaker{Slow: -time.Second}, "policy.Breaker.Slow is -1s; a duration is not negative"},
		{policy.Breaker{Slow: time.Second}, "policy.Breaker.Slow is 1s without a SlowRatio"},
		{policy.Breaker{SlowRatio: 0.5}, "policy.Breaker.SlowRatio is 0.5 without Slow, which says what a slow call is"},
		{policy.Breaker{OpenFor: -1}, "policy.Breaker.OpenFor is -1ns; a duration is not negative"},
		{policy.Breaker{Probes: -1}, "policy.Breaker.Probes is -1; a count is not negative"},
	} {
		var s plan.EffectSettings
		tt.o.ApplyEffect(&s)
		if diff := cmp.Diff([]string{tt.want}, s.Faults); diff != "" {
			t.Errorf("%+v: faults (-want +got):\n%s", tt.o, diff)
		}
		s.Faults = nil
		if _, retry := tt.o.(policy.Retry); !retry && len(s.Guards.Describe()) > 0 {
			t.Errorf("%+v is at work although it is wrong: %q", tt.o, s.Guards.Describe())
		}
	}
}

// A hedge makes the same call twice at once, so only an idempotent effect may have
// one.
func TestHedgeSuitsIdempotentOnly(t *testing.T) {
	g := plan.Guards{Hedge: &plan.Hedge{After: time.Second, Max: 2}}
	for _, s := range []plan.Safety{plan.Idempotent, plan.Keyed, plan.KeyedByInput, plan.AtMostOnce, plan.AtLeastOnce, plan.Transactional} {
		wrong := g.Suit(&plan.Effect{Name: "card.charge.v1", Safety: s})
		if (wrong == "") != (s == plan.Idempotent) {
			t.Errorf("a hedge on an effect that is %s: %q", s, wrong)
		}
	}
	want := "policy.Hedge on effect card.charge.v1, which is keyed: a hedge makes the same call twice at once; " +
		"only an effect declared with effect.Idempotent may have one"
	if got := g.Suit(&plan.Effect{Name: "card.charge.v1", Safety: plan.Keyed}); got != want {
		t.Errorf("Suit = %s, want %s", got, want)
	}
	if got := (&plan.Guards{}).Suit(&plan.Effect{Safety: plan.AtMostOnce}); got != "" {
		t.Errorf("without a hedge: %s", got)
	}
}
