package payload

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// buildFields fills in the fields of a struct, as the codec's tags say.
func (b *builder) buildFields(s *shape, path string) {
	for i := range s.typ.NumField() {
		if f, ok := b.buildField(s.typ.Field(i), path); ok {
			s.fields = append(s.fields, f)
		}
	}
	owner := map[string]string{}
	var claim func(fields []field, path string)
	claim = func(fields []field, path string) {
		for _, f := range fields {
			here := join(path, f.name)
			switch {
			case f.inline:
				claim(f.shape.fields, here)
			case f.wire == "":
			case owner[f.wire] != "":
				b.refuse(here, "is written as %q like %s, so one of them would be lost: give one a %s tag", f.wire, owner[f.wire], b.codec.tags()[0])
			default:
				owner[f.wire] = here
			}
		}
	}
	claim(s.fields, path)
}

// buildField compiles one field; ok is false if there is nothing to keep, be
// it because the field was refused or because it has no content.
func (b *builder) buildField(sf reflect.StructField, path string) (f field, ok bool) {
	here := join(path, sf.Name)
	if sf.Name == "_" && sf.Type.Size() == 0 && sf.Tag == "" {
		return field{}, false
	}
	f = field{name: sf.Name, wire: sf.Name, off: sf.Offset}
	tag := b.tag(sf)
	name, options, _ := strings.Cut(tag, ",")
	if tag == "-" {
		if !sf.IsExported() {
			b.refuse(here, "is unexported; take it out of the payload")
			return f, false
		}
		f.wire, f.skip = "", true
		f.shape = &shape{typ: sf.Type, class: truth}
		return f, true
	}
	if name != "" {
		if !validWire(name) {
			b.refuse(here, "the tag name %q holds a character that codecs read differently: use letters, digits, _ and -", name)
			return f, false
		}
		f.wire = name
	}
	if sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Pointer && sf.Type.Elem().Kind() == reflect.Struct {
		b.refuse(here, "is an embedded pointer, which would be lost where nothing of it is written: embed %v itself, or give the field a name", sf.Type.Elem())
		return f, false
	}
	f.inline = sf.Anonymous && name == "" && sf.Type.Kind() == reflect.Struct && !b.whole(sf.Type)
	if !sf.IsExported() && !f.inline {
		b.refuse(here, "is unexported, so it would be lost: export it, or give %v methods %s", b.root, b.codec.wants())
		return f, false
	}
	f.shape = b.build(sf.Type, here)
	if f.inline {
		f.wire = ""
	}
	if options != "" {
		b.options(&f, options, here)
	}
	return f, true
}

// whole reports whether an embedded struct is written as one value.
func (b *builder) whole(t reflect.Type) bool {
	m, _ := b.codec.methods(t)
	return t == timeType || m != noMethods
}

// tag returns the tag that governs a field: the codec's own, or a fallback.
func (b *builder) tag(sf reflect.StructField) string {
	for _, key := range b.codec.tags() {
		if tag, ok := sf.Tag.Lookup(key); ok {
			return tag
		}
	}
	return ""
}

func (b *builder) options(f *field, options, path string) {
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
			continue
		case "omitempty":
			f.omitEmpty = true
		case "omitzero":
			f.omitZero = true
			if f.shape.class != instant && hasIsZero(f.shape.typ) {
				f.inexact = "is omitted when its own IsZero says so"
			}
		case "string":
			if f.shape.class != signed && f.shape.class != unsigned && f.shape.class != float {
				b.refuse(path, "the tag option string is for numbers, not for %v", f.shape.typ)
			}
			f.quote = true
		default:
			b.refuse(path, "the tag option %q is not known for %s", option, b.codec.tags()[0])
		}
		f.options += " " + option
	}
}

func hasIsZero(t reflect.Type) bool {
	_, ok := reflect.PointerTo(t).MethodByName("IsZero")
	return ok
}

func validWire(name string) bool {
	for _, c := range name {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("_-", c) {
			return false
		}
	}
	return name != ""
}

// schemaOf describes what is written, canonically: wire names, options and
// types in order. Names of Go types do not matter except where a type refers
// to itself or has an encoding of its own.
func schemaOf(s *shape) string {
	var b strings.Builder
	w := schemaWriter{b: &b, open: map[*shape]bool{}}
	w.write(s)
	return b.String()
}

// A schemaWriter writes one schema, with old in the place of typ if that is set.
type schemaWriter struct {
	b    *strings.Builder
	open map[*shape]bool
	typ  reflect.Type
	old  *shape
}

func (w *schemaWriter) write(s *shape) {
	if w.old != nil && s.typ == w.typ {
		s = w.old
	}
	b := w.b
	if w.open[s] {
		b.WriteString("@" + bareName(s.typ))
		return
	}
	w.open[s] = true
	defer delete(w.open, s)
	switch s.class {
	case instant:
		b.WriteString("time")
	case octets:
		b.WriteString("bytes")
	case custom:
		fmt.Fprintf(b, "%s(%s)", bareName(s.typ), s.methods)
	case record:
		b.WriteByte('{')
		w.fields(s.fields)
		b.WriteByte('}')
	case array:
		fmt.Fprintf(b, "[%d]", s.typ.Len())
		w.write(s.elem)
	case list:
		b.WriteString("[]")
		w.write(s.elem)
	case mapping:
		b.WriteString("map[")
		w.write(s.key)
		b.WriteByte(']')
		w.write(s.elem)
	case pointer:
		b.WriteByte('*')
		w.write(s.elem)
	default:
		b.WriteString(s.typ.Kind().String())
	}
}

func (w *schemaWriter) fields(fields []field) {
	first := true
	for _, f := range fields {
		if f.skip {
			continue
		}
		if !first {
			w.b.WriteByte(',')
		}
		first = false
		if f.inline {
			w.b.WriteString("...")
			w.write(f.shape)
			continue
		}
		fmt.Fprintf(w.b, "%q:", f.wire)
		w.write(f.shape)
		w.b.WriteString(f.options)
	}
}
