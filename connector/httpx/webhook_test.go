package httpx_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/policy"
)

// posted is what a receiver got.
type posted struct {
	key, body string
}

// A receiver takes what its answer says with 2xx.
type receiver struct {
	*service
	taken []posted
}

func receive(answer func(body string, r *http.Request) (*http.Response, error)) *receiver {
	rc := &receiver{}
	rc.service = serve(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		res, err := answer(string(body), r)
		if err == nil && res.StatusCode < 300 {
			rc.taken = append(rc.taken, posted{r.Header.Get("Idempotency-Key"), string(body)})
		}
		return res, err
	})
	return rc
}

func (rc *receiver) bodies() (all []string) {
	for _, p := range rc.taken {
		all = append(all, p.body)
	}
	return all
}

// notify posts orders a, b, c … with 1, 2, 3 … cents.
func notify(n int, sink weir.Sink[order], dead func(context.Context, weir.Failed[order]) error, opts ...weir.SinkOption) *weir.Definition {
	return weir.Define("shop", func(f *weir.Flow) {
		var all []order
		for i := range n {
			all = append(all, order{string(rune('a' + i)), i + 1})
		}
		in := weir.From(f, "orders", weir.Slice(all))
		weir.Into(in, "notify", sink, append(opts, weir.OnError{Budget: weir.Budget{Share: 1}})...)
		weir.Each(weir.DeadLetters(in, "notify"), "letters", dead)
	})
}

// letters collects dead letters as "a permanent POST http://…".
func letters(to *[]string) func(context.Context, weir.Failed[order]) error {
	return func(_ context.Context, f weir.Failed[order]) error {
		*to = append(*to, fmt.Sprintf("%s %s %s", f.Input.ID, f.Kind, f.Reason))
		return nil
	}
}

func TestWebhookPosts(t *testing.T) {
	var headers []http.Header
	rc := receive(func(_ string, r *http.Request) (*http.Response, error) {
		headers = append(headers, r.Header)
		return says(202, "")
	})
	sink := httpx.Webhook[order]("http://shop.example/hook?token=t", rc.client(), httpx.Credential("Authorization", func() string { return "Bearer t" }))
	sum, err := notify(2, sink, none).Run(t.Context(), weir.Options{Logger: quiet})
	if err != nil || sum.Out != 2 || sum.Dead != 0 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if diff := cmp.Diff([]string{`{"id":"a","cents":1}`, `{"id":"b","cents":2}`}, rc.bodies()); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
	for i, h := range headers {
		id, stage, _ := strings.Cut(h.Get("Idempotency-Key"), ">")
		rec, err := event.ParseRecordID(id)
		if err != nil || rec.Journal != "orders.out" || rec.Seq != uint64(i+1) || stage != "notify" {
			t.Errorf("key %q: %v", h.Get("Idempotency-Key"), err)
		}
		if h.Get("Content-Type") != "application/json" || h.Get("Authorization") != "Bearer t" {
			t.Errorf("headers %v", h)
		}
	}
}

