package perform_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

var (
	classes = []plan.Safety{plan.Idempotent, plan.Keyed, plan.KeyedByInput, plan.AtMostOnce, plan.AtLeastOnce, plan.Transactional}
	fates   = []fate{works, lost, dropped, slow, refused, forever, panics, hanging, slowdown}
)

// judge says what must hold of a call that came to its end.
func (w *world) judge(a perform.Answer) {
	w.mu.Lock()
	happened, acted, keys := w.acted > 0, w.acted, len(w.keys)
	w.mu.Unlock()
	switch a.State {
	case perform.Answered:
		if !happened {
			w.fault("answered, and nothing happened")
		}
	case perform.Failed:
		if happened && a.Happened == perform.No {
			w.fault("it happened, and is reported as not")
		}
		if a.Failure == nil || a.Failure.Err == nil || a.Failure.Kind == "" {
			w.fault("failed with %+v", a.Failure)
		}
	case perform.Parked:
		if w.safety != plan.AtMostOnce {
			w.fault("parked: %v", a.Failure.Err)
		}
	case perform.Interrupted:
		w.fault("interrupted")
	}
	if keys > 1 {
		w.fault("%d keys for one call", keys)
	}
	if acted > 1 && w.safety != plan.AtLeastOnce {
		w.fault("it happened %d times", acted)
	}
}

// Every class, every two fates, with and without retries: killed at every step of
// the first process, with and without what was not durable.
func TestCrashEverywhere(t *testing.T) {
	for _, safety := range classes {
		t.Run(string(safety), func(t *testing.T) {
			t.Parallel()
			runs := 0
			for _, retry := range []*plan.Retry{nil, {Max: 3, Delay: 100 * time.Millisecond, Factor: 2}} {
				for _, first := range fates {
					for _, second := range fates {
						runs += dieEverywhere(t, &world{
							safety: safety, fates: []fate{first, second}, policy: plan.Guards{Timeout: timeout, Retry: retry},
						})
					}
				}
			}
			if runs < 1000 {
				t.Errorf("only %d runs", runs)
			}
		})
	}
}

// dieEverywhere runs a world once for each step that its first process may die at,
// and both things that may become of what was not durable.
func dieEverywhere(t *testing.T, of *world) (runs int) {
	t.Helper()
	for dieAt := 0; ; dieAt++ {
		survived := false
		for _, keep := range []bool{false, true} {
			w := &world{safety: of.safety, fates: of.fates, policy: of.policy, dieAt: dieAt, keep: keep, keys: map[string]int{}}
			synctest.Test(t, func(*testing.T) {
				a := w.run()
				time.Sleep(30 * timeout) // what was in flight takes effect
				w.judge(a)
			})
			runs++
			survived = dieAt > 0 && w.lives == 1
			if len(w.faults) > 0 {
				t.Fatalf("%q, retry %v, dies at %d, keeps %v:\n%s\nrecord:\n%s",
					of.fates, of.policy.Retry != nil, dieAt, keep, strings.Join(w.faults, "\n"), list(w.durable))
			}
		}
		if survived {
			return runs
		}
	}
}

func list(entries []plan.Entry) string {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "  %s attempt %d %s by %q final %v: %s\n", e.Type, e.Attempt, e.Outcome, e.By, e.Final, e.Reason)
	}
	return b.String()
}
