package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/weirflow/weir/event"
)

// A Mode is how one value reaches several readers in the process.
type Mode uint8

// The modes, cheapest first.
const (
	// Share: the value holds nothing that can be changed through it, so all
	// readers get it as it is.
	Share Mode = iota
	// Clone: every reader gets a deep copy.
	Clone
	// Decode: what decoding gives cannot be told from the type, so every
	// reader decodes the record.
	Decode
)

func (m Mode) String() string { return [...]string{"share", "clone", "decode"}[m] }

// A Type is all that is known about a payload type T under one codec. It is
// immutable and safe for concurrent use.
type Type[T any] struct {
	Name       string      // EventType of T, else its bare Go name
	Schema     string      // canonical description of what is written
	SchemaHash [32]byte    // SHA-256 of codec and Schema
	Codec      event.Codec // how it is written
	Mode       Mode        // how it reaches several readers
	Why        string      // the field that makes Mode Decode, and the reason; else empty

	codec     codec
	hash      string // SchemaHash in hex
	node      *node
	owned     *owner
	floats    []place // in Mode Share: where T holds numbers whose equality says too little
	validates bool
	clones    bool // T has Clone() T and needs it
	older     *older
}

// For compiles T for a codec. The error names every field that cannot be
// written or would not come back, each with a hint. Upcasters that lead neither to
// T nor to a part of it are ignored, so all those of a flow can be passed.
func For[T any](c event.Codec, up ...event.Upcaster) (*Type[T], error) {
	typ := reflect.TypeFor[T]()
	codec, err := codecFor(c)
	if err != nil {
		return nil, err
	}
	root, err := compile(typ, codec)
	if err != nil {
		return nil, err
	}
	name, err := nameOf(typ)
	if err != nil {
		return nil, err
	}
	t := &Type[T]{Name: name, Codec: c, codec: codec, node: codec.compile(root), owned: compileOwner(root)}
	t.Schema = schemaOf(root)
	t.SchemaHash = sha256.Sum256([]byte(c.String() + " " + t.Schema))
	t.hash = hex.EncodeToString(t.SchemaHash[:])
	t.Mode, t.Why = modeOf(root)
	if t.Mode == Share {
		t.floats = floatsOf(nil, root, 0)
	}
	if _, ok := any((*T)(nil)).(cloner[T]); ok && t.Mode == Decode {
		t.Mode, t.Why, t.clones = Clone, "", true
	} else if ok && t.Mode == Clone {
		t.clones = true
	}
	_, t.validates = any((*T)(nil)).(event.Validator)
	if err := t.probe(); err != nil {
		return nil, err
	}
	if t.older, err = compileOlder(root, name, codec, c, up); err != nil {
		return nil, err
	}
	return t, nil
}

// probe lets the reading library look at T once, since it has its own opinion
// about tags and types.
func (t *Type[T]) probe() error {
	var v, w T
	t.Normalize(&v)
	data, err := t.Append(nil, &v)
	if err != nil {
		return nil //nolint:nilerr // the zero value need not be valid
	}
	if err := t.codec.decode(data, &w); err != nil {
		return fmt.Errorf("payload %T cannot be recorded: what is written cannot be read: %w", v, err)
	}
	return nil
}

type cloner[T any] interface{ Clone() T }

// Append encodes *v behind dst and returns the longer slice, as append does.
// It does not keep v. A value that would not survive its codec (text that is
// not UTF-8, a NaN in JSON, a year beyond 9999, more than a thousand levels) is
// an error of kind [event.KindValidation] that names the field; dst is then
// returned as it was. Times are written in UTC.
func (t *Type[T]) Append(dst []byte, v *T) ([]byte, error) {
	out, f := t.codec.append(dst, t.node, unsafe.Pointer(v), 0)
	if f != nil {
		return dst, t.failed(event.KindValidation, "encode", f)
	}
	return out, nil
}

// Decode returns the value data encodes. See [Type.DecodeInto].
func (t *Type[T]) Decode(data []byte) (T, error) {
	var v T
	err := t.DecodeInto(data, &v)
	return v, err
}

// DecodeInto sets *v to the value data encodes; what *v was before does not
// matter, and *v does not refer to data afterwards. Fields data does not name
// are zero, names T does not have are ignored, bytes behind the value are an
// error. Errors are of kind [event.KindDecode] and leave *v zero. No user code
// runs except the type's own unmarshal methods.
func (t *Type[T]) DecodeInto(data []byte, v *T) error {
	var zero T
	*v = zero
	if err := t.codec.decode(data, v); err != nil {
		*v = zero
		return t.failed(event.KindDecode, "decode", err)
	}
	return nil
}

// Normalize makes *v what decoding its encoding would give: times are UTC
// without a monotonic reading, fields that are not written are zero, slices
// and maps an option would omit are nil. What *v refers to is replaced by a
// private copy and neither changed nor shared, so the caller may go on using
// what it built v from. In mode [Decode] the equality holds only for the fields
// that can be known; readers decode.
func (t *Type[T]) Normalize(v *T) {
	if t.clones {
		*v = any(v).(cloner[T]).Clone()
	}
	t.owned.run(unsafe.Pointer(v))
}

// Clone returns a deep copy of a normalized *v, by T's own Clone method if it
// has one and T is not shareable. In mode [Decode] it panics: decode instead.
func (t *Type[T]) Clone(v *T) T {
	var c T
	t.CloneTo(&c, v)
	return c
}

// CloneTo is [Clone] into a place of the caller's, without an allocation for T
// itself.
func (t *Type[T]) CloneTo(dst, v *T) {
	switch {
	case t.Mode == Decode:
		panic("payload: clone of " + t.Name + ", which must be decoded: " + t.Why)
	case t.clones:
		*dst = any(v).(cloner[T]).Clone()
	default:
		*dst = *v
		if t.Mode == Clone {
			t.owned.run(unsafe.Pointer(dst))
		}
	}
}

// Validates reports whether T has a Validate method.
func (t *Type[T]) Validates() bool { return t.validates }

// Validate calls T's Validate method, if it has one, and returns its error as
// [event.KindValidation], unless the method marked it with another kind.
func (t *Type[T]) Validate(v *T) error {
	if !t.validates {
		return nil
	}
	err := any(v).(event.Validator).Validate()
	if err != nil && event.KindOf(err) == event.KindUnknown {
		return event.Invalid(err)
	}
	return err
}

func (t *Type[T]) failed(kind event.Kind, op string, err error) error {
	return event.Mark(kind, fmt.Errorf("%s %s as %s: %w", op, t.Name, t.Codec, err))
}

// modeOf tells how values of a shape reach several readers.
func modeOf(root *shape) (Mode, string) {
	mode, why := Share, ""
	for s, path := range root.reachable() {
		if s.inexact != "" {
			return Decode, fmt.Sprintf("%s %s", orRoot(path, root.typ), s.inexact)
		}
		if s.class.refers() {
			mode = Clone
		}
		for _, f := range s.fields {
			if f.inexact != "" {
				return Decode, fmt.Sprintf("%s %s", join(path, f.name), f.inexact)
			}
			if f.omitZero && (f.shape.class == record || f.shape.class == array) && f.shape.holds(float) {
				return Decode, fmt.Sprintf("%s %s", join(path, f.name), "may be omitted with a negative zero in it")
			}
		}
	}
	return mode, why
}
