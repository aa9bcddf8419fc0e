package app_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

type settings struct {
	Word string `help:"what is said"`
}

// flow is a program with one flow that has a setting.
var flow = weir.DefineWith("greet", settings{Word: "hello"}, func(f *weir.Flow, c settings) {
	words := weir.From(f, "words", weir.Slice([]string{c.Word}))
	weir.Each(words, "say", func(context.Context, string) error { return nil })
})

// run runs the program in an empty directory.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var out, errs bytes.Buffer
	code = app.Run(args, strings.NewReader(""), &out, &errs, flow)
	return code, out.String(), errs.String()
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"--data", ""}, "it names the directory"},
		{[]string{"--sync", "-5s"}, "none of group, always, none, nor a duration"},
		{[]string{"--sync", "0s"}, "none of group"},
		{[]string{"--sync", "maybe"}, "none of group"},
		{[]string{"--checkpoint", "-1s"}, "no duration such as"},
		{[]string{"--checkpoint", "5"}, "no duration such as"},
		{[]string{"--shutdown-timeout", "-1s"}, "no duration such as"},
		{[]string{"--segment-size", "-4MiB"}, "no size such as"},
		{[]string{"--wrod", "x"}, "did you mean"},
		{[]string{"graph", "--format", "png"}, `no format "png"`},
		{[]string{"graph", "--fromat", "dot"}, "did you mean"},
		{[]string{"grpah"}, `did you mean "graph"`},
		{[]string{"help", "grpah"}, `did you mean "graph"`},
		{[]string{"resume"}, "resume takes one run"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			code, _, stderr := run(t, tc.args...)
			if code != 2 || !strings.Contains(stderr, tc.says) {
				t.Errorf("exit %d and %q, want exit 2 and %q", code, stderr, tc.says)
			}
			if _, err := os.Stat(".weir"); err == nil {
				t.Error("a run was made")
			}
		})
	}
}

func TestEmptyDataDirectoryInTheEnvironment(t *testing.T) {
	t.Setenv("WEIR_DATA", "")
	code, _, stderr := run(t)
	if code != 2 || !strings.Contains(stderr, "WEIR_DATA") {
		t.Errorf("exit %d and %q, want a refusal that names WEIR_DATA", code, stderr)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for _, tc := range []struct{ text, says string }{
		{"[greet]\nword = [1, 2]", "weir.toml: [greet] word is a list, want a value"},
		{"[greet]\nword = {a = 1}", "weir.toml: [greet] word is a table, want a value"},
		{"data = [\"a\"]", "weir.toml: data is a list, want a value"},
		{"checkpoint = \"10\"", "weir.toml: checkpoint: \"10\" is no duration"},
		{"[great]\nword = \"x\"", "did you mean \"greet\"?"},
		{"not toml", "weir.toml line 1"},
	} {
		t.Run(tc.text, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "weir.toml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, stderr := run(t, "--config", path)
			if code != 2 || !strings.Contains(stderr, tc.says) {
				t.Errorf("exit %d and %q, want exit 2 and %q", code, stderr, tc.says)
			}
		})
	}
}

// Whoever asks for help gets it, and is told what else there is.
func TestHelp(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		shows []string
	}{
		{[]string{"--help"}, []string{"usage: greet [COMMAND]", "resume", "show", "why", "--word text", "--data"}},
		{[]string{"-h"}, []string{"usage: greet [COMMAND]", "--word text"}},
		{[]string{"help"}, []string{"usage: greet [COMMAND]", "resume", "show"}},
		{[]string{"run", "--help"}, []string{"usage: greet run [flags]", "--word text", "what is said"}},
		{[]string{"resume", "--help"}, []string{"usage: greet resume RUN [flags]"}},
		{[]string{"config", "--help"}, []string{"usage: greet config"}},
		{[]string{"graph", "--help"}, []string{"usage: greet graph [RUN]", "mermaid"}},
		{[]string{"help", "records"}, []string{"records RUN STAGE", "--follow"}},
		{[]string{"ls", "--help"}, []string{"ls [FLOW]", "--data"}},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			code, stdout, stderr := run(t, tc.args...)
			if code != 0 || stderr != "" {
				t.Errorf("exit %d and %q on standard error", code, stderr)
			}
			for _, want := range tc.shows {
				if !strings.Contains(stdout, want) {
					t.Errorf("%q is not in:\n%s", want, stdout)
				}
			}
			if strings.Contains(stdout, "[=true") || strings.Count(stdout, "usage:") > 1 {
				t.Errorf("noise in:\n%s", stdout)
			}
		})
	}
}

// A flow can be drawn before it ever ran.
func TestGraphOfTheFlowAsWritten(t *testing.T) {
	for _, tc := range []struct {
		args []string
		has  string
	}{
		{[]string{"graph"}, "words.out"},
		{[]string{"graph", "--format", "mermaid"}, "flowchart"},
		{[]string{"graph", "--format=dot"}, "digraph"},
		{[]string{"graph", "--json"}, `"flow":"greet"`},
	} {
		if code, stdout, stderr := run(t, tc.args...); code != 0 || !strings.Contains(stdout, tc.has) {
			t.Errorf("%v: exit %d, %q is not in %q %s", tc.args, code, tc.has, stdout, stderr)
		}
	}
}

// A run whose directory is removed under it says so, once.
func TestDirectoryIsRemovedUnderTheRun(t *testing.T) {
	t.Chdir(t.TempDir())
	def := weir.Define("gone", func(f *weir.Flow) {
		weir.Each(weir.From(f, "words", weir.Slice([]string{"a"})), "remove", func(context.Context, string) error {
			return os.RemoveAll(".weir")
		})
	})
	var errs bytes.Buffer
	app.Run(nil, strings.NewReader(""), &errs, &errs, def)
	if got := strings.Count(errs.String(), "the directory of the run is gone"); got != 1 {
		t.Errorf("said %d times:\n%s", got, errs.String())
	}
}

func TestPruneSaysThatThereIsNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	var out, errs bytes.Buffer
	for _, args := range [][]string{{}, {"prune", "--keep", "1"}} {
		if code := app.Run(args, strings.NewReader(""), &out, &errs, flow); code != 0 {
			t.Fatalf("%v: exit %d: %s", args, code, errs.String())
		}
	}
	if !strings.Contains(out.String(), "nothing to remove: 1 run") {
		t.Errorf("prune said %q", out.String())
	}
}
