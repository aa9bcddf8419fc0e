package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/wire"
)

func ExampleReader() {
	b := wire.AppendUvarint(nil, 4711)
	b = wire.AppendString(b, "validate")

	r := wire.NewReader(b)
	fmt.Println(r.Uvarint("LSN"), r.String("stage", 100), r.Done())

	r = wire.NewReader(b[:5])
	r.Uvarint("LSN")
	r.String("stage", 100)
	fmt.Println(r.Done())
	// Output:
	// 4711 validate <nil>
	// offset 2: expected stage (string), found 2 of 8 bytes
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300)).Draw(t, "uvarint")
		i := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-300, 300)).Draw(t, "varint")
		u32 := rapid.Uint32().Draw(t, "uint32")
		u64 := rapid.Uint64().Draw(t, "uint64")
		p := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
		s := rapid.String().Draw(t, "string")
		yes := rapid.Bool().Draw(t, "bool")
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "prefix")

		b := wire.AppendUvarint(bytes.Clone(prefix), u)
		if got, want := len(b)-len(prefix), wire.UvarintLen(u); got != want {
			t.Fatalf("UvarintLen(%d) = %d, want %d", u, want, got)
		}
		b = wire.AppendVarint(b, i)
		b = wire.AppendUint32(b, u32)
		b = wire.AppendUint64(b, u64)
		before := len(b)
		b = wire.AppendBytes(b, p)
		if got, want := len(b)-before, wire.BytesLen(len(p)); got != want {
			t.Fatalf("BytesLen(%d) = %d, want %d", len(p), want, got)
		}
		b = wire.AppendString(b, s)
		b = wire.AppendBool(b, yes)
		b = append(b, 0xab)

		r := wire.NewReader(b)
		if got := r.Raw("prefix", len(prefix)); !bytes.Equal(got, prefix) {
			t.Fatalf("prefix = %x, want %x", got, prefix)
		}
		if got := r.Uvarint("u"); got != u {
			t.Fatalf("uvarint = %d, want %d", got, u)
		}
		if got := r.Varint("i"); got != i {
			t.Fatalf("varint = %d, want %d", got, i)
		}
		if got := r.Uint32("u32"); got != u32 {
			t.Fatalf("uint32 = %d, want %d", got, u32)
		}
		if got := r.Uint64("u64"); got != u64 {
			t.Fatalf("uint64 = %d, want %d", got, u64)
		}
		if got := r.Bytes("p", 300); got == nil || !bytes.Equal(got, p) || cap(got) != len(got) {
			t.Fatalf("bytes = %x (cap %d), want %x without spare capacity", got, cap(got), p)
		}
		if got := r.String("s", 1<<20); got != s {
			t.Fatalf("string = %q, want %q", got, s)
		}
		if got := r.Bool("yes"); got != yes {
			t.Fatalf("bool = %v, want %v", got, yes)
		}
		if r.Len() != 1 || r.Offset() != len(b)-1 {
			t.Fatalf("Len, Offset = %d, %d, want 1, %d", r.Len(), r.Offset(), len(b)-1)
		}
		if got := r.Byte("last"); got != 0xab {
			t.Fatalf("byte = %x, want ab", got)
		}
		if err := r.Done(); err != nil {
			t.Fatal(err)
		}

		// Every proper prefix is an error, and only an error.
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		r = wire.NewReader(b[:cut])
		r.Raw("prefix", len(prefix))
		r.Uvarint("u")
		r.Varint("i")
		r.Uint32("u32")
		r.Uint64("u64")
		r.Bytes("p", 300)
		_ = r.String("s", 1<<20)
		r.Bool("yes")
		r.Byte("last")
		if r.Err() == nil {
			t.Fatalf("reading %d of %d bytes gave no error", cut, len(b))
		}
	})
}

