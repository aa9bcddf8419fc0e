package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"time"
)

// A class is what the walks distinguish.
type class uint8

const (
	truth    class = iota // bool
	signed                // int and its kin
	unsigned              // uint and its kin
	float                 // float32, float64
	text                  // string
	instant               // time.Time
	octets                // []byte
	record                // struct
	array                 // [n]E
	list                  // []E
	mapping               // map[K]E
	pointer               // *E
	custom                // has marshal and unmarshal methods of its own
)

// refers reports whether values of the class can be changed through a copy.
func (c class) refers() bool {
	return c == octets || c == list || c == mapping || c == pointer || c == custom
}

// A shape is a Go type as the codec sees it. Recursive types make cycles.
type shape struct {
	typ     reflect.Type
	class   class
	key     *shape  // of a mapping
	elem    *shape  // of an array, list, mapping, pointer
	fields  []field // of a record, in order
	methods methods // of a custom
	inexact string  // why decoding may give something else, if it may
}

type field struct {
	name      string // in Go
	wire      string // as written; empty if inline or skipped
	off       uintptr
	shape     *shape // nil if skipped
	inline    bool   // an embedded struct whose fields are written among the outer ones
	skip      bool   // tagged "-": not written, so zero after decoding
	omitEmpty bool
	omitZero  bool
	quote     bool   // a number written as text
	options   string // tag options that shape what is written, for the schema
	inexact   string
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	numberType = reflect.TypeFor[json.Number]()
)

// compile returns the shape of a payload type, or all the reasons against it.
func compile(typ reflect.Type, c codec) (*shape, error) {
	switch typ.Kind() {
	case reflect.Pointer:
		return nil, fmt.Errorf("payload %v is a pointer: use %v itself (its fields may be pointers)", typ, typ.Elem())
	case reflect.Interface:
		return nil, fmt.Errorf("payload %v is an interface, which does not say what to decode: use a concrete type", typ)
	}
	b := &builder{codec: c, root: typ, shapes: map[reflect.Type]*shape{}}
	s := b.build(typ, "")
	if len(b.errs) > 0 {
		return nil, fmt.Errorf("payload %v cannot be recorded: %w", typ, errors.Join(b.errs...))
	}
	return s, nil
}

type builder struct {
	codec  codec
	root   reflect.Type
	shapes map[reflect.Type]*shape
	errs   []error
}

func (b *builder) refuse(path, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s: %s", orRoot(path, b.root), fmt.Sprintf(format, args...)))
}

// build returns the shape of typ, found at path. On a refusal it records the
// error and returns a shape that nobody will use.
func (b *builder) build(typ reflect.Type, path string) *shape {
	if s, ok := b.shapes[typ]; ok {
		return s
	}
	s := &shape{typ: typ}
	b.shapes[typ] = s
	switch typ {
	case timeType:
		s.class = instant
		return s
	case numberType:
		b.refuse(path, "json.Number is text that need not be a number: use a number type, or a string")
		return s
	}
	if typ.Kind() != reflect.Interface && typ.Kind() != reflect.Pointer {
		m, err := b.codec.methods(typ)
		if err != nil {
			b.refuse(path, "%v", err)
			return s
		}
		if m != noMethods {
			if inner, ok := promoted(typ, "Marshal"+m.family); ok {
				b.refuse(path, "%v embeds %v, whose %s would be used for the whole and lose the other fields: give the embedded field a name", typ, inner, m)
				return s
			}
			s.class, s.methods = custom, m
			s.inexact = fmt.Sprintf("has its own %s, and only that knows what it gives back", m)
			return s
		}
	}
	switch kind := typ.Kind(); kind {
	case reflect.Bool:
		s.class = truth
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.class = signed
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.class = unsigned
	case reflect.Float32, reflect.Float64:
		s.class = float
	case reflect.String:
		s.class = text
	case reflect.Struct:
		s.class = record
		b.buildFields(s, path)
	case reflect.Array:
		s.class = array
		s.elem = b.build(typ.Elem(), path+"[]")
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			b.buildOctets(s, path)
			break
		}
		s.class = list
		s.elem = b.build(typ.Elem(), path+"[]")
	case reflect.Map:
		b.buildMap(s, path)
	case reflect.Pointer:
		b.buildPointer(s, path)
	case reflect.Interface:
		b.refuse(path, "%v is an interface, which does not say what to decode: use a concrete type, or one pointer field per variant", typ)
	case reflect.Func, reflect.Chan, reflect.UnsafePointer, reflect.Uintptr:
		b.refuse(path, "%v means nothing outside this process: leave it out of the payload", typ)
	case reflect.Complex64, reflect.Complex128:
		b.refuse(path, "%v has no encoding: use two float64 fields", typ)
	default:
		b.refuse(path, "%v cannot be encoded", typ)
	}
	return s
}

func (b *builder) buildOctets(s *shape, path string) {
	s.class = octets
	if elem := b.build(s.typ.Elem(), path+"[]"); elem.class == custom {
		s.class, s.elem = list, elem
	}
}

func (b *builder) buildMap(s *shape, path string) {
	s.class = mapping
	s.key = b.build(s.typ.Key(), path+"[key]")
	s.elem = b.build(s.typ.Elem(), path+"[]")
	switch {
	case s.key.class == text, s.key.class == signed, s.key.class == unsigned:
	case s.key.class == custom && b.codec.asKey(s.key.methods):
		if !s.key.methods.byValue {
			b.refuse(path, "map key %v has its %s on a pointer, which keys do not reach: put it on the value", s.typ.Key(), s.key.methods)
		}
	default:
		b.refuse(path, "%v cannot be a map key: use a string or an integer", s.typ.Key())
	}
	if s.elem.class == custom && !s.elem.methods.byValue {
		b.refuse(path, "map value %v has its %s on a pointer, which map values do not reach: put it on the value, or store pointers", s.typ.Elem(), s.elem.methods)
	}
}

func (b *builder) buildPointer(s *shape, path string) {
	s.class = pointer
	elem := s.typ.Elem()
	for t, seen := elem, map[reflect.Type]bool{s.typ: true}; t.Kind() == reflect.Pointer; t = t.Elem() {
		if seen[t] {
			b.refuse(path, "%v points only to itself", s.typ)
			s.elem = s
			return
		}
		seen[t] = true
	}
	s.elem = b.build(elem, path)
	switch elem.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		s.inexact = "points to something that may be nil, which cannot be told from being nil itself"
	}
}

// reachable yields each shape under s once, with the path it was first met at.
func (s *shape) reachable() iter.Seq2[*shape, string] {
	return func(yield func(*shape, string) bool) {
		seen := map[*shape]bool{}
		var visit func(s *shape, path string) bool
		visit = func(s *shape, path string) bool {
			if s == nil || seen[s] {
				return true
			}
			seen[s] = true
			if !yield(s, path) {
				return false
			}
			for _, f := range s.fields {
				if !visit(f.shape, join(path, f.name)) {
					return false
				}
			}
			suffix := "[]"
			if s.class == pointer {
				suffix = ""
			}
			return visit(s.key, path+"[key]") && visit(s.elem, path+suffix)
		}
		visit(s, "")
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// orRoot names the payload itself where a path is empty.
func orRoot(path string, root reflect.Type) string {
	if path == "" {
		return root.String()
	}
	return path
}

// holds reports whether a shape of class c is reachable from s.
func (s *shape) holds(c class) bool {
	for child := range s.reachable() {
		if child.class == c {
			return true
		}
	}
	return false
}
