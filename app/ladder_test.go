package app_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
)

type shop struct {
	Name     string
	Limit    int
	Wait     time.Duration
	Password weir.Secret
}

// in returns a program's run in the present directory.
func in(defs []*weir.Definition, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = app.Run(args, strings.NewReader(""), &out, &errs, defs[0], defs[1:]...)
	return code, out.String(), errs.String()
}

var shops = weir.DefineWith("shops", shop{Name: "code", Limit: 1, Wait: time.Second}, func(f *weir.Flow, c shop) {
	weir.Each(weir.From(f, "in", weir.Slice([]string{c.Name})), "out", func(context.Context, string) error { return nil })
})

// The command line wins over the environment, that over the file, that over the
// code; config says which it was.
func TestLadder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("weir.toml", []byte("sync = \"none\"\ndata = \"kept\"\n[shops]\nname = \"file\"\nlimit = 2\nwait = \"2s\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WEIR_SHOPS_LIMIT", "3")
	t.Setenv("WEIR_SHOPS_WAIT", "3s")
	t.Setenv("WEIR_SEGMENT_SIZE", "1MiB")
	t.Setenv("WEIR_SHOPS_PASSWORD", "hunter2")
	code, stdout, stderr := in([]*weir.Definition{shops}, "config", "--wait", "4s")
	if code != 0 {
		t.Fatal(stderr)
	}
	for _, want := range []string{
		`name +file +file`, `limit +3 +environment`, `wait +4s +command line`, `sync +none +file`, `segment_size +1MiB +environment`,
		`data +kept +file`, `shutdown_timeout +30s +code`, `password +\(secret\) +environment`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `\b|^` + want + `$`).MatchString(stdout) {
			t.Errorf("no line %q in:\n%s", want, stdout)
		}
	}
}

// A secret is neither printed nor recorded, wherever it came from.
func TestSecretsStaySecret(t *testing.T) {
	t.Chdir(t.TempDir())
	const secret = "hunter2"
	for _, args := range [][]string{{"config"}, {"--help"}, {"run"}, {"run", "--new", "--log-format", "json"}, {"show"}, {"export"}, {"graph"}} {
		if args[0] != "show" && args[0] != "export" && args[0] != "graph" {
			args = append(args, "--password", secret)
		}
		code, stdout, stderr := in([]*weir.Definition{shops}, args...)
		if code != 0 || strings.Contains(stdout+stderr, secret) {
			t.Errorf("%v: exit %d, the secret is in the output: %v\n%s", args, code, strings.Contains(stdout+stderr, secret), stderr)
		}
	}
	files := 0
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("the secret is in %s", path)
		}
		files++
		return err
	})
	if err != nil || files < 6 {
		t.Errorf("%d files of two runs, %v", files, err)
	}
}

// Inspecting looks where the program runs.
func TestInspectionFollowsTheFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("weir.toml", []byte(`data = "kept"`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"run"}, {"show"}, {"check"}} {
		if code, _, stderr := in([]*weir.Definition{shops}, args...); code != 0 {
			t.Errorf("%v: exit %d\n%s", args, code, stderr)
		}
	}
}

func failing(action weir.Action) *weir.Definition {
	return weir.Define("failing", func(f *weir.Flow) {
		weir.Each(weir.From(f, "in", weir.Slice([]int{1})), "out",
			func(context.Context, int) error { return errors.New("no") }, weir.OnError{Error: action})
	})
}

func TestExitCodes(t *testing.T) {
	wrong := weir.Define("wrong", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]int{1}))
		none := func(context.Context, int) error { return nil }
		weir.Each(in, "out", none)
		weir.Each(in, "out", none)
	})
	for name, tc := range map[string]struct {
		def  *weir.Definition
		args []string
		want int
	}{
		"completed":        {shops, nil, 0},
		"failed":           {failing(weir.Fail), nil, 1},
		"usage":            {shops, []string{"--no-such"}, 2},
		"wiring":           {wrong, nil, 2},
		"no data":          {shops, []string{"--require-data"}, 4},
		"dead":             {failing(weir.DeadLetter), nil, 5},
		"dead, allowed":    {failing(weir.DeadLetter), []string{"--allow-dead"}, 0},
		"no run to resume": {shops, []string{"resume", "shops"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if code, _, stderr := in([]*weir.Definition{tc.def}, tc.args...); code != tc.want {
				t.Errorf("exit code %d, want %d\n%s", code, tc.want, stderr)
			}
		})
	}
}

// With several flows the first argument names the one that is meant.
func TestTwoDefinitions(t *testing.T) {
	t.Chdir(t.TempDir())
	both := []*weir.Definition{shops, flow}
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "which flow? The first argument names it: shops, greet"},
		{[]string{"gret"}, 2, `there is no flow "gret"; did you mean "greet"?`},
		{[]string{"greet", "--word", "x"}, 0, "flow greet"},
		{[]string{"shops", "--name", "x"}, 0, "flow shops"},
		{[]string{"shops", "--word", "x"}, 2, "unknown flag"},
		{[]string{"ls"}, 0, ""},
		{[]string{"show", "greet"}, 0, ""},
		{[]string{"shops", "show"}, 0, ""},
	} {
		if code, _, stderr := in(both, tc.args...); code != tc.code || !strings.Contains(stderr, tc.says) {
			t.Errorf("%v: exit %d and %q, want exit %d and %q", tc.args, code, stderr, tc.code, tc.says)
		}
	}
}
