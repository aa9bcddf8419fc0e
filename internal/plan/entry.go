package plan

import (
	"encoding/json"
	"fmt"
	"strconv"
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
	e := Entry{}
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("%s: %w", typ, err)
	}
	e.Type = typ
	return e, nil
}