// What an answer means for a delivery, and what becomes of those behind it.
func TestWebhookAnswers(t *testing.T) {
	date := time.Date(2000, 1, 1, 0, 0, 40, 0, time.UTC).Format(http.TimeFormat) // virtual time begins at midnight
	for _, c := range []struct {
		name   string
		answer func() (*http.Response, error) // to the first attempt of b
		calls  string
		taken  string
		dead   []string
	}{
		{"taken", func() (*http.Response, error) { return says(200, "") }, "0s 0s 0s", "abc", nil},
		{"taken, with a body that breaks", func() (*http.Response, error) { return breaks("thank") }, "0s 0s 0s", "abc", nil},
		{"refused", func() (*http.Response, error) { return says(422, "no") }, "0s 0s 0s", "ac", []string{"b permanent POST http://shop.example/hook: 422 Unprocessable Entity: no"}},
		{
			"elsewhere", func() (*http.Response, error) { return says(307, "", "Location: http://evil.example/?x=1") }, "0s 0s 0s", "ac",
			[]string{"b permanent POST http://shop.example/hook: 307 Temporary Redirect to http://evil.example/, which is not followed"},
		},
		{"fails once", func() (*http.Response, error) { return says(500, "oh") }, "0s 0s 1s 1s", "abc", nil},
		{"no connection", func() (*http.Response, error) { return nil, errors.New("connection refused") }, "0s 0s 1s 1s", "abc", nil},
		{"slow down", func() (*http.Response, error) { return says(429, "", "Retry-After: 60") }, "0s 0s 1m0s 1m0s", "abc", nil},
		{"slow down until", func() (*http.Response, error) { return says(429, "", "Retry-After: "+date) }, "0s 0s 40s 40s", "abc", nil},
		{"closed for long", func() (*http.Response, error) { return says(503, "", "Retry-After: 7") }, "0s 0s 7s 7s", "abc", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := false
				rc := receive(func(body string, _ *http.Request) (*http.Response, error) {
					if strings.Contains(body, `"b"`) && !failed {
						failed = true
						return c.answer()
					}
					return says(200, "")
				})
				var dead []string
				sink := httpx.Webhook[order]("http://shop.example/hook?token=t", rc.client())
				sum, err := notify(3, sink, letters(&dead), policy.Retry{Delay: time.Second, Factor: 1}).Run(t.Context(), weir.Options{Logger: quiet})
				if err != nil || sum.Status != weir.Completed {
					t.Fatalf("%+v, %v", sum, err)
				}
				var taken, calls string
				for _, p := range rc.taken {
					taken += p.body[7:8]
				}
				keys := map[string]bool{}
				for _, p := range rc.taken {
					keys[p.key] = true
				}
				if taken != c.taken || len(keys) != len(rc.taken) {
					t.Errorf("taken %q with keys %v, want %q", taken, keys, c.taken)
				}
				for _, at := range rc.calls {
					_, at, _ = strings.Cut(at, " at ")
					d, err := time.ParseDuration(at)
					if err != nil {
						t.Fatal(err)
					}
					calls += " " + d.Truncate(time.Second).String() // up to half of a second is on top, at random
				}
				if calls = strings.TrimSpace(calls); calls != c.calls {
					t.Errorf("posted at %s, want %s", calls, c.calls)
				}
				if diff := cmp.Diff(c.dead, dead); diff != "" {
					t.Errorf("dead letters (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A post without an answer ends, and is made again with the same key.
func TestWebhookTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var keys []string
		rc := receive(func(_ string, r *http.Request) (*http.Response, error) {
			if keys = append(keys, r.Header.Get("X-Key")); len(keys) < 3 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return says(200, "")
		})
		sink := httpx.Webhook[order]("http://shop.example/hook", rc.client(), httpx.Timeout(5*time.Second), httpx.KeyHeader("X-Key"))
		began := time.Now()
		sum, err := notify(1, sink, none, policy.Retry{Delay: time.Second}).Run(t.Context(), weir.Options{Logger: quiet})
		if took := time.Since(began); err != nil || sum.Dead > 0 || took < 13*time.Second || took > 15*time.Second {
			t.Errorf("%+v, %v, after %v", sum, err, took)
		}
		if len(slices.Compact(keys)) != 1 || keys[0] == "" {
			t.Errorf("keys %q", keys)
		}
		var dead []string
		keys = nil
		if _, err := notify(1, sink, letters(&dead)).Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a timeout POST http://shop.example/hook: no answer within 5s (httpx.Timeout)"}, dead); diff != "" {
			t.Errorf("dead letters (-want +got):\n%s", diff)
		}
	})
}

// Wherever the process dies, everything is posted, in order, and what is posted
// twice has the same key and body both times.
func TestWebhookAfterEveryDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rc := receive(func(string, *http.Request) (*http.Response, error) { return says(200, "") })
		def := notify(5, httpx.Webhook[order]("http://shop.example/hook", rc.client()), none)
		everyDeath(t, def, func() { rc.taken = nil }, func(at journal.LSN, _ *disk) {
			byKey := map[string]string{}
			var first []string
			for _, p := range rc.taken {
				body, seen := byKey[p.key]
				if seen && body != p.body {
					t.Errorf("death at %d: key %s has bodies %s and %s", at, p.key, body, p.body)
				}
				if !seen {
					first = append(first, p.body)
				}
				byKey[p.key] = p.body
			}
			if len(first) != 5 || !slices.IsSorted(first) {
				t.Errorf("death at %d: taken %q", at, first)
			}
		})
	})
}

// A function makes the request; its Key goes before the delivery's id.
func TestWebhookFunc(t *testing.T) {
	var seen []string
	rc := receive(func(body string, r *http.Request) (*http.Response, error) {
		seen = append(seen, fmt.Sprintf("%s %s %s %s", r.Method, r.URL, r.Header.Get("Idempotency-Key"), body))
		return says(200, "")
	})
	sink := httpx.WebhookFunc(func(d weir.Delivery[order]) (httpx.Request, error) {
		if d.Value.ID == "b" {
			return httpx.Request{}, errors.New("b is not told")
		}
		r, err := httpx.JSON(http.MethodPut, "http://shop.example/orders/"+d.Value.ID, map[string]any{"ref": d.Ref.String()})
		r.Key = "order-" + d.Value.ID
		return r, err
	}, rc.client())
	var dead []string
	if _, err := notify(3, sink, letters(&dead), policy.Retry{}).Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	want := []string{`PUT http://shop.example/orders/a order-a {"ref":"orders.out:1"}`, `PUT http://shop.example/orders/c order-c {"ref":"orders.out:3"}`}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"b domain b is not told"}, dead); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// A batch that is refused is posted again in halves.
func TestWebhookBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type item struct {
			ID   string
			Data order
		}
		var posts []string
		keys := map[string]string{}
		busy := true
		rc := receive(func(body string, r *http.Request) (*http.Response, error) {
			var all []item
			if err := json.Unmarshal([]byte(body), &all); err != nil {
				return nil, err
			}
			var text, ids string
			for _, it := range all {
				text += it.Data.ID
				ids += it.ID
			}
			posts = append(posts, text)
			key := r.Header.Get("Idempotency-Key")
			if was, ok := keys[key]; ok && was != ids {
				t.Errorf("key %s has been used for %s, and is for %s", key, was, ids)
			}
			keys[key] = ids
			switch {
			case len(all) > 5:
				return says(413, "too large")
			case strings.Contains(text, "b"), strings.Contains(text, "g"):
				return says(422, "no")
			case text == "ef" && busy:
				busy = false
				return says(429, "", "Retry-After: 30")
			}
			return says(200, "")
		})
		var dead []string
		sink := httpx.WebhookBatch[order]("http://shop.example/hook", 8, rc.client())
		sum, err := notify(10, sink, letters(&dead), policy.Retry{Delay: time.Second}).Run(t.Context(), weir.Options{Logger: quiet})
		if err != nil || sum.Dead != 2 {
			t.Fatalf("%+v, %v", sum, err)
		}
		// "efgh" has g and is halved; "ef" has to wait, and so does what is behind it.
		if diff := cmp.Diff([]string{"abcdefgh", "abcd", "ab", "a", "b", "cd", "efgh", "ef", "e", "f", "g", "h", "ij"}, posts); diff != "" {
			t.Errorf("posts (-want +got):\n%s", diff)
		}
		taken := strings.Count(strings.Join(rc.bodies(), ""), `"data"`)
		if len(dead) != 2 || dead[0] != "b permanent POST http://shop.example/hook: 422 Unprocessable Entity: no" || !strings.HasPrefix(dead[1], "g permanent") {
			t.Errorf("dead letters %q", dead)
		}
		if taken != 8 {
			t.Errorf("%d payloads were taken", taken)
		}
		if took := time.Since(rc.began); took < 30*time.Second || took > 40*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// When a half has to wait, what is behind it is not sent, and says so.
func TestWebhookBatchThatStops(t *testing.T) {
	rc := receive(func(body string, _ *http.Request) (*http.Response, error) {
		if strings.Count(body, `"data"`) > 2 {
			return says(413, "")
		}
		return says(429, "", "Retry-After: 30")
	})
	w, err := httpx.WebhookBatch[int]("http://shop.example/hook", 8, rc.client()).Open(t.Context(), weir.At{})
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]weir.Delivery[int], 8)
	for i := range batch {
		batch[i].ID = strconv.Itoa(i)
	}
	partial, ok := errors.AsType[*weir.PartialError](w.Deliver(t.Context(), batch))
	if !ok || len(rc.calls) != 3 {
		t.Fatalf("%v after %q", partial, rc.calls)
	}
	const text = "POST http://shop.example/hook: 429 Too Many Requests"
	for i := range batch {
		want := "later 30s | rate_limited: " + text
		switch {
		case i > 1:
			want = "unknown | rate_limited: not sent, behind one that failed: " + text
		case i > 0:
			want = "unknown | rate_limited: " + text
		}
		if got := fmt.Sprintf("%s | %v", meaning(partial.Failed[i]), partial.Failed[i]); got != want {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
}

// One that cannot be encoded does not take its batch along.
func TestWebhookBatchOfUnfit(t *testing.T) {
	var taken int
	rc := receive(func(string, *http.Request) (*http.Response, error) { taken++; return says(200, "") })
	w, err := httpx.WebhookBatch[float64]("http://shop.example/hook", 10, rc.client()).Open(t.Context(), weir.At{})
	if err != nil {
		t.Fatal(err)
	}
	batch := make([]weir.Delivery[float64], 3)
	for i := range batch {
		batch[i].ID, batch[i].Value = strconv.Itoa(i), 1
	}
	batch[1].Value = math.NaN()
	partial, ok := errors.AsType[*weir.PartialError](w.Deliver(t.Context(), batch))
	if !ok || len(partial.Failed) != 1 || event.KindOf(partial.Failed[1]) != event.KindDomain || taken != 2 {
		t.Errorf("%+v, %d posts", partial, taken)
	}
}

// Classify can tell what only the body says.
func TestWebhookClassify(t *testing.T) {
	rc := receive(func(body string, _ *http.Request) (*http.Response, error) {
		if strings.Contains(body, `"b"`) {
			return says(200, `{"ok":false}`)
		}
		return says(200, `{"ok":true}`)
	})
	var dead []string
	sink := httpx.Webhook[order]("http://shop.example/hook", rc.client(), httpx.Classify(func(r httpx.Response, usual error) error {
		var out struct{ OK bool }
		if usual == nil && (r.JSON(&out) != nil || !out.OK) {
			return event.Mark(event.KindPermanent, errors.New("not ok"))
		}
		return usual
	}))
	if _, err := notify(2, sink, letters(&dead)).Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b permanent not ok"}, dead); diff != "" {
		t.Errorf("dead letters (-want +got):\n%s", diff)
	}
}

