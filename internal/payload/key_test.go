package payload_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

type (
	whole  struct{}
	region string
	place  struct {
		Region region
		Shelf  int16
		Cold   bool
	}
	composite struct {
		At    place
		Codes [2]uint32
		ID    [16]byte
		Name  string
		Any   whole
	}
	narrow struct {
		A int8
		B uint8
		C [3]bool
	}
)

func keyed[K comparable](t testing.TB) *payload.KeyType[K] {
	t.Helper()
	k, err := payload.KeyFor[K]()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func text[K comparable](t *testing.T, k K) string {
	t.Helper()
	out, err := keyed[K](t).Append(nil, k)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestKeyText(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{text(t, "eu-central"), "eu-central"},
		{text(t, ""), ""},
		{text(t, `"quoted"`), `"quoted"`},
		{text(t, region("eu")), "eu"},
		{text(t, -17), "-17"},
		{text(t, uint64(1<<64-1)), "18446744073709551615"},
		{text(t, int8(-128)), "-128"},
		{text(t, true), "true"},
		{text(t, [4]byte{0, 1, 0xab, 0xff}), "0001abff"},
		{text(t, [2]int{1, -2}), "[1,-2]"},
		{text(t, [0]int{}), ""},
		{text(t, whole{}), ""},
		{text(t, place{"eu", 7, true}), `["eu",7,true]`},
		{text(t, place{"a\"\\\n\x01ü", 0, false}), `["a\"\\\n\u0001ü",0,false]`},
		{text(t, composite{ID: [16]byte{15: 1}}), `[["",0,false],[0,0],"00000000000000000000000000000001","",[]]`},
	} {
		if tc.got != tc.want {
			t.Errorf("got %s, want %s", tc.got, tc.want)
		}
	}
}

func TestRefusedKeys(t *testing.T) {
	refuse := func(err error) string {
		if err == nil {
			return "accepted"
		}
		return err.Error()
	}
	check := func(err error, want string) {
		t.Helper()
		if got := refuse(err); !strings.Contains(got, want) {
			t.Errorf("error is %q, want %q in it", got, want)
		}
	}
	_, err := payload.KeyFor[float64]()
	check(err, "float64 cannot be a key: float64 is a float64, and equal amounts may differ")
	_, err = payload.KeyFor[*int]()
	check(err, "*int is a pointer: use int itself")
	_, err = payload.KeyFor[any]()
	check(err, "interface {} is a interface")
	_, err = payload.KeyFor[struct{ A, b int }]()
	check(err, ".b is unexported: export it")
	_, err = payload.KeyFor[struct {
		A [2]struct{ X float32 }
		B chan int
	}]()
	check(err, ".A[].X is a float32")
	check(err, ".B is a chan int: use strings")
	_, err = payload.KeyFor[[5000]int]()
	check(err, "more than a key can hold")
}

func keysHold[K comparable](t *testing.T, gen *rapid.Generator[K], order func(a, b K) int) {
	t.Helper()
	kt := keyed[K](t)
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		ta, err := kt.Append([]byte("head"), a)
		if err != nil {
			t.Fatal(err)
		}
		ta = ta[4:]
		tb, _ := kt.Append(nil, b)
		if got, err := kt.Parse(string(ta)); err != nil || got != a {
			t.Fatalf("Parse(%q) = %v, %v, want %v", ta, got, err, a)
		}
		if (a == b) != bytes.Equal(ta, tb) {
			t.Fatalf("%v and %v have texts %q and %q", a, b, ta, tb)
		}
		if got, want := kt.Compare(a, b), order(a, b); got != want {
			t.Fatalf("Compare(%v, %v) = %d, want %d", a, b, got, want)
		}
		if kt.Compare(a, b) != -kt.Compare(b, a) || kt.Compare(a, a) != 0 {
			t.Fatalf("Compare is no order for %v, %v", a, b)
		}
		if slot := payload.KeySlot(ta, 64); slot < 0 || slot > 63 {
			t.Fatalf("slot %d", slot)
		}
	})
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func placeOrder(a, b place) int {
	return cmp.Or(strings.Compare(string(a.Region), string(b.Region)), cmp.Compare(a.Shelf, b.Shelf), boolOrder(a.Cold, b.Cold))
}

