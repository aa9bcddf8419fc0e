package httpx

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// placeVersion is of the text of a place.
const placeVersion = 1

// A place is a position, as it is recorded: all that is needed to go on exactly. The
// zero place is the beginning.
type place struct {
	Version int      `json:"v"`
	Cursor  string   `json:"cursor,omitempty"` // of the page to ask for next
	End     bool     `json:"end,omitempty"`    // nothing followed the page before
	Seen    *seen    `json:"seen,omitempty"`   // what Cursor was answered last, if it was asked for last
	Refs    []string `json:"refs,omitempty"`   // of the page before, whose details are still to be read
}

// seen tells an answer from another one to the same request.
type seen struct {
	Of       string `json:"of"` // the request, hashed
	ETag     string `json:"etag,omitempty"`
	Modified string `json:"modified,omitempty"`
}

// parsePlace reads what text wrote.
func parsePlace(text string) (p place, err error) {
	if text == "" {
		return place{}, nil
	}
	err = json.Unmarshal([]byte(text), &p)
	if err == nil && p.Version != placeVersion {
		err = fmt.Errorf("it is of version %d, this release reads %d", p.Version, placeVersion)
	}
	if err != nil {
		return place{}, noPlace(text, err)
	}
	return p, nil
}

func noPlace(text string, why error) error {
	return event.Mark(event.KindPermanent, fmt.Errorf("the recorded position %.100q is not one of this HTTP source: %w", text, why))
}

// text is what is recorded.
func (p place) text() (string, error) {
	p.Version = placeVersion
	for _, s := range slices.Concat(p.Refs, []string{p.Cursor}) {
		if !utf8.ValidString(s) {
			return "", event.Mark(event.KindPermanent, fmt.Errorf("%s cannot be recorded: it is not valid UTF-8", named(s)))
		}
	}
	b, err := json.Marshal(p)
	if err == nil && len(b) > journal.MaxKey {
		err = event.Mark(event.KindTooLarge, fmt.Errorf("a position takes %d bytes, for a cursor of %d and %d references; the limit is %d: ask for smaller pages", len(b), len(p.Cursor), len(p.Refs), journal.MaxKey))
	}
	return string(b), err
}

// behind is the place after a page at p: the answer res to req leads to next, and
// refs are read before that.
func (p place) behind(req *Request, res *Response, next string, end bool, refs []string) (place, error) {
	end = end || next == ""
	to := place{Cursor: next, End: end, Refs: refs}
	if next != p.Cursor {
		return to, nil
	}
	if !end {
		return place{}, event.Mark(event.KindRemote, fmt.Errorf("the page at cursor %s leads to itself, and would be read for ever", named(next)))
	}
	etag, modified := res.Header["Etag"], res.Header["Last-Modified"]
	if req.Method == http.MethodGet && etag+modified != "" && utf8.ValidString(etag+modified) {
		to.Seen = &seen{Of: hashOf(req), ETag: etag, Modified: modified}
	}
	return to, nil
}

// unless asks for an answer unless it is the one that was seen; it reports whether it
// does.
func (s *seen) unless(req *Request) bool {
	if s == nil || s.Of != hashOf(req) {
		return false
	}
	req.Header = req.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if s.ETag != "" {
		req.Header.Set("If-None-Match", s.ETag)
	}
	if s.Modified != "" {
		req.Header.Set("If-Modified-Since", s.Modified)
	}
	return true
}

func hashOf(req *Request) string {
	h := sha256.Sum256([]byte(req.Method + " " + req.URL))
	return hex.EncodeToString(h[:8])
}
