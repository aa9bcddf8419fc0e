package httpx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// call makes one attempt of an effect.
func call(t *testing.T, e effect.Effect[httpx.Request, httpx.Response], r httpx.Request) (httpx.Response, error) {
	t.Helper()
	p, err := e.Plan(event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	res, err := p.Do(ctx, plan.Call{Key: "k-1", Attempt: 1}, r)
	if err != nil {
		return httpx.Response{}, err
	}
	return res.(httpx.Response), nil
}

// meaning is what an error says about whether the action happened.
func meaning(err error) string {
	r, ok := errors.AsType[*plan.RefusedError](err)
	switch {
	case err == nil:
		return "done"
	case !ok:
		return "unknown"
	case r.Final:
		return "refused"
	case r.After > 0:
		return "later " + r.After.String()
	default:
		return "not done"
	}
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		want   string
	}{
		{200, "", "done"},
		{204, "", "done"},
		{301, "", "refused"},
		{307, "", "refused"},
		{400, "", "refused"},
		{402, "", "refused"},
		{404, "", "refused"},
		{408, "", "not done"},
		{408, "2", "later 2s"},
		{409, "", "refused"},
		{422, "", "refused"},
		{425, "", "not done"},
		{429, "", "not done"},
		{429, "7", "later 7s"},
		{429, "99999999999999999999", "later 24h0m0s"},
		{429, "soon", "not done"},
		{500, "", "unknown"},
		{500, "7", "unknown"},
		{501, "", "refused"},
		{502, "", "unknown"},
		{503, "", "unknown"},
		{503, "7", "later 7s"},
		{503, "Wed, 21 Oct 2015 07:28:00 GMT", "not done"},
		{504, "", "unknown"},
		{505, "", "refused"},
		{599, "", "unknown"},
	} {
		at := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.WriteHeader(c.status)
			if c.status != 204 {
				fmt.Fprint(w, "because")
			}
		})
		res, err := call(t, httpx.KeyedByInput("a", "", nil), httpx.Request{URL: at + "/x?token=secret"})
		if got := meaning(err); got != c.want {
			t.Errorf("%d with Retry-After %q: %s, want %s", c.status, c.after, got, c.want)
		}
		if err == nil && res.Status != c.status {
			t.Errorf("%d is recorded as %d", c.status, res.Status)
		}
		if err != nil && (strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), strconv.Itoa(c.status)) || !strings.Contains(err.Error(), "because")) {
			t.Errorf("%d: %v", c.status, err)
		}
	}
}

func TestWhatIsSent(t *testing.T) {
	var got *http.Request
	var body []byte
	at := server(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Request-Id", "r-9")
		fmt.Fprint(w, `{"id":7}`)
	})
	req, err := httpx.JSON("", at+"/pay", map[string]int{"cents": 5})
	if err != nil {
		t.Fatal(err)
	}
	req.Key = "order-7"
	res, err := call(t, httpx.Keyed("pay", "X-Key", nil, httpx.Keep("x-request-id", "absent"),
		httpx.Credential("Authorization", func() string { return "Bearer t" })), req)
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != http.MethodPost || got.Header.Get("X-Key") != "k-1" || got.Header.Get("Authorization") != "Bearer t" ||
		got.Header.Get("Content-Type") != "application/json" || string(body) != `{"cents":5}` {
		t.Errorf("%s %v %s", got.Method, got.Header, body)
	}
	var out struct{ ID int }
	if err := res.JSON(&out); err != nil || out.ID != 7 || len(res.Header) != 1 || res.Header["X-Request-Id"] != "r-9" {
		t.Errorf("%+v, %v", res, err)
	}
	if req.Header.Get("Authorization") != "" {
		t.Error("the credential is in the request that is recorded")
	}
	p, err := httpx.Keyed("pay", "", nil).Plan(event.JSON)
	if err != nil || p.Key(req) != "order-7" {
		t.Errorf("key %q, %v", p.Key(req), err)
	}
	if _, err := call(t, httpx.Idempotent("get", nil), httpx.Request{Method: "GET", URL: at}); err != nil || got.Header.Get(httpx.DefaultKeyHeader) != "" {
		t.Errorf("a key was sent, or %v", err)
	}
}

// What became of a connection decides what is known.
func TestConnections(t *testing.T) {
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + closed.Addr().String()
	closed.Close()
	hijack := func(fn func(c net.Conn)) string {
		return server(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fn(c)
		})
	}
	stall := make(chan struct{})
	defer close(stall)
	for name, c := range map[string]struct{ url, want string }{
		"nobody listens": {nobody, "not done"},
		"no such host":   {"http://no.such.host.invalid", "not done"},
		"not a URL":      {"http://a b:x\x7f", "refused"},
		"cut":            {hijack(func(net.Conn) {}), "unknown"},
		"garbage":        {hijack(func(c net.Conn) { fmt.Fprint(c, "hello\r\n\r\n") }), "unknown"},
		"truncated":      {hijack(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") }), "unknown"},
		"too large":      {server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 200)) }), "unknown"},
		"no answer":      {server(t, func(http.ResponseWriter, *http.Request) { <-stall }), "unknown"},
	} {
		_, err := call(t, httpx.KeyedByInput("a", "", nil, httpx.MaxBody(100)), httpx.Request{URL: c.url})
		if got := meaning(err); got != c.want {
			t.Errorf("%s: %s, want %s: %v", name, got, c.want, err)
		}
	}
}

// Redirects are followed for reads, on the same host.
func TestRedirects(t *testing.T) {
	other := server(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "other") })
	at := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/far":
			http.Redirect(w, r, other, http.StatusFound)
		default:
			fmt.Fprint(w, "end")
		}
	})
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/near", "done"}, {"GET", "/far", "refused"}, {"POST", "/near", "refused"}, {"POST", "/far", "refused"},
	} {
		if _, err := call(t, httpx.Idempotent("a", nil), httpx.Request{Method: c.method, URL: at + c.path}); meaning(err) != c.want {
			t.Errorf("%s %s: %s, want %s", c.method, c.path, meaning(err), c.want)
		}
	}
}

func TestAtMostOnce(t *testing.T) {
	at := server(t, func(http.ResponseWriter, *http.Request) {})
	e := httpx.AtMostOnce("a", nil, effect.AskAPerson)
	for method, want := range map[string]string{"": "done", "PATCH": "done", "PUT": "refused", "GET": "refused"} {
		if _, err := call(t, e, httpx.Request{Method: method, URL: at}); meaning(err) != want {
			t.Errorf("%q: %s, want %s", method, meaning(err), want)
		}
	}
}

func TestClassify(t *testing.T) {
	at := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPaymentRequired) })
	e := httpx.KeyedByInput("a", "", nil, httpx.Classify(func(r httpx.Response, usual error) error {
		if r.Status == http.StatusPaymentRequired {
			return nil // an answer, here
		}
		return usual
	}))
	if res, err := call(t, e, httpx.Request{URL: at}); err != nil || res.Status != http.StatusPaymentRequired {
		t.Errorf("%+v, %v", res, err)
	}
}