func TestKeysComeBackInOrder(t *testing.T) {
	genRegion := rapid.Map(genText, func(s string) region { return region(s) })
	genPlace := rapid.Custom(func(t *rapid.T) place {
		return place{genRegion.Draw(t, "region"), rapid.Int16Range(-2, 2).Draw(t, "shelf"), rapid.Bool().Draw(t, "cold")}
	})
	keysHold(t, genText, strings.Compare)
	keysHold(t, rapid.Int64(), cmp.Compare)
	keysHold(t, rapid.Uint8(), cmp.Compare)
	keysHold(t, rapid.Uint64(), cmp.Compare)
	keysHold(t, rapid.Bool(), boolOrder)
	keysHold(t, genPlace, placeOrder)
	keysHold(t, rapid.Just(whole{}), func(_, _ whole) int { return 0 })
	keysHold(t, rapid.Custom(func(t *rapid.T) [4]byte {
		return [4]byte(rapid.SliceOfN(rapid.ByteRange(0, 2), 4, 4).Draw(t, "bytes"))
	}), func(a, b [4]byte) int { return bytes.Compare(a[:], b[:]) })
	keysHold(t, rapid.Custom(func(t *rapid.T) composite {
		return composite{
			At: genPlace.Draw(t, "at"), Codes: [2]uint32{rapid.Uint32().Draw(t, "code")},
			ID: [16]byte{7: rapid.Byte().Draw(t, "id")}, Name: genText.Draw(t, "name"),
		}
	}), func(a, b composite) int {
		return cmp.Or(placeOrder(a.At, b.At), slices.Compare(a.Codes[:], b.Codes[:]), bytes.Compare(a.ID[:], b.ID[:]), strings.Compare(a.Name, b.Name))
	})
	keysHold(t, made[narrow](), func(a, b narrow) int {
		return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B), slices.CompareFunc(a.C[:], b.C[:], boolOrder))
	})
}

