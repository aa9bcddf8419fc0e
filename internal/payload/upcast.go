package payload

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
)

// older holds the ways from recorded type names to the current type.
type older struct {
	ways map[string][]event.Upcaster // by recorded name, in order of application
}

// compileOlder follows upcasters from each name they accept until they reach
// typ, and compiles the types they decode.
func compileOlder(typ reflect.Type, name string, c codec, up []event.Upcaster) (*older, error) {
	byName := map[string]event.Upcaster{}
	for _, u := range up {
		if u.From() == "" {
			return nil, errors.New("an upcaster has no name to cast from")
		}
		if _, ok := byName[u.From()]; ok {
			return nil, fmt.Errorf("there are two upcasters from %q: keep one", u.From())
		}
		byName[u.From()] = u
	}
	o := &older{ways: map[string][]event.Upcaster{}}
	for _, first := range up {
		way, err := follow(first, typ, byName)
		if err != nil {
			return nil, err
		}
		if way == nil {
			continue
		}
		if first.From() == name {
			return nil, fmt.Errorf("an upcaster casts from %q, which is the name of %v today: give the new type a new version", name, typ)
		}
		from, _ := first.Types()
		if _, err := compile(from, c); err != nil {
			return nil, fmt.Errorf("upcast from %q: %w", first.From(), err)
		}
		o.ways[first.From()] = way
	}
	return o, nil
}

// follow returns the steps from an upcaster to typ, or nil if they do not lead
// there.
func follow(u event.Upcaster, typ reflect.Type, byName map[string]event.Upcaster) ([]event.Upcaster, error) {
	var way []event.Upcaster
	for range len(byName) {
		way = append(way, u)
		_, to := u.Types()
		if to == typ {
			return way, nil
		}
		if to.Kind() == reflect.Pointer || to.Kind() == reflect.Interface {
			return nil, fmt.Errorf("upcast from %q gives a %v: give a concrete type", u.From(), to)
		}
		name, err := nameOf(to)
		if err != nil {
			return nil, err
		}
		next, ok := byName[name]
		if !ok {
			return nil, nil
		}
		if from, _ := next.Types(); from != to {
			return nil, fmt.Errorf("upcast from %q gives %v, but the one from %q wants %v", u.From(), to, name, from)
		}
		u = next
	}
	return nil, fmt.Errorf("upcasters from %q lead in a circle", u.From())
}

// DecodeAs sets *v to what data encodes, recorded under the type name
// recorded: by [Type.DecodeInto] if that is T's name, else through upcasters.
// A name nothing leads from is an error that names both.
func (t *Type[T]) DecodeAs(recorded string, data []byte, v *T) error {
	if recorded == t.Name {
		return t.DecodeInto(data, v)
	}
	var zero T
	*v = zero
	way, ok := t.older.ways[recorded]
	if !ok {
		return event.Mark(event.KindDecode, fmt.Errorf("the record is a %q, this code reads %q%s: register event.Upcast(%q, …)", recorded, t.Name, t.older.known(), recorded))
	}
	from, _ := way[0].Types()
	old := reflect.New(from).Interface()
	if err := t.codec.decode(data, old); err != nil {
		return t.failed(event.KindDecode, fmt.Sprintf("decode %q on the way to", recorded), err)
	}
	for _, u := range way {
		next, err := u.Apply(old)
		if err != nil {
			return t.failed(event.KindDecode, "read", err)
		}
		old = next
	}
	*v = *old.(*T)
	t.Normalize(v)
	return nil
}

// Reads returns the recorded type names T can be decoded from, its own first.
func (t *Type[T]) Reads() []string {
	return append([]string{t.Name}, t.older.names()...)
}

func (o *older) names() []string {
	names := make([]string, 0, len(o.ways))
	for name := range o.ways {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (o *older) known() string {
	if len(o.ways) == 0 {
		return ""
	}
	return " and, upcast, " + strings.Join(o.names(), ", ")
}
