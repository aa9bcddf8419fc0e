package payload

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// maxLevels is how deep containers may nest. The limit is checked when a value
// is encoded, so whatever was written can be read, and a value that contains
// itself is an error instead of an endless loop.
const maxLevels = 1000

// A node is a shape compiled for writing: offsets, sizes and member names are
// known, inline members lie among the outer ones.
type node struct {
	shape   *shape
	class   class
	size    uintptr // of a number; of an element
	length  int     // of an array
	bytes   bool    // an array of bytes
	key     *node
	elem    *node
	members []member
	fixed   bool // no member is ever omitted
}

type member struct {
	off    uintptr
	name   string // Go path within the record, for errors
	prefix []byte // what precedes the value: its name, encoded
	node   *node
	omit   func(unsafe.Pointer) bool // nil: never
	quote  bool                      // a number written as text
}

// A fault says what of a value would not survive its codec, and where it is.
type fault struct{ path, why string }

func (f *fault) Error() string {
	if f.path == "" {
		return "it " + f.why
	}
	path := f.path
	if len(path) > 200 { // of a value that contains itself, say
		path = path[:100] + "…" + path[len(path)-60:]
	}
	return strings.ToValidUTF8(path, "") + " " + f.why
}

func (f *fault) under(path string) *fault {
	if f.path != "" && f.path[0] != '[' {
		path += "."
	}
	return &fault{path: path + f.path, why: f.why}
}

var errTooDeep = &fault{why: "is nested more than " + strconv.Itoa(maxLevels) + " levels deep, or contains itself"}

// compileNode compiles a shape; prefix encodes a member's name.
func compileNode(root *shape, prefix func(name string) []byte) *node {
	b := nodeBuilder{prefix: prefix, done: map[*shape]*node{}}
	return b.of(root)
}

type nodeBuilder struct {
	prefix func(name string) []byte
	done   map[*shape]*node
}

func (b *nodeBuilder) of(s *shape) *node {
	if s == nil {
		return nil
	}
	if n, ok := b.done[s]; ok {
		return n
	}
	n := &node{shape: s, class: s.class, size: s.typ.Size(), fixed: true}
	b.done[s] = n
	n.key, n.elem = b.of(s.key), b.of(s.elem)
	switch s.class {
	case array:
		n.length, n.size = s.typ.Len(), s.typ.Elem().Size()
		n.bytes = s.typ.Elem().Kind() == reflect.Uint8 && s.elem.class == unsigned
	case list:
		n.size = s.typ.Elem().Size()
	case record:
		b.members(n, s.fields, 0, "")
	default: // nothing more to know
	}
	return n
}

func (b *nodeBuilder) members(n *node, fields []field, off uintptr, path string) {
	for _, f := range fields {
		switch {
		case f.skip:
		case f.inline:
			b.members(n, f.shape.fields, off+f.off, join(path, f.name))
		default:
			m := member{off: off + f.off, name: join(path, f.name), prefix: b.prefix(f.wire), node: b.of(f.shape), quote: f.quote}
			switch {
			case f.omitEmpty:
				m.omit = emptyOf(f.shape.typ)
			case f.omitZero:
				m.omit = zeroOf(f.shape.typ)
			}
			n.fixed = n.fixed && m.omit == nil
			n.members = append(n.members, m)
		}
	}
}

// emptyOf returns the test of omitempty, nil for types that are never empty.
func emptyOf(t reflect.Type) func(unsafe.Pointer) bool {
	size := t.Size()
	switch t.Kind() {
	case reflect.Struct:
		return nil
	case reflect.Array:
		if t.Len() > 0 {
			return nil
		}
		return func(unsafe.Pointer) bool { return true }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return *(*string)(p) == "" }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return (*sliceHeader)(p).len == 0 }
	case reflect.Map:
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().Len() == 0 }
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Float32:
		return func(p unsafe.Pointer) bool { return *(*float32)(p) == 0 }
	case reflect.Float64:
		return func(p unsafe.Pointer) bool { return *(*float64)(p) == 0 }
	default: // booleans and integers
		return func(p unsafe.Pointer) bool { return loadUint(p, size) == 0 }
	}
}

