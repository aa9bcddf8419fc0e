package csvfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/event"
)

type city struct {
	Name    string `csv:"name"`
	People  int    `csv:"people"`
	Capital *bool  `csv:"capital"`
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// read reads a source to its end, one call for each batch, each from the position
// of the last.
func read[T any](t *testing.T, src weir.Source[T]) (values []T, bad []string, err error) {
	t.Helper()
	var at weir.Position
	for more := true; more; {
		more = false
		for b, err := range src.Read(t.Context(), at) {
			if err != nil {
				return values, bad, err
			}
			values = append(values, b.Values...)
			for _, x := range b.Bad {
				bad = append(bad, string(event.KindOf(x.Err))+" | "+x.Err.Error()+" | "+string(x.Raw))
			}
			at, more = b.Position, true
			break
		}
	}
	return values, bad, nil
}

func TestStructs(t *testing.T) {
	yes := true
	path := file(t, "capital,name,people,extra\ntrue,\"Bonn, old\",300000,x\n,Köln,1,y\n")
	got, bad, err := read(t, csvfile.Read[city](path))
	if err != nil || bad != nil {
		t.Fatalf("bad %q, error %v", bad, err)
	}
	want := []city{{"Bonn, old", 300000, &yes}, {"Köln", 1, nil}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestBadRowsAreKept(t *testing.T) {
	path := file(t, "name,people,capital\n"+
		"Rome,many,\n"+
		"Rome,1\n"+
		"\xff,1,\n"+
		"a\"b,1,\n"+
		"Oslo,2,\n"+
		strings.Repeat("x", 2<<20)+",1,\n"+
		"\"never closed,1,\nParis,3,\n")
	got, bad, err := read(t, csvfile.Read[city](path))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]city{{Name: "Oslo", People: 2}, {Name: "Paris", People: 3}}, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	for i, want := range []string{
		`decode | in.csv line 2: column people: "many" is no int | Rome,many,`,
		`decode | in.csv line 3: it has 2 columns, the header has 3 | Rome,1`,
		"decode | in.csv line 4: it is not valid UTF-8 | \xff,1,",
		`decode | in.csv line 5: bare " in non-quoted-field | a"b,1,`,
		`too_large | in.csv line 7: it has 2097156 bytes, from offset `,
		`decode | in.csv line 8: extraneous or missing " in quoted-field | "never closed,1,`,
	} {
		if i >= len(bad) {
			t.Errorf("bad row %d is missing, want %q", i, want)
			continue
		}
		b := strings.ReplaceAll(strings.ReplaceAll(bad[i], filepath.Dir(path)+"/", ""), "decode: ", "")
		b = strings.ReplaceAll(b, "too_large: ", "")
		if !strings.HasPrefix(b, want) {
			t.Errorf("bad row %d = %.120q, want %q", i, b, want)
		}
	}
	if len(bad) != 6 {
		t.Errorf("%d bad rows, want 6", len(bad))
	}
}

func TestOtherShapes(t *testing.T) {
	path := file(t, "made by hand\nname;people\nRome;1\n")
	semi := csvfile.Read[csvfile.Row](path)
	semi.Comma, semi.Skip = ';', 1
	got, _, err := read(t, semi)
	if diff := cmp.Diff([]csvfile.Row{{"name": "Rome", "people": "1"}}, got); err != nil || diff != "" {
		t.Errorf("untyped: %v\n%s", err, diff)
	}
	bare := csvfile.Read[city](file(t, "Rome\t1\t\nOslo\t2\ttrue\n"))
	bare.Comma, bare.Columns = '\t', []string{"name", "people", "capital"}
	cities, bad, err := read(t, bare)
	if err != nil || len(cities) != 2 || cities[1].Name != "Oslo" {
		t.Errorf("without a header: %v, bad %q, %v", cities, bad, err)
	}
}

func TestFilesThatDoNotFit(t *testing.T) {
	comma := csvfile.Read[city](file(t, "name\n"))
	comma.Comma = '→'
	for _, c := range []struct {
		src  weir.Source[city]
		want string
	}{
		{csvfile.Read[city](file(t, "name,capital\n")), `has no column "people": it has name, capital`},
		{csvfile.Read[city](file(t, "name,name\n")), `two columns are named "name"`},
		{csvfile.Read[city](t.TempDir()), "is a directory"},
		{csvfile.Read[city](filepath.Join(t.TempDir(), "no.csv")), "there is no file"},
		{comma, "delimiter"},
	} {
		if _, _, err := read(t, c.src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Read = %v, want %q in it", err, c.want)
		}
	}
	if got, bad, err := read(t, csvfile.Read[city](file(t, ""))); err != nil || got != nil || bad != nil {
		t.Errorf("an empty file = %v, %q, %v, want nothing", got, bad, err)
	}
}

func TestSinkWritesWhatSourceReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "out.csv")
	w, err := csvfile.Write[city](path).Open(t.Context(), weir.At{Run: "R"})
	if err != nil {
		t.Fatal(err)
	}
	want := []city{{Name: "Bonn, \"old\"\nnew", People: 3}, {Name: "Köln", People: 1}}
	for _, c := range want {
		d := weir.Delivery[city]{}
		d.Value = c
		if err := w.Deliver(t.Context(), []weir.Delivery[city]{d}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.(weir.Flusher).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is in place before the end")
	}
	if _, err := w.(weir.Finisher).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.(weir.Finisher).Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, bad, err := read(t, csvfile.Read[city](path))
	if diff := cmp.Diff(want, got); err != nil || bad != nil || diff != "" {
		t.Errorf("read back: %v, %q\n%s", err, bad, diff)
	}
}

func TestEmptyResultHasAHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.csv")
	w, err := csvfile.Write[city](path).Open(t.Context(), weir.At{Run: "R"})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { _, err := w.(weir.Finisher).Prepare(t.Context()); return err },
		func() error { _, err := w.(weir.Finisher).Finish(t.Context()); return err },
		w.Close,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "name,people,capital\n" {
		t.Errorf("out.csv = %q, %v, want the header", got, err)
	}
}
