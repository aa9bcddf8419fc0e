package httpx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
)

// A caller sends requests. It is immutable once made.
type caller struct {
	client      http.Client
	header      string // of the key
	maxBody     int64
	keep        []string
	credentials []credential
	classify    func(Response, error) error
	now         func() time.Time
}

type credential struct {
	header string
	value  func() string
}

func newCaller(client *http.Client, header string, opts []Option) *caller {
	if client == nil {
		client = http.DefaultClient
	}
	if header == "" {
		header = DefaultKeyHeader
	}
	c := &caller{client: *client, header: header, maxBody: 1 << 20, now: time.Now} //nolint:forbidigo // the edge: dates of other clocks are compared
	for _, o := range opts {
		o(c)
	}
	theirs := c.client.CheckRedirect
	c.client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0]
		if first.Method != http.MethodGet && first.Method != http.MethodHead || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host {
			return http.ErrUseLastResponse
		}
		if theirs != nil {
			return theirs(req, via)
		}
		if len(via) >= 10 {
			return errors.New("10 redirects")
		}
		return nil
	}
	return c
}

// send makes one attempt. Its error is marked as the package comment says.
func (c *caller) send(ctx context.Context, r Request, key string) (Response, error) {
	where := r.method() + " " + redact(r.URL)
	var begun atomic.Bool
	trace := httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, &trace), r.method(), r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return Response{}, effect.Permanent(event.Invalid(fmt.Errorf("%s: %w", where, bare(err))))
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if key != "" {
		req.Header.Set(c.header, key)
	}
	for _, cr := range c.credentials {
		req.Header.Set(cr.header, cr.value())
	}
	res, err := c.client.Do(req)
	if err != nil {
		err = event.Mark(event.KindRemote, fmt.Errorf("%s: %w", where, bare(err)))
		if !begun.Load() {
			return Response{}, effect.DidNotHappen(err) // there was no connection to send on
		}
		return Response{}, err
	}
	defer res.Body.Close()
	answer := Response{Status: res.StatusCode}
	for _, name := range c.keep {
		if v := res.Header.Get(name); v != "" {
			if answer.Header == nil {
				answer.Header = map[string]string{}
			}
			answer.Header[http.CanonicalHeaderKey(name)] = v
		}
	}
	if answer.Body, err = io.ReadAll(io.LimitReader(res.Body, c.maxBody+1)); err != nil {
		return Response{}, event.Mark(event.KindRemote, fmt.Errorf("%s: status %d, and its answer broke off after %d bytes: %w", where, res.StatusCode, len(answer.Body), bare(err)))
	}
	if int64(len(answer.Body)) > c.maxBody {
		return Response{}, event.Mark(event.KindTooLarge, fmt.Errorf("%s: status %d, and its answer has more than %d bytes (httpx.MaxBody)", where, res.StatusCode, c.maxBody))
	}
	err = usual(where, &answer, retryAfter(res.Header.Get("Retry-After"), c.now()))
	if c.classify != nil {
		err = c.classify(answer, err)
	}
	if err != nil {
		return Response{}, err
	}
	return answer, nil
}

// usual says what an answer means. wait is what Retry-After asks for, negative if
// it asks for nothing.
func usual(where string, r *Response, wait time.Duration) error {
	err := fmt.Errorf("%s: %d %s%s", where, r.Status, http.StatusText(r.Status), snippet(r.Body))
	remote := event.Mark(event.KindRemote, err)
	switch s := r.Status; {
	case s >= 200 && s < 300:
		return nil
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable && wait >= 0:
		return effect.RetryAfter(event.Mark(event.KindRateLimited, err), wait)
	case s == http.StatusRequestTimeout, s == http.StatusTooEarly:
		return effect.RetryAfter(remote, wait)
	case s == http.StatusNotImplemented, s == http.StatusHTTPVersionNotSupported, s >= 300 && s < 500:
		return effect.Permanent(event.Mark(event.KindPermanent, err))
	default:
		return remote
	}
}

// mostWait bounds what a service may ask for.
const mostWait = 24 * time.Hour

// retryAfter reads a Retry-After header: seconds, or a date. It is negative if the
// header says nothing that can be understood, zero for a date that has passed.
func retryAfter(text string, now time.Time) time.Duration {
	if text = strings.TrimSpace(text); text == "" {
		return -1
	}
	if strings.Trim(text, "0123456789") == "" {
		wait := time.Duration(0)
		for _, digit := range text {
			wait = min(wait*10+time.Duration(digit-'0')*time.Second, mostWait)
		}
		return wait
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return -1
	}
	return min(max(at.Sub(now), 0), mostWait)
}

// snippet is the beginning of an answer, for people.
func snippet(body []byte) string {
	const most = 200
	text := strings.ToValidUTF8(string(body[:min(len(body), most)]), "\uFFFD")
	if text = strings.Join(strings.Fields(text), " "); text == "" {
		return ""
	}
	if len(body) > most {
		text += "…"
	}
	return ": " + text
}

// redact is a URL without what may be secret in it: user, query and fragment.
func redact(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// bare is an error of net/http without the URL that it repeats.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
