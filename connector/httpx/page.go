package httpx

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/jsonrow"
)

// A Page is what an answer holds.
type Page[T any] struct {
	Values []T
	Bad    []weir.Bad // rows that could not be decoded: dead letters, not lost

	// Next is the cursor that the next request is made from; "" is that of the
	// first. It is recorded, so no credential belongs in it.
	Next string
	// End says that nothing follows for now: a Pull is done, and a Poll waits before
	// it goes on from Next. A page whose Next is empty is an end, too.
	End bool
}

// A Decoder makes a page of the answer to the request at cursor. An error is one of
// the whole answer, which is asked for again if policy allows; for rows there is
// Page.Bad. The page may keep the answer's memory.
//
// [Array] and [Object] are decoders. One of your own for answers with a cursor:
//
//	func(_ string, r httpx.Response) (p httpx.Page[Order], err error) {
//		var list struct {
//			Items []json.RawMessage
//			Next  string
//		}
//		if err = r.JSON(&list); err == nil {
//			p.Values, p.Bad = httpx.Rows[Order](list.Items)
//			p.Next = list.Next
//		}
//		return p, err
//	}
type Decoder[T any] func(cursor string, r Response) (Page[T], error)

// Rows decodes the rows of a page. One that does not fit T, is not valid UTF-8 or is
// refused by T's Validate method is bad, as it came.
func Rows[T any](rows []json.RawMessage) (values []T, bad []weir.Bad) {
	for i, row := range rows {
		v, err := jsonrow.Decode[T](row)
		if err != nil {
			bad = append(bad, weir.Bad{Raw: row, Err: at(fmt.Sprintf("row %d", i+1), err)})
			continue
		}
		values = append(values, v)
	}
	return values, bad
}

// Array is the [Decoder] of an answer that is an array, each element a row. The
// next page is the one that the answer's Link header calls next (RFC 8288), which
// [Get] without a parameter understands; without one it is the end. Neither null nor no
// content (204) has any rows.
func Array[T any](_ string, r Response) (p Page[T], err error) {
	var rows []json.RawMessage
	if r.Status != http.StatusNoContent {
		if err := r.JSON(&rows); err != nil {
			return p, err
		}
	}
	p.Values, p.Bad = Rows[T](rows)
	p.Next = nextLink(r.Header["Link"])
	return p, nil
}

// Object is the [Decoder] of an answer that is one row. No content (204) is none.
func Object[T any](_ string, r Response) (p Page[T], err error) {
	if r.Status == http.StatusNoContent {
		return p, nil
	}
	var row json.RawMessage
	if err := r.JSON(&row); err != nil {
		return p, err
	}
	p.Values, p.Bad = Rows[T]([]json.RawMessage{row})
	return p, nil
}

// Get makes requests of cursors, or of references: base with the query parameter
// param set to the cursor, or as it is if that is empty. Without a param the cursor is
// an address itself, which may be relative to base.
func Get(base, param string) func(cursor string) (Request, error) {
	u, err := url.Parse(base)
	return func(cursor string) (Request, error) {
		switch {
		case err != nil:
			return Request{}, event.Invalid(fmt.Errorf("%s: %w", redact(base), bare(err)))
		case cursor == "":
			return Request{Method: http.MethodGet, URL: base}, nil
		case param != "":
			to, query := *u, u.Query()
			query.Set(param, cursor)
			to.RawQuery = query.Encode()
			return Request{Method: http.MethodGet, URL: to.String()}, nil
		}
		to, err := u.Parse(cursor)
		if err != nil {
			return Request{}, event.Invalid(fmt.Errorf("%s: %w", redact(cursor), bare(err)))
		}
		return Request{Method: http.MethodGet, URL: to.String()}, nil
	}
}

// nextLink returns what a Link header (RFC 8288) calls next, "" if it names no such
// link:
//
//	<https://api.example/orders?page=3>; rel="next", <https://api.example/orders?page=9>; rel="last"
func nextLink(header string) string {
	for header != "" {
		_, rest, ok := strings.Cut(header, "<")
		if !ok {
			return ""
		}
		target, rest, ok := strings.Cut(rest, ">")
		if !ok {
			return ""
		}
		var params string
		params, header = cutUnquoted(rest, ',')
		for params != "" {
			var p string
			p, params = cutUnquoted(params, ';')
			name, value, _ := strings.Cut(p, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "rel") {
				continue
			}
			for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
				if strings.EqualFold(rel, "next") {
					return target
				}
			}
		}
	}
	return ""
}

// cutUnquoted cuts text at the first sep outside of quotes.
func cutUnquoted(text string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}

// at says where a row is that is bad. The error has the kind that err has, decode if
// it has none.
func at(where string, err error) error {
	if err == nil {
		err = errors.New("it could not be decoded, and nobody said why")
	}
	kind := event.KindOf(err)
	text := strings.TrimPrefix(err.Error(), string(kind)+": ")
	if kind == event.KindUnknown {
		kind = event.KindDecode
	}
	return event.Mark(kind, fmt.Errorf("%s: %s", where, text))
}

// named is a cursor, or a reference, for people: as it is, or as an address without
// what may be secret in it.
func named(cursor string) string {
	if u, err := url.Parse(cursor); err == nil && (u.Host != "" || u.RawQuery != "") {
		return redact(cursor)
	}
	const most = 100
	if len(cursor) > most {
		return fmt.Sprintf("%q…", cursor[:most])
	}
	return fmt.Sprintf("%q", cursor)
}
