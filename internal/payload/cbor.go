package payload

import (
	"bytes"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/weirflow/weir/event"
)

// cborCodec writes RFC 8949: definite lengths, shortest integers, floats at
// their own width, maps in bytewise order of their keys, structs as maps from
// names in the order of declaration, times as RFC 3339 text in UTC. It reads
// strictly: valid UTF-8, no key twice, nothing behind the value.
type cborCodec struct{}

var (
	bigIntType = reflect.TypeFor[big.Int]()

	cborEncoding = must(cbor.CoreDetEncOptions().EncMode())
	cborDecoding = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   maxLevels + 8,
		MaxArrayElements:  math.MaxInt32,
		MaxMapPairs:       math.MaxInt32,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (cborCodec) decode(data []byte, v any) error { return cborDecoding.Unmarshal(data, v) }

var cborAny = must(cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any](), MaxNestedLevels: maxLevels + 8}.DecMode())

// AsJSON returns a payload or state as JSON, for people: a payload in JSON as it
// is. Numbers that JSON cannot hold are written as text; what cannot be read is
// an error.
func AsJSON(c event.Codec, data []byte) ([]byte, error) {
	if c != event.CBOR {
		return data, nil
	}
	var v any
	if err := cborAny.Unmarshal(data, &v); err != nil {
		return nil, fmt.Errorf("CBOR: %w", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(finite(v)); err != nil {
		return nil, fmt.Errorf("CBOR as JSON: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// finite puts text in place of the floats that JSON has no form for.
func finite(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		for i := range v {
			v[i] = finite(v[i])
		}
	case map[string]any:
		for k, e := range v {
			v[k] = finite(e)
		}
	}
	return v
}

func (cborCodec) tags() []string { return []string{"cbor", "json"} }
func (cborCodec) wants() string  { return "MarshalBinary and UnmarshalBinary" }

func (cborCodec) methods(t reflect.Type) (methods, error) {
	if t == bigIntType { // the library has a form of its own for it
		return methods{family: "Bignum"}, nil
	}
	m, err := methodsOf(t, "CBOR", "Binary", "Text")
	if err == nil && m == noMethods {
		if m, _ := methodsOf(t, "JSON"); m != noMethods {
			return noMethods, fmt.Errorf("%v writes itself as JSON only: give it methods MarshalBinary and UnmarshalBinary, or use the JSON codec", t)
		}
	}
	return m, err
}

// asKey: big integers excepted, whose two forms the library mixes up as keys.
func (cborCodec) asKey(m methods) bool { return m.family != "Bignum" }

func (cborCodec) compile(s *shape) *node {
	return compileNode(s, func(name string) []byte {
		return append(appendHead(nil, majorText, uint64(len(name))), name...)
	})
}

// The major types of RFC 8949, section 3.1, and the simple values used.
const (
	majorUint   = 0 << 5
	majorNegInt = 1 << 5
	majorBytes  = 2 << 5
	majorText   = 3 << 5
	majorArray  = 4 << 5
	majorMap    = 5 << 5

	cborFalse   = 0xf4
	cborTrue    = 0xf5
	cborNull    = 0xf6
	cborFloat32 = 0xfa
	cborFloat64 = 0xfb
)

// appendHead writes a major type with its argument in the shortest form.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

func (c cborCodec) append(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	switch n.class {
	case truth:
		if *(*bool)(p) {
			return append(dst, cborTrue), nil
		}
		return append(dst, cborFalse), nil
	case signed:
		if i := loadInt(p, n.size); i < 0 {
			return appendHead(dst, majorNegInt, uint64(-1-i)), nil
		}
		return appendHead(dst, majorUint, uint64(loadInt(p, n.size))), nil
	case unsigned:
		return appendHead(dst, majorUint, loadUint(p, n.size)), nil
	case float:
		if n.size == 4 {
			return binary.BigEndian.AppendUint32(append(dst, cborFloat32), math.Float32bits(*(*float32)(p))), nil
		}
		return binary.BigEndian.AppendUint64(append(dst, cborFloat64), math.Float64bits(*(*float64)(p))), nil
	case text:
		return appendCBORText(dst, *(*string)(p))
	case instant:
		return appendCBORTime(dst, *(*time.Time)(p))
	case octets:
		b := *(*[]byte)(p)
		if b == nil {
			return append(dst, cborNull), nil
		}
		return append(appendHead(dst, majorBytes, uint64(len(b))), b...), nil
	case record:
		return c.appendRecord(dst, n, p, level+1)
	case array:
		if n.bytes {
			return append(appendHead(dst, majorBytes, uint64(n.length)), unsafe.Slice((*byte)(p), n.length)...), nil
		}
		return c.appendElements(dst, n, p, n.length, level+1)
	case list:
		s := (*sliceHeader)(p)
		if s.data == nil {
			return append(dst, cborNull), nil
		}
		return c.appendElements(dst, n, s.data, s.len, level+1)
	case mapping:
		return c.appendMap(dst, n, p, level+1)
	case pointer:
		target := *(*unsafe.Pointer)(p)
		if target == nil {
			return append(dst, cborNull), nil
		}
		return c.append(dst, n.elem, target, level)
	default:
		return c.appendCustom(dst, n, p)
	}
}

func (c cborCodec) appendRecord(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	count := len(n.members)
	if !n.fixed {
		for i := range n.members {
			if m := &n.members[i]; m.omit != nil && m.omit(unsafe.Add(p, m.off)) {
				count--
			}
		}
	}
	dst = appendHead(dst, majorMap, uint64(count))
	for i := range n.members {
		m := &n.members[i]
		at := unsafe.Add(p, m.off)
		if m.omit != nil && m.omit(at) {
			continue
		}
		dst = append(dst, m.prefix...)
		var f *fault
		if dst, f = c.append(dst, m.node, at, level); f != nil {
			return nil, f.under(m.name)
		}
	}
	return dst, nil
}

func (c cborCodec) appendElements(dst []byte, n *node, base unsafe.Pointer, count, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	dst = appendHead(dst, majorArray, uint64(count))
	for i := range count {
		var f *fault
		if dst, f = c.append(dst, n.elem, unsafe.Add(base, uintptr(i)*n.size), level); f != nil {
			return nil, f.under(fmt.Sprintf("[%d]", i))
		}
	}
	return dst, nil
}

func (c cborCodec) appendMap(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault) {
	if level > maxLevels {
		return nil, errTooDeep
	}
	m := reflect.NewAt(n.shape.typ, p).Elem()
	if m.IsNil() {
		return append(dst, cborNull), nil
	}
	dst = appendHead(dst, majorMap, uint64(m.Len()))
	return n.appendEntries(dst, m, "", func(dst []byte, key, elem unsafe.Pointer) ([]byte, entryKey, *fault) {
		start := len(dst)
		out, f := c.append(dst, n.key, key, 0)
		if f != nil {
			return dst, entryKey{}, &fault{why: "has a key that " + f.why}
		}
		k := entryKey{len: len(out) - start}
		if out, f = c.append(out, n.elem, elem, level); f != nil {
			return dst, entryKey{}, f.under(entryPath(reflect.NewAt(n.shape.typ.Key(), key).Elem()))
		}
		return out, k, nil
	})
}

// appendCustom writes what a type's own methods return, if it can be read.
func (c cborCodec) appendCustom(dst []byte, n *node, p unsafe.Pointer) ([]byte, *fault) {
	v := reflect.NewAt(n.shape.typ, p).Interface()
	var out []byte
	var err error
	switch n.shape.methods.family {
	case "Text":
		if out, err = v.(encoding.TextMarshaler).MarshalText(); err == nil {
			return appendCBORText(dst, string(out))
		}
	case "Binary":
		if out, err = v.(encoding.BinaryMarshaler).MarshalBinary(); err == nil {
			return append(appendHead(dst, majorBytes, uint64(len(out))), out...), nil
		}
	case "Bignum":
		if out, err = cborEncoding.Marshal(v); err == nil {
			return append(dst, out...), nil
		}
	default:
		if out, err = v.(cbor.Marshaler).MarshalCBOR(); err == nil {
			err = cbor.Wellformed(out)
		}
		if err == nil {
			return append(dst, out...), nil
		}
	}
	return nil, unwritable(err)
}

func appendCBORText(dst []byte, s string) ([]byte, *fault) {
	if !utf8.ValidString(s) {
		return nil, bad(s)
	}
	return append(appendHead(dst, majorText, uint64(len(s))), s...), nil
}

func appendCBORTime(dst []byte, t time.Time) ([]byte, *fault) {
	t = t.UTC()
	if f := checkYear(t); f != nil {
		return nil, f
	}
	var buf [len(time.RFC3339Nano)]byte
	s := t.AppendFormat(buf[:0], time.RFC3339Nano)
	return append(appendHead(dst, majorText, uint64(len(s))), s...), nil
}

// FromJSON returns a payload that a person wrote as JSON: in JSON as it is, in
// CBOR with whole numbers as integers. Text stays text, so a type with bytes, which
// JSON has in base64, may not take it. What is not one JSON value is an error.
func FromJSON(c event.Codec, text []byte) ([]byte, error) {
	if c != event.CBOR {
		if !json.Valid(text) {
			return nil, errors.New("it is not JSON")
		}
		return text, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("JSON: there is something behind the value")
	}
	v, err := numbered(v)
	if err != nil {
		return nil, err
	}
	return cborEncoding.Marshal(v)
}

// numbered puts numbers in place of their text.
func numbered(v any) (_ any, err error) {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := v.Float64()
		if err != nil {
			return nil, fmt.Errorf("JSON: %s: %w", v, err)
		}
		return f, nil
	case []any:
		for i := range v {
			if v[i], err = numbered(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k, e := range v {
			if v[k], err = numbered(e); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func (cborCodec) isNull(data []byte) bool { return len(data) == 1 && data[0] == cborNull }

func (cborCodec) members(data []byte) (map[string][]byte, error) {
	var raw map[string]cbor.RawMessage
	if err := cborDecoding.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return plainMap(raw), nil
}

func (cborCodec) joinMembers(members map[string][]byte) ([]byte, error) {
	return cborEncoding.Marshal(rawMap[cbor.RawMessage](members))
}

func (cborCodec) elements(data []byte) ([][]byte, error) {
	var raw []cbor.RawMessage
	if err := cborDecoding.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	return plainList(raw), nil
}

func (cborCodec) joinElements(elements [][]byte) ([]byte, error) {
	return cborEncoding.Marshal(rawList[cbor.RawMessage](elements))
}
