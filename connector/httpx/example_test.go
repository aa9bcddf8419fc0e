package httpx_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/httpx"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/policy"
)

// A sale is what the examples are about.
type sale struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

// example runs a flow to its end, quietly.
func example(wire func(f *weir.Flow)) {
	if _, err := weir.Define("example", wire).Run(context.Background(), weir.Options{Logger: quiet}); err != nil {
		fmt.Println(err)
	}
}

func show[T any](_ context.Context, v T) error {
	fmt.Printf("%+v\n", v)
	return nil
}

// hook is a service that prints what is posted to it.
func hook() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			log.Print(err)
		}
		text := string(body)
		if _, epoch, ok := strings.Cut(text, "@"); ok { // another one in each run
			epoch, _, _ = strings.Cut(epoch, ">")
			text = strings.ReplaceAll(text, epoch, "…")
		}
		fmt.Println(r.Method, r.URL.Path, text)
	}))
}

// Sales are pulled from one service, page by page, and those that are dear are
// posted to another.
func Example() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "" {
			w.Header().Set("Link", `</sales?page=2>; rel="next"`)
			fmt.Fprint(w, `[{"id":"a","cents":300},{"id":"b","cents":"many"}]`)
			return
		}
		fmt.Fprint(w, `[{"id":"c","cents":90000}]`)
	}))
	defer shop.Close()
	office := hook()
	defer office.Close()

	flow := weir.Define("sales", func(f *weir.Flow) {
		retry := policy.Retry{Max: 10, Delay: time.Second}
		sales := weir.From(f, "sales", httpx.Pull(httpx.Get(shop.URL+"/sales", ""), httpx.Array[sale], nil), retry)
		dear := weir.Filter(sales, "dear", func(s sale) (bool, error) { return s.Cents >= 10000, nil })
		weir.Into(dear, "tell", httpx.Webhook[sale](office.URL+"/dear", nil), retry)
	})
	sum, err := flow.Run(context.Background(), weir.Options{Logger: quiet})
	fmt.Println(sum.In, "read,", sum.Dead, "dead letter,", sum.Out, "posted,", err)
	// Output:
	// POST /dear {"id":"c","cents":90000}
	// 2 read, 1 dead letter, 1 posted, <nil>
}

// A decoder for a service that gives a cursor within its answers, which goes into a
// parameter of the next request.
func ExamplePull() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "" {
			fmt.Fprint(w, `{"items":[{"id":"a","cents":300}],"next":"x7"}`)
			return
		}
		fmt.Fprint(w, `{"items":[{"id":"b","cents":120}]}`)
	}))
	defer shop.Close()

	decode := func(_ string, r httpx.Response) (p httpx.Page[sale], err error) {
		var list struct {
			Items []json.RawMessage
			Next  string
		}
		if err = r.JSON(&list); err == nil {
			p.Values, p.Bad = httpx.Rows[sale](list.Items)
			p.Next = list.Next
		}
		return p, err
	}
	example(func(f *weir.Flow) {
		weir.Each(weir.From(f, "sales", httpx.Pull(httpx.Get(shop.URL, "after"), decode, nil)), "show", show)
	})
	// Output:
	// {ID:a Cents:300}
	// {ID:b Cents:120}
}

