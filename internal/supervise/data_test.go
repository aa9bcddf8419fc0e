package supervise_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/supervise"
)

func TestIntentRules(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	var none supervise.Intent
	for _, tc := range []struct {
		name string
		got  supervise.Intent
		want supervise.Intent
	}{
		{"stop", none.Stop("user", at(30)), supervise.Intent{Mode: supervise.StopMode, Reason: "user", Deadline: at(30)}},
		{"first reason wins", none.Stop("user", at(30)).Stop("deploy", at(30)), none.Stop("user", at(30))},
		{"a repeated stop does not extend", none.Stop("user", at(30)).Stop("user", at(60)), none.Stop("user", at(30))},
		{"nor take the deadline away", none.Stop("user", at(30)).Stop("user", time.Time{}), none.Stop("user", at(30))},
		{"it may bring it forward", none.Stop("user", at(30)).Stop("user", at(10)), none.Stop("user", at(10))},
		{"or give one", none.Stop("user", time.Time{}).Stop("user", at(10)), none.Stop("user", at(10))},
		{"cancel", none.Cancel("user"), supervise.Intent{Mode: supervise.CancelMode, Reason: "user"}},
		{"first reason wins over cancel", none.Stop("deploy", at(30)).Cancel("user"), none.Cancel("deploy")},
		{"stop after cancel", none.Cancel("user").Stop("deploy", at(1)), none.Cancel("user")},
		{"cancel after cancel", none.Cancel("user").Cancel("other"), none.Cancel("user")},
		{"stop_timeout overrides", none.Stop("user", at(30)).Expire(), none.Cancel(supervise.StopTimeout)},
		{"no deadline, no timeout", none.Stop("user", time.Time{}).Expire(), none.Stop("user", time.Time{})},
		{"no stop, no timeout", none.Expire(), none},
		{"a cancel voids the deadline", none.Stop("user", at(30)).Cancel("x").Expire(), none.Cancel("user")},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestMergeIsTheWorst(t *testing.T) {
	kinds := []supervise.Ending{supervise.NotEnded, supervise.Natural, supervise.Truncated, supervise.Poison}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOf(rapid.SampledFrom(kinds)).Draw(t, "inputs")
		got := supervise.Merge(in...)
		want := supervise.NotEnded
		if len(in) > 0 && !slices.Contains(in, supervise.NotEnded) {
			want = slices.Max(in)
		}
		if got != want {
			t.Fatalf("Merge(%v) = %v, want %v", in, got, want)
		}
		onlyNatural := len(in) > 0 && !slices.ContainsFunc(in, func(e supervise.Ending) bool { return e != supervise.Natural })
		if got.Final() != onlyNatural {
			t.Fatalf("Merge(%v).Final() = %v", in, got.Final())
		}
	})
}

func TestBarrier(t *testing.T) {
	b, err := supervise.NewBarrier(
		[]supervise.Member{{Name: "a", Source: true}, {Name: "b"}, {Name: "c"}},
		[]supervise.Gate{{Name: "a>b", Source: "a"}, {Name: "b>c"}, {Name: "count", Source: "a", Warn: true}})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if !b.AllEnded() || b.AllRunning() || b.SourcesReady() || b.AllCompleted() {
		t.Error("a new barrier knows things")
	}
	b.Alive()
	must(b.Running("b"))
	must(b.Running("c"))
	if !b.AllRunning() || b.AllEnded() {
		t.Errorf("AllRunning() = %v, AllEnded() = %v with b and c running", b.AllRunning(), b.AllEnded())
	}
	must(b.Ready("a"))
	must(b.Completed("a"))
	if b.SourcesCompleted() {
		t.Error("SourcesCompleted() before the source's contract passed")
	}
	must(b.Passed("a>b"))
	must(b.Passed("a>b"))
	if !b.SourcesCompleted() {
		t.Error("SourcesCompleted() waits for a contract in warn mode")
	}
	must(b.Completed("b"))
	want := supervise.Snapshot{Done: 2, Total: 3, Passed: 1, Gating: 2, Pending: []string{"c"}, Missing: []string{"b>c"}, Version: 6}
	if diff := cmp.Diff(want, b.Snapshot()); diff != "" {
		t.Errorf("Snapshot() (-want +got):\n%s", diff)
	}
	if got, want := b.Snapshot().String(), "2 of 3 stages, 1 of 2 contracts; pending: c; missing: b>c"; got != want {
		t.Errorf("Snapshot().String() = %q, want %q", got, want)
	}
	must(b.Ended("c"))
	must(b.Passed("b>c"))
	if b.AllCompleted() || !b.AllEnded() {
		t.Errorf("AllCompleted() = %v, AllEnded() = %v after c failed", b.AllCompleted(), b.AllEnded())
	}
	if !b.Gates("a>b") || b.Gates("count") || !b.Gates("unknown") {
		t.Error("Gates() does not tell warn from abort")
	}
	for _, err := range []error{b.Completed("c"), b.Running("ghost"), b.Passed("ghost")} {
		if err == nil {
			t.Error("a stage that ended, or a name that nobody knows, was accepted")
		}
	}
}

func TestBarrierRefusesContradictions(t *testing.T) {
	_, err := supervise.NewBarrier(
		[]supervise.Member{{Name: "a", Source: true}, {Name: "a"}, {Name: "b"}},
		[]supervise.Gate{{Name: "g"}, {Name: "g"}, {Name: "h", Source: "b"}})
	for _, want := range []string{"stage a twice", "contract g twice", "contract h of b, which is not a source"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewBarrier() = %v, want %q", err, want)
		}
	}
	if _, err := supervise.NewPipeline(supervise.PipelineConfig{Stages: []supervise.Member{{Name: "a"}, {Name: "a"}}}); err == nil {
		t.Error("NewPipeline() with a stage twice succeeded")
	}
	for _, c := range []supervise.StageConfig{{}, {Source: true, Hydrate: []int{0}}, {Inputs: 1, Hydrate: []int{1}}} {
		if _, err := supervise.NewStage(c); err == nil {
			t.Errorf("NewStage(%+v) succeeded", c)
		}
	}
}

func TestAgree(t *testing.T) {
	if err := supervise.Agree([]string{"a", "b"}, []string{"b", "a"}); err != nil {
		t.Errorf("Agree() = %v for the same names", err)
	}
	err := supervise.Agree([]string{"b", "a"}, []string{"c", "a"})
	if err == nil || !strings.Contains(err.Error(), "the topology has a, b; supervisors exist for a, c") {
		t.Errorf("Agree() = %v, want both lists", err)
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	s, err := supervise.NewStage(supervise.StageConfig{Source: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []supervise.Event{supervise.Init, supervise.Ready, supervise.Start} {
		s.Step(supervise.StageInput{Event: e})
	}
	if n := testing.AllocsPerRun(100, func() {
		s.Step(supervise.StageInput{Event: supervise.Pause})
		s.Step(supervise.StageInput{Event: supervise.Unpause})
	}); n != 0 {
		t.Errorf("Step allocates %v times, want 0", n)
	}
}
