package weir_test

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The compiler refuses every line of testdata/mistakes that says so, with the
// error it quotes, and finds nothing else.
func TestCompilerRefusesMistakes(t *testing.T) {
	const file = "testdata/mistakes/mistakes.go"
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{}
	quoted := regexp.MustCompile(`// want "(.*)"$`)
	for i, line := range strings.Split(string(src), "\n") {
		if m := quoted.FindStringSubmatch(line); m != nil {
			want[i+1] = m[1]
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "./testdata/mistakes").CombinedOutput()
	if err == nil {
		t.Fatal("the mistakes compile")
	}
	for _, m := range regexp.MustCompile(`(?m)^[^\n:]*mistakes\.go:(\d+):\d+: (.*)$`).FindAllStringSubmatch(string(out), -1) {
		n, _ := strconv.Atoi(m[1])
		switch text, ok := want[n]; {
		case !ok:
			t.Errorf("line %d: %s", n, m[2])
		case !strings.Contains(m[2], text):
			t.Errorf("line %d: got %q, want it to contain %q", n, m[2], text)
		}
		delete(want, n)
	}
	for n, text := range want {
		t.Errorf("line %d compiles, want an error with %q", n, text)
	}
	if len(want) > 0 {
		t.Logf("%s", out)
	}
}
