package httpx

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
)

// A Source reads a service page by page. [Pull] and [Poll] make one; [Details] makes
// one of a list.
type Source[T any] struct {
	call    *caller
	every   time.Duration // between polls; zero in a source that ends
	request func(cursor string) (Request, error)
	fault   error

	page   Decoder[T]      // nil if there are details
	list   Decoder[string] // of references
	detail func(ref string) (Request, error)
	record Decoder[T] // of a detail
}

// Pull is a source that ends: it reads pages, from the one at the empty cursor to one
// that is an end. request makes the request for the page at a cursor, always the same
// one, and decode makes the page of its answer. A nil client means http.DefaultClient.
//
// A page is recorded as a whole, with the cursor of the next. A page that leads to
// itself and is no end is an error.
func Pull[T any](request func(cursor string) (Request, error), decode Decoder[T], client *http.Client, opts ...SourceOption) *Source[T] {
	s := &Source[T]{call: newReader(client, opts), request: request, page: decode}
	if request == nil || decode == nil {
		s.fault = errors.New("httpx.Pull needs a function that makes requests, and a decoder")
	}
	return s
}

// Poll is a source that does not end: it reads pages as [Pull] does, and after one
// that is an end, every so often, goes on from its Next; the first time at once. So
// a service with cursors gives what is new, and one without is read from the
// beginning again.
//
// If that is the request which was made last, it is conditional on what the answer
// had of ETag and Last-Modified: 304 means that nothing is new. Of several pages that
// are read anew each time none is asked for like this, since each may have changed by
// itself.
func Poll[T any](every time.Duration, request func(cursor string) (Request, error), decode Decoder[T], client *http.Client, opts ...SourceOption) *Source[T] {
	s := Pull(request, decode, client, opts...)
	s.every = every
	switch {
	case every <= 0:
		s.fault = fmt.Errorf("httpx.Poll every %v: the time between polls is above zero", every)
	case s.fault != nil:
		s.fault = errors.New("httpx.Poll needs a function that makes requests, and a decoder")
	}
	return s
}

// Details is a source of what a list refers to. list is a Pull or Poll of references,
// such as ids or addresses; it is not used otherwise. For each reference request makes
// the request and decode the values, mostly one, of its answer, whose Next and End mean
// nothing. Client, options and interval are those of the list.
//
// A detail that is not there (404, 410), is larger than MaxBody or cannot be decoded is
// bad input: a dead letter with the reference, or with the answer, and the next one is
// read. Details are read one after the other and recorded one by one, or a few at a
// time in a list of more than 32. What of a list is still to be read is part of the
// position, at most 64 KiB: the list is not asked for again, so it may change
// meanwhile. To read many details at once, or longer lists, use the list as a source
// and [Idempotent] with weir.Perform.
func Details[T any](list *Source[string], request func(ref string) (Request, error), decode Decoder[T]) *Source[T] {
	s := &Source[T]{detail: request, record: decode}
	if list == nil || list.page == nil || request == nil || decode == nil {
		s.fault = errors.New("httpx.Details needs a Pull or Poll of references, a function that makes requests, and a decoder")
		return s
	}
	s.call, s.every, s.request, s.fault, s.list = list.call, list.every, list.request, list.fault, list.page
	return s
}

func newReader(client *http.Client, opts []SourceOption) *caller {
	c := newCaller(client)
	c.reads, c.timeout, c.maxBody = true, usualTimeout, 16<<20
	for _, o := range opts {
		o.applySource(c)
	}
	return c
}

// Bounded reports whether the source ends.
func (s *Source[T]) Bounded() bool { return s.every == 0 }

// Read yields what follows a position.
func (s *Source[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		more := true
		err := s.read(ctx, string(after), func(b weir.Batch[T], to place) error {
			text, err := to.text()
			if err != nil {
				return err
			}
			b.Position = weir.Position(text)
			if more = yield(b, nil); !more {
				return errEnough
			}
			return nil
		})
		if more && err != nil {
			yield(weir.Batch[T]{}, err)
		}
	}
}

// errEnough says that no more is wanted.
var errEnough = errors.New("enough")

