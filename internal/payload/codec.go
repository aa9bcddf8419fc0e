package payload

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/segmentio/encoding/json"

	"github.com/weirflow/weir/event"
)

// A codec writes and reads values and knows the conventions that go with it.
// It is always handed a pointer, so that nothing is boxed.
type codec interface {
	append(dst []byte, v any) ([]byte, error)
	decode(data []byte, v any) error
	tags() []string                        // struct tags, the first that is present wins
	methods(reflect.Type) (methods, error) // the methods of a type that replace its encoding
	wants() string                         // the methods to give a type, for hints
	nonFinite() bool                       // NaN and infinities survive
	zeroTimeIsNil() bool                   // a pointer to the zero time comes back nil
	rewrites(methods) bool                 // what these methods return is mended silently if it is not UTF-8
}

func codecFor(c event.Codec) (codec, error) {
	switch c {
	case event.JSON:
		return jsonCodec{}, nil
	case event.CBOR:
		return cborCodec{}, nil
	}
	return nil, fmt.Errorf("payload: %v: %w", c, errNoCodec)
}

type jsonCodec struct{}

func (jsonCodec) append(dst []byte, v any) ([]byte, error) {
	return json.Append(dst, v, json.SortMapKeys)
}
func (jsonCodec) decode(data []byte, v any) error { return json.Unmarshal(data, v) }
func (jsonCodec) tags() []string                  { return []string{"json"} }
func (jsonCodec) wants() string                   { return "MarshalJSON and UnmarshalJSON" }
func (jsonCodec) nonFinite() bool                 { return false }
func (jsonCodec) zeroTimeIsNil() bool             { return false }
func (jsonCodec) rewrites(m methods) bool         { return m.family == "Text" }
func (jsonCodec) methods(t reflect.Type) (methods, error) {
	return methodsOf(t, "JSON", "Text")
}

// maxLevels is how deep containers may nest. The limit is checked when a value
// is encoded, so whatever was written can be read.
const maxLevels = 1000

type cborCodec struct{}

var (
	cborEnc = must(cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		Time:          cbor.TimeRFC3339NanoUTC,
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		TextMarshaler: cbor.TextMarshalerTextString,
	}.UserBufferEncMode())
	cborDec = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  maxLevels + 8,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
	}.DecMode())
	cborBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

func (cborCodec) append(dst []byte, v any) ([]byte, error) {
	buf := cborBuffers.Get().(*bytes.Buffer)
	*buf = *bytes.NewBuffer(dst)
	err := cborEnc.MarshalToBuffer(v, buf)
	out := buf.Bytes()
	*buf = bytes.Buffer{}
	cborBuffers.Put(buf)
	return out, err
}
func (cborCodec) decode(data []byte, v any) error { return cborDec.Unmarshal(data, v) }
func (cborCodec) tags() []string                  { return []string{"cbor", "json"} }
func (cborCodec) wants() string                   { return "MarshalBinary and UnmarshalBinary" }
func (cborCodec) nonFinite() bool                 { return true }
func (cborCodec) zeroTimeIsNil() bool             { return true }
func (cborCodec) rewrites(methods) bool           { return false }
func (cborCodec) methods(t reflect.Type) (methods, error) {
	m, err := methodsOf(t, "CBOR", "Binary", "Text")
	if err == nil && m == noMethods {
		if m, _ := methodsOf(t, "JSON"); m != noMethods {
			return noMethods, fmt.Errorf("%v writes itself as JSON only: give it methods MarshalBinary and UnmarshalBinary, or use the JSON codec", t)
		}
	}
	return m, err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// methods are the marshal methods that replace the encoding of a type.
type methods struct {
	family  string // JSON, Text, Binary or CBOR; empty for none
	byValue bool   // the marshal method is on the value
}

var noMethods methods

func (m methods) String() string { return "Marshal" + m.family }
func (m methods) asText() bool   { return m.family == "Text" }

// methodsOf finds the first family of methods a type has for both directions.
// A type that has them for one direction only is an error.
func methodsOf(t reflect.Type, families ...string) (methods, error) {
	ptr := reflect.PointerTo(t)
	first := func(prefix string, in, out int) string {
		for _, family := range families {
			if m, ok := ptr.MethodByName(prefix + family); ok && m.Type.NumIn() == 1+in && m.Type.NumOut() == out {
				return family
			}
		}
		return ""
	}
	enc, dec := first("Marshal", 0, 2), first("Unmarshal", 1, 1)
	switch {
	case enc == "" && dec == "":
		return noMethods, nil
	case dec == "":
		return noMethods, fmt.Errorf("%v has Marshal%s but no Unmarshal%s, so it could not be read back: add it", t, enc, enc)
	case enc == "":
		return noMethods, fmt.Errorf("%v has Unmarshal%s but no Marshal%s: add it", t, dec, dec)
	case enc != dec:
		return noMethods, fmt.Errorf("%v is written by Marshal%s but would be read by Unmarshal%s: add the missing one", t, enc, dec)
	}
	_, byValue := t.MethodByName("Marshal" + enc)
	return methods{family: enc, byValue: byValue}, nil
}
