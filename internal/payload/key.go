package payload

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/weirflow/weir/event"
)

// MaxKey is the length of the longest encoded key, in bytes.
const MaxKey = 4096

// A KeyType is how keys of type K are written, read and ordered. It is
// immutable and safe for concurrent use.
//
// The text of a string is itself, of an integer its decimal form, of a boolean
// true or false, of a non-empty array of bytes its lower-case hexadecimal form.
// Other arrays and structs are a JSON array of their elements or fields, in
// which strings and byte arrays are JSON strings: ["eu",17,[true,false]]. A
// type of size zero, the key of everything, is the empty text. Each key has one
// text, and different keys of a type have different texts.
type KeyType[K comparable] struct {
	root *keyShape
}

// KeyFor compiles a key type. Strings, integers, booleans, and arrays and
// structs of those with exported fields can be keys; the error says for each
// part that cannot what to do.
func KeyFor[K comparable]() (*KeyType[K], error) {
	typ := reflect.TypeFor[K]()
	if typ.Size() == 0 {
		return &KeyType[K]{root: &keyShape{class: keyNothing}}, nil
	}
	var errs []error
	root := keyShapeOf(typ, typ.String(), &errs)
	if len(errs) > 0 {
		return nil, fmt.Errorf("%v cannot be a key: %w", typ, errors.Join(errs...))
	}
	return &KeyType[K]{root: root}, nil
}

// Append appends the text of k to dst. Text that is not UTF-8 and a key longer
// than [MaxKey] are errors of kind [event.KindValidation] and
// [event.KindTooLarge]; dst is then returned as it was.
func (t *KeyType[K]) Append(dst []byte, k K) ([]byte, error) {
	out, f := t.root.append(dst, unsafe.Pointer(&k), false)
	if f != nil {
		return dst, event.Invalid(fmt.Errorf("encode key: %w", f))
	}
	if n := len(out) - len(dst); n > MaxKey {
		return dst, event.Mark(event.KindTooLarge, fmt.Errorf("encode key: it is %d bytes long, the limit is %d", n, MaxKey))
	}
	return out, nil
}

// Parse returns the key a text was written for. It accepts exactly the texts
// [KeyType.Append] gives; other text is an error of kind [event.KindDecode].
func (t *KeyType[K]) Parse(text string) (K, error) {
	var k, zero K
	if len(text) > MaxKey {
		return zero, event.Mark(event.KindDecode, fmt.Errorf("parse key: it is %d bytes long, the limit is %d", len(text), MaxKey))
	}
	r := keyReader{rest: text}
	if err := t.root.parse(&r, unsafe.Pointer(&k), false); err != nil {
		return zero, event.Mark(event.KindDecode, fmt.Errorf("parse key %.80q: %w", text, err))
	}
	if r.rest != "" {
		return zero, event.Mark(event.KindDecode, fmt.Errorf("parse key %.80q: %.80q is left over", text, r.rest))
	}
	if out, err := t.Append(nil, k); err != nil || string(out) != text {
		return zero, event.Mark(event.KindDecode, fmt.Errorf("parse key %.80q: the key is written %.80q", text, out))
	}
	return k, nil
}

// Compare orders keys: strings bytewise, integers by value, false before true,
// arrays and structs element by element. It returns -1, 0 or 1, and 0 only for
// equal keys.
func (t *KeyType[K]) Compare(a, b K) int {
	return t.root.compare(unsafe.Pointer(&a), unsafe.Pointer(&b))
}

