package payload

import (
	"bytes"
	"reflect"
	"slices"
	"time"
	"unsafe"
)

// An owner makes a value its own: it replaces what the value refers to by
// private copies, and brings it to the form decoding gives. Like checks it
// holds only the places where something is to be done. The nil *owner does
// nothing.
type owner struct {
	steps []ownStep
}

type ownStep struct {
	off   uintptr
	op    ownOp
	typ   reflect.Type
	sub   *owner // of elements, nil if a plain copy of them will do
	n     int    // elements of an array
	empty bool   // an empty slice or map becomes nil
}

type ownOp uint8

const (
	ownTime ownOp = iota
	ownZero
	ownPositive32 // -0 becomes 0
	ownPositive64
	ownBytes
	ownStrings
	ownArray
	ownSlice
	ownMap
	ownPointer
)

func compileOwner(root *shape) *owner {
	b := ownBuilder{done: map[*shape]*owner{}, works: map[*shape]bool{}}
	for changed := true; changed; {
		changed = false
		for s := range root.reachable() {
			if !b.works[s] && b.worksOn(s) {
				b.works[s], changed = true, true
			}
		}
	}
	return b.of(root)
}

type ownBuilder struct {
	done  map[*shape]*owner
	works map[*shape]bool // shapes with something to do, below them included
}

func (b *ownBuilder) worksOn(s *shape) bool {
	switch s.class {
	case instant, octets, list, mapping, pointer:
		return true
	case array:
		return b.works[s.elem]
	default: // a record, or without members
	}
	for _, f := range s.fields {
		if f.skip || f.positive() || b.works[f.shape] {
			return true
		}
	}
	return false
}

// positive reports whether a negative zero in the field would be left out.
func (f *field) positive() bool { return (f.omitEmpty || f.omitZero) && f.shape.class == float }

func (b *ownBuilder) of(s *shape) *owner {
	if !b.works[s] {
		return nil
	}
	if o, ok := b.done[s]; ok {
		return o
	}
	o := &owner{}
	b.done[s] = o
	o.steps = b.steps(nil, s, 0, false)
	return o
}

func (b *ownBuilder) steps(dst []ownStep, s *shape, off uintptr, empty bool) []ownStep {
	if !b.works[s] {
		return dst
	}
	step := ownStep{off: off, typ: s.typ, empty: empty}
	switch s.class {
	case instant:
		step.op = ownTime
	case octets:
		step.op = ownBytes
	case list:
		step.op, step.sub = ownSlice, b.of(s.elem)
		if s.elem.class == text {
			step.op = ownStrings
		}
	case array:
		step.op, step.sub, step.n = ownArray, b.of(s.elem), s.typ.Len()
	case mapping:
		step.op, step.sub = ownMap, b.of(s.elem)
	case pointer:
		step.op, step.sub = ownPointer, b.of(s.elem)
	case record:
		for _, f := range s.fields {
			switch {
			case f.skip:
				dst = append(dst, ownStep{off: off + f.off, op: ownZero, typ: f.shape.typ})
			case f.positive() && f.shape.typ.Kind() == reflect.Float32:
				dst = append(dst, ownStep{off: off + f.off, op: ownPositive32})
			case f.positive():
				dst = append(dst, ownStep{off: off + f.off, op: ownPositive64})
			default:
				dst = b.steps(dst, f.shape, off+f.off, f.omitEmpty)
			}
		}
		return dst
	default: // the rest has nothing to own
	}
	return append(dst, step)
}

func (o *owner) run(p unsafe.Pointer) {
	if o == nil {
		return
	}
	for i := range o.steps {
		s := &o.steps[i]
		at := unsafe.Add(p, s.off)
		switch s.op {
		case ownTime:
			t := (*time.Time)(at)
			*t = t.UTC()
		case ownZero:
			reflect.NewAt(s.typ, at).Elem().SetZero()
		case ownPositive32:
			if f := (*float32)(at); *f == 0 {
				*f = 0
			}
		case ownPositive64:
			if f := (*float64)(at); *f == 0 {
				*f = 0
			}
		case ownBytes:
			b := (*[]byte)(at)
			if *b = bytes.Clone(*b); s.empty && len(*b) == 0 {
				*b = nil
			}
		case ownStrings:
			list := (*[]string)(at)
			if *list = slices.Clone(*list); s.empty && len(*list) == 0 {
				*list = nil
			}
		case ownArray:
			s.elements(at, s.n)
		case ownSlice:
			s.slice(at)
		case ownMap:
			s.mapping(at)
		case ownPointer:
			s.pointer(at)
		}
	}
}

func (s *ownStep) elements(base unsafe.Pointer, n int) {
	if s.sub == nil {
		return
	}
	size := s.typ.Elem().Size()
	for i := range n {
		s.sub.run(unsafe.Add(base, uintptr(i)*size))
	}
}

func (s *ownStep) slice(at unsafe.Pointer) {
	v := reflect.NewAt(s.typ, at).Elem()
	switch {
	case v.IsNil():
	case v.Len() == 0:
		if s.empty {
			v.SetZero()
		} else {
			v.Set(reflect.MakeSlice(s.typ, 0, 0))
		}
	default:
		c := reflect.MakeSlice(s.typ, v.Len(), v.Len())
		reflect.Copy(c, v)
		v.Set(c)
		s.elements(v.UnsafePointer(), v.Len())
	}
}

func (s *ownStep) mapping(at unsafe.Pointer) {
	v := reflect.NewAt(s.typ, at).Elem()
	if v.IsNil() {
		return
	}
	if v.Len() == 0 && s.empty {
		v.SetZero()
		return
	}
	c := reflect.MakeMapWithSize(s.typ, v.Len())
	key, elem := reflect.New(s.typ.Key()).Elem(), reflect.New(s.typ.Elem())
	for it := v.MapRange(); it.Next(); {
		key.SetIterKey(it)
		elem.Elem().SetIterValue(it)
		s.sub.run(elem.UnsafePointer())
		c.SetMapIndex(key, elem.Elem())
	}
	v.Set(c)
}

func (s *ownStep) pointer(at unsafe.Pointer) {
	v := reflect.NewAt(s.typ, at).Elem()
	if v.IsNil() {
		return
	}
	c := reflect.New(s.typ.Elem())
	c.Elem().Set(v.Elem())
	v.Set(c)
	s.sub.run(c.UnsafePointer())
}