func parseFails[K comparable](t *testing.T, texts ...string) {
	t.Helper()
	kt := keyed[K](t)
	for _, s := range texts {
		if got, err := kt.Parse(s); err == nil {
			t.Errorf("Parse(%q) as %T = %v, want an error", s, got, got)
		} else if event.KindOf(err) != event.KindDecode {
			t.Errorf("Parse(%q): kind is %v", s, event.KindOf(err))
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	parseFails[int](t, "", "+1", "01", "-0", "1 ", "x", "9223372036854775808", "1.0", "--1")
	parseFails[int8](t, "128", "-129")
	parseFails[uint](t, "-1", "", "00")
	parseFails[bool](t, "", "True", "1", "truex")
	parseFails[[2]byte](t, "00", "000", "00000", "00FF", "zzzz")
	parseFails[whole](t, "x", "[]")
	parseFails[string](t, "\xff", strings.Repeat("x", 4097))
	parseFails[place](t, "", "[", "[]", `["eu"]`, `["eu",7]`, `["eu",7,true`, `["eu",7,true,1]`, `["eu", 7,true]`, `["eu",7,true] `,
		`[eu,7,true]`, `["eu,7,true]`, `["\u0041",7,true]`, `["\u000A",7,true]`, `["\u000a",7,true]`, "[\"\n\",7,true]", `["\/",7,true]`, `["\`, `["\u00`)
}

func TestKeysTooLongOrNotText(t *testing.T) {
	kt := keyed[string](t)
	out, err := kt.Append([]byte("kept"), strings.Repeat("x", payload.MaxKey+1))
	if event.KindOf(err) != event.KindTooLarge || string(out) != "kept" {
		t.Errorf("long key: %q, %v", out, err)
	}
	out, err = kt.Append([]byte("kept"), "a\xff")
	if event.KindOf(err) != event.KindValidation || string(out) != "kept" {
		t.Errorf("bad key: %q, %v", out, err)
	}
	_, err = keyed[place](t).Append(nil, place{Region: "\xff"})
	if err == nil || !strings.Contains(err.Error(), "payload_test.place.Region is not valid UTF-8") {
		t.Errorf("bad part: %v", err)
	}
}

func TestKeysAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, 256)
	kp, ks, ki := keyed[place](t), keyed[string](t), keyed[int](t)
	p := place{"eu", 7, true}
	if n := testing.AllocsPerRun(100, func() {
		_, _ = kp.Append(buf, p)
		_, _ = ks.Append(buf, "customer-42")
		_, _ = ki.Append(buf, 123456)
		_ = kp.Compare(p, p) + ks.Compare("a", "b") + ki.Compare(1, 2)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The hash decides where keys live in runs that exist; it must never change.
func TestKeyHashIsPinned(t *testing.T) {
	for text, want := range map[string]struct {
		hash uint64
		slot int
	}{
		"":       {0xcbf29ce484222325, slotOf(0xcbf29ce484222325)},
		"a":      {0xaf63dc4c8601ec8c, slotOf(0xaf63dc4c8601ec8c)},
		"foobar": {0x85944171f73967e8, slotOf(0x85944171f73967e8)},
	} {
		if got := payload.KeyHash([]byte(text)); got != want.hash {
			t.Errorf("KeyHash(%q) = %#x, want %#x", text, got, want.hash)
		}
		if got := payload.KeySlot([]byte(text), 64); got != want.slot {
			t.Errorf("KeySlot(%q, 64) = %d, want %d", text, got, want.slot)
		}
	}
	if got := payload.KeySlot([]byte("a"), 1); got != 0 {
		t.Errorf("one slot: %d", got)
	}
}

func slotOf(h uint64) int { return int((h ^ h>>32) & 63) }

func TestSlotsAreEven(t *testing.T) {
	for name, key := range map[string]func(int) string{
		"numbers":   func(i int) string { return text(t, i) },
		"customers": func(i int) string { return "customer-" + text(t, i) },
		"tuples":    func(i int) string { return text(t, [2]int{i % 7, i}) },
	} {
		var count [64]int
		for i := range 64000 {
			count[payload.KeySlot([]byte(key(i)), 64)]++
		}
		if lo, hi := slices.Min(count[:]), slices.Max(count[:]); lo < 800 || hi > 1200 {
			t.Errorf("%s: between %d and %d of 64000 keys in a slot of 64", name, lo, hi)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{`["eu",7,true]`, `["a\"\\\n\u0001",-1,false]`, "17", "-0", "", `[["",0,false],[0,0],"00000000000000000000000000000001","",[]]`, `["\u00`} {
		f.Add(s)
	}
	places, comps, ints, strs := keyed[place](f), keyed[composite](f), keyed[int16](f), keyed[string](f)
	f.Fuzz(func(t *testing.T, s string) {
		oneSpelling(t, places, s)
		oneSpelling(t, comps, s)
		oneSpelling(t, ints, s)
		oneSpelling(t, strs, s)
	})
}

func oneSpelling[K comparable](t *testing.T, kt *payload.KeyType[K], s string) {
	k, err := kt.Parse(s)
	if err != nil {
		return
	}
	if out, err := kt.Append(nil, k); err != nil || string(out) != s {
		t.Errorf("Parse(%q) = %v, which is written %q, %v", s, k, out, err)
	}
	if s != "" && s[0] == '[' && !json.Valid([]byte(s)) {
		if _, isString := any(k).(string); !isString {
			t.Errorf("%q is not JSON", s)
		}
	}
}
