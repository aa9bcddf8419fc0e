package payload

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/weirflow/weir/event"
)

// A codec writes and reads values and knows the conventions that go with it.
// Writing is done here, in one pass over compiled nodes: no library both
// refuses what it would have to change and writes without allocating. Reading
// is a library's.
type codec interface {
	compile(*shape) *node
	append(dst []byte, n *node, p unsafe.Pointer, level int) ([]byte, *fault)
	decode(data []byte, v any) error
	tags() []string                        // struct tags, the first that is present wins
	methods(reflect.Type) (methods, error) // the methods of a type that replace its encoding
	wants() string                         // the methods to give a type, for hints
}

func codecFor(c event.Codec) (codec, error) {
	switch c {
	case event.JSON:
		return jsonCodec{}, nil
	case event.CBOR:
		return cborCodec{}, nil
	}
	return nil, fmt.Errorf("%v does not exist; there are json and cbor", c)
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
