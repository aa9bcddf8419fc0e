package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
)

// Recorded says as what a payload was written.
type Recorded struct {
	Name   string // payload name; of state, that of the type that people know
	Schema string // hash of its schema, in hex; empty if that is not known
}

// older holds the ways from what was recorded to the current type.
type older struct{ ways []*way }

// A way reads data that was recorded as another type.
type way struct {
	from   string // the recorded name that its first upcaster accepts
	name   string // what the whole was called then
	schema string // what it was then, as hash in hex
	whole  bool   // it casts the whole, not a part
	own    bool   // what it casts has the same name today: only the schema tells them apart
	steps  []event.Upcaster
	part   *part // of a part
}

// compileOlder follows each upcaster until it gives typ, or a part of it, and
// compiles the types they decode.
func compileOlder(root *shape, name string, c codec, codecName event.Codec, up []event.Upcaster) (*older, error) {
	o := &older{}
	for i, first := range up {
		if first.From() == "" {
			return nil, errors.New("an upcaster has no name to cast from")
		}
		for _, other := range up[:i] {
			if other.From() == first.From() && sameOld(first, other, c) {
				return nil, fmt.Errorf("there are two upcasters from %q: keep one", first.From())
			}
		}
		steps, to, err := follow(first, root, up)
		if err != nil {
			return nil, err
		}
		if steps == nil {
			continue
		}
		from, _ := first.Types()
		old, err := compile(from, c)
		if err != nil {
			return nil, fmt.Errorf("upcast from %q: %w", first.From(), err)
		}
		now, err := nameOf(to)
		if err != nil {
			return nil, err
		}
		w := &way{from: first.From(), name: first.From(), whole: to == root.typ, own: first.From() == now, steps: steps}
		w.schema = HashOf(codecName, schemaWith(root, to, old))
		if !w.whole {
			if w.part, err = compilePart(root, to, c); err != nil {
				return nil, err
			}
			w.name = strings.ReplaceAll(name, "["+now+"]", "["+first.From()+"]")
		}
		if w.own && w.schema == HashOf(codecName, schemaOf(root)) {
			return nil, fmt.Errorf("an upcaster casts from %q, which is what %v is today: give the new type a new version", first.From(), to)
		}
		o.ways = append(o.ways, w)
	}
	return o, nil
}

// sameOld reports whether two upcasters of one name decode the same.
func sameOld(a, b event.Upcaster, c codec) bool {
	x, _ := a.Types()
	y, _ := b.Types()
	if x == y {
		return true
	}
	sx, err := compile(x, c)
	sy, err2 := compile(y, c)
	return err != nil || err2 != nil || schemaOf(sx) == schemaOf(sy)
}

// HashOf returns the hash of a schema under a codec, in hex.
func HashOf(c event.Codec, schema string) string {
	sum := sha256.Sum256([]byte(c.String() + " " + schema))
	return hex.EncodeToString(sum[:])
}

// follow returns the steps from an upcaster to the type of root, or of a part of
// it, and which; nil if they do not lead there.
func follow(u event.Upcaster, root *shape, up []event.Upcaster) ([]event.Upcaster, reflect.Type, error) {
	var way []event.Upcaster
	first := u
	for range up {
		way = append(way, u)
		_, to := u.Types()
		if to.Kind() == reflect.Pointer || to.Kind() == reflect.Interface {
			return nil, nil, fmt.Errorf("upcast from %q gives a %v: give a concrete type", u.From(), to)
		}
		if holdsPart(root, to) {
			return way, to, nil
		}
		name, err := nameOf(to)
		if err != nil {
			return nil, nil, err
		}
		named, at := -1, -1
		for i := range up {
			switch from, _ := up[i].Types(); {
			case up[i].From() != name:
			case from == to:
				at = i
			case !keepsName(up[i]):
				named = i
			}
		}
		switch {
		case at < 0 && named < 0:
			return nil, nil, nil
		case at < 0:
			from, _ := up[named].Types()
			return nil, nil, fmt.Errorf("upcast from %q gives %v, but the one from %q wants %v", u.From(), to, name, from)
		}
		u = up[at]
	}
	return nil, nil, fmt.Errorf("upcasters from %q lead in a circle", first.From())
}

// keepsName reports whether what an upcaster gives is called as what it takes: then
// several types have that name.
func keepsName(u event.Upcaster) bool {
	_, to := u.Types()
	name, err := nameOf(to)
	return err == nil && name == u.From()
}

// find returns the way from what was recorded, nil if there is none. Where the name
// is today's, only the schema that an upcaster wants will do: anything else would
// be a guess.
func (t *Type[T]) find(was Recorded) *way {
	var found *way
	for _, w := range t.older.ways {
		part := !w.whole && was.Name == t.Name
		if was.Name != w.name && was.Name != w.from && !part {
			continue
		}
		if was.Schema != "" && was.Schema == w.schema {
			return w
		}
		if w.own || part {
			continue
		}
		if found != nil {
			return nil // a guess, likewise
		}
		found = w
	}
	return found
}