// read gives batches to take, each with the place behind it, until one of them fails.
// What an error says about the page it is about has not been taken.
func (s *Source[T]) read(ctx context.Context, after string, take func(weir.Batch[T], place) error) error {
	if s.fault != nil {
		return effect.Permanent(s.fault)
	}
	at, err := parsePlace(after)
	if err == nil && len(at.Refs) > 0 && s.detail == nil {
		err = noPlace(after, errors.New("there are details to be read, which this source knows nothing of"))
	}
	if err != nil {
		return err
	}
	call, err := s.caller()
	if err != nil {
		return err
	}
	for asked := false; ; {
		if len(at.Refs) > 0 {
			var b weir.Batch[T]
			n, failed := s.details(ctx, call, at.Refs, &b)
			if n > 0 {
				at.Refs = at.Refs[n:]
				if err := take(b, at); err != nil {
					return err
				}
			}
			if failed != nil {
				return failed
			}
			continue
		}
		if at.End && s.every == 0 {
			return nil
		}
		if at.End && asked {
			if err := wait(ctx, s.every); err != nil {
				return err
			}
		}
		b, to, err := s.ask(ctx, call, at)
		if err == nil {
			err = take(b, to)
		}
		if err != nil {
			return err
		}
		at, asked = to, true
	}
}

// caller returns one that sends credentials to the host of the first request only.
func (s *Source[T]) caller() (*caller, error) {
	first, err := s.request("")
	if err != nil {
		return nil, fmt.Errorf("make the first request: %w", err)
	}
	u, err := addressOf(first.URL)
	if err != nil {
		return nil, effect.Permanent(fmt.Errorf("the first request: %w", err))
	}
	call := *s.call
	call.home = originOf(u)
	return &call, nil
}

// ask asks for the page at a place.
func (s *Source[T]) ask(ctx context.Context, call *caller, from place) (b weir.Batch[T], to place, err error) {
	req, err := s.request(from.Cursor)
	if err != nil {
		return b, to, fmt.Errorf("make the request at cursor %s: %w", named(from.Cursor), err)
	}
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	conditional := from.Seen.unless(&req)
	res, err := call.send(ctx, req, "")
	if err != nil {
		return b, to, err
	}
	where := fmt.Sprintf("%s %s, cursor %s", req.Method, redact(req.URL), named(from.Cursor))
	if res.Status == http.StatusNotModified {
		if !conditional {
			err = effect.Permanent(fmt.Errorf("%s: 304 Not Modified, though nothing was said of what it was before", where))
		}
		return b, from, err // that reading works begins a retry's count anew
	}
	var next string
	var end bool
	var refs []string
	if s.list != nil {
		var p Page[string]
		p, err = s.list(from.Cursor, res)
		refs, b.Bad, next, end = p.Values, p.Bad, p.Next, p.End
	} else {
		var p Page[T]
		p, err = s.page(from.Cursor, res)
		b.Values, b.Bad, next, end = p.Values, p.Bad, p.Next, p.End
	}
	if err == nil {
		to, err = from.behind(&req, &res, next, end, refs)
	}
	if err != nil {
		return weir.Batch[T]{}, to, fmt.Errorf("%s: %w%s", where, err, snippet(res.Body))
	}
	for i := range b.Bad {
		b.Bad[i].Err = at(where, b.Bad[i].Err)
	}
	return b, to, nil
}

// What is read of a list in one batch: a share of what is left of it, so that the
// positions of a long list do not take more room than its details.
const (
	shareOfList = 32
	bytesOfList = 256 << 10
)

// details reads details into b and returns of how many references. With an error it
// is about the next one.
func (s *Source[T]) details(ctx context.Context, call *caller, refs []string, b *weir.Batch[T]) (n int, err error) {
	most := (len(refs) + shareOfList - 1) / shareOfList
	for size := 0; n < most && size < bytesOfList; n++ {
		bytes, err := s.one(ctx, call, refs[n], b)
		if err != nil {
			return n, err
		}
		size += bytes
	}
	return n, nil
}

// one reads a detail into b.
func (s *Source[T]) one(ctx context.Context, call *caller, ref string, b *weir.Batch[T]) (bytes int, err error) {
	req, err := s.detail(ref)
	if err != nil {
		return 0, fmt.Errorf("make the request for %s: %w", named(ref), err)
	}
	if req.Method == "" {
		req.Method = http.MethodGet
	}
	res, err := call.send(ctx, req, "")
	gone := final(err) && (res.Status == http.StatusNotFound || res.Status == http.StatusGone)
	switch {
	case gone, event.KindOf(err) == event.KindTooLarge:
		b.Bad = append(b.Bad, weir.Bad{Raw: []byte(ref), Err: err})
		return 0, nil
	case err != nil:
		return 0, err
	}
	where := fmt.Sprintf("%s %s, of %s", req.Method, redact(req.URL), named(ref))
	page, err := s.record(ref, res)
	if err != nil {
		b.Bad = append(b.Bad, weir.Bad{Raw: res.Body, Err: at(where, err)})
		return len(res.Body), nil
	}
	for _, bad := range page.Bad {
		bad.Err = at(where, bad.Err)
		b.Bad = append(b.Bad, bad)
	}
	b.Values = append(b.Values, page.Values...)
	return len(res.Body), nil
}

// wait returns when d has passed, or with the cause of ctx's end.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
