package httpx

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/weirflow/weir/effect"
)

// A Request is what is sent. That of an effect is recorded.
type Request struct {
	Method string      `json:"method,omitempty"` // "" means POST, and GET in a source
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
	Key    string      `json:"key,omitempty"` // of Keyed: the business key; of a webhook: instead of the delivery's id
}

// JSON returns a Request with v as its body.
func JSON(method, url string, v any) (Request, error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return Request{}, fmt.Errorf("body of %s: %w", redact(url), err)
	}
	return Request{
		Method: method, URL: url, Header: http.Header{"Content-Type": {"application/json"}},
		Body: bytes.TrimSuffix(body.Bytes(), []byte("\n")),
	}, nil
}

// A Response is what was answered. That to an effect is recorded.
type Response struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"` // those that Keep names, if they were there; in a source all
	Body   []byte            `json:"body,omitempty"`
}

// JSON decodes the body into v.
func (r Response) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("answer with status %d: %w", r.Status, err)
	}
	return nil
}

// DefaultKeyHeader is where keys are sent if no other header is named.
const DefaultKeyHeader = "Idempotency-Key"

// Keyed is a call of a service that answers a second request with the same key as
// it answered the first. The request's Key is sent in header ("" means
// Idempotency-Key). A nil client means http.DefaultClient.
func Keyed(name, header string, client *http.Client, opts ...Option) effect.Effect[Request, Response] {
	c := newEffect(client, header, opts)
	return effect.Keyed(name, func(r Request) string { return r.Key },
		func(ctx context.Context, call effect.Call, r Request) (Response, error) {
			return c.send(ctx, r, call.Key)
		})
}

// KeyedByInput is [Keyed] with a key made of run, stage, input and step; the
// request's own Key is not used.
func KeyedByInput(name, header string, client *http.Client, opts ...Option) effect.Effect[Request, Response] {
	c := newEffect(client, header, opts)
	return effect.KeyedByInput(name,
		func(ctx context.Context, call effect.Call, r Request) (Response, error) {
			return c.send(ctx, r, call.Key)
		})
}

// Idempotent is a call that may be made again whatever became of the one before. No
// key is sent.
func Idempotent(name string, client *http.Client, opts ...Option) effect.Effect[Request, Response] {
	c := newEffect(client, "", opts)
	return effect.Idempotent(name, func(ctx context.Context, r Request) (Response, error) { return c.send(ctx, r, "") })
}

// AtMostOnce is a call whose repetition is harm; see effect.AtMostOnce for
// reconcile. No key is sent. Methods that net/http may send again by itself, because
// they are idempotent by definition, are refused.
func AtMostOnce(
	name string, client *http.Client,
	reconcile func(context.Context, effect.Call, Request) (Response, effect.State, error),
	opts ...Option,
) effect.Effect[Request, Response] {
	c := newEffect(client, "", opts)
	return effect.AtMostOnce(name,
		func(ctx context.Context, _ effect.Call, r Request) (Response, error) {
			switch r.method() {
			case http.MethodPost, http.MethodPatch:
				return c.send(ctx, r, "")
			}
			return Response{}, effect.Permanent(errors.New(r.method() + " may be sent again by the HTTP client: an effect that is at most once needs POST or PATCH"))
		}, reconcile)
}

func newEffect(client *http.Client, header string, opts []Option) *caller {
	c := newCaller(client)
	if header != "" {
		c.header = header
	}
	for _, o := range opts {
		o(c)
	}
	return c
}

func (r *Request) method() string {
	if r.Method == "" {
		return http.MethodPost
	}
	return r.Method
}