// A Reading is how recorded data is read.
type Reading uint8

// The ways to read.
const (
	Unreadable Reading = iota
	AsIs               // by the current type
	Upcast             // by upcasters
)

// Reads tells how [Type.DecodeAs] reads what was recorded. AsIs says nothing of
// data whose schema is another one than T's: see [Type.Widens].
func (t *Type[T]) Reads(was Recorded) Reading {
	switch {
	case was.Name == t.Name && (was.Schema == "" || was.Schema == t.hash):
		return AsIs
	case t.find(was) != nil:
		return Upcast
	case was.Name == t.Name:
		return AsIs
	}
	return Unreadable
}

// DecodeAs sets *v to what data encodes, recorded as was: by [Type.DecodeInto] if
// that is what T is, else through upcasters; where there is none, and the name is
// T's, by DecodeInto again. A name nothing leads from is an error that names
// both. An error of an upcaster, or of decoding what it wants, is an
// [*UpcastError].
func (t *Type[T]) DecodeAs(was Recorded, data []byte, v *T) error {
	if was.Name == t.Name && (was.Schema == "" || was.Schema == t.hash) {
		return t.DecodeInto(data, v)
	}
	w := t.find(was)
	if w == nil && was.Name == t.Name {
		return t.DecodeInto(data, v)
	}
	return t.along(w, was.Name, data, v)
}

// DecodeState is DecodeAs for state: data encodes a T whatever was.Name, which is
// the name of the type within it that people know.
func (t *Type[T]) DecodeState(was Recorded, data []byte, v *T) error {
	if was.Schema != "" && was.Schema != t.hash {
		if w := t.find(was); w != nil {
			return t.along(w, was.Name, data, v)
		}
	}
	return t.DecodeInto(data, v)
}

// along decodes data by a way.
func (t *Type[T]) along(w *way, name string, data []byte, v *T) error {
	var zero T
	*v = zero
	if w == nil {
		return event.Mark(event.KindDecode, fmt.Errorf("the record is a %q, this code reads %q%s: register event.Upcast(%q, …)", name, t.Name, t.older.known(), name))
	}
	if !w.whole {
		data, err := w.part.cast(data, func(part []byte) ([]byte, error) { return t.castPart(w, part) })
		if err == nil {
			err = t.DecodeInto(data, v)
		}
		if err != nil {
			return &UpcastError{err}
		}
		return nil
	}
	last, err := t.steps(w, data)
	if err != nil {
		return &UpcastError{err}
	}
	*v = *last.(*T)
	t.Normalize(v)
	return nil
}

// steps decodes data as what the first upcaster wants and applies them all.
func (t *Type[T]) steps(w *way, data []byte) (any, error) {
	from, _ := w.steps[0].Types()
	old := reflect.New(from).Interface()
	if err := t.codec.decode(data, old); err != nil {
		return nil, t.failed(event.KindDecode, fmt.Sprintf("decode %q on the way to", w.from), err)
	}
	for _, u := range w.steps {
		next, err := apply(u, old)
		if err != nil {
			return nil, t.failed(event.KindDecode, "read", err)
		}
		old = next
	}
	return old, nil
}

func (t *Type[T]) castPart(w *way, data []byte) ([]byte, error) {
	last, err := t.steps(w, data)
	if err != nil {
		return nil, err
	}
	out, f := t.codec.append(nil, w.part.node, reflect.ValueOf(last).UnsafePointer(), 0)
	if f != nil {
		return nil, t.failed(event.KindDecode, "write what was upcast for", f)
	}
	return out, nil
}

// apply calls an upcaster; a panic is an error.
func apply(u event.Upcaster, old any) (next any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("upcast from %q: panic: %v", u.From(), p)
		}
	}()
	return u.Apply(old)
}

// An UpcastError says that an upcaster did not take what was recorded. It is of
// kind [event.KindDecode].
type UpcastError struct{ Err error }

func (e *UpcastError) Error() string { return e.Err.Error() }
func (e *UpcastError) Unwrap() error { return e.Err }

// ErrorKind returns [event.KindDecode].
func (e *UpcastError) ErrorKind() event.Kind { return event.KindDecode }

// Names returns the recorded type names T can be decoded from, its own first.
func (t *Type[T]) Names() []string {
	return append([]string{t.Name}, t.older.names()...)
}

func (o *older) names() []string {
	names := make([]string, 0, len(o.ways))
	for _, w := range o.ways {
		names = append(names, w.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (o *older) known() string {
	if len(o.ways) == 0 {
		return ""
	}
	return " and, upcast, " + strings.Join(o.names(), ", ")
}
