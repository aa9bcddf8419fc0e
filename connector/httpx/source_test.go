package httpx_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/policy"
)

const shop = "http://shop.example/orders"

// byCursor asks a shop for the page after a cursor.
var byCursor = httpx.Get(shop+"?token=secret", "after")

// items is a page of an answer as services give it.
type items struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next"`
	End   bool              `json:"end"`
}

func decode(_ string, r httpx.Response) (p httpx.Page[order], err error) {
	var l items
	if err = r.JSON(&l); err == nil {
		p.Values, p.Bad = httpx.Rows[order](l.Items)
		p.Next, p.End = l.Next, l.End
	}
	return p, err
}

// deadOf returns the bad input of stage orders as "raw | kind | reason".
func deadOf(t *testing.T, d *disk) (all []string) {
	t.Helper()
	for _, payload := range d.journal(t, "orders", "dead") {
		var f weir.Failed[[]byte]
		if err := json.Unmarshal([]byte(payload), &f); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s | %s | %s", f.Input, f.Kind, f.Reason))
	}
	return all
}

// flow reads a source and delivers nothing.
func flow[T any](src weir.Source[T], opts ...weir.SourceOption) *weir.Definition {
	return weir.Define("shop", func(f *weir.Flow) {
		weir.Each(weir.From(f, "orders", src, opts...), "out", none[T])
		weir.Each(weir.BadInput(f, "orders"), "bad", none[weir.Failed[[]byte]])
	})
}

// pages answers with the pages of n orders, size on each.
func pages(n, size int) answer {
	return func(r *http.Request) (*http.Response, error) {
		from, _ := strconv.Atoi(r.URL.Query().Get("after"))
		to := min(from+size, n)
		var rows []string
		for i := from; i < to; i++ {
			rows = append(rows, fmt.Sprintf(`{"id":"%d","cents":%d}`, i, i))
		}
		next := ""
		if to < n {
			next = strconv.Itoa(to)
		}
		return says(200, fmt.Sprintf(`{"items":[%s],"next":%q}`, strings.Join(rows, ","), next))
	}
}

// ordersUpTo are n orders as they are recorded.
func ordersUpTo(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf(`{"id":"%d","cents":%d}`, i, i))
	}
	return all
}

// all reads a source to its end, or its first error.
func all[T any](ctx context.Context, src weir.Source[T], after weir.Position) (values []T, bad []weir.Bad, at weir.Position, err error) {
	at = after
	for b, err := range src.Read(ctx, after) {
		if err != nil {
			return values, bad, at, err
		}
		values, bad, at = append(values, b.Values...), append(bad, b.Bad...), b.Position
	}
	return values, bad, at, nil
}

// Wherever the process dies, each order is recorded once, in order.
func TestPullAfterEveryDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(pages(23, 4))
		def := flow(httpx.Pull(byCursor, decode, s.client()))
		everyDeath(t, def, func() { s.calls = nil }, func(at journal.LSN, d *disk) {
			if diff := cmp.Diff(ordersUpTo(23), d.journal(t, "orders", "out")); diff != "" {
				t.Errorf("death at %d: orders (-want +got):\n%s", at, diff)
			}
			if n := len(s.calls); n < 6 || n > 7 {
				t.Errorf("death at %d: %d requests for 6 pages: %v", at, n, s.calls)
			}
		})
	})
}

// What is read once its end is recorded is not read again.
func TestPullThatIsDone(t *testing.T) {
	s := serve(pages(3, 2))
	src := httpx.Pull(byCursor, decode, s.client())
	got, _, at, err := all(t.Context(), src, "")
	if err != nil || len(got) != 3 || !src.Bounded() {
		t.Fatalf("%v, %v", got, err)
	}
	if got, _, _, err := all(t.Context(), src, at); err != nil || got != nil || len(s.calls) != 2 {
		t.Errorf("after %s: %v, %v, %d requests", at, got, err, len(s.calls))
	}
}

