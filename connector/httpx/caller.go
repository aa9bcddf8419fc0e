package httpx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
)

// A caller sends requests. It is immutable once made.
type caller struct {
	client      http.Client
	header      string        // of the key
	timeout     time.Duration // of one request; zero means none
	maxBody     int64
	glances     bool     // what an answer says is for people, and may be cut
	reads       bool     // for a source: all headers are kept, and 304 is an answer
	home        string   // where alone credentials are sent; "" means anywhere
	keep        []string // headers
	credentials []credential
	secret      func() string
	classify    func(Response, error) error
	observe     func(Exchange)
	now         func() time.Time
}

type credential struct {
	header string
	value  func() string
}

func newCaller(client *http.Client) *caller {
	if client == nil {
		client = http.DefaultClient
	}
	c := &caller{
		client: *client, header: DefaultKeyHeader, maxBody: 1 << 20,
		now: time.Now, //nolint:forbidigo // the edge: dates of other clocks are compared, signatures have a time
	}
	theirs := c.client.CheckRedirect
	c.client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		first := via[0]
		if first.Method != http.MethodGet && first.Method != http.MethodHead || originOf(req.URL) != originOf(first.URL) {
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

// originOf is the service that a URL names.
func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// send makes one attempt. Its error is marked as the package comment says; what came
// of an answer is returned with it.
func (c *caller) send(ctx context.Context, r Request, key string) (answer Response, err error) {
	if c.observe != nil {
		began := c.now()
		defer func() {
			c.observe(Exchange{Method: r.method(), URL: redact(r.URL), Status: answer.Status, Bytes: len(answer.Body), Took: c.now().Sub(began), Err: err})
		}()
	}
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, errTimeout)
		defer cancel()
	}
	where := r.method() + " " + redact(r.URL)
	var begun atomic.Bool
	trace := httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { begun.Store(true) }}
	req, err := c.request(httptrace.WithClientTrace(ctx, &trace), where, &r, key)
	if err != nil {
		return Response{}, err
	}
	res, err := c.client.Do(req)
	if err != nil {
		err = c.lost(ctx, where, err)
		if !begun.Load() {
			return Response{}, effect.DidNotHappen(err) // there was no connection to send on
		}
		return Response{}, err
	}
	defer res.Body.Close()
	answer = Response{Status: res.StatusCode, Header: c.headers(res.Header)}
	answer.Body, err = io.ReadAll(io.LimitReader(res.Body, c.maxBody+1))
	tooLarge := int64(len(answer.Body)) > c.maxBody
	if tooLarge {
		answer.Body = answer.Body[:c.maxBody]
	}
	switch {
	case c.glances:
	case err != nil:
		return answer, c.lost(ctx, fmt.Sprintf("%s: status %d, and its answer broke off after %d bytes", where, res.StatusCode, len(answer.Body)), err)
	case tooLarge:
		return answer, event.Mark(event.KindTooLarge, fmt.Errorf("%s: status %d, and its answer has more than %d bytes (httpx.MaxBody)", where, res.StatusCode, c.maxBody))
	case c.reads && res.StatusCode == http.StatusNotModified:
		return answer, nil
	}
	err = usual(where, &answer, elsewhere(res), retryAfter(res.Header.Get("Retry-After"), c.now()))
	if c.classify != nil {
		err = c.classify(answer, err)
	}
	return answer, err
}

// request makes what is sent of a Request.
func (c *caller) request(ctx context.Context, where string, r *Request, key string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method(), r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return nil, effect.Permanent(event.Invalid(fmt.Errorf("%s: %w", where, bare(err))))
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if key != "" {
		req.Header.Set(c.header, key)
	}
	if c.secret != nil {
		secrets, err := secretsOf(c.secret())
		if err != nil {
			return nil, effect.DidNotHappen(fmt.Errorf("%s: %w", where, err))
		}
		sign(req.Header, key, c.now(), r.Body, secrets)
	}
	if c.home == "" || c.home == originOf(req.URL) {
		for _, cr := range c.credentials {
			req.Header.Set(cr.header, cr.value())
		}
	}
	return req, nil
}

// headers returns those that are kept.
func (c *caller) headers(h http.Header) (kept map[string]string) {
	keep := c.keep
	if c.reads {
		keep = slices.Collect(maps.Keys(h))
	}
	for _, name := range keep {
		values := h.Values(name)
		if len(values) == 0 || values[0] == "" {
			continue
		}
		if kept == nil {
			kept = map[string]string{}
		}
		kept[http.CanonicalHeaderKey(name)] = values[0]
		if c.reads {
			kept[http.CanonicalHeaderKey(name)] = strings.Join(values, ", ")
		}
	}
	return kept
}

var errTimeout = errors.New("the request took too long")

// lost is the error of a request without an answer, or without the end of it.
func (c *caller) lost(ctx context.Context, where string, err error) error {
	if errors.Is(context.Cause(ctx), errTimeout) {
		return event.Mark(event.KindTimeout, fmt.Errorf("%s: no answer within %v (httpx.Timeout)", where, c.timeout))
	}
	return event.Mark(event.KindRemote, fmt.Errorf("%s: %w", where, bare(err)))
}

// elsewhere says where a redirect leads, if it is one.
func elsewhere(res *http.Response) string {
	to, err := res.Location()
	if err != nil || res.StatusCode < 300 || res.StatusCode > 399 {
		return ""
	}
	return " to " + redact(to.String()) + ", which is not followed"
}

// usual says what an answer means. wait is what Retry-After asks for, negative if
// it asks for nothing.
func usual(where string, r *Response, elsewhere string, wait time.Duration) error {
	err := fmt.Errorf("%s: %d %s%s%s", where, r.Status, http.StatusText(r.Status), elsewhere, snippet(r.Body))
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
