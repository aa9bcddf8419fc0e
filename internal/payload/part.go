package payload

import (
	"fmt"
	"reflect"
	"strings"
)

// A part is a type within another: its places in encoded data can be replaced
// without knowing the rest.
type part struct {
	codec codec
	typ   reflect.Type
	root  *shape
	node  *node // of typ
	holds map[*shape]bool
}

// holdsPart reports whether root is typ or has it in it where a part finds it. Types
// that everybody uses, such as string, are no parts.
func holdsPart(root *shape, typ reflect.Type) bool {
	return root.typ == typ || typ.PkgPath() != "" && reaches(root, typ, map[*shape]bool{})
}

// reaches reports whether typ is found in s, and notes so for what lies between.
// Maps are not looked into: a codec may write their keys as it likes.
func reaches(s *shape, typ reflect.Type, seen map[*shape]bool) bool {
	if s == nil || s.typ == typ {
		return s != nil
	}
	if found, ok := seen[s]; ok {
		return found
	}
	seen[s] = false // while it is looked at: a type within itself
	found := false
	switch s.class {
	case record:
		for i := range s.fields {
			if f := &s.fields[i]; !f.skip && reaches(f.shape, typ, seen) {
				found = true
			}
		}
	case list, array, pointer:
		found = reaches(s.elem, typ, seen)
	default: // holds nothing, or is not looked into
	}
	seen[s] = found
	return found
}

func compilePart(root *shape, typ reflect.Type, c codec) (*part, error) {
	s, err := compile(typ, c)
	if err != nil {
		return nil, err
	}
	p := &part{codec: c, typ: typ, root: root, node: c.compile(s), holds: map[*shape]bool{}}
	reaches(root, typ, p.holds)
	return p, nil
}

// cast returns data, a value of the root, with every value of the part as fn
// gives it.
func (p *part) cast(data []byte, fn func([]byte) ([]byte, error)) ([]byte, error) {
	return p.walk(p.root, data, fn)
}

func (p *part) walk(s *shape, data []byte, fn func([]byte) ([]byte, error)) ([]byte, error) {
	switch {
	case s.typ == p.typ:
		return fn(data)
	case !p.holds[s] || p.codec.isNull(data):
		return data, nil
	case s.class == pointer:
		return p.walk(s.elem, data, fn)
	case s.class == record:
		members, err := p.codec.members(data)
		if err == nil {
			err = p.fields(s.fields, members, fn)
		}
		if err != nil {
			return nil, err
		}
		return p.codec.joinMembers(members)
	}
	elements, err := p.codec.elements(data)
	if err != nil {
		return nil, err
	}
	for i := range elements {
		if elements[i], err = p.walk(s.elem, elements[i], fn); err != nil {
			return nil, err
		}
	}
	return p.codec.joinElements(elements)
}

func (p *part) fields(fields []field, members map[string][]byte, fn func([]byte) ([]byte, error)) (err error) {
	for i := range fields {
		f := &fields[i]
		switch data, ok := members[f.wire]; {
		case f.skip:
		case f.inline:
			err = p.fields(f.shape.fields, members, fn)
		case ok:
			members[f.wire], err = p.walk(f.shape, data, fn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Libraries have names of their own for encoded data.

func plainMap[R ~[]byte](raw map[string]R) map[string][]byte {
	out := make(map[string][]byte, len(raw))
	for k, v := range raw {
		out[k] = v
	}
	return out
}

func rawMap[R ~[]byte](plain map[string][]byte) map[string]R {
	out := make(map[string]R, len(plain))
	for k, v := range plain {
		out[k] = v
	}
	return out
}

func plainList[R ~[]byte](raw []R) [][]byte {
	out := make([][]byte, len(raw))
	for i, v := range raw {
		out[i] = v
	}
	return out
}

func rawList[R ~[]byte](plain [][]byte) []R {
	out := make([]R, len(plain))
	for i, v := range plain {
		out[i] = v
	}
	return out
}

// schemaWith describes what root was when it had old in the place of typ.
func schemaWith(root *shape, typ reflect.Type, old *shape) string {
	var b strings.Builder
	w := schemaWriter{&b, map[*shape]bool{}, typ, old}
	w.write(root)
	return b.String()
}

// Widens reports whether T is what a schema describes with nothing but fields
// added, at any depth: such data decodes as a T, with the new fields zero.
func (t *Type[T]) Widens(schema string) bool {
	rest, ok := widens(schema, t.node.shape)
	return ok && rest == ""
}

// widens matches the beginning of a schema with a shape and returns what follows.
func widens(schema string, s *shape) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(schema, "@"+bareName(s.typ)); ok {
		return rest, true // of a type within itself
	}
	var prefix string
	switch s.class {
	case record:
		if rest, ok = strings.CutPrefix(schema, "{"); !ok {
			return schema, false
		}
		now := map[string]*field{}
		flatten(now, s.fields)
		return widensFields(rest, now)
	case array:
		prefix = fmt.Sprintf("[%d]", s.typ.Len())
	case list:
		prefix = "[]"
	case mapping:
		prefix = "map[" + schemaOf(s.key) + "]"
	case pointer:
		prefix = "*"
	default:
		rest, ok = strings.CutPrefix(schema, schemaOf(s))
		return rest, ok && (rest == "" || strings.ContainsRune(",} ", rune(rest[0])))
	}
	if rest, ok = strings.CutPrefix(schema, prefix); !ok {
		return schema, false
	}
	return widens(rest, s.elem)
}

// flatten finds the fields of a record by their names, in whatever order they are.
func flatten(into map[string]*field, fields []field) {
	for i := range fields {
		switch f := &fields[i]; {
		case f.skip:
		case f.inline:
			flatten(into, f.shape.fields)
		default:
			into[f.wire] = f
		}
	}
}

// widensFields matches the fields of a record up to the brace that closes them.
func widensFields(schema string, now map[string]*field) (rest string, ok bool) {
	for rest = schema; ; rest = rest[1:] {
		if inner, found := strings.CutPrefix(rest, "...{"); found { // inline: its fields are among the outer ones
			if rest, ok = widensFields(inner, now); !ok {
				return schema, false
			}
		} else if rest[:min(1, len(rest))] == `"` {
			name, after, found := strings.Cut(rest[1:], `":`)
			f := now[name]
			if !found || f == nil {
				return schema, false
			}
			if rest, ok = widens(after, f.shape); !ok {
				return schema, false
			}
			if rest, ok = strings.CutPrefix(rest, f.options); !ok {
				return schema, false
			}
		}
		switch {
		case strings.HasPrefix(rest, "}"):
			return rest[1:], true
		case !strings.HasPrefix(rest, ","):
			return schema, false
		}
	}
}
