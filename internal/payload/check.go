package payload

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"
)

// checks finds what of a value would not survive its codec. It holds only the
// places where something can be wrong, with nested structs flattened, so most
// payloads cost a few string scans. The nil *checks has nothing to look at.
type checks struct {
	steps []checkStep
}

type checkStep struct {
	off  uintptr
	op   checkOp
	name string       // Go path from the enclosing value
	typ  reflect.Type // of what is at off
	sub  *checks      // of elements, nil if there is nothing to look at
	key  *checks      // of map keys
	n    int          // elements of an array
}

type checkOp uint8

const (
	checkText checkOp = iota
	checkFloat32
	checkFloat64
	checkTime
	checkNumber
	checkMarshalText
	checkArray
	checkSlice
	checkMap
	checkPointer
	checkTimePointer
)

// A fault is a value that would not survive, with where it is.
type fault struct{ path, why string }

func (f *fault) Error() string { return f.path + " " + f.why }

func (f *fault) under(path string) *fault {
	switch {
	case f.path == "":
		f.path = path
	case f.path[0] == '[' || path == "":
		f.path = path + f.path
	default:
		f.path = path + "." + f.path
	}
	return f
}

func compileChecks(root *shape, c codec) *checks {
	b := checkBuilder{codec: c, done: map[*shape]*checks{}, looks: map[*shape]bool{}}
	b.mark(root)
	return b.of(root)
}

type checkBuilder struct {
	codec codec
	done  map[*shape]*checks
	looks map[*shape]bool // shapes with something to look at, below them included
}

// mark computes looks: a fixed point, since types may be recursive.
func (b *checkBuilder) mark(root *shape) {
	for changed := true; changed; {
		changed = false
		for s := range root.reachable() {
			if !b.looks[s] && b.looksAt(s) {
				b.looks[s], changed = true, true
			}
		}
	}
}

func (b *checkBuilder) looksAt(s *shape) bool {
	switch s.class {
	case text, literal, instant:
		return true
	case float:
		return !b.codec.nonFinite()
	case custom:
		return b.codec.rewrites(s.methods)
	}
	for _, f := range s.fields {
		if !f.skip && b.looks[f.shape] {
			return true
		}
	}
	// A type that contains itself can be nested too deep.
	return s.elem != nil && (b.looks[s.elem] || s.recursive()) || s.key != nil && b.looks[s.key]
}

// recursive reports whether values of s can contain values of s.
func (s *shape) recursive() bool {
	for child := range s.elem.reachable() {
		if child == s {
			return true
		}
	}
	return false
}

func (b *checkBuilder) of(s *shape) *checks {
	if s == nil || !b.looks[s] {
		return nil
	}
	if c, ok := b.done[s]; ok {
		return c
	}
	c := &checks{}
	b.done[s] = c
	c.steps = b.steps(nil, s, 0, "")
	return c
}

func (b *checkBuilder) steps(dst []checkStep, s *shape, off uintptr, name string) []checkStep {
	if !b.looks[s] {
		return dst
	}
	step := checkStep{off: off, name: name, typ: s.typ}
	switch s.class {
	case text:
		step.op = checkText
	case literal:
		step.op = checkNumber
	case instant:
		step.op = checkTime
	case float:
		step.op = checkFloat64
		if s.typ.Kind() == reflect.Float32 {
			step.op = checkFloat32
		}
	case custom:
		step.op = checkMarshalText
	case record:
		for _, f := range s.fields {
			if !f.skip {
				dst = b.steps(dst, f.shape, off+f.off, join(name, f.name))
			}
		}
		return dst
	case array:
		step.op, step.sub, step.n = checkArray, b.of(s.elem), s.typ.Len()
	case list:
		step.op, step.sub = checkSlice, b.of(s.elem)
	case mapping:
		step.op, step.sub, step.key = checkMap, b.of(s.elem), b.of(s.key)
	case pointer:
		step.op, step.sub = checkPointer, b.of(s.elem)
		if s.elem.class == instant && b.codec.zeroTimeIsNil() {
			step.op = checkTimePointer
		}
	}
	return append(dst, step)
}

