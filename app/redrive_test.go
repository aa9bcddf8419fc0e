package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

// halver is a program that halves numbers, and gives up on those that it says it
// cannot.
func halver(cannot func(int) bool, said *[]int) *weir.Definition {
	return weir.Define("halve", func(f *weir.Flow) {
		ns := weir.From(f, "numbers", weir.Slice([]int{1, 2, 3, 4, 5, 6}))
		halves := weir.Map(ns, "half", func(n int) (int, error) {
			if cannot(n) {
				return 0, errors.New("it is odd")
			}
			return n / 2, nil
		})
		weir.Each(halves, "say", func(_ context.Context, n int) error {
			*said = append(*said, n)
			return nil
		})
		weir.Each(weir.Reduce(weir.All(weir.Filter(halves, "large", func(n int) (bool, error) { return n > 100, nil })), "sum", weir.Zero, func(s *int, n int) error {
			*s += n
			return nil
		}), "total", func(context.Context, int) error { return nil })
	})
}

func TestRedriveCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	var said []int
	odd := func(n int) bool { return n%2 == 1 }
	broken, better, mended := halver(odd, &said), halver(func(n int) bool { return n == 5 }, &said), halver(func(int) bool { return false }, &said)
	other := weir.Define("other", func(f *weir.Flow) {
		weir.Each(weir.From(f, "numbers", weir.Slice([]int{1})), "say", func(context.Context, int) error { return nil })
	})
	var out, errs bytes.Buffer
	expect := func(def *weir.Definition, code int, says string, args ...string) string {
		t.Helper()
		out.Reset()
		errs.Reset()
		got := app.Run(args, strings.NewReader(""), &out, &errs, def)
		all := out.String() + errs.String()
		if got != code || !strings.Contains(all, says) {
			t.Errorf("%q: exit %d, want %d and %q in:\n%s", args, got, code, says, all)
		}
		return all
	}
	expect(broken, 4, "no data directory", "redrive", "halve", "half")
	first := expect(broken, 5, "3 dead letters", "run")
	if !strings.Contains(first, "redrive halve") {
		t.Errorf("the run does not say how to go on:\n%s", first)
	}
	origin := regexp.MustCompile(`run (01\w{24})`).FindStringSubmatch(first)[1]

	expect(broken, 2, "shows what it gave up on", "redrive")
	if all := expect(broken, 0, "half.dead", "redrive", origin); !regexp.MustCompile(`half\.dead +3 +– +3\n`).MatchString(all) || strings.Contains(all, "PROGRAM") || !strings.Contains(all, " redrive "+origin+" half.dead") {
		t.Errorf("what was given up:\n%s", all)
	}
	expect(broken, 4, "--fresh-state", "redrive", "halve", "half")
	expect(broken, 2, "did you mean half?", "redrive", "halve", "haf")
	expect(broken, 2, "no half.dead:9", "redrive", "halve", "half:9")
	expect(broken, 2, "one stage", "redrive", "halve", "half", "say")
	expect(broken, 2, "is not a ref", "redrive", "halve", "half:1", "half")
	expect(broken, 2, "for redrive RUN", "redrive", "halve", "half", "--json")
	expect(other, 4, "is of flow halve", "redrive", ".weir/halve/"+origin, "say")
	expect(broken, 0, "letter is taken once", "redrive", "--help")
	expect(broken, 0, "redrive", "help")

	said = nil
	all := expect(better, 5, "completed", "redrive", "halve", "half", "--fresh-state")
	if !slices.Equal(said, []int{0, 1}) {
		t.Errorf("said %v", said)
	}
	line := regexp.MustCompile(`(?m)^new run · flow halve · run (01\w{24}) · redrives ` + origin + ` · stage half · letters 3 · dir `).FindStringSubmatch(all)
	if line == nil || !strings.Contains(all, "warning: what these stages put out tells of the redriven inputs alone · stages sum") {
		t.Fatalf("what it said:\n%s", all)
	}
	run := line[1]
	expect(better, 0, "takes 3 of them", "redrive", origin, "half", "--fresh-state")
	expect(better, 4, "was redriven by run "+run, "redrive", origin, "half:1", "--fresh-state")
	expect(better, 0, "redrives "+origin, "ls")
	expect(better, 0, "redrives "+origin+": half.dead:1–3", "show", run)
	expect(better, 0, "run "+origin+"  half.dead:1", "why", run, "say.receipts:1")
	expect(better, 0, "redriven by run "+run+"  redrive.out:2", "impact", origin, "numbers:3")
	expect(better, 0, "identical", "verify", run)
	expect(better, 0, "clean", "check", run)
	expect(better, 0, "completed", "resume", run)
	if all := expect(better, 0, "REDRIVEN BY", "redrive", origin); !regexp.MustCompile(`half\.dead +3 +3 +–\n`).MatchString(all) || !strings.Contains(all, run+"  completed  half.dead:1–3") {
		t.Errorf("what was given up:\n%s", all)
	}
	var listed struct {
		GivenUp []struct {
			Journal        string
			Letters, Taken int
		} `json:"given_up"`
		Redrivers []struct{ Run, Status string }
	}
	if err := json.Unmarshal([]byte(expect(better, 0, "given_up", "redrive", origin, "--json")), &listed); err != nil || len(listed.GivenUp) != 1 || listed.GivenUp[0].Taken != 3 || len(listed.Redrivers) != 1 || listed.Redrivers[0].Run != run {
		t.Errorf("%+v, %v", listed, err)
	}

	// The flow's newest run is the redrive: what failed there goes on from there.
	said = nil
	expect(mended, 0, "completed", "redrive", "halve", "half.dead", "--fresh-state", "--from", "1", "--to", "1")
	if !slices.Equal(said, []int{2}) {
		t.Errorf("said %v", said)
	}
	expect(mended, 0, "no stage gave anything up", "redrive", "halve")
	said = nil
	expect(mended, 0, "completed", "redrive", origin, "half:3", "--fresh-state", "--again")
	if !slices.Equal(said, []int{2}) {
		t.Errorf("said %v", said)
	}
	// A run elsewhere is not in the directory that says what others have taken.
	if err := os.CopyFS("copy", os.DirFS(".weir/halve/"+origin)); err != nil {
		t.Fatal(err)
	}
	expect(mended, 4, "not in the data directory", "redrive", "./copy", "half")
}
