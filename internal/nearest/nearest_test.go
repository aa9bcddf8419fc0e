package nearest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/nearest"
)

func ExampleName() {
	stages := []string{"orders", "validate", "ship"}
	fmt.Println(nearest.Name("valdiate", stages))
	// Output: validate
}

func TestName(t *testing.T) {
	commands := []string{"ls", "show", "check", "validate"}
	long := strings.Repeat("x", nearest.Limit)
	for _, c := range []struct {
		name, s string
		names   []string
		want    string
	}{
		{"the name itself", "show", commands, "show"},
		{"a byte left out", "chck", commands, "check"},
		{"a byte too much", "shhow", commands, "show"},
		{"another byte", "shaw", commands, "show"},
		{"two swapped", "sl", commands, "ls"},
		{"two edits in six bytes", "chekky", commands, "check"},
		{"two edits in five bytes", "chekk", []string{"checks"}, ""},
		{"nothing like it", "summary", commands, ""},
		{"the first of two", "at", []string{"cat", "bat"}, "cat"},
		{"the closer of two", "bat", []string{"cut", "bath"}, "bath"},
		{"nothing", "", commands, ""},
		{"no names", "show", nil, ""},
		{"as long as may be", long, []string{long[1:] + "y"}, long[1:] + "y"},
		{"too long", long + "x", []string{long + "x"}, ""},
		{"among too long ones", long, []string{long + "x"}, ""},
	} {
		if got := nearest.Name(c.s, c.names); got != c.want {
			t.Errorf("%s: Name(%q) = %q, want %q", c.name, c.s, got, c.want)
		}
	}
}

// One edit away is always close, and nothing farther wins over it.
func TestOneEditIsClose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z][a-z0-9_]{3,30}`)
		meant := word.Draw(t, "meant")
		b := []byte(meant)
		at := rapid.IntRange(0, len(b)-2).Draw(t, "at")
		switch rapid.IntRange(0, 3).Draw(t, "edit") {
		case 0:
			b = slices.Delete(b, at, at+1)
		case 1:
			b = slices.Insert(b, at, 'q')
		case 2:
			b[at] = 'Q'
		case 3:
			b[at], b[at+1] = b[at+1], b[at]
		}
		if got := nearest.Name(string(b), []string{"#########", meant}); got != meant {
			t.Fatalf("Name(%q) = %q, want %q", b, got, meant)
		}
	})
}
