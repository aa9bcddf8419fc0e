package payload_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

func TestDecodeRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"nothing":         ``,
		"space":           ` `,
		"cut":             `{"id":1`,
		"trailing":        `{"id":1} x`,
		"second value":    `{"id":1}{"id":1}`,
		"name twice":      `{"id":1,"id":2}`,
		"wrong type":      `{"id":"1"}`,
		"fraction":        `{"id":1.5}`,
		"overflow":        `{"id":9223372036854775808}`,
		"array":           `[]`,
		"number":          `7`,
		"bad UTF-8":       "{\"name\":\"a\xff\"}",
		"bad escape":      `{"name":"\x"}`,
		"lone surrogate":  `{"name":"\ud800"}`,
		"control":         "{\"name\":\"a\nb\"}",
		"deep":            `{"x":` + strings.Repeat("[", 5_000_000),
		"unquoted":        `{id:1}`,
		"trailing comma":  `{"id":1,}`,
		"not a boolean":   `{"ok":1}`,
		"not even close ": "\x00\x01\x02",
	} {
		v := line{ID: 9}
		err := compiled[line](t, event.JSON).DecodeInto([]byte(data), &v)
		if err == nil || event.KindOf(err) != event.KindDecode || !strings.Contains(err.Error(), "decode line as json: ") {
			t.Errorf("%s: %.200v", name, err)
		}
		if v != (line{}) {
			t.Errorf("%s: the value is %+v, want it zero", name, v)
		}
	}
	for name, data := range map[string]string{
		"nothing":     "",
		"cut":         "\xa1\x62id",
		"trailing":    "\xa1\x62id\x01\x00",
		"key twice":   "\xa2\x62id\x01\x62id\x02",
		"bad UTF-8":   "\xa1\x64name\x61\xff",
		"wrong type":  "\xa1\x62id\x61x",
		"huge array":  "\xa1\x61x\x9a\xff\xff\xff\xff",
		"huge string": "\xa1\x64name\x7a\xff\xff\xff\xff",
		"deep":        "\xa1\x61x" + strings.Repeat("\x81", 100_000),
	} {
		v := line{ID: 9}
		err := compiled[line](t, event.CBOR).DecodeInto([]byte(data), &v)
		if err == nil || event.KindOf(err) != event.KindDecode {
			t.Errorf("%s: %.200v", name, err)
		}
		if v != (line{}) {
			t.Errorf("%s: the value is %+v, want it zero", name, v)
		}
	}
}

func TestDecodeStartsFromZeroAndIgnoresWhatItDoesNotKnow(t *testing.T) {
	v := refs{B: []string{"old"}, C: map[string]string{"old": "x"}, E: &line{ID: 9}}
	if err := compiled[refs](t, event.JSON).DecodeInto([]byte(` {"C":{"new":"y"},"unknown":{"a":[1,2]},"c":1} `), &v); err != nil {
		t.Fatal(err)
	}
	if want := (refs{C: map[string]string{"new": "y"}}); !reflect.DeepEqual(v, want) {
		t.Errorf("got %+v, want %+v", v, want)
	}
}

func TestDecodedValueDoesNotReferToItsBytes(t *testing.T) {
	for _, c := range codecs {
		typ := compiled[refs](t, c)
		v := refs{A: []byte("bytes"), B: []string{"text"}, C: map[string]string{"key": "value"}}
		data, err := typ.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := typ.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		clear(data)
		if !reflect.DeepEqual(got, v) {
			t.Errorf("%v: the value changed with its bytes: %+v", c, got)
		}
	}
}

func fuzzDecode[T any](f *testing.F, c event.Codec, seeds ...T) {
	typ := compiled[T](f, c)
	for i := range seeds {
		data, err := typ.Append(nil, &seeds[i])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := typ.Decode(data)
		if err != nil {
			return
		}
		// What can be read can be written, unless a time is beyond what RFC
		// 3339 in UTC can say, and reads back the same.
		typ.Normalize(&v)
		out, err := typ.Append(nil, &v)
		if err != nil {
			if !strings.Contains(err.Error(), "is in the year") {
				t.Fatal(err)
			}
			return
		}
		if again, err := typ.Decode(out); err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%+v\n%+v\n%v", v, again, err)
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	fuzzDecode(f, event.JSON, aShipment, shipment{Tags: []string{"\x00<>&\u2028", "ü"}})
}

func FuzzDecodeCBOR(f *testing.F) {
	fuzzDecode(f, event.CBOR, aShipment, shipment{Tags: []string{"\x00<>&\u2028", "ü"}})
}

type (
	orderV1 struct{ Amount string }
	orderV2 struct{ Cents int }
	orderV3 struct {
		Cents    int
		Currency string
	}
)

func (orderV2) EventType() string  { return "order.v2" }
func (*orderV3) EventType() string { return "order.v3" }

var (
	toV2 = event.Upcast("order.v1", func(o orderV1) (orderV2, error) {
		if o.Amount == "" {
			return orderV2{}, errors.New("no amount")
		}
		return orderV2{len(o.Amount)}, nil
	})
	toV3 = event.Upcast("order.v2", func(o orderV2) (orderV3, error) { return orderV3{o.Cents, "EUR"}, nil })
)

func TestUpcasting(t *testing.T) {
	unrelated := event.Upcast("other.v1", func(int) (string, error) { return "", nil })
	typ := compiled[orderV3](t, event.JSON, toV3, unrelated, toV2)
	if want := []string{"order.v3", "order.v1", "order.v2"}; !slices.Equal(typ.Names(), want) {
		t.Errorf("Names() = %v, want %v", typ.Names(), want)
	}
	for _, tc := range []struct {
		name, data string
		want       orderV3
		err        string
	}{
		{"order.v3", `{"Cents":7,"Currency":"USD"}`, orderV3{7, "USD"}, ""},
		{"order.v2", `{"Cents":7}`, orderV3{7, "EUR"}, ""},
		{"order.v1", `{"Amount":"xxx"}`, orderV3{3, "EUR"}, ""},
		{"order.v1", `{"Amount":""}`, orderV3{}, `read order.v3 as json: upcast from "order.v1": no amount`},
		{"order.v1", `{"Amount":1}`, orderV3{}, `decode "order.v1" on the way to order.v3`},
		{"order.v0", `{}`, orderV3{}, `the record is a "order.v0", this code reads "order.v3" and, upcast, order.v1, order.v2: register event.Upcast("order.v0", …)`},
		{"other.v1", `1`, orderV3{}, `the record is a "other.v1"`},
	} {
		got := orderV3{Cents: 99}
		err := typ.DecodeAs(payload.Recorded{Name: tc.name}, []byte(tc.data), &got)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("DecodeAs(%s, %s) = %+v, %v, want %+v, %q", tc.name, tc.data, got, err, tc.want, tc.err)
		}
		if err != nil && event.KindOf(err) != event.KindDecode {
			t.Errorf("DecodeAs(%s): kind is %v", tc.name, event.KindOf(err))
		}
	}
}

