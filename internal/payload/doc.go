// Package payload holds what Weir knows about a payload type: its name and
// schema, how it is written and read, and how one value reaches several
// readers. All of it is compiled once per type when a flow is built, so that
// nothing is looked up, boxed or allocated per record.
//
// [For] compiles a [Type] or says, field by field, why the Go type cannot be a
// payload. [KeyFor] does the same for keys.
//
// The promise that everything else rests on: a reader in the process sees
// exactly what decoding the record gives.
//
//	t.Normalize(&v)          // v is now what decoding will give
//	b, err = t.Append(b, &v) // refuses, by field, what would not survive
//	t.DecodeInto(b, &w)      // reflect.DeepEqual(v, w)
//
// Where that equality can be guaranteed from the type alone, values are shared
// or cloned; where it cannot, every reader decodes ([Mode]).
//
// Package unsafe is used in one manner, by the encoders, the owner and keys: a
// walk adds to a pointer to a T the offsets reflect gave for T, and never leaves
// T, a slice's elements or a pointer's target. Memory that holds pointers is
// written by typed assignment only, so the garbage collector sees every write.
package payload