// run returns the first fault of the value at p, or nil.
func (c *checks) run(p unsafe.Pointer, level int) *fault {
	if level > maxLevels {
		return &fault{why: "is nested more than " + strconv.Itoa(maxLevels) + " levels deep, or contains itself"}
	}
	for i := range c.steps {
		s := &c.steps[i]
		at := unsafe.Add(p, s.off)
		var f *fault
		switch s.op {
		case checkText:
			if str := *(*string)(at); !utf8.ValidString(str) {
				f = &fault{why: fmt.Sprintf("is not valid UTF-8: %.80q; use []byte for binary data", str)}
			}
		case checkFloat64:
			f = finite(*(*float64)(at))
		case checkFloat32:
			f = finite(float64(*(*float32)(at)))
		case checkTime:
			f = writable(*(*time.Time)(at))
		case checkNumber:
			f = numeric(*(*json.Number)(at))
		case checkMarshalText:
			f = s.marshalText(at)
		case checkArray:
			f = s.elements(at, s.n, level)
		case checkSlice:
			header := (*sliceHeader)(at)
			f = s.elements(header.data, header.len, level)
		case checkMap:
			f = s.entries(at, level)
		case checkPointer:
			if target := *(*unsafe.Pointer)(at); target != nil {
				f = s.sub.run(target, level+1)
			}
		case checkTimePointer:
			if t := *(**time.Time)(at); t != nil && t.IsZero() {
				f = &fault{why: "points to the zero time, which CBOR cannot tell from nil; use nil for an absent time"}
			} else if t != nil {
				f = writable(*t)
			}
		}
		if f != nil {
			return f.under(s.name)
		}
	}
	return nil
}

// sliceHeader is how a slice lies in memory; it is only ever read.
type sliceHeader struct {
	data unsafe.Pointer
	len  int
	cap  int
}

func (s *checkStep) elements(base unsafe.Pointer, n, level int) *fault {
	size := s.typ.Elem().Size()
	for i := range n {
		if f := s.sub.run(unsafe.Add(base, uintptr(i)*size), level+1); f != nil {
			return f.under("[" + strconv.Itoa(i) + "]")
		}
	}
	return nil
}

// entries reports the fault with the smallest path, since maps have no order.
func (s *checkStep) entries(at unsafe.Pointer, level int) *fault {
	m := reflect.NewAt(s.typ, at).Elem()
	if m.Len() == 0 {
		return nil
	}
	var worst *fault
	key, elem := reflect.New(s.typ.Key()), reflect.New(s.typ.Elem())
	for it := m.MapRange(); it.Next(); {
		var f *fault
		if s.key != nil {
			key.Elem().SetIterKey(it)
			if f = s.key.run(key.UnsafePointer(), level+1); f != nil {
				f.why = "has a key that " + f.why
			}
		}
		if f == nil && s.sub != nil {
			elem.Elem().SetIterValue(it)
			if f = s.sub.run(elem.UnsafePointer(), level+1); f != nil {
				f = f.under(fmt.Sprintf("[%.80q]", fmt.Sprint(it.Key())))
			}
		}
		if f != nil && (worst == nil || f.Error() < worst.Error()) {
			worst = f
		}
	}
	return worst
}

func (s *checkStep) marshalText(at unsafe.Pointer) *fault {
	m, ok := reflect.NewAt(s.typ, at).Interface().(encoding.TextMarshaler)
	if !ok {
		return nil
	}
	out, err := m.MarshalText()
	switch {
	case err != nil:
		return &fault{why: "cannot be written: " + err.Error()}
	case !utf8.Valid(out):
		return &fault{why: fmt.Sprintf("writes itself as text that is not valid UTF-8: %.80q", out)}
	}
	return nil
}

func finite(f float64) *fault {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return &fault{why: fmt.Sprintf("is %v, which JSON cannot hold; use a pointer field for an absent number", f)}
	}
	return nil
}

func writable(t time.Time) *fault {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return &fault{why: fmt.Sprintf("is in the year %d; only 0 to 9999 can be written", year)}
	}
	return nil
}

func numeric(n json.Number) *fault {
	if !json.Valid([]byte(n)) || n == "" || n[0] != '-' && (n[0] < '0' || n[0] > '9') {
		return &fault{why: fmt.Sprintf("is not a number: %.80q", string(n))}
	}
	return nil
}