// zeroOf returns the test of omitzero: the type's own IsZero, else being zero.
func zeroOf(t reflect.Type) func(unsafe.Pointer) bool {
	if t == timeType {
		return func(p unsafe.Pointer) bool { return (*time.Time)(p).IsZero() }
	}
	own := reflect.PointerTo(t).Implements(reflect.TypeFor[interface{ IsZero() bool }]())
	return func(p unsafe.Pointer) bool {
		v := reflect.NewAt(t, p)
		if own && (t.Kind() != reflect.Pointer || !v.Elem().IsNil()) {
			return v.Interface().(interface{ IsZero() bool }).IsZero()
		}
		return v.Elem().IsZero()
	}
}

// sliceHeader is how a slice lies in memory; it is only ever read.
type sliceHeader struct {
	data unsafe.Pointer
	len  int
	cap  int
}

func loadInt(p unsafe.Pointer, size uintptr) int64 {
	switch size {
	case 1:
		return int64(*(*int8)(p))
	case 2:
		return int64(*(*int16)(p))
	case 4:
		return int64(*(*int32)(p))
	}
	return *(*int64)(p)
}

func loadUint(p unsafe.Pointer, size uintptr) uint64 {
	switch size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

// appendEntries writes the entries of a map, in the order of their keys, with
// between between two. entry writes one and says what to sort it by. If several
// entries are at fault the one with the smallest path is reported, so that the
// same value always gives the same error.
func (n *node) appendEntries(dst []byte, m reflect.Value, between string, entry func(dst []byte, key, elem unsafe.Pointer) ([]byte, entryKey, *fault)) ([]byte, *fault) {
	s := scratches.Get().(*scratch)
	defer s.release()
	key, elem := reflect.New(n.shape.typ.Key()), reflect.New(n.shape.typ.Elem())
	var worst *fault
	for it := m.MapRange(); it.Next(); {
		key.Elem().SetIterKey(it)
		elem.Elem().SetIterValue(it)
		start := len(s.buf)
		buf, k, f := entry(s.buf, key.UnsafePointer(), elem.UnsafePointer())
		if f != nil && (worst == nil || f.Error() < worst.Error()) {
			worst = f
		}
		s.buf = buf
		s.spans = append(s.spans, span{k.sort, start, start + k.len, len(buf)})
	}
	if worst != nil {
		return dst, worst
	}
	slices.SortFunc(s.spans, func(a, b span) int {
		return cmp.Or(strings.Compare(a.sort, b.sort), bytes.Compare(s.key(a), s.key(b)))
	})
	for i, e := range s.spans {
		if i > 0 {
			if bytes.Equal(s.key(e), s.key(s.spans[i-1])) {
				return dst, &fault{why: "has two keys that are both written as " + strconv.Quote(clip(s.key(e)))}
			}
			dst = append(dst, between...)
		}
		dst = append(dst, s.buf[e.start:e.end]...)
	}
	return dst, nil
}

// An entryKey says how many bytes of an entry are its key, and what to sort
// the entry by before those bytes.
type entryKey struct {
	len  int
	sort string
}

// A scratch holds the entries of a map before they are put in order. Maps
// within maps take one each.
type scratch struct {
	buf   []byte
	spans []span
}

type span struct {
	sort            string
	start, key, end int
}

func (s *scratch) key(e span) []byte { return s.buf[e.start:e.key] }

func (s *scratch) release() {
	clear(s.spans)
	s.buf, s.spans = s.buf[:0], s.spans[:0]
	scratches.Put(s)
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// entryPath names an entry of a map in an error.
func entryPath(key reflect.Value) string {
	text := strings.Trim(strconv.Quote(clip([]byte(stringOf(key)))), `"`)
	return `["` + text + `"]`
}

func stringOf(v reflect.Value) string {
	switch v.Kind() {
	case reflect.String:
		return v.String()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	}
	return "…"
}

func clip(b []byte) string { return string(b[:min(len(b), 80)]) }

// bad returns the fault of a string that is not UTF-8.
func bad(s string) *fault {
	return &fault{why: "is not valid UTF-8: " + strconv.Quote(clip([]byte(s))) + "; use []byte for binary data"}
}

// checkYear returns a fault if t has no RFC 3339 form.
func checkYear(t time.Time) *fault {
	if year := t.Year(); year < 0 || year > 9999 {
		return &fault{why: "is in the year " + strconv.Itoa(year) + "; only 0 to 9999 can be written"}
	}
	return nil
}
