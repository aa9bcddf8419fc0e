package payload

import (
	"encoding"
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// jsonCodec writes what encoding/json writes, with three differences: what
// encoding/json would mend silently is a fault, times are UTC, and <, > and &
// are not escaped. It reads strictly: valid UTF-8, no name twice, names spelled
// exactly, nothing behind the value.
type jsonCodec struct{}

var jsonDecoding = json.JoinOptions(
	jsonv1.FormatByteArrayAsArray(true),
	jsonv1.FormatDurationAsNano(true),
)

func (jsonCodec) decode(data []byte, v any) error { return json.Unmarshal(data, v, jsonDecoding) }
func (jsonCodec) tags() []string                  { return []string{"json"} }
func (jsonCodec) wants() string                   { return "MarshalJSON and UnmarshalJSON" }

func (jsonCodec) methods(t reflect.Type) (methods, error) {
	return methodsOf(t, "JSON", "Text")
}

func (jsonCodec) compile(s *shape) *node {
	return compileNode(s, func(name string) []byte {
		return append(appendText([]byte{','}, name), ':')
	})
}

// asKey: names are strings.
func (jsonCodec) asKey(m methods) bool { return m.family == "Text" }

func (c jsonCodec) append(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	switch n.class {
	case truth:
		return strconv.AppendBool(dst, *(*bool)(p)), nil
	case signed:
		return strconv.AppendInt(dst, loadInt(p, n.size), 10), nil
	case unsigned:
		return strconv.AppendUint(dst, loadUint(p, n.size), 10), nil
	case float:
		return appendFloat(dst, n, p)
	case text:
		s := *(*string)(p)
		if dst = appendText(dst, s); dst == nil {
			return nil, bad(s)
		}
		return dst, nil
	case instant:
		return appendTime(dst, *(*time.Time)(p))
	case octets:
		b := *(*[]byte)(p)
		if b == nil {
			return append(dst, "null"...), nil
		}
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"'), nil
	case record:
		return c.appendRecord(dst, n, p, level+1)
	case array:
		return c.appendElements(dst, n, p, n.length, level+1)
	case list:
		s := (*sliceHeader)(p)
		if s.data == nil {
			return append(dst, "null"...), nil
		}
		return c.appendElements(dst, n, s.data, s.len, level+1)
	case mapping:
		return c.appendMap(dst, n, p, level+1)
	case pointer:
		target := *(*unsafe.Pointer)(p)
		if target == nil {
			return append(dst, "null"...), nil
		}
		return c.append(dst, n.elem, target, level)
	default:
		return c.appendCustom(dst, n, p)
	}
}

func (c jsonCodec) appendRecord(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	first := len(dst) // of the comma that becomes the brace
	for i := range n.members {
		m := &n.members[i]
		at := unsafe.Add(p, m.off)
		if m.omit != nil && m.omit(at) {
			continue
		}
		dst = append(dst, m.prefix...)
		if m.quote {
			dst = append(dst, '"')
		}
		var f *fault
		if dst, f = c.append(dst, m.node, at, level); f != nil {
			return nil, f.under(m.name)
		}
		if m.quote {
			dst = append(dst, '"')
		}
	}
	if len(dst) == first {
		return append(dst, "{}"...), nil
	}
	dst[first] = '{'
	return append(dst, '}'), nil
}

func (c jsonCodec) appendElements(dst []byte, n *node, base unsafe.Pointer, count, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	dst = append(dst, '[')
	for i := range count {
		if i > 0 {
			dst = append(dst, ',')
		}
		var f *fault
		if dst, f = c.append(dst, n.elem, unsafe.Add(base, uintptr(i)*n.size), level); f != nil {
			return nil, f.under("[" + strconv.Itoa(i) + "]")
		}
	}
	return append(dst, ']'), nil
}

func (c jsonCodec) appendMap(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	m := reflect.NewAt(n.shape.typ, p).Elem()
	if m.IsNil() {
		return append(dst, "null"...), nil
	}
	dst = append(dst, '{')
	dst, f := n.appendEntries(dst, m, ",", func(dst []byte, key, elem unsafe.Pointer) ([]byte, entryKey, *fault) {
		start := len(dst)
		out, f := c.appendName(dst, n.key, key)
		if f != nil {
			return dst, entryKey{}, &fault{why: "has a key that " + f.why}
		}
		k := entryKey{len: len(out) - start}
		if n.key.class == text {
			k.sort = *(*string)(key)
		} else {
			k.sort = string(out[start+1 : len(out)-1])
		}
		if out, f = c.append(append(out, ':'), n.elem, elem, level); f != nil {
			return dst, entryKey{}, f.under(entryPath(reflect.NewAt(n.shape.typ.Key(), key).Elem()))
		}
		return out, k, nil
	})
	if f != nil {
		return nil, f
	}
	return append(dst, '}'), nil
}

// appendName writes the key of a map, which is always a string in JSON.
func (c jsonCodec) appendName(dst []byte, n *node, p unsafe.Pointer) ([]byte, *fault) {
	if n.class != signed && n.class != unsigned {
		return c.append(dst, n, p, 0)
	}
	dst, f := c.append(append(dst, '"'), n, p, 0)
	return append(dst, '"'), f
}

// appendCustom writes what a type's own methods return, if it can be read.
func (c jsonCodec) appendCustom(dst []byte, n *node, p unsafe.Pointer) ([]byte, *fault) {
	v := reflect.NewAt(n.shape.typ, p).Interface()
	if n.shape.methods.family == "Text" {
		out, err := v.(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return nil, unwritable(err)
		}
		if dst = appendText(dst, unsafe.String(unsafe.SliceData(out), len(out))); dst == nil {
			return nil, bad(string(out))
		}
		return dst, nil
	}
	out, err := v.(stdjson.Marshaler).MarshalJSON()
	if err != nil {
		return nil, unwritable(err)
	}
	value := jsontext.Value(out)
	if !value.IsValid() {
		return nil, unwritable(errors.New("MarshalJSON returned what is not strict JSON: " + strconv.Quote(clip(out))))
	}
	value = value.Clone()
	if err := value.Compact(); err != nil {
		return nil, unwritable(err)
	}
	return append(dst, value...), nil
}

func unwritable(err error) *fault { return &fault{why: "cannot be written: " + err.Error()} }

// appendFloat writes a number as ECMAScript does, like encoding/json.
func appendFloat(dst []byte, n *node, p unsafe.Pointer) ([]byte, *fault) {
	var f float64
	bits := 64
	if n.size == 4 {
		bits, f = 32, float64(*(*float32)(p))
	} else {
		f = *(*float64)(p)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, &fault{why: "is " + strconv.FormatFloat(f, 'g', -1, 64) + ", which JSON cannot hold; use a pointer for a number that may be absent"}
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 {
		small, large := abs < 1e-6, abs >= 1e21
		if bits == 32 {
			small, large = float32(abs) < 1e-6, float32(abs) >= 1e21
		}
		if small || large {
			format = 'e'
		}
	}
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 becomes e-9
		dst = dst[:n-1]
	}
	return dst, nil
}

// appendTime writes t in UTC.
func appendTime(dst []byte, t time.Time) ([]byte, *fault) {
	t = t.UTC()
	if f := checkYear(t); f != nil {
		return nil, f
	}
	return append(t.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"'), nil
}

// plain holds the ASCII characters that stand for themselves in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendText writes s as a JSON string. It returns nil if s is not UTF-8.
func appendText(dst []byte, s string) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				return nil
			}
			i += size
			continue
		}
		if !plain[c] {
			dst = append(dst, s[done:i]...)
			dst = appendEscape(dst, c)
			done = i + 1
		}
		i++
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

func (jsonCodec) isNull(data []byte) bool { return string(data) == "null" }

func (jsonCodec) members(data []byte) (map[string][]byte, error) {
	var raw map[string]jsontext.Value
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return plainMap(raw), nil
}

func (jsonCodec) joinMembers(members map[string][]byte) ([]byte, error) {
	return json.Marshal(rawMap[jsontext.Value](members), json.Deterministic(true))
}

func (jsonCodec) elements(data []byte) ([][]byte, error) {
	var raw []jsontext.Value
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return plainList(raw), nil
}

func (jsonCodec) joinElements(elements [][]byte) ([]byte, error) {
	return json.Marshal(rawList[jsontext.Value](elements))
}
