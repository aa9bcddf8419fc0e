package httpx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// What sinks and sources begin with.
const (
	usualTimeout = 30 * time.Second
	glance       = 4 << 10 // of an answer that is only shown
)

// Webhook returns a sink that posts each payload to url as JSON, one after the
// other in their order, with the delivery's id in the header Idempotency-Key
// ([KeyHeader]). A nil client means http.DefaultClient.
//
// It delivers at least once. A receiver that knows the keys it has seen takes
// each payload once: all attempts have the same key, after a crash too, and no other
// payload has it.
//
// With policy.Retry a post that failed is made again, before the next one, no sooner
// than the service asked for (Retry-After). What the service refuses for good, or
// still fails when attempts are used up, is a dead letter. That an address or a
// credential is wrong looks like any refusal: weir.OnError says how many dead letters
// are too many.
func Webhook[T any](url string, client *http.Client, opts ...SinkOption) weir.Sink[T] {
	w := newWebhook(client, opts, 1, func(batch []weir.Delivery[T]) (Request, error) {
		return JSON(http.MethodPost, url, batch[0].Value)
	})
	w.url = &url
	return w
}

// WebhookFunc is [Webhook] with requests made by a function. It must make the same
// request of the same delivery, whenever it is asked. If that has a Key, it is
// sent instead of the delivery's id: one that follows from the payload is good
// across runs. An error makes a dead letter of the delivery.
func WebhookFunc[T any](request func(weir.Delivery[T]) (Request, error), client *http.Client, opts ...SinkOption) weir.Sink[T] {
	w := newWebhook(client, opts, 1, func(batch []weir.Delivery[T]) (Request, error) { return request(batch[0]) })
	if request == nil {
		w.fault = errors.New("httpx.WebhookFunc needs a function that makes requests")
	}
	return w
}

// WebhookBatch is [Webhook] with up to most payloads in one post, as an array of
// objects with the delivery's id and the payload:
//
//	[{"id":"orders.out:1@…>notify","data":{…}}, {"id":"orders.out:2@…>notify","data":{…}}]
//
// The key of a post of several belongs to just these, in this order. After a crash
// they may come again in other company, under another key: to take each payload
// once, a receiver goes by the ids. A batch that is refused for good is posted again
// in halves, so that only what is refused by itself is a dead letter.
func WebhookBatch[T any](url string, most int, client *http.Client, opts ...SinkOption) weir.Sink[T] {
	w := newWebhook(client, opts, most, func(batch []weir.Delivery[T]) (Request, error) {
		type item struct {
			ID   string `json:"id"`
			Data T      `json:"data"`
		}
		items := make([]item, len(batch))
		for i, d := range batch {
			items[i] = item{d.ID, d.Value}
		}
		return JSON(http.MethodPost, url, items)
	})
	w.url = &url
	if most < 1 {
		w.fault = fmt.Errorf("httpx.WebhookBatch of at most %d payloads: give 1 or more", most)
	}
	return w
}

// webhook is the sink and its own Writer.
type webhook[T any] struct {
	call    *caller
	most    int     // deliveries in one post
	url     *string // nil if it depends
	fault   error
	request func([]weir.Delivery[T]) (Request, error)
}

func newWebhook[T any](client *http.Client, opts []SinkOption, most int, request func([]weir.Delivery[T]) (Request, error)) *webhook[T] {
	c := newCaller(client)
	c.timeout = usualTimeout
	for _, o := range opts {
		o.applySink(c)
	}
	if c.header == "" {
		c.header = DefaultKeyHeader
	}
	if c.classify == nil {
		c.glances, c.maxBody = true, glance
	}
	return &webhook[T]{call: c, most: most, request: request}
}

// Open checks what can be checked before anything is sent.
func (w *webhook[T]) Open(context.Context, weir.At) (weir.Writer[T], error) {
	if w.fault != nil {
		return nil, w.fault
	}
	if w.url != nil {
		if _, err := addressOf(*w.url); err != nil {
			return nil, err
		}
	}
	if w.call.secret != nil {
		if _, err := secretsOf(w.call.secret()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// addressOf is the address that text is.
func addressOf(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no address that can be called: one begins with http:// or https:// and a host", redact(text))
	}
	return u, nil
}

func (w *webhook[T]) Limit() int   { return w.most }
func (w *webhook[T]) Close() error { return nil }

// A span is a part of a batch.
type span struct{ from, to int }

// Deliver posts a batch.
func (w *webhook[T]) Deliver(ctx context.Context, batch []weir.Delivery[T]) error {
	var todo []span // the last one is next
	for from := (len(batch) - 1) / w.most * w.most; from >= 0; from -= w.most {
		todo = append(todo, span{from, min(from+w.most, len(batch))})
	}
	failed := map[int]error{}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		err := w.post(ctx, batch[s.from:s.to])
		switch n := s.to - s.from; {
		case err == nil:
		case !final(err):
			if n == len(batch) {
				return err
			}
			failed[s.from] = err // it alone asks for a pause
			kind := event.KindOf(err)
			text := strings.TrimPrefix(err.Error(), string(kind)+": ")
			for i := s.from + 1; i < len(batch); i++ {
				failed[i] = event.Mark(kind, errors.New(text))
				if i >= s.to {
					failed[i] = event.Mark(kind, errors.New("not sent, behind one that failed: "+text))
				}
			}
			todo = nil
		case n == 1:
			failed[s.from] = err
		default:
			mid := s.from + n/2
			todo = append(todo, span{mid, s.to}, span{s.from, mid})
		}
	}
	if len(failed) > 0 {
		return &weir.PartialError{Failed: failed}
	}
	return nil
}

func (w *webhook[T]) post(ctx context.Context, batch []weir.Delivery[T]) error {
	r, err := w.request(batch)
	if err != nil {
		if event.KindOf(err) == event.KindUnknown {
			err = event.Mark(event.KindDomain, err)
		}
		return effect.Permanent(err)
	}
	key := r.Key
	if key == "" {
		key = keyOf(batch)
	}
	_, err = w.call.send(ctx, r, key)
	return err
}

// keyOf is the key of a post of these and no others.
func keyOf[T any](batch []weir.Delivery[T]) string {
	if len(batch) == 1 {
		return batch[0].ID
	}
	h := sha256.New()
	for _, d := range batch {
		h.Write([]byte(d.ID + "\n"))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// final reports whether a request is refused for good.
func final(err error) bool {
	refused, ok := errors.AsType[*plan.RefusedError](err)
	return ok && refused.Final
}
