package httpx_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/policy"
)

// A catalog lists ids on pages of size and has a detail for each.
type catalog struct {
	ids    []string
	size   int
	detail func(id string) (*http.Response, error) // nil means that it is there
}

func (c *catalog) answer(r *http.Request) (*http.Response, error) {
	if id, ok := strings.CutPrefix(r.URL.Path, "/orders/"); ok {
		if c.detail != nil {
			if res, err := c.detail(id); res != nil || err != nil {
				return res, err
			}
		}
		return says(200, fmt.Sprintf(`{"id":%q,"cents":1}`, id))
	}
	from := 0
	if _, err := fmt.Sscan(r.URL.Query().Get("from"), &from); err != nil {
		from = 0
	}
	from = min(from, len(c.ids))
	to := min(from+c.size, len(c.ids))
	links := []string{`Link: </orders>; rel="first"`}
	if to < len(c.ids) {
		links = append(links, fmt.Sprintf(`Link: </orders?from=%d>; rel="next"`, to))
	}
	var quoted []string
	for _, id := range c.ids[from:to] {
		quoted = append(quoted, fmt.Sprintf("%q", id))
	}
	return says(200, "["+strings.Join(quoted, ",")+"]", links...)
}

func numbered(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("o%03d", i))
	}
	return ids
}

func recorded(ids []string) (all []string) {
	for _, id := range ids {
		all = append(all, fmt.Sprintf(`{"id":%q,"cents":1}`, id))
	}
	return all
}

func (c *catalog) source(s *service, opts ...httpx.SourceOption) *httpx.Source[order] {
	return httpx.Details(httpx.Pull(httpx.Get(shop, ""), httpx.Array[string], s.client(), opts...), httpx.Get(shop+"/", ""), httpx.Object[order])
}

// Wherever the process dies, each detail is recorded once, in the order of the list,
// though the list is another one by then: it changes with each request.
func TestDetailsAfterEveryDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &catalog{size: 5}
		s := serve(func(r *http.Request) (*http.Response, error) {
			if r.URL.RawQuery == "" && r.URL.Path == "/orders" { // who begins anew finds something new
				c.ids = slices.Insert(c.ids, 0, fmt.Sprintf("new%d", len(c.ids)))
			}
			return c.answer(r)
		})
		def := flow(c.source(s))
		fresh := func() { c.ids, s.calls = numbered(11), nil }
		everyDeath(t, def, fresh, func(at journal.LSN, d *disk) {
			got := d.journal(t, "orders", "out")
			want := recorded(c.ids)
			if len(c.ids) == 13 { // it died before the list was on record
				want = recorded(append([]string{"new12"}, c.ids[1:]...))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("death at %d: orders (-want +got):\n%s\nrequests %q", at, diff, s.calls)
			}
			if n := len(s.calls); n > len(c.ids)+3+1 {
				t.Errorf("death at %d: %d requests for %d details on 3 pages", at, n, len(c.ids))
			}
		})
	})
}

// What a detail's answer means.
func TestDetailAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer func() (*http.Response, error) // to the first request for o001
		bad    string
		waits  time.Duration
		fails  string
	}{
		{"gone", func() (*http.Response, error) { return says(410, "") }, "o001 | permanent | GET http://shop.example/orders/o001: 410 Gone", 0, ""},
		{"not there", func() (*http.Response, error) { return says(404, "what?") }, "o001 | permanent | GET http://shop.example/orders/o001: 404 Not Found: what?", 0, ""},
		{"no JSON", func() (*http.Response, error) { return says(200, "<html>") }, "<html> | decode | GET http://shop.example/orders/o001, of \"o001\": answer with status 200: invalid character '<' looking for beginning of value", 0, ""},
		{"misfit", func() (*http.Response, error) { return says(200, `[1]`) }, `[1] | decode | GET http://shop.example/orders/o001, of "o001": row 1: want object, found array`, 0, ""},
		{"refused by its type", func() (*http.Response, error) { return says(200, `{"cents":-1}`) }, `{"cents":-1} | validation | GET http://shop.example/orders/o001, of "o001": row 1: cents are negative`, 0, ""},
		{"too large", func() (*http.Response, error) { return says(200, strings.Repeat(" ", 2000)) }, "o001 | too_large | GET http://shop.example/orders/o001: status 200, and its answer has more than 1000 bytes (httpx.MaxBody)", 0, ""},
		{"not there yet", func() (*http.Response, error) { return says(404, "soon") }, "", time.Second, ""},
		{"fails", func() (*http.Response, error) { return says(500, "") }, "", time.Second, ""},
		{"slow down", func() (*http.Response, error) { return says(429, "", "Retry-After: 30") }, "", 30 * time.Second, ""},
		{"no connection", func() (*http.Response, error) { return nil, errors.New("refused") }, "", time.Second, ""},
		{"forbidden", func() (*http.Response, error) { return says(403, "") }, "", 0, "GET http://shop.example/orders/o001: 403 Forbidden"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answered := false
				c := &catalog{ids: numbered(4), size: 3, detail: func(id string) (*http.Response, error) {
					if id == "o001" && !answered {
						answered = true
						return tc.answer()
					}
					return nil, nil
				}}
				s := serve(c.answer)
				var log disk
				soon := httpx.Classify(func(r httpx.Response, usual error) error {
					if string(r.Body) == "soon" {
						return errors.New("it is on its way")
					}
					return usual
				})
				def := flow(c.source(s, httpx.MaxBody(1000), soon), policy.Retry{Delay: time.Second, Factor: 1})
				sum, err := def.Run(t.Context(), log.options())
				if tc.fails != "" {
					if err == nil || sum.Status != weir.Failing || !strings.HasSuffix(err.Error(), tc.fails) {
						t.Fatalf("%+v, %v", sum, err)
					}
					sum, err = def.Run(t.Context(), log.options())
				}
				if err != nil || sum.Status != weir.Completed {
					t.Fatalf("%+v, %v", sum, err)
				}
				if took := time.Since(s.began).Truncate(time.Second); took != tc.waits {
					t.Errorf("took %v, want %v", took, tc.waits)
				}
				want, bad := numbered(4), []string(nil)
				if tc.bad != "" {
					want, bad = slices.Delete(want, 1, 2), []string{tc.bad}
				}
				if diff := cmp.Diff(recorded(want), log.journal(t, "orders", "out")); diff != "" {
					t.Errorf("orders (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(bad, deadOf(t, &log)); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
				lists := 0
				for _, call := range s.calls {
					if !strings.Contains(call, "/orders/") {
						lists++
					}
				}
				if lists != 2 {
					t.Errorf("%d requests for 2 lists: %q", lists, s.calls)
				}
			})
		})
	}
}

