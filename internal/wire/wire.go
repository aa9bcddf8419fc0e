// Package wire holds the encoding primitives every format of Weir is made of:
// append-style writers, a bounds-checked [Reader], CRC-32C checksums and the
// [Digest] of a port.
//
// Writers append to a byte slice and cannot fail:
//
//	b = wire.AppendUvarint(b, lsn)
//	b = wire.AppendString(b, stage)
//
// A Reader walks over bytes nobody vouches for. It never panics, never takes
// more memory than the bytes that are present, and keeps its first error, so
// that a decoder reads all fields and asks once:
//
//	r := wire.NewReader(b)
//	lsn := r.Uvarint("LSN")
//	stage := r.String("stage", 200)
//	if err := r.Done(); err != nil { … }
//
// Encodings are canonical: a value has exactly one encoding, and a Reader
// refuses every other (a uvarint padded with zero groups, a boolean that is
// neither 0 nor 1). So decode followed by encode gives back the same bytes.
//
//	uvarint   base 128, least significant group first, high bit set on all but the last byte, minimal length
//	varint    zigzag (0, -1, 1, -2, …) as uvarint
//	uint32    4 bytes, little endian
//	uint64    8 bytes, little endian
//	bool      1 byte, 0 or 1
//	bytes     uvarint length, then as many bytes; string likewise
package wire

import (
	"encoding/binary"
	"math/bits"
)

// MaxUvarint is the largest number of bytes a uvarint or varint occupies.
const MaxUvarint = binary.MaxVarintLen64

// AppendUvarint appends v as a uvarint.
func AppendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

// AppendVarint appends v as a varint.
func AppendVarint(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// AppendUint32 appends v as four bytes, little endian.
func AppendUint32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

// AppendUint64 appends v as eight bytes, little endian.
func AppendUint64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

// AppendBool appends v as one byte, 0 or 1.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendBytes appends p behind its length. Nil and empty encode alike.
// Limits are the reader's: a writer keeps to the limit of its format.
func AppendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

// AppendString appends s behind its length in bytes.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// UvarintLen returns how many bytes AppendUvarint adds for v, 1 to [MaxUvarint].
func UvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// BytesLen returns how many bytes AppendBytes or AppendString adds for n bytes.
func BytesLen(n int) int { return UvarintLen(uint64(n)) + n }