func TestReaderRefuses(t *testing.T) {
	tests := map[string]struct {
		in   []byte
		read func(r *wire.Reader)
		want string
	}{
		"empty uvarint":      {nil, func(r *wire.Reader) { r.Uvarint("LSN") }, "offset 0: expected LSN (uvarint), found the end after 0 bytes"},
		"open uvarint":       {[]byte{0x80}, func(r *wire.Reader) { r.Uvarint("LSN") }, "offset 0: expected LSN (uvarint), found the end after 1 bytes"},
		"padded zero":        {[]byte{0x80, 0}, func(r *wire.Reader) { r.Uvarint("LSN") }, "offset 0: expected LSN (uvarint), found 0 in 2 bytes where 1 are enough"},
		"padded uvarint":     {[]byte{7, 0x81, 0x80, 0}, func(r *wire.Reader) { r.Byte("x"); r.Uvarint("LSN") }, "offset 1: expected LSN (uvarint), found 1 in 3 bytes where 1 are enough"},
		"padded varint":      {[]byte{0x81, 0}, func(r *wire.Reader) { r.Varint("delta") }, "offset 0: expected delta (varint), found 1 in 2 bytes where 1 are enough"},
		"65 bits":            {append(bytes.Repeat([]byte{0xff}, 9), 2), func(r *wire.Reader) { r.Uvarint("LSN") }, "offset 0: expected LSN (uvarint), found a value above 18446744073709551615"},
		"eleven bytes":       {append(bytes.Repeat([]byte{0xff}, 10), 1), func(r *wire.Reader) { r.Uvarint("LSN") }, "offset 0: expected LSN (uvarint), found a value above 18446744073709551615"},
		"short uint32":       {[]byte{1, 2, 3}, func(r *wire.Reader) { r.Uint32("CRC") }, "offset 0: expected CRC (uint32), found 3 of 4 bytes"},
		"short uint64":       {[]byte{1, 2, 3}, func(r *wire.Reader) { r.Uint64("epoch") }, "offset 0: expected epoch (uint64), found 3 of 8 bytes"},
		"bool 2":             {[]byte{2}, func(r *wire.Reader) { r.Bool("flag") }, "offset 0: expected flag (bool), found byte 0x02"},
		"short bytes":        {[]byte{3, 1, 2}, func(r *wire.Reader) { r.Bytes("key", 10) }, "offset 0: expected key (bytes), found 2 of 3 bytes"},
		"bytes over limit":   {[]byte{3, 1, 2, 3}, func(r *wire.Reader) { r.Bytes("key", 2) }, "offset 0: expected key (bytes), found length 3 above the limit of 2"},
		"negative limit":     {[]byte{0}, func(r *wire.Reader) { r.Bytes("key", -1) }, "offset 0: expected key (bytes), found length 0 above the limit of -1"},
		"huge length":        {wire.AppendUvarint(nil, math.MaxUint64), func(r *wire.Reader) { r.Bytes("key", math.MaxInt) }, "offset 0: expected key (bytes), found length 18446744073709551615 above the limit of 9223372036854775807"},
		"string over limit":  {[]byte{1, 'a'}, func(r *wire.Reader) { _ = r.String("name", 0) }, "offset 0: expected name (string), found length 1 above the limit of 0"},
		"count beyond bytes": {[]byte{3, 0, 0, 0, 0, 0}, func(r *wire.Reader) { r.Count("records", 2) }, "offset 0: expected records (count), found 3 where the bytes left hold at most 2"},
		"negative raw":       {[]byte{1}, func(r *wire.Reader) { r.Raw("id", -1) }, "offset 0: expected id (raw bytes), found 1 of -1 bytes"},
		"trailing":           {[]byte{1, 2, 3}, func(r *wire.Reader) { r.Byte("x") }, "offset 1: expected the end, found 2 more bytes"},
		"own words":          {[]byte{9}, func(r *wire.Reader) { at := r.Offset(); r.Byte("v"); r.Fail(at, "version 1", "9") }, "offset 0: expected version 1, found 9"},
		"first error stays":  {[]byte{2}, func(r *wire.Reader) { r.Bool("a"); r.Uint32("b"); r.Fail(0, "c", "d") }, "offset 0: expected a (bool), found byte 0x02"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := wire.NewReader(tt.in)
			tt.read(&r)
			err := r.Done()
			var at *wire.Error
			if !errors.As(err, &at) || err.Error() != tt.want {
				t.Fatalf("got %v\nwant %s", err, tt.want)
			}
			if r.Len() != 0 && r.Err() != nil {
				t.Errorf("Len after an error = %d, want 0", r.Len())
			}
			if r.Byte("more") != 0 || r.Bytes("more", 9) != nil || r.Rest() != nil || r.Count("more", 0) != 0 {
				t.Error("a Reader gave values after its error")
			}
		})
	}
}