// KeyHash is FNV-1a, 64 bits, of an encoded key (offset basis
// 14695981039346656037, prime 1099511628211). It decides slots and therefore
// never changes.
func KeyHash(text []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range text {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// KeySlot returns the slot, 0 to slots-1, of an encoded key: its [KeyHash]
// with the upper half folded onto the lower, modulo slots. (The low bits of
// FNV-1a alone see only the low bits of each byte.)
func KeySlot(text []byte, slots int) int {
	if slots <= 1 {
		return 0
	}
	h := KeyHash(text)
	return int((h ^ h>>32) % uint64(slots))
}

type keyClass uint8

const (
	keyNothing keyClass = iota
	keyString
	keyInt
	keyUint
	keyBool
	keyBytes // [n]byte, n > 0
	keyTuple // any other array, or a struct
)

type keyShape struct {
	class keyClass
	size  uintptr
	parts []keyPart // of a tuple
}

type keyPart struct {
	off  uintptr
	path string
	keyShape
}

func keyShapeOf(typ reflect.Type, path string, errs *[]error) *keyShape {
	s := &keyShape{size: typ.Size()}
	refuse := func(format string, args ...any) *keyShape {
		*errs = append(*errs, fmt.Errorf("%s %s", path, fmt.Sprintf(format, args...)))
		return s
	}
	switch typ.Kind() {
	case reflect.String:
		s.class = keyString
	case reflect.Bool:
		s.class = keyBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.class = keyInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.class = keyUint
	case reflect.Array:
		if typ.Elem().Kind() == reflect.Uint8 && typ.Len() > 0 {
			s.class = keyBytes
			return s
		}
		if typ.Len() > MaxKey/2 {
			return refuse("has %d elements, more than a key can hold", typ.Len())
		}
		s.class = keyTuple
		elem := keyShapeOf(typ.Elem(), path+"[]", errs)
		for i := range typ.Len() {
			s.parts = append(s.parts, keyPart{uintptr(i) * typ.Elem().Size(), fmt.Sprintf("%s[%d]", path, i), *elem})
		}
	case reflect.Struct:
		s.class = keyTuple
		for f := range typ.Fields() {
			here := path + "." + f.Name
			if !f.IsExported() {
				*errs = append(*errs, fmt.Errorf("%s is unexported: export it, or leave it out of the key", here))
				continue
			}
			s.parts = append(s.parts, keyPart{f.Offset, here, *keyShapeOf(f.Type, here, errs)})
		}
	case reflect.Float32, reflect.Float64:
		return refuse("is a %v, and equal amounts may differ in the last bit: use an integer or a string", typ)
	case reflect.Pointer:
		return refuse("is a pointer: use %v itself", typ.Elem())
	default:
		return refuse("is a %v: use strings, integers, booleans, or arrays and structs of those", typ)
	}
	return s
}

// append writes the key at p; nested says that it is an element of a tuple.
func (s *keyShape) append(dst []byte, p unsafe.Pointer, nested bool) ([]byte, *fault) {
	switch s.class {
	case keyString:
		str := *(*string)(p)
		if !utf8.ValidString(str) {
			return dst, &fault{why: fmt.Sprintf("is not valid UTF-8: %.80q", str)}
		}
		if nested {
			return appendText(dst, str), nil
		}
		return append(dst, str...), nil
	case keyInt:
		return strconv.AppendInt(dst, loadInt(p, s.size), 10), nil
	case keyUint:
		return strconv.AppendUint(dst, loadUint(p, s.size), 10), nil
	case keyBool:
		return strconv.AppendBool(dst, *(*bool)(p)), nil
	case keyBytes:
		if nested {
			dst = append(dst, '"')
		}
		dst = hex.AppendEncode(dst, unsafe.Slice((*byte)(p), s.size))
		if nested {
			dst = append(dst, '"')
		}
		return dst, nil
	case keyTuple:
		dst = append(dst, '[')
		for i := range s.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			part := &s.parts[i]
			var f *fault
			if dst, f = part.append(dst, unsafe.Add(p, part.off), true); f != nil {
				if f.path == "" {
					f.path = part.path
				}
				return dst, f
			}
		}
		return append(dst, ']'), nil
	default: // keyNothing
		return dst, nil
	}
}

func (s *keyShape) compare(a, b unsafe.Pointer) int {
	switch s.class {
	case keyString:
		return cmp.Compare(*(*string)(a), *(*string)(b))
	case keyInt:
		return cmp.Compare(loadInt(a, s.size), loadInt(b, s.size))
	case keyUint:
		return cmp.Compare(loadUint(a, s.size), loadUint(b, s.size))
	case keyBool:
		x, y := *(*bool)(a), *(*bool)(b)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	case keyBytes:
		return cmp.Compare(unsafe.String((*byte)(a), s.size), unsafe.String((*byte)(b), s.size))
	case keyTuple:
		for i := range s.parts {
			part := &s.parts[i]
			if c := part.compare(unsafe.Add(a, part.off), unsafe.Add(b, part.off)); c != 0 {
				return c
			}
		}
	default: // keyNothing
	}
	return 0
}

// bits returns the size of an integer.
func (s *keyShape) bits() int { return int(s.size) * 8 }
