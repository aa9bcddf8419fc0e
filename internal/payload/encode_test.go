package payload_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

func compiled[T any](t testing.TB, c event.Codec, up ...event.Upcaster) *payload.Type[T] {
	t.Helper()
	typ, err := payload.For[T](c, up...)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// matches checks that what is written in JSON is what encoding/json writes.
func matches[T any](t *testing.T, gen *rapid.Generator[T]) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().Name(), func(t *testing.T) {
		typ := compiled[T](t, event.JSON)
		rapid.Check(t, func(t *rapid.T) {
			v := gen.Draw(t, "v")
			typ.Normalize(&v)
			got, err := typ.Append(nil, &v)
			if err != nil {
				t.Fatal(err)
			}
			var want bytes.Buffer
			enc := json.NewEncoder(&want)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(&v); err != nil {
				t.Fatal(err)
			}
			// encoding/json escapes two more characters, for JavaScript.
			text := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(strings.TrimSuffix(want.String(), "\n"))
			if string(got) != text {
				t.Fatalf("got  %s\nwant %s", got, text)
			}
		})
	})
}

func TestJSONIsWhatEncodingJSONWrites(t *testing.T) {
	matches(t, made[order]())
	matches(t, made[shipment]())
	matches(t, made[scalars]())
	matches(t, made[omitted]())
	matches(t, made[zeroed]())
	matches(t, made[quoted]())
	matches(t, made[refs]())
	matches(t, genTree(3))
	matches(t, made[embeds]())
	matches(t, made[nested]())
	matches(t, made[hidden]())
	matches(t, made[renamed]())
	matches(t, rapid.Custom(func(t *rapid.T) float32 { return rapid.Float32().Draw(t, "f") }))
	matches(t, genFloat)
}

type faulty struct {
	Name  string
	Score float64
	Ratio float32
	At    time.Time
	Lines []line
	By    map[string]line
	Named map[string]string
	Ptr   *line
	Two   [2]line
	Raw   json.RawMessage `cbor:"-"`
	Text  *badText
}

type badText struct{ s string }

func (b badText) MarshalText() ([]byte, error) {
	if b.s == "fail" {
		return nil, errors.New("no text today")
	}
	return []byte(b.s), nil
}
func (b *badText) UnmarshalText(text []byte) error { b.s = string(text); return nil }

func TestFaultsNameTheField(t *testing.T) {
	const broken = "a\xff"
	for _, tc := range []struct {
		value faulty
		want  string
		cbor  bool // also in CBOR
	}{
		{faulty{Name: broken}, `Name is not valid UTF-8: "a\xff"; use []byte`, true},
		{faulty{Score: math.NaN()}, "Score is NaN, which JSON cannot hold", false},
		{faulty{Ratio: float32(math.Inf(-1))}, "Ratio is -Inf, which JSON cannot hold", false},
		{faulty{At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "At is in the year 10000", true},
		{faulty{At: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, "At is in the year -1", true},
		{faulty{At: time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("west", -7200))}, "At is in the year 10000", true},
		{faulty{Lines: []line{{}, {Name: broken}}}, "Lines[1].Name is not valid UTF-8", true},
		{faulty{By: map[string]line{"x": {}, "k": {Name: broken}}}, `By["k"].Name is not valid UTF-8`, true},
		{faulty{By: map[string]line{"b": {Name: broken}, "a": {Name: broken}, "c": {Name: broken}}}, `By["a"].Name is not valid UTF-8`, true},
		{faulty{Named: map[string]string{broken: "x"}}, "Named has a key that is not valid UTF-8", true},
		{faulty{Ptr: &line{Name: broken}}, "Ptr.Name is not valid UTF-8", true},
		{faulty{Two: [2]line{{}, {Name: broken}}}, "Two[1].Name is not valid UTF-8", true},
		{faulty{Raw: json.RawMessage(`{"a":1,}`)}, "Raw cannot be written: MarshalJSON returned what is not strict JSON", false},
		{faulty{Raw: json.RawMessage("\"\xff\"")}, "Raw cannot be written", false},
		{faulty{Raw: json.RawMessage(`{"a":1,"a":2}`)}, "Raw cannot be written", false},
		{faulty{Text: &badText{broken}}, "Text is not valid UTF-8", true},
		{faulty{Text: &badText{"fail"}}, "Text cannot be written: no text today", true},
	} {
		for _, c := range codecs {
			if c == event.CBOR && !tc.cbor {
				continue
			}
			typ := compiled[faulty](t, c)
			dst := []byte("kept")
			out, err := typ.Append(dst, &tc.value)
			if err == nil || !strings.Contains(err.Error(), "encode faulty as "+c.String()+": "+tc.want) {
				t.Errorf("%v: error is %v, want %q in it", c, err, tc.want)
			}
			if string(out) != "kept" {
				t.Errorf("%v: the buffer came back as %q", c, out)
			}
			if kind := event.KindOf(err); err != nil && kind != event.KindValidation {
				t.Errorf("%v: kind is %v", c, kind)
			}
		}
	}
}

func TestTopLevelFaultReadsWell(t *testing.T) {
	s := "\xff"
	_, err := compiled[string](t, event.JSON).Append(nil, &s)
	if err == nil || !strings.Contains(err.Error(), "encode string as json: it is not valid UTF-8") {
		t.Errorf("error is %v", err)
	}
}

func TestNonFiniteNumbersSurviveCBOR(t *testing.T) {
	typ := compiled[struct2[float64]](t, event.CBOR)
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(0x7ff8000000000123)} {
		data, err := typ.Append(nil, &struct2[float64]{f})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := typ.Decode(data); err != nil || math.Float64bits(got.X) != math.Float64bits(f) {
			t.Errorf("%x came back as %x, %v", math.Float64bits(f), math.Float64bits(got.X), err)
		}
	}
}