func TestCount(t *testing.T) {
	for _, least := range []int{-1, 0, 1} {
		r := wire.NewReader([]byte{3, 0, 0, 0})
		if got := r.Count("records", least); got != 3 || r.Err() != nil {
			t.Errorf("Count(%d) = %d, %v, want 3", least, got, r.Err())
		}
		if got := len(r.Rest()); got != 3 {
			t.Errorf("Rest has %d bytes, want 3", got)
		}
	}
}

func TestChecksum(t *testing.T) {
	// The check value of CRC-32/ISCSI in Greg Cook's catalogue of CRC algorithms.
	if got := wire.Checksum([]byte("123456789")); got != 0xe3069283 {
		t.Errorf("Checksum = %08x, want e3069283", got)
	}
	if got, want := wire.Extend(wire.Checksum([]byte("1234")), []byte("56789")), uint32(0xe3069283); got != want {
		t.Errorf("Extend = %08x, want %08x", got, want)
	}
	frame := []byte("frame")
	if wire.Extend(wire.Checksum([]byte("run a")), frame) == wire.Extend(wire.Checksum([]byte("run b")), frame) {
		t.Error("two seeds gave one checksum")
	}
}

func TestDigestIsFixed(t *testing.T) {
	// Digests are stored in logs: these values may never change.
	var d wire.Digest
	d = d.Add(1, 0)
	if want := wire.Digest(0x5e41ab087439611e); d != want {
		t.Errorf("digest of one record = %#x, want %#x", uint64(d), uint64(want))
	}
	d = d.Add(2, 0xe3069283)
	if want := wire.Digest(0x320c3d17f634ba27); d != want {
		t.Errorf("digest of two records = %#x, want %#x", uint64(d), uint64(want))
	}
}

func TestDigestTellsAccidentsApart(t *testing.T) {
	sum := func(from uint64, crcs []uint32) (d wire.Digest) {
		for i, c := range crcs {
			d = d.Add(from+uint64(i), c)
		}
		return d
	}
	rapid.Check(t, func(t *rapid.T) {
		// Few distinct checksums: equal payloads are common in real streams.
		crcs := rapid.SliceOfN(rapid.OneOf(rapid.Uint32Range(0, 3), rapid.Uint32()), 2, 40).Draw(t, "crcs")
		want := sum(1, crcs)
		i := rapid.IntRange(0, len(crcs)-1).Draw(t, "i")
		j := rapid.IntRange(0, len(crcs)-1).Draw(t, "j")

		if split := sum(1, crcs[:i]) + sum(uint64(i)+1, crcs[i:]); split != want {
			t.Fatalf("digest in two ranges = %#x, want %#x", uint64(split), uint64(want))
		}
		lost := append(append([]uint32{}, crcs[:i]...), crcs[i+1:]...)
		if sum(1, lost) == want {
			t.Fatalf("record %d lost: same digest", i+1)
		}
		if want.Add(uint64(i)+1, crcs[i]) == want {
			t.Fatalf("record %d doubled: same digest", i+1)
		}
		if crcs[i] != crcs[j] {
			swapped := append([]uint32{}, crcs...)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			if sum(1, swapped) == want {
				t.Fatalf("records %d and %d swapped: same digest", i+1, j+1)
			}
		}
		altered := append([]uint32{}, crcs...)
		altered[i] ^= 1 << rapid.IntRange(0, 31).Draw(t, "bit")
		if sum(1, altered) == want {
			t.Fatalf("record %d altered: same digest", i+1)
		}
	})
}

