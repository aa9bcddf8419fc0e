package event

import (
	"fmt"
	"reflect"
)

// An Upcaster lets new code read what old code recorded: it turns a payload
// recorded under an old name into a newer type. Make one with [Upcast]. A flow is
// given them by its method Upcast.
//
// Upcasters form chains: from "order.v1" to a type named "order.v2", from
// "order.v2" to one named "order.v3". Each step needs only its neighbours.
//
// A type may also keep its name. Then Old must have the fields that were recorded,
// all of them and in that order, since only they tell the two apart.
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
