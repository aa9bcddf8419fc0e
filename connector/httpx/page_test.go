package httpx_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/event"
)

func TestGet(t *testing.T) {
	for _, c := range []struct{ base, param, cursor, want string }{
		{"http://a.example/x?q=1", "", "", "http://a.example/x?q=1"},
		{"http://a.example/x?q=1", "after", "", "http://a.example/x?q=1"},
		{"http://a.example/x?q=1", "after", "a b&c", "http://a.example/x?after=a+b%26c&q=1"},
		{"http://a.example/x?page=1", "page", "2", "http://a.example/x?page=2"},
		{"http://a.example/x/", "", "17", "http://a.example/x/17"},
		{"http://a.example/x/y", "", "?page=2", "http://a.example/x/y?page=2"},
		{"http://a.example/x", "", "http://b.example/y?page=2", "http://b.example/y?page=2"},
	} {
		get := httpx.Get(c.base, c.param)
		for range 2 { // the same each time
			if got, err := get(c.cursor); err != nil || got.URL != c.want || got.Method != http.MethodGet {
				t.Errorf("Get(%q, %q)(%q) = %+v, %v, want %s", c.base, c.param, c.cursor, got, err, c.want)
			}
		}
	}
	for _, bad := range [][2]string{{"http://a b?secret", ""}, {"http://a.example", "http://a b?secret"}} {
		if _, err := httpx.Get(bad[0], "")(bad[1]); event.KindOf(err) != event.KindValidation || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The link to the next page (RFC 8288).
func TestLinks(t *testing.T) {
	for header, want := range map[string]string{
		"": "",
		`<https://a.example/?page=2>; rel="next", <https://a.example/?page=9>; rel="last"`: "https://a.example/?page=2",
		`<https://a.example/?page=1>; rel="prev", </?page=3>; rel=next`:                    "/?page=3",
		`</x,y>; title="a, b; rel=\"next\""; rel="last up", </z>;REL = "start NEXT"`:       "/z",
		`</x>; rel="nextish"`:          "",
		`</x>; title="rel=next"`:       "",
		`</x>`:                         "",
		`</x; rel="next"`:              "",
		`no link; rel="next"`:          "",
		`</a>; rel="next`:              "/a",
		`</a>; rel=next; title="\`:     "/a",
		`<>; rel="next"`:               "",
		`</a>; rel="x", </b>;rel=next`: "/b",
	} {
		p, err := httpx.Array[int]("", httpx.Response{Status: 200, Body: []byte("[1]"), Header: map[string]string{"Link": header}})
		if err != nil || p.Next != want || p.End {
			t.Errorf("%s: next %q, %v, want %q", header, p.Next, err, want)
		}
	}
}

func FuzzLinks(f *testing.F) {
	for _, s := range []string{`<a>; rel="next"`, `<a>;"\`, `,,;<>;rel=`, `<a>;rel="next";rel=`, "<\xff>;rel=next"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		p, err := httpx.Array[int]("", httpx.Response{Status: 204, Header: map[string]string{"Link": header}})
		if err != nil || !strings.Contains(header, p.Next) {
			t.Errorf("%q: next %q, %v", header, p.Next, err)
		}
	})
}

func TestDecoders(t *testing.T) {
	array, object := httpx.Array[order], httpx.Object[order]
	for _, c := range []struct {
		name   string
		decode httpx.Decoder[order]
		status int
		body   string
		want   []order
		bad    int
		fails  bool
	}{
		{"array", array, 200, `[{"id":"a","cents":1},{"id":"b","cents":2}]`, []order{{"a", 1}, {"b", 2}}, 0, false},
		{"array with a bad row", array, 200, `[{"id":"a"},{"id":1},null]`, []order{{"a", 0}, {}}, 1, false},
		{"empty array", array, 200, ` [] `, nil, 0, false},
		{"null for an array", array, 200, `null`, nil, 0, false},
		{"no content for an array", array, 204, ``, nil, 0, false},
		{"object for an array", array, 200, `{"id":"a"}`, nil, 0, true},
		{"nothing for an array", array, 200, ``, nil, 0, true},
		{"more than an array", array, 200, `[] []`, nil, 0, true},
		{"object", object, 200, `{"id":"a","cents":1}`, []order{{"a", 1}}, 0, false},
		{"misfit for an object", object, 200, `[]`, nil, 1, false},
		{"refused object", object, 200, `{"cents":-1}`, nil, 1, false},
		{"no content for an object", object, 204, ``, nil, 0, false},
		{"no JSON for an object", object, 200, `<html>`, nil, 0, true},
		{"half an object", object, 200, `{"id":"a"`, nil, 0, true},
	} {
		p, err := c.decode("", httpx.Response{Status: c.status, Body: []byte(c.body)})
		if (err != nil) != c.fails || len(p.Bad) != c.bad {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
		if diff := cmp.Diff(c.want, p.Values); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