func TestEndlessValueIsAnError(t *testing.T) {
	loop := tree{Name: "loop"}
	loop.Next = &loop
	deep := tree{}
	for range 1200 {
		deep = tree{Kids: []tree{deep}}
	}
	for _, c := range codecs {
		typ := compiled[tree](t, c)
		for name, v := range map[string]*tree{"loop": &loop, "deep": &deep} {
			if _, err := typ.Append(nil, v); err == nil || !strings.Contains(err.Error(), "more than 1000 levels deep") {
				t.Errorf("%v, %s: error is %.200v", c, name, err)
			} else if len(err.Error()) > 1000 {
				t.Errorf("%v, %s: the error is %d bytes long", c, name, len(err.Error()))
			}
		}
	}
}

// The deepest value that can be written can be read.
func TestDeepestValueComesBack(t *testing.T) {
	for _, c := range codecs {
		typ := compiled[tree](t, c)
		v := tree{}
		for range 499 {
			v = tree{Kids: []tree{v}}
		}
		data, err := typ.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := typ.Decode(data); err != nil || !reflect.DeepEqual(got, v) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestMapsAreWrittenInOneOrder(t *testing.T) {
	for _, c := range codecs {
		typ := compiled[map[int]string](t, c)
		var first []byte
		for range 20 {
			m := map[int]string{}
			for i := range 50 {
				m[i*7919%1000-500] = "x"
			}
			data, err := typ.Append(nil, &m)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = data
			}
			if !bytes.Equal(data, first) {
				t.Fatalf("%v: one map, two encodings", c)
			}
		}
	}
}

type samey string

func (samey) MarshalText() ([]byte, error)  { return []byte("same"), nil }
func (s *samey) UnmarshalText([]byte) error { *s = "same"; return nil }

func TestKeysThatCollideAreAFault(t *testing.T) {
	for _, c := range codecs {
		v := map[samey]int{"a": 1, "b": 2}
		_, err := compiled[map[samey]int](t, c).Append(nil, &v)
		if err == nil || !strings.Contains(err.Error(), "two keys that are both written as") {
			t.Errorf("%v: error is %v", c, err)
		}
	}
}

func TestTimesAreWrittenInUTC(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 5, time.FixedZone("x", 7200))
	for _, c := range codecs {
		data, err := compiled[time.Time](t, c).Append(nil, &at)
		if err != nil || !bytes.Contains(data, []byte("2026-07-01T10:00:00.000000005Z")) {
			t.Errorf("%v: %s, %v", c, data, err)
		}
	}
}

func TestTypesWithTheirOwnMethodsAreDecoded(t *testing.T) {
	type account struct {
		Balance *big.Int
		From    netip.Addr
		Seen    map[netip.Addr]int
	}
	huge, _ := new(big.Int).SetString("-123456789012345678901234567890", 10)
	v := account{huge, netip.MustParseAddr("10.0.0.1"), map[netip.Addr]int{netip.MustParseAddr("::1"): 1, netip.MustParseAddr("1.2.3.4"): 2}}
	for _, c := range codecs {
		typ := compiled[account](t, c)
		if typ.Mode != payload.Decode || !strings.Contains(typ.Why, "Balance has its own") {
			t.Errorf("%v: mode is %v, %q", c, typ.Mode, typ.Why)
		}
		data, err := typ.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := typ.Decode(data)
		if err != nil || got.Balance.Cmp(huge) != 0 || got.From != v.From || !reflect.DeepEqual(got.Seen, v.Seen) {
			t.Errorf("%v: %+v, %v from %q", c, got, err, data)
		}
	}
}

func TestEncodingAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 4096)
	check := func(name string, f func() error) {
		t.Helper()
		if n := testing.AllocsPerRun(200, func() {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, c := range codecs {
		small, ten, rich := compiled[line](t, c), compiled[order](t, c), compiled[shipment](t, c)
		all := compiled[scalars](t, c)
		v := scalars{T: time.Now(), M: 1.5, L: 1e-9, N: "ü", O: time.Second, R: [2]string{"a", "\n"}}
		check("small/"+c.String(), func() error { _, err := small.Append(buf, &aLine); return err })
		check("ten/"+c.String(), func() error { _, err := ten.Append(buf, &anOrder); return err })
		check("rich/"+c.String(), func() error { _, err := rich.Append(buf, &aShipment); return err })
		check("scalars/"+c.String(), func() error { _, err := all.Append(buf, &v); return err })
		check("normalize/"+c.String(), func() error { all.Normalize(&v); ten.Normalize(&anOrder); return nil })
		var w order
		check("share/"+c.String(), func() error { ten.CloneTo(&w, &anOrder); return nil })
	}
}
