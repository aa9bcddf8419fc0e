package httpx_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/policy"
)

// during runs def for d and stops it.
func during(t *testing.T, def *weir.Definition, o weir.Options, d time.Duration) weir.Summary {
	t.Helper()
	run, err := def.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(d):
	case <-run.Done():
		_, err := run.Wait()
		t.Fatalf("the run ended by itself: %v", err)
	}
	if err := run.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	sum, err := run.Wait()
	if err != nil || sum.Status != weir.Stopped || !sum.Endless {
		t.Fatalf("%+v, %v", sum, err)
	}
	return sum
}

// A resource is a document that changes, with what tells its versions apart.
type resource struct {
	version   int
	validator func(version int) (header, value string) // of answers
	condition string                                   // header of requests
	asked     []string                                 // "200" or "304"
}

func (d *resource) answer(r *http.Request) (*http.Response, error) {
	name, value := d.validator(d.version)
	if r.Header.Get(d.condition) == value {
		d.asked = append(d.asked, "304")
		return says(304, "", name+": "+value)
	}
	d.asked = append(d.asked, "200")
	return says(200, fmt.Sprintf(`{"id":"v","cents":%d}`, d.version), name+": "+value)
}

// What has not changed is not read again, in another process either; it costs a
// request each time and nothing in the log.
func TestPollOfWhatHasNotChanged(t *testing.T) {
	for _, d := range []*resource{
		{validator: func(v int) (string, string) { return "ETag", fmt.Sprintf(`W/"%d"`, v) }, condition: "If-None-Match"},
		{
			validator: func(v int) (string, string) {
				return "Last-Modified", time.Date(2020, 1, 1, 0, v, 0, 0, time.UTC).Format(http.TimeFormat)
			},
			condition: "If-Modified-Since",
		},
	} {
		t.Run(d.condition, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(d.answer)
				src := httpx.Poll(time.Minute, httpx.Get("http://shop.example/state", ""), httpx.Object[order], s.client())
				if src.Bounded() {
					t.Error("it ends")
				}
				def := flow(src)
				var log disk
				during(t, def, log.options(), 150*time.Second) // 0, 1, 2 minutes
				d.version = 1
				during(t, def, log.options(), 90*time.Second) // 0, 1 minutes
				head := log.log.Head()
				during(t, def, log.options(), 10*time.Hour+time.Second)
				if diff := cmp.Diff("200 304 304 200 304", strings.Join(d.asked[:5], " ")); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				if n := strings.Count(strings.Join(d.asked[5:], " "), "304"); n != 601 || len(d.asked) != 606 {
					t.Errorf("%d of %d answers in ten hours say that nothing is new, want all of 601", n, len(d.asked)-5)
				}
				if grown := log.log.Head() - head; grown > 30 { // words of those who begin and end
					t.Errorf("the log grew by %d transitions in ten hours", grown)
				}
				if diff := cmp.Diff([]string{`{"id":"v","cents":0}`, `{"id":"v","cents":1}`}, log.journal(t, "orders", "out")); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A service with cursors gives what is new, across processes. Pages that are there are
// read at once, and after the last one there is a pause.
func TestPollWithCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := serve(func(r *http.Request) (*http.Response, error) {
			const size = 2
			there := 5 + int(time.Since(began)/time.Minute) // one more each minute
			from, _ := strconv.Atoi(r.URL.Query().Get("after"))
			to := min(from+size, there)
			var rows []string
			for i := from; i < to; i++ {
				rows = append(rows, fmt.Sprintf(`{"id":"%d","cents":%d}`, i, i))
			}
			return says(200, fmt.Sprintf(`{"items":[%s],"next":"%d","end":%v}`, strings.Join(rows, ","), to, to == there))
		})
		def := flow(httpx.Poll(90*time.Second, httpx.Get("http://shop.example/orders", "after"), decode, s.client()))
		var log disk
		during(t, def, log.options(), 200*time.Second)
		during(t, def, log.options(), 100*time.Second)
		want := []string{
			"GET /orders at 0s", "GET /orders?after=2 at 0s", "GET /orders?after=4 at 0s", // 5
			"GET /orders?after=5 at 1m30s",                                 // 6
			"GET /orders?after=6 at 3m0s",                                  // 8
			"GET /orders?after=8 at 3m20s", "GET /orders?after=8 at 4m50s", // none, and 9
		}
		if diff := cmp.Diff(want, s.calls); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(ordersUpTo(9), log.journal(t, "orders", "out")); diff != "" {
			t.Errorf("orders (-want +got):\n%s", diff)
		}
	})
}

// Of several pages each may have changed: none is asked for conditionally.
func TestPollOfSeveralPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(func(r *http.Request) (*http.Response, error) {
			if c := r.Header.Get("If-None-Match"); c != "" {
				t.Errorf("%s is asked for unless it is %s", r.URL, c)
			}
			if r.URL.RawQuery == "" {
				return says(200, `["a"]`, `ETag: "1"`, `Link: </ids?page=2>; rel=next`)
			}
			return says(200, `["b"]`, `ETag: "2"`)
		})
		var log disk
		during(t, flow(httpx.Poll(time.Minute, httpx.Get("http://shop.example/ids", ""), httpx.Array[string], s.client())), log.options(), 90*time.Second)
		if diff := cmp.Diff([]string{`"a"`, `"b"`, `"a"`, `"b"`}, log.journal(t, "orders", "out")); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

// A version that was seen at another address says nothing of this one.
func TestPollAtAnotherAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conditions []string
		s := serve(func(r *http.Request) (*http.Response, error) {
			conditions = append(conditions, r.URL.Path+" "+r.Header.Get("If-None-Match"))
			return says(200, `{}`, `ETag: "1"`)
		})
		var log disk
		for _, at := range []string{"/a", "/a", "/b"} {
			during(t, flow(httpx.Poll(time.Minute, httpx.Get("http://shop.example"+at, ""), httpx.Object[order], s.client())), log.options(), time.Second)
		}
		if diff := cmp.Diff([]string{"/a ", `/a "1"`, "/b "}, conditions); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	})
}

// A service that fails now and then is polled for ever: attempts are counted from the
// last poll that succeeded, also if nothing was new.
func TestPollCountsFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		s := serve(func(r *http.Request) (*http.Response, error) {
			if n++; n%3 == 0 {
				return says(500, "")
			}
			if r.Header.Get("If-None-Match") != "" {
				return says(304, "")
			}
			return says(200, `{}`, `ETag: "1"`)
		})
		src := httpx.Poll(time.Minute, httpx.Get("http://shop.example/state", ""), httpx.Object[order], s.client())
		var log disk
		during(t, flow(src, policy.Retry{Max: 2, Delay: time.Second}), log.options(), time.Hour)
		if n < 60 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

// A source that is told to stop ends at once, in a pause and in a request.
func TestPollStops(t *testing.T) {
	for name, answer := range map[string]answer{
		"pause": func(*http.Request) (*http.Response, error) { return says(204, "") },
		"request": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(answer)
				src := httpx.Poll(time.Hour, httpx.Get("http://shop.example/state", ""), httpx.Object[order], s.client(), httpx.Timeout(0))
				var log disk
				during(t, flow(src), log.options(), time.Minute)
				if took := time.Since(s.began); took != time.Minute || len(s.calls) != 1 {
					t.Errorf("ended after %v and %d requests", took, len(s.calls))
				}
			})
		})
	}
}
