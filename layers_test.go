package weir_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/weirflow/weir"

// layers gives each package its layer; a package imports only from layers below
// its own, or what peers says. A package that is not listed belongs to the
// longest listed path above it.
var layers = map[string]int{
	"event":            0,
	"topology":         0,
	"internal/fsm":     0,
	"internal/nearest": 0,

	"internal/vfs":     1,
	"internal/wire":    1,
	"internal/payload": 1,
	"internal/pgtest":  1,

	"journal": 2,

	"internal/attest":     3,
	"internal/evidence":   3,
	"internal/inbox":      3,
	"internal/plan":       3,
	"internal/recovery":   3,
	"internal/resumption": 3,
	"internal/contract":   3,
	"internal/credit":     3,
	"internal/resilience": 3,
	"internal/supervise":  3,

	"internal/engine":   4,
	"internal/jsonrow":  4,
	"internal/sample":   4,
	"internal/textfile": 4,
	"internal/verify":   4,
	"policy":            4,
	"effect":            4,
	"internal/perform":  4,
	"internal/steps":    4,
	"internal/redrive":  4,

	"":        5,
	"history": 5,

	"weirtest":          6,
	"internal/campaign": 6,
	"connector":         6,
	"internal/inspect":  6,

	"app":               7,
	"cmd":               7,
	"examples/internal": 7,
	"examples":          8,
}

// peers are the imports within one layer.
var peers = map[string][]string{
	"topology":            {"internal/nearest"},
	"journal/memory":      {"journal"},
	"journal/segment":     {"journal"},
	"journal/journaltest": {"journal", "journal/memory", "journal/segment"},
	"internal/jsonrow":    {"internal/textfile"},
	"internal/plan":       {"internal/evidence", "internal/recovery"},
	"internal/recovery":   {"internal/evidence"},
	"internal/resilience": {"internal/plan"},
	"internal/redrive":    {"internal/perform"},
	"internal/resumption": {"internal/plan", "internal/recovery"},
	"internal/steps":      {"internal/perform"},
	"internal/verify":     {"internal/perform"},
	"app":                 {},
}

func layerOf(t *testing.T, pkg string) int {
	t.Helper()
	for p := pkg; ; p = p[:max(strings.LastIndexByte(p, '/'), 0)] {
		if l, ok := layers[p]; ok && (p != "" || pkg == "") {
			return l
		}
		if p == "" {
			t.Errorf("package %s has no layer: give it one in layers_test.go", pkg)
			return 100
		}
	}
}

func TestImportsPointDown(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	checked := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := rel(p.ImportPath)
		for _, imp := range p.Imports {
			if imp != module && !strings.HasPrefix(imp, module+"/") {
				if strings.Contains(imp, ".") && layerOf(t, from) == 0 {
					t.Errorf("%s imports %s: the innermost layer knows only the standard library", name(from), imp)
				}
				continue
			}
			checked++
			to := rel(imp)
			if layerOf(t, to) >= layerOf(t, from) && !isPeer(from, to) {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports point down", name(from), layerOf(t, from), name(to), layerOf(t, to))
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d imports checked: is the test looking at the module?", checked)
	}
}

func rel(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, module), "/") }

func name(pkg string) string {
	if pkg == "" {
		return "weir"
	}
	return pkg
}

func isPeer(from, to string) bool {
	return slices.Contains(peers[from], to)
}
