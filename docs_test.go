package weir_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// proven are the documents that name tests and files as evidence.
var proven = []string{"README.md", "CONTRIBUTING.md", "docs/promises.md", "docs/ARCHITECTURE.md", "docs/format.md", "docs/status.md", "docs/walk.md", "docs/adr/README.md", "examples/payments/README.md", "examples/approval/README.md"}

var (
	link     = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	document = regexp.MustCompile("`(docs/[a-z_0-9/.]+)`")
	testName = regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Za-z0-9_]+)`")
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)[A-Za-z0-9_]+)\(`)
)

// What a document refers to is there: files, and tests by name. A test that is
// named beside a file, as in [`TestX`](path/x_test.go), is in the folder of that
// file.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	tests := testsByFolder(t)
	anywhere := slices.Concat(slices.Collect(maps.Values(tests))...)
	for _, doc := range proven {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		code := false
		for n, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "```") {
				code = !code
			}
			if code {
				continue
			}
			for _, m := range document.FindAllStringSubmatch(line, -1) {
				if _, err := os.Stat(m[1]); err != nil {
					t.Errorf("%s:%d names %s: there is no such file", doc, n+1, m[1])
				}
			}
			for _, m := range testName.FindAllStringSubmatch(line, -1) {
				if !slices.Contains(anywhere, m[1]) {
					t.Errorf("%s:%d names %s: there is no such test", doc, n+1, m[1])
				}
			}
			for _, m := range link.FindAllStringSubmatchIndex(line, -1) {
				target := line[m[2]:m[3]]
				if strings.Contains(target, "://") {
					continue
				}
				path := filepath.Join(filepath.Dir(doc), target)
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s:%d links to %s: there is no such file", doc, n+1, target)
					continue
				}
				if strings.HasSuffix(path, "_test.go") {
					label := line[strings.LastIndexByte(line[:m[0]], '['):m[0]]
					for _, name := range testName.FindAllStringSubmatch(label, -1) {
						if !slices.Contains(tests[filepath.Dir(path)], name[1]) {
							t.Errorf("%s:%d says that %s is in %s: it is not", doc, n+1, name[1], filepath.Dir(path))
						}
					}
				}
			}
		}
	}
}

// testsByFolder returns the names of the tests in each folder.
func testsByFolder(t *testing.T) map[string][]string {
	t.Helper()
	tests := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			tests[filepath.Dir(path)] = append(tests[filepath.Dir(path)], m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) < 10 {
		t.Fatalf("found tests in %d folders only", len(tests))
	}
	return tests
}

// The drawing of the folders names every package, and no other.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	text, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		switch name := d.Name(); {
		case path == ".":
			return nil
		case strings.HasPrefix(name, "."), name == "testdata", name == "tools", name == "bench", name == "examples":
			return fs.SkipDir
		}
		if files, _ := filepath.Glob(filepath.Join(path, "*.go")); len(files) > 0 && !strings.Contains(string(text), filepath.Base(path)+"/") {
			t.Errorf("docs/ARCHITECTURE.md does not name %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
