package textfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path, position string, comma byte) *textfile.Reader {
	t.Helper()
	r, err := textfile.Open(vfs.OS, path, position, comma)
	if err != nil {
		t.Fatalf("Open(%q) = %v", position, err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func rows(t testing.TB, r *textfile.Reader) (texts []string) {
	t.Helper()
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(row.Text))
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		name, text string
		comma      byte
		want       []string
	}{
		{"empty", "", 0, nil},
		{"lines", "a\nb\n", 0, []string{"a", "b"}},
		{"no end", "a\nb", 0, []string{"a", "b"}},
		{"windows", "a\r\n\r\nb\r\n", 0, []string{"a", "", "b"}},
		{"mark", "\xef\xbb\xbfa\n", 0, []string{"a"}},
		{"only mark", "\xef\xbb\xbf", 0, nil},
		{"quotes are not special in lines", "a\"\nb\"\n", 0, []string{`a"`, `b"`}},
		{"quoted line end", "a,\"b\nc\"\nd\n", ',', []string{"a,\"b\nc\"", "d"}},
		{"escaped quote", "\"a\"\"\n\"\nb\n", ',', []string{"\"a\"\"\n\"", "b"}},
		{"quote inside a field", "a\"b,c\nd\n", ',', []string{`a"b,c`, "d"}},
		{"never closed", "a,\"b\nc\nd\n", ',', []string{`a,"b`, "c", "d"}},
		{"other delimiter", "a;\"b;\nc\"\n", ';', []string{"a;\"b;\nc\""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, rows(t, open(t, write(t, c.text), "", c.comma))); diff != "" {
				t.Errorf("rows (-want +got):\n%s", diff)
			}
		})
	}
}

// Reading on from any position gives what reading through gives.
func TestEveryPositionContinues(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("ab,\"\r\n"))).Draw(rt, "text")
		comma := rapid.SampledFrom([]byte{0, ','}).Draw(rt, "comma")
		path := write(t, text)
		want := rows(t, open(t, path, "", comma))
		through := open(t, path, "", comma)
		for i := 0; ; i++ {
			if diff := cmp.Diff(want[i:], rows(t, open(t, path, through.Position(), comma)), cmpEmpty); diff != "" {
				rt.Fatalf("from %s of %q (-want +got):\n%s", through.Position(), text, diff)
			}
			if _, err := through.Next(); err != nil {
				break
			}
		}
	})
}

var cmpEmpty = cmp.Transformer("nil", func(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
})

func TestPlacesOfRows(t *testing.T) {
	r := open(t, write(t, "a\n\"b\nb\"\nc\n"), "", ',')
	for _, want := range []textfile.Row{{Line: 1, At: 0}, {Line: 2, At: 2}, {Line: 4, At: 8}} {
		got, err := r.Next()
		if err != nil || got.Line != want.Line || got.At != want.At {
			t.Errorf("Next() = line %d at %d, %v, want line %d at %d", got.Line, got.At, err, want.Line, want.At)
		}
	}
}

func TestLongRowsAreCutNotLost(t *testing.T) {
	long := strings.Repeat("x", 3*textfile.MaxRow)
	r := open(t, write(t, "a\n"+long+"\nb\n"), "", 0)
	if row, err := r.Next(); err != nil || string(row.Text) != "a" {
		t.Fatalf("Next() = %q, %v", row.Text, err)
	}
	row, err := r.Next()
	if err != nil || row.Long != int64(len(long)+1) || row.At != 2 || !strings.HasPrefix(long, string(row.Text)) || len(row.Text) == 0 {
		t.Errorf("Next() = %d bytes of a row of %d at %d, %v; want the beginning of one of %d at 2", len(row.Text), row.Long, row.At, err, len(long)+1)
	}
	if row, err := r.Next(); err != nil || string(row.Text) != "b" || row.Line != 3 {
		t.Errorf("Next() = %q at line %d, %v, want b at line 3", row.Text, row.Line, err)
	}
}

func TestReplacedFilesAreRefused(t *testing.T) {
	const text = "one\ntwo\nthree\n"
	path := write(t, text)
	r := open(t, path, "", 0)
	for range 2 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	position := r.Position()
	for _, c := range []struct {
		name, text string
		refused    bool
	}{
		{"the same", text, false},
		{"longer", text + "four\n", false},
		{"shorter", "one\n", true},
		{"other beginning", "One\ntwo\nthree\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := textfile.Open(vfs.OS, path, position, 0)
			var changed *textfile.ChangedError
			if errors.As(err, &changed) != c.refused {
				t.Errorf("Open() = %v, want refused: %t", err, c.refused)
			}
		})
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ path, position, want string }{
		{filepath.Join(dir, "none"), "", "there is no file"},
		{dir, "", "is a directory"},
		{write(t, ""), "gibberish", "recorded position"},
		{write(t, ""), `{"offset":-1}`, "recorded position"},
	} {
		if _, err := textfile.Open(vfs.OS, c.path, c.position, 0); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Open(%s, %q) = %v, want %q in it", c.path, c.position, err, c.want)
		}
	}
	if _, err := textfile.Open(vfs.OS, filepath.Join(dir, "none"), "", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(none) = %v, want fs.ErrNotExist", err)
	}
}
