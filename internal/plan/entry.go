package plan

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
)

// AppendEntry appends e as it is recorded on the port fx, without its type. What
// it writes is what encoding/json makes of an Entry.
func AppendEntry(dst []byte, e *Entry) ([]byte, error) {
	w := entryWriter{append(dst, '{'), nil}
	w.text("step", e.Step)
	w.text("effect", e.Effect)
	w.text("version", e.Version)
	w.text("key", e.Key)
	w.number("attempt", int64(e.Attempt))
	w.payload("request", e.Request)
	w.text("hash", e.Hash)
	w.text("outcome", e.Outcome)
	w.payload("result", e.Result)
	w.text("kind", string(e.Kind))
	w.text("reason", e.Reason)
	if e.Final {
		w.name("final")
		w.b = append(w.b, "true"...)
	}
	w.number("retryAfter", int64(e.RetryAfter))
	if !e.At.IsZero() {
		w.name("at")
		w.b = append(w.b, '"')
		if w.b, w.err = e.At.AppendText(w.b); w.err != nil {
			return dst, w.err
		}
		w.b = append(w.b, '"')
	}
	w.number("took", int64(e.Took))
	w.text("by", e.By)
	w.text("id", e.ID)
	w.number("emitted", int64(e.Emitted))
	if w.err != nil {
		return dst, w.err
	}
	return append(w.b, '}'), nil
}

// An entryWriter writes the fields of an Entry. One that is zero is absent.
type entryWriter struct {
	b   []byte
	err error
}

func (w *entryWriter) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *entryWriter) text(name, s string) {
	if s == "" {
		return
	}
	w.name(name)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			w.json(s)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

func (w *entryWriter) number(name string, n int64) {
	if n != 0 {
		w.name(name)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *entryWriter) payload(name string, p Payload) {
	switch {
	case len(p) == 0:
	case p.plain():
		w.name(name)
		w.b = append(w.b, p...)
	default:
		w.name(name)
		w.json(p)
	}
}

// json writes what is rare.
func (w *entryWriter) json(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		w.err = err
	}
	w.b = append(w.b, data...)
}

// ParseEntry reads what AppendEntry wrote. Unknown fields are left out.
func ParseEntry(typ string, data []byte) (Entry, error) {
	e := Entry{Type: typ}
	if readEntry(data, &e) {
		return e, nil
	}
	e = Entry{}
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("%s: %w", typ, err)
	}
	e.Type = typ
	return e, nil
}

// readEntry reads an entry as AppendEntry writes most: its fields in their order,
// texts without escapes. With false it is for encoding/json, and e holds anything.
func readEntry(data []byte, e *Entry) bool {
	r := entryReader{scanner: scanner{data: data}, text: string(data), first: true, ok: true}
	if !r.byte('{') {
		return false
	}
	e.Step = r.string("step")
	e.Effect = r.string("effect")
	e.Version = r.string("version")
	e.Key = r.string("key")
	e.Attempt = int(r.int("attempt"))
	e.Request = r.payload("request")
	e.Hash = r.string("hash")
	e.Outcome = r.string("outcome")
	e.Result = r.payload("result")
	e.Kind = event.Kind(r.string("kind"))
	e.Reason = r.string("reason")
	if r.name("final") {
		e.Final = true
		r.ok = r.ok && r.word("true")
	}
	e.RetryAfter = time.Duration(r.int("retryAfter"))
	if r.name("at") {
		at := r.quoted()
		r.ok = r.ok && e.At.UnmarshalText([]byte(at)) == nil
	}
	e.Took = time.Duration(r.int("took"))
	e.By = r.string("by")
	e.ID = r.string("id")
	e.Emitted = int(r.int("emitted"))
	return r.ok && r.byte('}') && r.at == len(data)
}

// An entryReader reads fields. What it returns after it was not ok means nothing.
type entryReader struct {
	scanner
	text  string // a copy of the data, which strings are parts of
	first bool
	ok    bool
}

// name reports whether the next field has that name, and passes it over.
func (r *entryReader) name(name string) bool {
	rest := r.text[r.at:]
	n := len(name) + 3
	if !r.first {
		if rest == "" || rest[0] != ',' {
			return false
		}
		rest, n = rest[1:], n+1
	}
	if len(rest) < len(name)+3 || rest[0] != '"' || rest[1:1+len(name)] != name || rest[1+len(name):len(name)+3] != `":` {
		return false
	}
	r.at, r.first = r.at+n, false
	return true
}

func (r *entryReader) string(name string) string {
	if !r.name(name) {
		return ""
	}
	return r.quoted()
}

func (r *entryReader) quoted() string {
	rest := r.text[r.at:]
	if rest == "" || rest[0] != '"' {
		r.ok = false
		return ""
	}
	ascii := true
	for i := 1; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == '"':
			r.at += i + 1
			r.ok = r.ok && (ascii || utf8.ValidString(rest[1:i]))
			return rest[1:i]
		case c == '\\', c < ' ':
			r.ok = false
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	r.ok = false
	return ""
}

func (r *entryReader) int(name string) int64 {
	if !r.name(name) {
		return 0
	}
	from := r.at
	r.ok = r.number() && r.ok
	n, err := strconv.ParseInt(r.text[from:r.at], 10, 64)
	r.ok = r.ok && err == nil
	return n
}

func (r *entryReader) payload(name string) (p Payload) {
	if !r.name(name) {
		return nil
	}
	from := r.at
	r.ok = r.value(0) && r.ok && p.UnmarshalJSON(r.data[from:r.at]) == nil
	return p
}