// A row that does not fit is a dead letter, as it came, and the others are read.
func TestBadRows(t *testing.T) {
	s := serve(func(*http.Request) (*http.Response, error) {
		return says(200, `{"items":[{"id":"a","cents":1},{"id":"b","cents":"x"}, 7,{"id":"c","cents":-1},{"id":"`+"\xff"+`"},{"id":"d","cents":4}]}`)
	})
	got, bad, _, err := all(t.Context(), httpx.Pull(byCursor, decode, s.client()), "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]order{{"a", 1}, {"d", 4}}, got); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	var texts []string
	for _, b := range bad {
		texts = append(texts, fmt.Sprintf("%s | %v", b.Raw, b.Err))
	}
	want := []string{
		`{"id":"b","cents":"x"} | decode: GET http://shop.example/orders, cursor "": row 2: field "cents": want number (int), found string`,
		`7 | decode: GET http://shop.example/orders, cursor "": row 3: want object, found number`,
		`{"id":"c","cents":-1} | validation: GET http://shop.example/orders, cursor "": row 4: cents are negative`,
		"{\"id\":\"\xff\"} | decode: GET http://shop.example/orders, cursor \"\": row 5: it is not valid UTF-8",
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("bad rows (-want +got):\n%s", diff)
	}
}

// What goes wrong with a page, whether it is asked for again, and what people read.
func TestPullErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func() (*http.Response, error) // to the first request for the page after 2
		waits  time.Duration
		fails  string // if it is not asked for again
	}{
		{"fails", func() (*http.Response, error) { return says(500, "") }, time.Second, ""},
		{"no connection", func() (*http.Response, error) { return nil, errors.New("refused") }, time.Second, ""},
		{"slow down", func() (*http.Response, error) { return says(429, "", "Retry-After: 60") }, time.Minute, ""},
		{"slow down until", func() (*http.Response, error) { return says(429, "", "Retry-After: Sat, 01 Jan 2000 00:00:50 GMT") }, 50 * time.Second, ""},
		{"closed", func() (*http.Response, error) { return says(503, "", "Retry-After: 9") }, 9 * time.Second, ""},
		{"breaks off", func() (*http.Response, error) { return breaks(`{"items":[{"id":"2"`) }, time.Second, ""},
		{"no JSON", func() (*http.Response, error) { return says(200, "<html>busy</html>") }, time.Second, ""},
		{"leads to itself", func() (*http.Response, error) { return says(200, `{"items":[{"id":"2"}],"next":"2"}`) }, time.Second, ""},
		{"not there", func() (*http.Response, error) { return says(404, "what?") }, 0, "permanent: GET http://shop.example/orders: 404 Not Found: what?"},
		{
			"elsewhere", func() (*http.Response, error) { return says(302, "", "Location: http://evil.example/x?token=secret") }, 0,
			"permanent: GET http://shop.example/orders: 302 Found to http://evil.example/x, which is not followed",
		},
		{"unasked", func() (*http.Response, error) { return says(304, "") }, 0, `GET http://shop.example/orders, cursor "2": 304 Not Modified, though nothing was said of what it was before`},
		{
			"too large", func() (*http.Response, error) { return says(200, strings.Repeat(" ", 2000)) }, 0,
			"too_large: GET http://shop.example/orders: status 200, and its answer has more than 1000 bytes (httpx.MaxBody)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, failed := pages(6, 2), false
				s := serve(func(r *http.Request) (*http.Response, error) {
					if r.URL.Query().Get("after") == "2" && !failed {
						failed = true
						return c.answer()
					}
					return good(r)
				})
				var d disk
				began := time.Now()
				def := flow(httpx.Pull(byCursor, decode, s.client(), httpx.MaxBody(1000)), policy.Retry{Delay: time.Second, Factor: 1})
				sum, err := def.Run(t.Context(), d.options())
				if c.fails != "" {
					if err == nil || sum.Status != weir.Failing || !strings.HasSuffix(err.Error(), "stage orders failed: read: "+c.fails) {
						t.Fatalf("%+v, %v", sum, err)
					}
					sum, err = def.Run(t.Context(), d.options())
				}
				if err != nil || sum.Status != weir.Completed {
					t.Fatalf("%+v, %v", sum, err)
				}
				if took := time.Since(began).Truncate(time.Second); took != c.waits {
					t.Errorf("took %v, want %v", took, c.waits)
				}
				if diff := cmp.Diff(ordersUpTo(6), d.journal(t, "orders", "out")); diff != "" {
					t.Errorf("orders (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Two gigabytes are not read.
func TestPullOfTooMuch(t *testing.T) {
	body := &zeros{left: 2 << 30}
	s := serve(func(*http.Request) (*http.Response, error) {
		res, err := says(200, "")
		res.Body, res.ContentLength = io.NopCloser(body), -1
		return res, err
	})
	_, _, _, err := all(t.Context(), httpx.Pull(byCursor, decode, s.client()), "")
	if event.KindOf(err) != event.KindTooLarge || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Errorf("error %v", err)
	}
	if read := 2<<30 - body.left; read > 17<<20 {
		t.Errorf("%d bytes were read", read)
	}
	body.left = 2 << 30
	w, err := httpx.Webhook[order]("http://shop.example", s.client()).Open(t.Context(), weir.At{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Deliver(t.Context(), make([]weir.Delivery[order], 1)); err != nil {
		t.Errorf("delivery: %v", err)
	}
	if read := 2<<30 - body.left; read > 1<<20 {
		t.Errorf("%d bytes of a webhook's answer were read", read)
	}
}

type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(len(p), z.left)
	clear(p[:n])
	if z.left -= n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// A page that was not recorded is asked for again, and may have changed.
func TestPullOfAListThatShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 10
		s := serve(func(r *http.Request) (*http.Response, error) { return pages(n, 4)(r) })
		def := flow(httpx.Pull(byCursor, decode, s.client()))
		var d disk
		broken := s.answer
		s.answer = func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("after") == "8" {
				return says(400, "no")
			}
			return broken(r)
		}
		if sum, err := def.Run(t.Context(), d.options()); err == nil {
			t.Fatalf("%+v", sum)
		}
		n, s.answer = 5, broken
		if sum, err := def.Run(t.Context(), d.options()); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if diff := cmp.Diff(ordersUpTo(8), d.journal(t, "orders", "out")); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
	})
}

// Credentials go to the host of the first request and to no other; a redirect to
// another host is not followed.
func TestCredentialsStayAtHome(t *testing.T) {
	var seen []string
	s := serve(func(r *http.Request) (*http.Response, error) {
		seen = append(seen, r.URL.Host+" "+r.Header.Get("Authorization"))
		switch r.URL.String() {
		case "http://shop.example/orders":
			return says(302, "", "Location: /orders/")
		case "http://shop.example/orders/":
			return says(200, "[]", `Link: <http://other.example/orders?page=2>; rel="next"`)
		}
		return says(200, "[]")
	})
	src := httpx.Pull(httpx.Get("http://shop.example/orders", ""), httpx.Array[order], s.client(), httpx.Credential("Authorization", func() string { return "t" }))
	if _, _, _, err := all(t.Context(), src, ""); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"shop.example t", "shop.example t", "other.example "}, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// What is wrong with a source is said when it is read, and not tried again.
func TestSourceMistakes(t *testing.T) {
	get := httpx.Get(shop, "")
	ids := httpx.Pull(get, httpx.Array[string], nil)
	for _, c := range []struct {
		src  weir.Source[order]
		want string
	}{
		{httpx.Pull(nil, decode, nil), "httpx.Pull needs a function"},
		{httpx.Pull[order](get, nil, nil), "httpx.Pull needs a function"},
		{httpx.Poll[order](time.Second, get, nil, nil), "httpx.Poll needs a function"},
		{httpx.Poll(0, get, decode, nil), "httpx.Poll every 0s"},
		{httpx.Details(nil, get, decode), "httpx.Details needs a Pull or Poll"},
		{httpx.Details(ids, nil, decode), "httpx.Details needs"},
		{httpx.Details(httpx.Details(ids, get, httpx.Object[string]), get, decode), "httpx.Details needs a Pull or Poll of references"},
		{httpx.Details(httpx.Poll(-1, get, httpx.Array[string], nil), get, decode), "httpx.Poll every -1ns"},
		{httpx.Pull(httpx.Get("shop.example/?secret", ""), decode, nil), `the first request: "shop.example/" is no address`},
		{httpx.Pull(httpx.Get("http://user:secret@a b/", ""), decode, nil), "(a URL that cannot be read)"},
	} {
		_, err := flow(c.src, policy.Retry{Delay: time.Hour}).Run(t.Context(), weir.Options{Logger: quiet})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// A cursor that a position cannot hold is an error, not another cursor.
func TestCursorsThatCannotBeRecorded(t *testing.T) {
	s := serve(func(*http.Request) (*http.Response, error) { return says(200, "") })
	for next, want := range map[string]string{"a\xff": "not valid UTF-8", strings.Repeat("x", 70_000): "the limit is 65536: ask for smaller pages"} {
		src := httpx.Pull(byCursor, func(string, httpx.Response) (httpx.Page[order], error) { return httpx.Page[order]{Next: next}, nil }, s.client())
		if _, _, _, err := all(t.Context(), src, ""); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A position that no such source wrote is refused.
func TestForeignPositions(t *testing.T) {
	s := serve(pages(3, 2))
	for text, why := range map[string]string{
		`{"v":2,"cursor":"2"}`:     "it is of version 2, this release reads 1",
		`{"offset":7,"row":1}`:     "it is of version 0",
		`null`:                     "it is of version 0",
		`[]`:                       "cannot unmarshal array",
		`{"v":1} {}`:               "invalid character",
		`{"v":1,"cursor":`:         "unexpected end",
		"\xff":                     "invalid character",
		`{"v":1,"refs":["1","2"]}`: "there are details to be read",
	} {
		_, err := flow(httpx.Pull(byCursor, decode, s.client())).Run(t.Context(), weir.Options{Logger: quiet, Harness: &plan.Harness{Edit: func(f *plan.Flow) error {
			f.Nodes[0].Source = from{f.Nodes[0].Source, text}
			return nil
		}}})
		if err == nil || !strings.Contains(err.Error(), "is not one of this HTTP source: ") || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", text, err, why)
		}
	}
	if len(s.calls) > 0 {
		t.Errorf("requests %q", s.calls)
	}
}

// from begins to read at a position.
type from struct {
	plan.Source
	at string
}

func (f from) Read(ctx context.Context, _ string, take func(*plan.Read) bool) error {
	return f.Source.Read(ctx, f.at, take)
}

// Whatever a log says was its position, a source answers with an error that says
// so, or reads on.
func FuzzPosition(f *testing.F) {
	for _, text := range []string{
		`{"v":1,"cursor":"2"}`, `{"v":1,"end":true,"seen":{"of":"x","etag":"\n"}}`, `{"v":1,"refs":["1","2"]}`,
		`{"v":2}`, `{"offset":7,"row":1}`, `[]`, `null`, `{"v":1} {}`, "\xff", `{"v":1,"refs":null,"cursor":"\ud800"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := serve(func(*http.Request) (*http.Response, error) { return says(200, `["http://shop.example/1"]`) })
		list := httpx.Pull(httpx.Get(shop, "after"), httpx.Array[string], s.client())
		for _, src := range []weir.Source[string]{list, httpx.Details(list, httpx.Get(shop+"/", ""), httpx.Array[string])} {
			_, _, at, err := all(t.Context(), src, weir.Position(text))
			if text == "" && err != nil || err != nil && len(s.calls) == 0 && !strings.Contains(err.Error(), "is not one of this HTTP source") && !strings.Contains(err.Error(), "make the request") {
				t.Errorf("%q: %v", text, err)
			}
			if err == nil {
				if _, _, again, err := all(t.Context(), src, at); err != nil || again != at {
					t.Errorf("%q led to %q, which leads to %q, %v", text, at, again, err)
				}
			}
		}
	})
}