func TestDigestHasNoSmallCollisions(t *testing.T) {
	seen := make(map[wire.Digest]string)
	for seq := range uint64(1000) {
		for crc := range uint32(100) {
			d := wire.Digest(0).Add(seq, crc)
			at := fmt.Sprint(seq, "/", crc)
			if other, dup := seen[d]; dup {
				t.Fatalf("%s and %s have the same digest %#x", at, other, uint64(d))
			}
			seen[d] = at
		}
	}
}

func TestNoAllocations(t *testing.T) {
	p := bytes.Repeat([]byte("x"), 200)
	b := make([]byte, 0, 1024)
	var d wire.Digest
	write := func() {
		b = wire.AppendUvarint(b[:0], 1<<40)
		b = wire.AppendVarint(b, -77)
		b = wire.AppendUint32(b, 1)
		b = wire.AppendUint64(b, 2)
		b = wire.AppendBytes(b, p)
		b = wire.AppendString(b, "validate")
		b = wire.AppendBool(b, true)
		d = d.Add(1, wire.Extend(wire.Checksum(p), b))
	}
	if n := testing.AllocsPerRun(100, write); n != 0 {
		t.Errorf("appending allocates %v times, want 0", n)
	}
	read := func() {
		r := wire.NewReader(b)
		r.Uvarint("u")
		r.Varint("i")
		r.Uint32("u32")
		r.Uint64("u64")
		r.Bytes("p", 1000)
		r.Bytes("s", 1000)
		r.Bool("yes")
		if r.Done() != nil {
			panic("not read")
		}
	}
	if n := testing.AllocsPerRun(100, read); n != 0 {
		t.Errorf("reading allocates %v times, want 0", n)
	}
}

// FuzzReader drives a Reader with a program over arbitrary bytes: it must
// never panic or move backwards, and what it accepts must encode to the bytes
// it was read from.
func FuzzReader(f *testing.F) {
	b := wire.AppendUvarint(nil, 4711)
	b = wire.AppendVarint(b, -4711)
	b = wire.AppendUint64(wire.AppendUint32(b, 7), 8)
	b = wire.AppendString(wire.AppendBytes(b, []byte("key")), "name")
	b = wire.AppendBool(b, true)
	f.Add("uifFbsB", b)
	f.Add("uuu", []byte{0x80, 0x00, 0xff})
	f.Add("b", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add("cr.", []byte{2, 1, 1})
	f.Add(strings.Repeat(".", 3), []byte{1, 2})
	f.Fuzz(func(t *testing.T, program string, in []byte) {
		const limit = 1 << 10
		r := wire.NewReader(in)
		var out []byte
		for _, op := range []byte(program) {
			before := r.Offset()
			var enc []byte
			switch op {
			case 'u':
				enc = wire.AppendUvarint(nil, r.Uvarint("u"))
			case 'i':
				enc = wire.AppendVarint(nil, r.Varint("i"))
			case 'f':
				enc = wire.AppendUint32(nil, r.Uint32("f"))
			case 'F':
				enc = wire.AppendUint64(nil, r.Uint64("F"))
			case 'b':
				p := r.Bytes("b", limit)
				if len(p) > limit {
					t.Fatalf("Bytes gave %d bytes, limit %d", len(p), limit)
				}
				enc = wire.AppendBytes(nil, p)
			case 's':
				enc = wire.AppendString(nil, r.String("s", limit))
			case 'B':
				enc = wire.AppendBool(nil, r.Bool("B"))
			case 'c':
				n := r.Count("c", 2)
				if n*2 > r.Len() {
					t.Fatalf("Count gave %d items in %d bytes", n, r.Len())
				}
				enc = wire.AppendUvarint(nil, uint64(n))
			case 'r':
				enc = r.Rest()
			default:
				enc = []byte{r.Byte("byte")}
			}
			if r.Err() != nil {
				if r.Offset() != before {
					t.Fatalf("the cursor moved from %d to %d over an error", before, r.Offset())
				}
				return
			}
			out = append(out, enc...)
			if !bytes.Equal(out, in[:r.Offset()]) {
				t.Fatalf("read %x, which encodes as %x", in[:r.Offset()], out)
			}
		}
	})
}
