package payload

import "unsafe"

// A place is where a value holds a number.
type place struct {
	off  uintptr
	size uintptr
}

// floatsOf appends the places of all floating point numbers in a value of a
// shape without references that begins at off.
func floatsOf(dst []place, s *shape, off uintptr) []place {
	switch s.class {
	case float:
		return append(dst, place{off, s.typ.Size()})
	case record:
		for i := range s.fields {
			if f := &s.fields[i]; f.shape != nil {
				dst = floatsOf(dst, f.shape, off+f.off)
			}
		}
	case array:
		if s.elem.holds(float) {
			for i := range s.typ.Len() {
				dst = floatsOf(dst, s.elem, off+uintptr(i)*s.elem.typ.Size())
			}
		}
	default: // holds none
	}
	return dst
}

// Same reports whether two values of a type in Mode [Share] are the same to the
// last bit, so that one's encoding is the other's: they are equal, and neither
// has a negative zero where the other has a positive one. A NaN is not the same
// as itself.
func (t *Type[T]) Same(a, b *T) bool {
	if any(*a) != any(*b) {
		return false
	}
	for _, p := range t.floats {
		x, y := unsafe.Add(unsafe.Pointer(a), p.off), unsafe.Add(unsafe.Pointer(b), p.off)
		if p.size == 4 && *(*uint32)(x) != *(*uint32)(y) || p.size == 8 && *(*uint64)(x) != *(*uint64)(y) {
			return false
		}
	}
	return true
}
