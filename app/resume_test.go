package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

// A changed flow is planned, refused with what to do, and gone on with.
func TestResumeAChangedFlow(t *testing.T) {
	t.Chdir(t.TempDir())
	stop := true
	flow := func(inserted, branch bool) *weir.Definition {
		return weir.Define("double", func(f *weir.Flow) {
			in := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
			ns := weir.Map(in, "twice", func(n int) (int, error) { return 2 * n, nil })
			if inserted {
				ns = weir.Map(ns, "check", func(n int) (int, error) { return n, nil })
			}
			weir.Each(ns, "say", func(_ context.Context, n int) error {
				if n == 6 && stop {
					panic("as told")
				}
				return nil
			})
			if branch {
				weir.Each(in, "count", func(context.Context, int) error { return nil })
			}
		})
	}
	was, inserted, branch := flow(false, false), flow(true, false), flow(true, true)
	var out, errs bytes.Buffer
	do := func(def *weir.Definition, code int, args ...string) string {
		t.Helper()
		out.Reset()
		errs.Reset()
		if got := app.Run(args, strings.NewReader(""), &out, &errs, def); got != code {
			t.Errorf("%q: exit %d, want %d:\n%s%s", args, got, code, &out, &errs)
		}
		return out.String() + errs.String()
	}
	says := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	}
	says(do(was, 4, "resume", "--plan"), "there is no data directory")
	do(was, 1, "run")
	runs, err := os.ReadDir(".weir/double")
	if err != nil || len(runs) != 1 {
		t.Fatalf("%v, %v", runs, err)
	}
	run := runs[0].Name()
	before := snapshotOf(t, ".weir")

	says(do(was, 0, "resume", "--plan"), "the flow is as the run had it", "say", "where it stood", "nothing is in the way: double resume "+run)
	says(do(inserted, 0, "resume", run, "--plan"), "epoch 2 would begin behind frame", "stage check added between twice and say",
		"check", "new", "twice.out", "where say stands", "check.out", "nothing is in it yet")
	refused := []string{"stage count begins to read numbers.out, which has 6 records already", "--start count=now, =begin or =numbers.out:SEQ"}
	says(do(branch, 4, "resume", "double", "--plan"), append(refused, "it is refused")...)
	says(do(branch, 0, "resume", run, "--plan", "--start", "count=begin"), "from 1", "6 records", "as --start says")

	var plan weir.ResumePlan
	if err := json.Unmarshal([]byte(do(inserted, 0, "resume", "--plan", "--json")), &plan); err != nil {
		t.Fatal(err)
	}
	if plan.Run != run || plan.Epoch != 2 || !plan.Changed || len(plan.Stages) != 4 || len(plan.Refusals) != 0 {
		t.Errorf("the plan is %+v", plan)
	}
	says(do(branch, 2, "resume", run, "--json"), "add --plan")
	says(do(branch, 2, "resume"), "resume takes one run")
	if after := snapshotOf(t, ".weir"); after != before {
		t.Errorf("plans changed the data directory:\n%s\n%s", before, after)
	}
	says(do(branch, 4, "run"), append(refused, "double resume "+run+" --plan", "double --new")...)
	says(do(branch, 4, "resume", run), refused...)
	stop = false
	says(do(branch, 0, "resume", run, "--start", "count=begin"), "stage check added", "stage count added", `"where say stands"`, "as --start says", "completed", "6 in · 12 delivered")
	says(do(branch, 0, "resume", run, "--plan"), "is completed; there is nothing to go on with")
	says(do(branch, 0, "show", run), "check", "count")
	says(do(branch, 0, "graph", run), "check", "count")
	says(do(branch, 0, "check", run), "clean")
	says(do(branch, 3, "verify", run), "not executed again: say", "the stage does not read twice.out any more")
	says(do(branch, 4, "replay", run), "its definition changed with epoch 2")
	says(do(branch, 0, "resume", "--help"), "resume [RUN] --plan", "--start", "--map", "--retire")
}

// snapshotOf lists files with their sizes and times.
func snapshotOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
