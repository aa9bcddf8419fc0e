package resilience_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/resilience"
)

func TestPause(t *testing.T) {
	for _, tt := range []struct {
		p    plan.Retry
		made int
		draw float64
		want time.Duration
	}{
		{plan.Retry{Delay: time.Second, Factor: 2}, 1, 0, time.Second},
		{plan.Retry{Delay: time.Second, Factor: 2}, 4, 0, 8 * time.Second},
		{plan.Retry{Delay: time.Second, Factor: 2}, 4, 0.5, 10 * time.Second},
		{plan.Retry{Delay: time.Second, Factor: 1}, 9, 0, time.Second},
		{plan.Retry{Delay: time.Second, Factor: 1.5}, 3, 0, 2250 * time.Millisecond},
		{plan.Retry{Delay: time.Second, Factor: 2}, 100000, 0, time.Hour},
		{plan.Retry{Delay: 24 * time.Hour, Factor: 2}, 3, 0, 24 * time.Hour},
		{plan.Retry{Delay: math.MaxInt64, Factor: 2}, 3, 0.9, math.MaxInt64},
		{plan.Retry{Factor: 2}, 5000, 0.9, 0},
	} {
		if got := resilience.Pause(&tt.p, tt.made, tt.draw); got != tt.want {
			t.Errorf("Pause(%v, %d, %v) = %v, want %v", &tt.p, tt.made, tt.draw, got, tt.want)
		}
	}
}

// No pause is shorter than the policy's, or longer than half as much again, and none is
// shorter than the one before it would be without its drawn part.
func TestPausesGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plan.Retry{
			Delay:  time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "delay")),
			Factor: rapid.Float64Range(1, 10).Draw(t, "factor"),
		}
		made := rapid.IntRange(1, 1000).Draw(t, "made")
		draw := resilience.Draw(rapid.String().Draw(t, "key"), made)
		if draw < 0 || draw >= 1 {
			t.Fatalf("Draw = %v", draw)
		}
		least, got := resilience.Pause(p, made, 0), resilience.Pause(p, made, draw)
		if got < least || got > least+least/2+1 || least < p.Delay || least > max(p.Delay, time.Hour) {
			t.Fatalf("Pause = %v, and %v without its drawn part", got, least)
		}
		if before := resilience.Pause(p, max(made-1, 1), 0); before > least {
			t.Fatalf("Pause = %v after %v", least, before)
		}
	})
}

func TestNext(t *testing.T) {
	first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	last := first.Add(10 * time.Second)
	p := plan.Retry{Max: 3, Delay: 2 * time.Second, Factor: 1}
	within := p
	within.Within = 12 * time.Second
	short := p
	short.Within = 12*time.Second - 1
	for _, tt := range []struct {
		name  string
		p     *plan.Retry
		made  int
		after time.Duration
		want  time.Duration // after last; zero means none
	}{
		{"no policy", nil, 1, 0, 0},
		{"one left", &p, 2, 0, 2 * time.Second},
		{"none left", &p, 3, 0, 0},
		{"the service's wish", &p, 1, time.Minute, time.Minute},
		{"a shorter wish", &p, 1, time.Second, 2 * time.Second},
		{"just within", &within, 1, 0, 2 * time.Second},
		{"too late", &short, 1, 0, 0},
		{"too late by the wish", &within, 1, time.Minute, 0},
	} {
		at, ok := resilience.Next(tt.p, resilience.Tried{Made: tt.made, First: first, Last: last, After: tt.after})
		if want := last.Add(tt.want); ok != (tt.want > 0) || ok && !at.Equal(want) {
			t.Errorf("%s: Next = %v %v, want %v", tt.name, at, ok, want)
		}
	}
}

func TestAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		err  error
		want time.Duration
	}{
		{errBroken, 0},
		{fmt.Errorf("call: %w", &plan.RefusedError{Err: errBroken, After: time.Second}), time.Second},
		{&resilience.RejectedError{Until: now.Add(time.Minute)}, time.Minute},
		{&resilience.RejectedError{Until: now.Add(-time.Minute)}, 0},
	} {
		if got := resilience.After(tt.err, now); got != tt.want {
			t.Errorf("After(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

func TestAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		draw := 0.0
		g := resilience.NewSet(time.Now, func() float64 { return draw }).Guard("s", plan.Guards{Retry: &plan.Retry{Max: 3, Delay: time.Second, Factor: 2}})
		a := g.Attempts()
		waited := func(want time.Duration, again bool, err error) {
			t.Helper()
			at := time.Now()
			if got := a.Again(t.Context(), err); got != again || time.Since(at) != want {
				t.Errorf("Again = %v after %v, want %v after %v", got, time.Since(at), again, want)
			}
		}
		waited(time.Second, true, errBroken)
		draw = 0.5
		waited(2500*time.Millisecond, true, errBroken)
		waited(0, false, errBroken)
		a.Reset()
		waited(time.Minute, true, &plan.RefusedError{Err: errBroken, After: time.Minute})

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if a.Again(ctx, errors.New("late")) {
			t.Error("Again = true although its context ended")
		}
	})
}
