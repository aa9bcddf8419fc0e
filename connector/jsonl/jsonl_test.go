package jsonl_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/event"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

func collect(t *testing.T, src weir.Source[order]) (orders []order, bad []weir.Bad) {
	t.Helper()
	for b, err := range src.Read(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		orders, bad = append(orders, b.Values...), append(bad, b.Bad...)
	}
	return orders, bad
}

var lines = `{"id":"a","cents":1,"more":true}
` + "\r\n" + `{"id":"b","cents":"x"}
{"id":
{"id":"` + "\xff" + `"}
` + strings.Repeat("x", 2<<20) + `
{"id":"c","cents":3}`

func check(t *testing.T, orders []order, bad []weir.Bad) {
	t.Helper()
	if diff := cmp.Diff([]order{{"a", 1}, {"c", 3}}, orders); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	var got []string
	for _, b := range bad {
		_, where, _ := strings.Cut(b.Err.Error(), " line ")
		got = append(got, string(event.KindOf(b.Err))+" line "+where)
	}
	for i, want := range []string{
		"decode line 3: field \"cents\": want number (int), found string", "decode line 4: it is no JSON, from byte 6 on: unexpected end",
		"decode line 5: it is not valid UTF-8",
		"too_large line 6: it has 209715",
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], want) {
			t.Errorf("bad lines = %q, want %q at %d", got, want, i)
		}
	}
	if len(bad) != 4 || string(bad[0].Raw) != `{"id":"b","cents":"x"}` {
		t.Errorf("%d bad lines, want 4 as they came", len(bad))
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.jsonl")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	orders, bad := collect(t, jsonl.Read[order](path))
	check(t, orders, bad)
}

func TestStream(t *testing.T) {
	orders, bad := collect(t, jsonl.From[order]("stdin", io.MultiReader(strings.NewReader(lines))))
	check(t, orders, bad)
}

func TestSinks(t *testing.T) {
	const want = "{\"id\":\"<a>\",\"cents\":1}\n{\"id\":\"b\",\"cents\":2}\n"
	batch := make([]weir.Delivery[order], 2)
	batch[0].Value, batch[1].Value = order{"<a>", 1}, order{"b", 2}

	var out bytes.Buffer
	w, err := jsonl.To[order](&out).Open(t.Context(), weir.At{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(t.Context(), batch); err != nil || out.String() != want {
		t.Errorf("stream = %q, %v, want %q", &out, err, want)
	}

	path := filepath.Join(t.TempDir(), "out.jsonl")
	w, err = jsonl.Write[order](path).Open(t.Context(), weir.At{Run: "R"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if _, err := w.(weir.Finisher).Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.(weir.Finisher).Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("file = %q, %v, want %q", got, err, want)
	}
}
