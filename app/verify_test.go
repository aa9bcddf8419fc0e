package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
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
