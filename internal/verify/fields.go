package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weirflow/weir/internal/payload"
)

// maxFields is how many fields of one record are listed, maxText how long a value
// is shown.
const (
	maxFields = 20
	maxText   = 1 << 10
)

// paths lists the fields in which two payloads differ, as paths that begin with
// at. Those that mask names are left out, with all that is in them.
func (s *stage) paths(at string, recorded, computed []byte, masks []mask) []Field {
	was, okWas := s.value1(recorded)
	now, okNow := s.value1(computed)
	if !okWas || !okNow {
		return []Field{{at, s.text(recorded), s.text(computed)}}
	}
	all, hidden := differ(nil, at, was, now, masks)
	if len(all) == 0 && !hidden { // the same value in other bytes
		return []Field{{at, s.text(recorded), s.text(computed)}}
	}
	return all
}

// value1 is a payload as JSON values.
func (s *stage) value1(data []byte) (v any, ok bool) {
	text, err := payload.AsJSON(s.v.codec, data)
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v) == nil
}

// differ adds the paths at which two values differ; hidden reports that some were
// left out by masks.
func differ(all []Field, at string, was, now any, masks []mask) (_ []Field, hidden bool) {
	if reflect.DeepEqual(was, now) {
		return all, false
	}
	if slices.ContainsFunc(masks, func(m mask) bool { return len(m) == 0 }) {
		return all, true
	}
	if len(all) >= maxFields {
		return all, false
	}
	switch a := was.(type) {
	case map[string]any:
		b, ok := now.(map[string]any)
		if !ok {
			break
		}
		names := maps.Clone(a)
		maps.Copy(names, b)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			var h bool
			all, h = differ(all, at+member(name), a[name], b[name], within(masks, name))
			hidden = hidden || h
		}
		return all, hidden
	case []any:
		b, ok := now.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		for i := range a {
			var h bool
			all, h = differ(all, at+"["+strconv.Itoa(i)+"]", a[i], b[i], masks)
			hidden = hidden || h
		}
		return all, hidden
	}
	return append(all, Field{at, plain(was), plain(now)}), hidden
}

// member is how a member of an object is written in a path.
func member(name string) string {
	if name == "" || strings.ContainsAny(name, ".[]\"* ") {
		return "[" + strconv.Quote(name) + "]"
	}
	return "." + name
}

// plain writes a value for people; what is absent is empty.
func plain(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return shorten(string(b))
}

// text shows a payload.
func (s *stage) text(data []byte) string {
	if text, err := payload.AsJSON(s.v.codec, data); err == nil {
		return shorten(string(text))
	}
	if utf8.Valid(data) {
		return shorten(string(data))
	}
	return shorten("base64 " + base64.StdEncoding.EncodeToString(data))
}

func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