// A list that shrinks while its details are read takes none of them back; what is
// gone is a dead letter.
func TestDetailsOfAListThatShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &catalog{ids: numbered(6), size: 6}
		s := serve(c.answer)
		fails := true
		c.detail = func(id string) (*http.Response, error) {
			switch {
			case id == "o003" && fails:
				return says(400, "")
			case !slices.Contains(c.ids, id):
				return says(404, "")
			}
			return nil, nil
		}
		def := flow(c.source(s))
		var log disk
		if sum, err := def.Run(t.Context(), log.options()); err == nil {
			t.Fatalf("%+v", sum)
		}
		fails, c.ids = false, []string{"o004"}
		if sum, err := def.Run(t.Context(), log.options()); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if diff := cmp.Diff(recorded([]string{"o000", "o001", "o002", "o004"}), log.journal(t, "orders", "out")); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
		if n := len(deadOf(t, &log)); n != 2 {
			t.Errorf("%d dead letters, want those of o003 and o005", n)
		}
	})
}

// A list that is polled is read again when it has changed, and only then.
func TestDetailsOfAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &catalog{ids: numbered(2), size: 10}
		s := serve(func(r *http.Request) (*http.Response, error) {
			tag := fmt.Sprintf(`"%d"`, len(c.ids))
			if r.Header.Get("If-None-Match") == tag && r.URL.Path == "/orders" {
				return says(304, "")
			}
			res, err := c.answer(r)
			if r.URL.Path == "/orders" {
				res.Header.Set("ETag", tag)
			}
			return res, err
		})
		src := httpx.Details(httpx.Poll(time.Minute, httpx.Get(shop, ""), httpx.Array[string], s.client()), httpx.Get(shop+"/", ""), httpx.Object[order])
		if src.Bounded() {
			t.Error("it ends")
		}
		var log disk
		during(t, flow(src), log.options(), 90*time.Second)
		c.ids = numbered(3)
		during(t, flow(src), log.options(), 90*time.Second)
		if diff := cmp.Diff(recorded([]string{"o000", "o001", "o000", "o001", "o002"}), log.journal(t, "orders", "out")); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
		if len(s.calls) != 4+5 {
			t.Errorf("requests %q", s.calls)
		}
	})
}

// What was read of a step before a detail failed is recorded.
func TestDetailsBeforeOneThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		c := &catalog{ids: numbered(96), size: 96}
		c.detail = func(id string) (*http.Response, error) {
			if asked[id]++; id == "o002" && asked[id] == 1 {
				return says(500, "")
			}
			return nil, nil
		}
		s := serve(c.answer)
		var log disk
		if sum, err := flow(c.source(s), policy.Retry{}).Run(t.Context(), log.options()); err != nil || sum.In != 96 {
			t.Fatalf("%+v, %v", sum, err)
		}
		if asked["o000"] != 1 || asked["o001"] != 1 || asked["o002"] != 2 {
			t.Errorf("asked %d, %d and %d times", asked["o000"], asked["o001"], asked["o002"])
		}
		if diff := cmp.Diff(recorded(c.ids), log.journal(t, "orders", "out")); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
	})
}

// Positions of a long list take no more room than its details do, and one that is too
// long for a position says so.
func TestDetailsOfALongList(t *testing.T) {
	c := &catalog{ids: numbered(3000), size: 3000}
	s := serve(c.answer)
	var size, batches int
	n := 0
	for b, err := range c.source(s).Read(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n += len(b.Values)
		size += len(b.Position)
		batches++
	}
	if n != 3000 || size > 1<<20 || batches > 300 {
		t.Errorf("%d details in %d batches with %d bytes of positions", n, batches, size)
	}
	c.ids, c.size = numbered(20_000), 20_000
	_, _, _, err := all(t.Context(), c.source(s), "")
	if err == nil || !strings.Contains(err.Error(), "20000 references; the limit is 65536: ask for smaller pages") {
		t.Errorf("%v", err)
	}
}
