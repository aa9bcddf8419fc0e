package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

// doubler is a program whose second build doubles otherwise.
func doubler(twice func(int) int) *weir.Definition {
	return weir.Define("double", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4}))
		weir.Each(weir.Map(ns, "twice", func(n int) (int, error) { return twice(n), nil }), "say",
			func(context.Context, int) error { return nil })
	})
}

func TestVerifyCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	good := doubler(func(n int) int { return 2 * n })
	bad := doubler(func(n int) int { return n * n })
	other := weir.Define("other", func(f *weir.Flow) {
		weir.Each(weir.From(f, "numbers", weir.Slice([]int{1})), "say", func(context.Context, int) error { return nil })
	})
	var out, errs bytes.Buffer
	do := func(def *weir.Definition, args ...string) int {
		out.Reset()
		errs.Reset()
		return app.Run(args, strings.NewReader(""), &out, &errs, def)
	}
	expect := func(def *weir.Definition, code int, says string, args ...string) {
		t.Helper()
		if got := do(def, args...); got != code || !strings.Contains(out.String()+errs.String(), says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s%s", args, got, code, says, &out, &errs)
		}
	}
	if code := do(good); code != 0 {
		t.Fatalf("run: exit %d\n%s", code, &errs)
	}
	expect(good, 0, "identical", "verify")
	expect(good, 0, "keys.pub", "keygen", "keys")
	expect(good, 2, "keys exists", "keygen", "keys")
	expect(good, 0, "identical", "verify", "double", "--report", "r.json", "--sign", "keys")
	expect(good, 0, "signed by", "verify-report", "r.json", "--key", "keys.pub")
	expect(good, 0, "the run is what the report is about", "verify-report", "r.json", "double", "--key", "keys.pub")
	expect(bad, 1, "twice.out:1 changed", "verify")
	if !strings.Contains(out.String(), "payload: recorded 2, computed 1") {
		t.Errorf("the fields are missing:\n%s", &out)
	}
	expect(bad, 0, "identical", "verify", "--stage", "say")
	expect(bad, 1, `"outcome":"different"`, "verify", "--json")
	expect(good, 2, "no such record", "verify", "--from", "twice:99")
	expect(good, 2, "did you mean twice", "verify", "--from", "twic:1")
	expect(good, 2, "exists", "verify", "--report", "r.json")
	expect(good, 2, "--report", "verify", "--sign", "keys")
	expect(other, 4, "no run", "verify", "nothing")
	less := weir.Define("double", func(f *weir.Flow) {
		weir.Each(weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4})), "say", func(context.Context, int) error { return nil })
	})
	expect(less, 3, "the flow has no such stage any more", "verify")
	runs, err := os.ReadDir(".weir/double")
	if err != nil || len(runs) != 1 {
		t.Fatalf("verify left %v, %v", runs, err)
	}
	expect(other, 4, "is of flow double", "verify", ".weir/double/"+runs[0].Name())

	file, err := os.ReadFile("r.json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Report weir.Verification `json:"report"`
	}
	if err := json.Unmarshal(file, &report); err != nil {
		t.Fatal(err)
	}
	if r := report.Report; r.Outcome != weir.Identical || len(r.At.Chain) != 64 || r.Definition.Recorded != r.Definition.Now || r.Records != 8-4+1 {
		t.Errorf("report: %+v", r)
	}
	if err := os.WriteFile("forged.json", bytes.Replace(file, []byte(`"found": 0`), []byte(`"found": 1`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(good, 1, "was altered", "verify-report", "forged.json")
	expect(good, 0, "other.pub", "keygen", "other")
	expect(good, 1, "signed with another key", "verify-report", "r.json", "--key", "other.pub")
	expect(good, 0, "identical", "verify", "--report", "unsigned.json")
	expect(good, 1, "not signed", "verify-report", "unsigned.json")
	expect(good, 2, "--key", "verify-report", "r.json", "--key", "nothing.pub")
	expect(good, 2, "this is no PEM file", "verify-report", "r.json", "--key", "r.json")
	expect(good, 2, "this is a PRIVATE KEY", "verify-report", "r.json", "--key", "keys")
	expect(good, 4, "no such file", "verify-report", "nothing.json")
	if err := os.WriteFile("garbage.json", []byte(`{"report": 7`), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(good, 4, "this is no report", "verify-report", "garbage.json")

	// A report of another run, and of a run that is not what it was.
	if code := do(good, "--new"); code != 0 {
		t.Fatalf("run: exit %d\n%s", code, &errs)
	}
	expect(good, 1, "and this is run", "verify-report", "r.json", "double")
	runs, err = os.ReadDir(".weir/double")
	if err != nil {
		t.Fatal(err)
	}
	first, second := ".weir/double/"+runs[0].Name(), ".weir/double/"+runs[1].Name()
	expect(good, 0, "what the report is about", "verify-report", "r.json", first)
	manifest, err := os.ReadFile(first + "/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"/log/0000000001.seg", "/manifest.json"} {
		data, err := os.ReadFile(second + file)
		if err == nil {
			err = os.WriteFile(first+file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(good, 1, "and this is run", "verify-report", "r.json", first)
	if err := os.WriteFile(first+"/manifest.json", manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(good, 1, "damaged", "verify-report", "r.json", first)
	expect(good, 4, "", "verify", first)
}

// A signed verdict about a part, with settings of its own, says so.
func TestReportSaysWhatItIsAbout(t *testing.T) {
	t.Chdir(t.TempDir())
	type config struct{ Factor int }
	def := weir.DefineWith("double", config{2}, func(f *weir.Flow, c config) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4}))
		twice := weir.Map(ns, "twice", func(n int) (int, error) { return c.Factor * n, nil })
		weir.Each(twice, "say", func(context.Context, int) error { return nil })
	})
	var out, errs bytes.Buffer
	do := func(code int, says string, args ...string) {
		t.Helper()
		out.Reset()
		errs.Reset()
		if got := app.Run(args, strings.NewReader(""), &out, &errs, def); got != code || !strings.Contains(out.String()+errs.String(), says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s%s", args, got, code, says, &out, &errs)
		}
	}
	do(0, "completed")
	do(0, "keys", "keygen", "keys")
	do(0, "only say · frames", "verify", "--stage", "say", "--report", "say.json", "--sign", "keys")
	do(0, "a part of it, only say", "verify-report", "say.json")
	do(1, "setting factor was 2, is 3", "verify", "--factor", "3", "--report", "three.json", "--sign", "keys")
	do(0, "different, 4 differences", "verify-report", "three.json")
	do(0, `"matched": true`, "verify-report", "three.json", "double", "--json")
	file, err := os.ReadFile("three.json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Report weir.Verification `json:"report"`
	}
	if err := json.Unmarshal(file, &report); err != nil {
		t.Fatal(err)
	}
	want := []weir.ChangedSetting{{Name: "factor", Recorded: "2", Now: "3"}}
	if r := report.Report; !slices.Equal(r.Settings, want) || r.Format != 1 || r.Found != 4 || len(r.Differences) != 4 {
		t.Errorf("report: %+v", r)
	}
}

func TestReplayCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	var said []int
	def := weir.Define("double", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4}))
		weir.Each(weir.Map(ns, "twice", func(n int) (int, error) { return 2 * n, nil }), "say",
			func(_ context.Context, n int) error {
				said = append(said, n)
				return nil
			})
	})
	var out, errs bytes.Buffer
	do := func(code int, says string, args ...string) {
		t.Helper()
		out.Reset()
		errs.Reset()
		if got := app.Run(args, strings.NewReader(""), &out, &errs, def); got != code || !strings.Contains(out.String()+errs.String(), says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s%s", args, got, code, says, &out, &errs)
		}
	}
	do(4, "ls lists the runs", "replay")
	do(0, "completed", "run")
	said = nil
	do(0, "4 in · 4 delivered", "replay", "double")
	if len(said) != 0 {
		t.Errorf("a replay delivered %v", said)
	}
	do(0, "replays", "show", "double")
	do(0, "identical", "verify", "double")
	do(0, "completed", "replay", "double", "--deliver")
	if len(said) != 4 {
		t.Errorf("--deliver delivered %v", said)
	}
	do(2, "takes one run", "replay", "a", "b")
}