// What can be known to be wrong before anything is sent fails the stage.
func TestWebhookMistakes(t *testing.T) {
	for _, c := range []struct {
		sink weir.Sink[order]
		want string
	}{
		{httpx.Webhook[order]("shop.example/hook", nil), `"shop.example/hook" is no address`},
		{httpx.Webhook[order]("http://user:secret@/x?secret", nil), `"http:///x" is no address`},
		{httpx.WebhookFunc[order](nil, nil), "httpx.WebhookFunc needs a function"},
		{httpx.WebhookBatch[order]("http://shop.example", 0, nil), "at most 0 payloads"},
		{httpx.Webhook[order]("http://shop.example", nil, httpx.Sign(func() string { return "" })), "the secret of httpx.Sign is empty"},
		{httpx.Webhook[order]("http://shop.example", nil, httpx.Sign(func() string { return "secret" })), `the secret of httpx.Sign is not "whsec_" and base64`},
		{httpx.Webhook[order]("http://shop.example", nil, httpx.Sign(func() string { return "whsec_secret!" })), `the secret of httpx.Sign is not "whsec_" and base64`},
	} {
		sum, err := notify(1, c.sink, none).Run(t.Context(), weir.Options{Logger: quiet})
		if err == nil || sum.Stage != "notify" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret!") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// The example of the specification's own libraries, and two secrets.
func TestSign(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(1614265330, 0)))
		var got http.Header
		rc := receive(func(_ string, r *http.Request) (*http.Response, error) { got = r.Header; return says(200, "") })
		secret := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
		w, err := httpx.WebhookFunc(func(weir.Delivery[order]) (httpx.Request, error) {
			return httpx.Request{URL: "http://shop.example", Key: "msg_p5jXN8AQM9LWM0D4loKWxJek", Body: []byte(`{"test": 2432232314}`)}, nil
		}, rc.client(), httpx.Sign(func() string { return secret })).Open(t.Context(), weir.At{})
		if err != nil {
			t.Fatal(err)
		}
		const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
		for range 2 {
			if err := w.Deliver(t.Context(), make([]weir.Delivery[order], 1)); err != nil {
				t.Fatal(err)
			}
			if got.Get("webhook-id") != "msg_p5jXN8AQM9LWM0D4loKWxJek" || got.Get("webhook-timestamp") != "1614265330" || !slices.Contains(strings.Fields(got.Get("webhook-signature")), want) {
				t.Errorf("headers %v", got)
			}
			if n := len(strings.Fields(got.Get("webhook-signature"))); n != len(strings.Fields(secret)) {
				t.Errorf("%d signatures", n)
			}
			secret = "whsec_bmV3IHNlY3JldA== " + secret // asked for each request
		}
		secret = "gone"
		if err := w.Deliver(t.Context(), make([]weir.Delivery[order], 1)); meaning(err) != "not done" || strings.Contains(err.Error(), "gone") {
			t.Errorf("with a bad secret: %v", err)
		}
	})
}

// Observe hears of each request.
func TestObserve(t *testing.T) {
	var seen []string
	n := 0
	rc := receive(func(string, *http.Request) (*http.Response, error) {
		if n++; n == 2 {
			return says(500, "oh")
		}
		return says(200, "thanks")
	})
	sink := httpx.Webhook[order]("http://shop.example/hook?token=t", rc.client(), httpx.Observe(func(x httpx.Exchange) {
		seen = append(seen, fmt.Sprintf("%s %s %d %d %v", x.Method, x.URL, x.Status, x.Bytes, x.Err != nil))
	}))
	if _, err := notify(2, sink, none).Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"POST http://shop.example/hook 200 6 false", "POST http://shop.example/hook 500 2 true"}, seen); diff != "" {
		t.Errorf("exchanges (-want +got):\n%s", diff)
	}
}