func TestRefusedUpcasters(t *testing.T) {
	same := func(o orderV2) (orderV2, error) { return o, nil }
	for name, tc := range map[string]struct {
		up   []event.Upcaster
		want string
	}{
		"no name":   {[]event.Upcaster{event.Upcast("", same)}, "has no name to cast from"},
		"twice":     {[]event.Upcaster{toV2, toV2}, `two upcasters from "order.v1"`},
		"itself":    {[]event.Upcaster{event.Upcast("order.v2", same)}, "give the new type a new version"},
		"bad old":   {[]event.Upcaster{event.Upcast("x", func(struct2[func()]) (orderV2, error) { return orderV2{}, nil })}, `upcast from "x": payload`},
		"mismatch":  {[]event.Upcaster{event.Upcast("a", func(int) (orderV1, error) { return orderV1{}, nil }), event.Upcast("orderV1", func(string) (orderV2, error) { return orderV2{}, nil })}, `gives payload_test.orderV1, but the one from "orderV1" wants string`},
		"circle":    {[]event.Upcaster{event.Upcast("struct2[int]", func(struct2[int]) (struct2[string], error) { return struct2[string]{}, nil }), event.Upcast("struct2[string]", func(struct2[string]) (struct2[int], error) { return struct2[int]{}, nil })}, "lead in a circle"},
		"interface": {[]event.Upcaster{event.Upcast("a", func(int) (any, error) { return 1, nil })}, "give a concrete type"},
	} {
		if _, err := payload.For[orderV2](event.JSON, tc.up...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, want %q in it", name, err, tc.want)
		}
	}
}

func TestNames(t *testing.T) {
	type local struct{ N int }
	for got, want := range map[string]string{
		compiled[orderV2](t, event.JSON).Name:                        "order.v2",
		compiled[orderV3](t, event.JSON).Name:                        "order.v3",
		compiled[line](t, event.JSON).Name:                           "line",
		compiled[local](t, event.JSON).Name:                          "local",
		compiled[int](t, event.JSON).Name:                            "int",
		compiled[[]line](t, event.JSON).Name:                         "[]line",
		compiled[map[string][]line](t, event.JSON).Name:              "map[string][]line",
		compiled[struct2[line]](t, event.JSON).Name:                  "struct2[line]",
		compiled[struct2[struct2[[]local]]](t, event.JSON).Name:      "struct2[struct2[[]local]]",
		compiled[struct2[map[string]event.Ref]](t, event.JSON).Name:  "struct2[map[string]Ref]",
		compiled[event.Record[struct2[orderV2]]](t, event.JSON).Name: "Record[struct2[orderV2]]",
	} {
		if got != want {
			t.Errorf("name is %s, want %s", got, want)
		}
	}
}

func TestSchema(t *testing.T) {
	if got, want := compiled[omitsIt](t, event.JSON).Schema, `{"z":{"N":int} omitzero}`; got != want {
		t.Errorf("schema is %s, want %s", got, want)
	}
	if got, want := compiled[tree](t, event.JSON).Schema, `{"Name":string,"Kids":[]@tree,"Next":*@tree,"By":map[string]@tree}`; got != want {
		t.Errorf("schema is %s, want %s", got, want)
	}
	if got, want := compiled[embeds](t, event.JSON).Schema, `{...{"ID":int,"When":time},...{"Label":string},"Extra":string}`; got != want {
		t.Errorf("schema is %s, want %s", got, want)
	}
	if got, want := compiled[hidden](t, event.JSON).Schema, `{"A":int}`; got != want {
		t.Errorf("schema is %s, want %s", got, want)
	}
	type twin struct {
		Number int64  `json:"id"`
		Title  string `json:"name" db:"title"`
		Amount int64  `json:"amount"`
		OK     bool   `json:"ok"`
	}
	a, b := compiled[line](t, event.JSON), compiled[twin](t, event.JSON)
	if a.SchemaHash != b.SchemaHash {
		t.Errorf("the names of Go fields change the schema: %s, %s", a.Schema, b.Schema)
	}
	if a.SchemaHash == compiled[order](t, event.JSON).SchemaHash || a.SchemaHash == compiled[line](t, event.CBOR).SchemaHash {
		t.Error("different schemas have one hash")
	}
}
