package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// A voice says to people what Weir has to say, on standard error: in lines of
// text, or each as a JSON object.
type voice struct {
	mu     sync.Mutex // guards w and errors
	w      io.Writer
	json   *slog.Logger // nil for text
	errors []string     // said so far
}

func newVoice(w io.Writer, asJSON bool) *voice {
	v := &voice{w: w}
	if asJSON {
		v.json = slog.New(slog.NewJSONHandler(w, nil))
	}
	return v
}

// line says one thing.
func (v *voice) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if v.json != nil {
		v.json.LogAttrs(context.Background(), slog.LevelInfo, text) //nolint:sloglint // a line for people, given to a machine as it is
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintln(v.w, text)
}

// told tells whether err, or what it wraps, was said already.
func (v *voice) told(err error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.ContainsFunc(v.errors, func(said string) bool { return strings.HasSuffix(err.Error(), said) })
}

// logger returns a logger that speaks with v.
func (v *voice) logger() *slog.Logger {
	if v.json != nil {
		return v.json
	}
	return slog.New(&lines{voice: v})
}

// lines is a slog.Handler that writes a line of text for people: the message
// and its attributes, without time and, up to Info, without level.
type lines struct {
	voice *voice
	attrs []slog.Attr
	group string
}

func (h *lines) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

func (h *lines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	cause := ""
	write := func(a slog.Attr) bool {
		value := a.Value.Resolve().String()
		if a.Key == "error" { // comes last, as it is
			cause = ": " + value
			return true
		}
		if strings.ContainsAny(value, " \t\n\"") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&b, " · %s %s", strings.ReplaceAll(h.group+a.Key, "_", " "), value)
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	if cause != "" && r.Level >= slog.LevelError {
		h.voice.mu.Lock()
		h.voice.errors = append(h.voice.errors, cause)
		h.voice.mu.Unlock()
	}
	h.voice.line("%s", b.String()+cause) //nolint:contextcheck // a line is written whole or not at all
	return nil
}

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &c
}

func (h *lines) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}
