package inspect_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/inspect"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

func TestExitCodes(t *testing.T) {
	data := t.TempDir()
	for id, how := range map[string]string{"01JZ0000000000000000000001": "completed", "01JZ0000000000000000000002": "begun"} {
		if err := write(data, id, how, nil); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(data, "payments", "01JZ0000000000000000000002")
	inUse := func(t *testing.T) {
		t.Helper()
		log, _, err := segment.Open(vfs.OS, dir, segment.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	free := func(t *testing.T) { t.Helper() }
	for _, c := range []struct {
		args  string
		setup func(*testing.T)
		want  int
		says  string
	}{
		{"ls", free, inspect.OK, ""},
		{"show 01JZ0000000000000000000001", free, inspect.OK, ""},
		{"check 01JZ0000000000000000000001", free, inspect.OK, ""},
		{"check 01JZ0000000000000000000002", inUse, inspect.Open, ""},
		{"check ./nothing", free, inspect.Unreadable, "is not the directory of a run"},
		{"show ./nothing", free, inspect.Unreadable, "is not the directory of a run"},
		{"show nothing", free, inspect.Usage, "no run or flow has this name"},
		{"records 01JZ0000000000000000000001 nothing", free, inspect.Usage, "the run has no such stage"},
		{"why 01JZ0000000000000000000001 17", free, inspect.Usage, "is not a ref"},
		{"rm 01JZ0000000000000000000002", free, inspect.Damaged, "--force"},
		{"rm 01JZ0000000000000000000002 --force", inUse, inspect.Unreadable, "run is in use by process"},
		{"nothing", free, inspect.Usage, "there is no command"},
		{"ls --nothing", free, inspect.Usage, "unknown flag"},
		{"graph 01JZ0000000000000000000001 --format png", free, inspect.Usage, "mermaid"},
	} {
		t.Run(c.args, func(t *testing.T) {
			c.setup(t)
			var stdout, stderr bytes.Buffer
			got := inspect.Run(t.Context(), strings.Fields(c.args), inspect.Env{Stdout: &stdout, Stderr: &stderr, Dir: data, Data: "."})
			if got != c.want || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("exit %d, want %d, saying %q:\n%s%s", got, c.want, c.says, stdout.String(), stderr.String())
			}
		})
	}
}

func TestCommandsAreComplete(t *testing.T) {
	for _, c := range inspect.Commands() {
		if c.Summary == "" || !inspect.Has(c.Name) {
			t.Errorf("command %q has no summary or cannot be run", c.Name)
		}
		var stdout, stderr bytes.Buffer
		if code := inspect.Run(t.Context(), []string{c.Name, "--help"}, inspect.Env{Program: "shop", Stdout: &stdout, Stderr: &stderr, Dir: "/"}); code != inspect.OK {
			t.Errorf("%s --help: exit %d: %s", c.Name, code, stderr.String())
		}
		if !strings.HasPrefix(stdout.String(), "shop "+c.Name) || !strings.Contains(stdout.String(), "--json") {
			t.Errorf("%s --help says:\n%s", c.Name, stdout.String())
		}
	}
	if inspect.Has("run") {
		t.Error("run is a command of inspect")
	}
}