// A document is looked at every so often, and read when it has changed.
func ExamplePoll() {
	versions := make(chan string, 1)
	versions <- "1"
	asked := 0
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := <-versions
		w.Header().Set("ETag", `"`+version+`"`)
		if asked++; asked == 3 {
			versions <- "2"
		} else {
			versions <- version
		}
		if r.Header.Get("If-None-Match") == `"`+version+`"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintf(w, `{"id":"total","cents":%s00}`, version)
	}))
	defer shop.Close()

	changed := make(chan struct{})
	flow := weir.Define("watch", func(f *weir.Flow) {
		totals := weir.From(f, "totals", httpx.Poll(time.Millisecond, httpx.Get(shop.URL, ""), httpx.Object[sale], nil))
		weir.Each(totals, "show", func(ctx context.Context, s sale) error {
			if s.Cents == 200 {
				close(changed)
			}
			return show(ctx, s)
		})
	})
	run, err := flow.Start(context.Background(), weir.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	<-changed
	fmt.Println(run.Stop(context.Background()))
	// Output:
	// {ID:total Cents:100}
	// {ID:total Cents:200}
	// <nil>
}

// A list of ids, and a sale for each; one is gone.
func ExampleDetails() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/sales":
			fmt.Fprint(w, `["a","b","c"]`)
		case "/sales/b":
			http.Error(w, "no such sale", http.StatusNotFound)
		default:
			fmt.Fprintf(w, `{"id":%q,"cents":5}`, strings.TrimPrefix(r.URL.Path, "/sales/"))
		}
	}))
	defer shop.Close()

	ids := httpx.Pull(httpx.Get(shop.URL+"/sales", ""), httpx.Array[string], nil)
	sales := httpx.Details(ids, httpx.Get(shop.URL+"/sales/", ""), httpx.Object[sale])
	example(func(f *weir.Flow) {
		weir.Each(weir.From(f, "sales", sales), "show", show)
		weir.Each(weir.BadInput(f, "sales"), "bad", func(_ context.Context, bad weir.Failed[[]byte]) error {
			_, reason, _ := strings.Cut(bad.Reason, "/sales/")
			fmt.Printf("%s: %s\n", bad.Input, reason)
			return nil
		})
	})
	// Unordered output:
	// {ID:a Cents:5}
	// {ID:c Cents:5}
	// b: b: 404 Not Found: no such sale
}

// An envelope as Standard Webhooks recommends it, signed.
func ExampleWebhookFunc() {
	office := hook()
	defer office.Close()

	told := httpx.WebhookFunc(func(d weir.Delivery[sale]) (httpx.Request, error) {
		return httpx.JSON(http.MethodPost, office.URL+"/hooks/"+d.Value.ID, map[string]any{"type": "sale.made", "data": d.Value})
	}, nil, httpx.Sign(func() string { return os.Getenv("EXAMPLE_SECRET") }))
	os.Setenv("EXAMPLE_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	example(func(f *weir.Flow) {
		weir.Into(weir.From(f, "sales", weir.Slice([]sale{{"a", 300}})), "tell", told)
	})
	// Output:
	// POST /hooks/a {"data":{"id":"a","cents":300},"type":"sale.made"}
}

// Many in one post, each with the id that it has in every attempt.
func ExampleWebhookBatch() {
	office := hook()
	defer office.Close()

	example(func(f *weir.Flow) {
		sales := weir.From(f, "sales", weir.Slice([]sale{{"a", 300}, {"b", 120}}))
		weir.Into(sales, "tell", httpx.WebhookBatch[sale](office.URL+"/sales", 100, nil), policy.Retry{})
	})
	// Output:
	// POST /sales [{"id":"sales.out:1@…>tell","data":{"id":"a","cents":300}},{"id":"sales.out:2@…>tell","data":{"id":"b","cents":120}}]
}

// A payment with a business key: asked for again after a failure, in this run or
// another, the bank does nothing twice.
func ExampleKeyed() {
	keys := 0
	bank := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if keys++; keys == 1 {
			w.WriteHeader(http.StatusBadGateway) // was it done?
			return
		}
		fmt.Fprintf(w, `{"receipt":%q}`, "for "+r.Header.Get(httpx.DefaultKeyHeader))
	}))
	defer bank.Close()

	pay := effect.Adapt(httpx.Keyed("bank.pay.v1", "", nil),
		func(s sale) (httpx.Request, error) {
			r, err := httpx.JSON("", bank.URL+"/pay", s)
			r.Key = "sale-" + s.ID
			return r, err
		},
		func(_ sale, r httpx.Response) (string, error) {
			var out struct{ Receipt string }
			err := r.JSON(&out)
			return out.Receipt, err
		})
	example(func(f *weir.Flow) {
		paid, failed := weir.Perform(weir.From(f, "sales", weir.Slice([]sale{{"a", 300}})), "pay", pay, policy.Retry{Delay: time.Millisecond})
		weir.Each(paid, "paid", show)
		weir.Each(failed, "failed", show)
	})
	fmt.Println(keys, "requests")
	// Output:
	// for sale-a
	// 2 requests
}
