package supervise_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/fsm"
	"github.com/weirflow/weir/internal/supervise"
)

var update = flag.Bool("update", false, "rewrite docs/fsm.md and the scenarios' expectations")

func TestEveryPairSaysWhy(t *testing.T) {
	walk(t, "pipeline", supervise.Pipelines(), len(supervise.PipelineEvents()))
	walk(t, "stage", supervise.Stages(), len(supervise.StageEvents()))
}

func walk[S, K comparable, E fsm.Event[K], A any](t *testing.T, machine string, table *fsm.Table[S, K, E, A], events int) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%-18s %11s %7s %6s\n", machine, "state", "transitions", "ignores", "errors")
	for _, s := range table.States() {
		c := table.Count(s)
		fmt.Fprintf(&b, "%-18v %11d %7d %6d\n", s, c.Transitions, c.Ignores, c.Errors)
	}
	t.Log(b.String())
	pairs := 0
	for p := range table.Pairs() {
		pairs++
		for _, br := range p.Branches {
			if br.Outcome != fsm.Transition && strings.TrimSpace(br.Reason) == "" {
				t.Errorf("%s: (%v, %v) %v without a reason", machine, p.State, p.Event, br.Outcome)
			}
		}
	}
	if want := len(table.States()) * events; pairs != want {
		t.Errorf("%s: %d pairs, want %d", machine, pairs, want)
	}
}

// Stop and cancel do something or are explained in every state; they are
// refused in none.
func TestStopAndCancelWorkInEveryState(t *testing.T) {
	for p := range supervise.Pipelines().Pairs() {
		if p.Event == supervise.Stop || p.Event == supervise.Cancel || p.Event == supervise.Error {
			refusedNowhere(t, p)
		}
	}
	for p := range supervise.Stages().Pairs() {
		if p.Event == supervise.Stop || p.Event == supervise.Cancel || p.Event == supervise.Error || p.Event == supervise.Panic {
			refusedNowhere(t, p)
		}
	}
}

func refusedNowhere[S, K comparable, A any](t *testing.T, p fsm.Pair[S, K, A]) {
	t.Helper()
	for _, br := range p.Branches {
		if br.Outcome == fsm.Refuse {
			t.Errorf("(%v, %v) is refused: %s", p.State, p.Event, br.Reason)
		}
	}
}

func TestEveryConstantHasAName(t *testing.T) {
	for p := range supervise.Pipelines().Pairs() {
		if text := fmt.Sprint(p); strings.Contains(text, "supervise.") || strings.Contains(text, "none") {
			t.Errorf("pair without names: %s", text)
		}
	}
	seen := map[string]bool{}
	for _, e := range append(supervise.PipelineEvents(), supervise.StageEvents()...) {
		seen[e.String()] = true
	}
	if want := int(supervise.InputsEnded); len(seen) != want {
		t.Errorf("%d names of events, want %d", len(seen), want)
	}
	for d := supervise.RecordTransition; d <= supervise.ReportEnd; d++ {
		if strings.Contains(d.String(), "(") {
			t.Errorf("action %v has no name", d)
		}
	}
	if got := supervise.ReportEnd.String(); got != "ReportEnd" {
		t.Errorf("the last action is called %v", got)
	}
	if got := (supervise.InputsEnded + 1).String(); !strings.HasPrefix(got, "supervise.Event(") {
		t.Errorf("an unknown event is called %q", got)
	}
}

// docs/fsm.md is what the tables say.
func TestDocs(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# The state tables of pipeline and stages

Rendered from package internal/supervise; do not edit. To write it again:
` + "`go test ./internal/supervise -run TestDocs -update`" + `.

A supervisor is one of these tables and one goroutine: it turns what arrives into events, steps the table and performs
the actions in order. Every pair of a state and an event is a transition, is ignored for a reason, or is refused for a
reason; a refusal comes back as an Error, so that the table decides what it means.
`)
	section(&b, "Pipeline", supervise.Pipelines())
	section(&b, "Stage", supervise.Stages())
	path := filepath.Join("..", "..", "docs", "fsm.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the tables say; run the test with -update and read the difference", path)
	}
}

func section[S, K comparable, E fsm.Event[K], A any](b *strings.Builder, title string, table *fsm.Table[S, K, E, A]) {
	fmt.Fprintf(b, "\n## %s\n\n| state | transitions | ignored | refused |\n|---|---|---|---|\n", title)
	for _, s := range table.States() {
		c := table.Count(s)
		fmt.Fprintf(b, "| %v | %d | %d | %d |\n", s, c.Transitions, c.Ignores, c.Errors)
	}
	fmt.Fprintf(b, "\n```mermaid\n%s```\n\n%s", table.Mermaid(), table.Markdown())
}
