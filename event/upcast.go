package event

import (
	"fmt"
	"reflect"
)

// An Upcaster lets new code read what old code recorded: it turns a payload
// recorded under an old name into a newer type. Make one with [Upcast]. Flows do
// not take upcasters yet: a run is continued with the payload types it began with.
//
// Upcasters form chains: from "order.v1" to a type named "order.v2", from
// "order.v2" to one named "order.v3". Each step needs only its neighbours.
type Upcaster struct {
	from     string
	old, new reflect.Type
	apply    func(old any) (any, error)
}

// Upcast says that a record whose payload was written under the type name from
// is decoded as an Old and becomes a New by fn. fn must depend on its argument
// alone, since replays call it again; an error makes the record undecodable.
func Upcast[Old, New any](from string, fn func(Old) (New, error)) Upcaster {
	return Upcaster{
		from: from,
		old:  reflect.TypeFor[Old](),
		new:  reflect.TypeFor[New](),
		apply: func(old any) (any, error) {
			o, ok := old.(*Old)
			if !ok {
				return nil, fmt.Errorf("upcast from %q: got a %T, want a *%v", from, old, reflect.TypeFor[Old]())
			}
			n, err := fn(*o)
			if err != nil {
				return nil, fmt.Errorf("upcast from %q: %w", from, err)
			}
			return &n, nil
		},
	}
}

// From returns the recorded type name the upcaster accepts.
func (u Upcaster) From() string { return u.from }

// Types returns the payload types the upcaster decodes and produces.
func (u Upcaster) Types() (from, to reflect.Type) { return u.old, u.new }

// Apply takes a pointer to a decoded old payload and returns a pointer to a
// new one.
func (u Upcaster) Apply(old any) (any, error) { return u.apply(old) }
