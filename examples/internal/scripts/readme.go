package scripts

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	flagWord = regexp.MustCompile(`^--?[a-z][a-z-]*`)
	divides  = regexp.MustCompile(`&&|[|;&()]`)
)

// Readme sees to it that the programs in the commands of a document know the command
// and the flags that it types, by asking them for help. Commands are the lines of
// code blocks that begin with "$ ". programs are the paths of programs, by what the
// document calls them. Each must be called at least once.
func Readme(t *testing.T, doc string, programs map[string]string) {
	t.Helper()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	called := map[string]int{}
	code := false
	for n, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "```") {
			code = !code
		}
		typed, ok := strings.CutPrefix(line, "$ ")
		if !code || !ok {
			continue
		}
		for _, one := range divides.Split(typed, -1) {
			words := strings.Fields(one)
			if len(words) == 0 || programs[words[0]] == "" {
				continue
			}
			called[words[0]]++
			if missing := unknown(t.Context(), programs[words[0]], words[1:]); missing != "" {
				t.Errorf("%s:%d: %s: %s", doc, n+1, one, missing)
			}
		}
	}
	for name := range programs {
		if called[name] == 0 {
			t.Errorf("%s never calls %s", doc, name)
		}
	}
}

// unknown says what a program does not know of what it is called with; "" if
// nothing.
func unknown(ctx context.Context, program string, words []string) string {
	var command []string
	for _, w := range words {
		if strings.HasPrefix(w, "-") || len(command) == 1 && (command[0] != "effects" || w != "resolve") {
			break
		}
		command = append(command, w)
	}
	help, err := exec.CommandContext(ctx, program, append(command, "--help")...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err.Error()
	}
	if strings.Contains(string(help), "there is no command") {
		return strings.TrimSpace(string(help))
	}
	knows := regexp.MustCompile(`--?[a-z][a-z-]*`).FindAllString(string(help), -1)
	for _, w := range words {
		if f := flagWord.FindString(w); f != "" && !slices.Contains(knows, f) {
			return "there is no flag " + f
		}
	}
	return ""
}
