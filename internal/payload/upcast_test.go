package payload_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

// A parcel holds an order where a failure, a ranking or state would.
type parcel[T any] struct {
	Input T            `json:"input"`
	More  []boxed[T]   `json:"more"`
	Maybe *T           `json:"maybe"`
	Other int64        `json:"other"`
	By    map[string]T `json:"-"`
	tallied
}

type boxed[T any] struct {
	Value T
	Seq   uint64
}

type tallied struct{ Seen int }

// EventType is made as Failed and Ranking make theirs.
func (parcel[T]) EventType() string {
	if t, err := payload.For[T](event.JSON); err == nil {
		return "parcel[" + t.Name + "]"
	}
	return "parcel"
}

func recorded[T any](t *testing.T, c event.Codec) payload.Recorded {
	t.Helper()
	typ := compiled[T](t, c)
	return payload.Recorded{Name: typ.Name, Schema: hex.EncodeToString(typ.SchemaHash[:])}
}

// What holds an old payload is read with the payload's upcaster alone.
func TestUpcastOfParts(t *testing.T) {
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		old := compiled[parcel[orderV1]](t, c)
		was := parcel[orderV1]{
			Input: orderV1{"xx"}, More: []boxed[orderV1]{{orderV1{"x"}, 7}, {orderV1{"xxx"}, 1 << 60}}, Maybe: &orderV1{"x"},
			Other: 1<<62 + 1, tallied: tallied{3},
		}
		want := parcel[orderV3]{
			Input: orderV3{2, "EUR"}, More: []boxed[orderV3]{{orderV3{1, "EUR"}, 7}, {orderV3{3, "EUR"}, 1 << 60}}, Maybe: &orderV3{1, "EUR"},
			Other: 1<<62 + 1, tallied: tallied{3},
		}
		data, err := old.Append(nil, &was)
		if err != nil {
			t.Fatal(err)
		}
		typ := compiled[parcel[orderV3]](t, c, toV2, toV3)
		names := payload.Recorded{Name: "parcel[order.v1]", Schema: recorded[parcel[orderV1]](t, c).Schema}
		for _, as := range []payload.Recorded{names, {Name: names.Name}} {
			var got parcel[orderV3]
			if err := typ.DecodeAs(as, data, &got); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v: DecodeAs(%v) = %+v, %v, want %+v", c, as, got, err, want)
			}
			if how := typ.Reads(as); how != payload.Upcast {
				t.Errorf("%v: Reads(%v) = %v", c, as, how)
			}
		}
		var got parcel[orderV3]
		state := payload.Recorded{Name: "order.v1", Schema: names.Schema}
		if err := typ.DecodeState(state, data, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: DecodeState(%v) = %+v, %v", c, state, got, err)
		}
		// A list that is absent stays so.
		if data, err = old.Append(nil, &parcel[orderV1]{Input: orderV1{"x"}}); err != nil {
			t.Fatal(err)
		}
		if err := typ.DecodeAs(names, data, &got); err != nil || got.More != nil || got.Maybe != nil || got.Input.Cents != 1 {
			t.Errorf("%v: DecodeAs = %+v, %v", c, got, err)
		}
		// One part that does not pass is the fault of its upcaster.
		if data, err = old.Append(nil, &parcel[orderV1]{}); err != nil {
			t.Fatal(err)
		}
		up := (*payload.UpcastError)(nil)
		if err := typ.DecodeAs(names, data, &got); !errors.As(err, &up) || event.KindOf(err) != event.KindDecode {
			t.Errorf("%v: DecodeAs = %v", c, err)
		}
	}
}

// A named payload has one name whatever it holds.
type named[T any] struct{ V T }

func (named[T]) EventType() string { return "named" }

// With one name, the schema tells what was recorded.
func TestUpcastWithinOneName(t *testing.T) {
	type now struct{ Cents int }
	type first struct{ Amount string }
	type second struct {
		Amount string
		Note   string
	}
	type versions[T any] = named[T]
	name := compiled[versions[now]](t, event.JSON).Name
	one := event.Upcast(name, func(o versions[first]) (versions[second], error) {
		return versions[second]{V: second{o.V.Amount, "was the first"}}, nil
	})
	two := event.Upcast(name, func(o versions[second]) (versions[now], error) {
		n := len(o.V.Amount)
		if o.V.Note == "" {
			n += 100
		}
		return versions[now]{now{n}}, nil
	})
	typ := compiled[versions[now]](t, event.JSON, one, two)
	for _, tc := range []struct {
		was  payload.Recorded
		data string
		want now
		how  payload.Reading
	}{
		{recorded[versions[first]](t, event.JSON), `{"V":{"Amount":"xx"}}`, now{2}, payload.Upcast},
		{recorded[versions[second]](t, event.JSON), `{"V":{"Amount":"xx","Note":""}}`, now{102}, payload.Upcast},
		{recorded[versions[now]](t, event.JSON), `{"V":{"Cents":5}}`, now{5}, payload.AsIs},
		{payload.Recorded{Name: name, Schema: "another"}, `{"V":{"Cents":5}}`, now{5}, payload.AsIs},
		{payload.Recorded{Name: name}, `{"V":{"Cents":5}}`, now{5}, payload.AsIs},
	} {
		var got versions[now]
		if err := typ.DecodeAs(tc.was, []byte(tc.data), &got); err != nil || got.V != tc.want || typ.Reads(tc.was) != tc.how {
			t.Errorf("DecodeAs(%v, %s) = %+v, %v, %v, want %+v, %v", tc.was, tc.data, got, err, typ.Reads(tc.was), tc.want, tc.how)
		}
	}
}

// An upcaster that panics does not take it either.
func TestUpcasterPanics(t *testing.T) {
	typ := compiled[orderV2](t, event.JSON, event.Upcast("order.v0", func(orderV1) (orderV2, error) { panic("no") }))
	var v orderV2
	err := typ.DecodeAs(payload.Recorded{Name: "order.v0"}, []byte(`{"Amount":"x"}`), &v)
	if up := (*payload.UpcastError)(nil); !errors.As(err, &up) || v != (orderV2{}) {
		t.Errorf("DecodeAs = %+v, %v", v, err)
	}
}

func TestWidens(t *testing.T) {
	type inner struct {
		A int
		B string `json:",omitempty"`
	}
	type embedded struct{ E bool }
	type outer struct {
		embedded
		In   inner
		List []inner
		By   map[string]inner
		P    *inner
		Arr  [2]inner
		New  int
		Kin  *outer
	}
	typ := compiled[outer](t, event.JSON)
	full := typ.Schema
	widened := []string{
		full,
		`{}`,
		`{"In":{"A":int}}`,
		`{"E":bool,"In":{"A":int,"B":string omitempty}}`,
		`{...{"E":bool},"List":[]{"A":int}}`,
		`{"By":map[string]{"B":string omitempty,"A":int},"Arr":[2]{"A":int}}`,
		`{"P":*{"A":int},"Kin":*@outer}`,
		`{"Kin":*{"New":int}}`,
	}
	for _, s := range widened {
		if !typ.Widens(s) {
			t.Errorf("Widens(%s) = false; the type is %s", s, full)
		}
	}
	for _, s := range []string{
		``, `int`, `{"In":{"A":int}`, `{"In":{"A":int}}}`, `{"Gone":int}`, `{"In":{"A":int64}}`, `{"In":{"A":int omitempty}}`,
		`{"In":{"C":int}}`, `{"List":{"A":int}}`, `{"Arr":[3]{"A":int}}`, `{"In":{"A":in}}`, `{"By":map[int]{"A":int}}`, `{"New":int,}x`,
		`{"Kin":*@inner}`, `{"P":{"A":int}}`, `{"In":{"B":string}}`, `{"In":`, `{"`, `{`, `{...`,
	} {
		if typ.Widens(s) {
			t.Errorf("Widens(%s) = true; the type is %s", s, full)
		}
	}
	if !compiled[int](t, event.JSON).Widens("int") || compiled[int](t, event.JSON).Widens("int64") || compiled[int](t, event.JSON).Widens("integer") {
		t.Error("a number is what it is")
	}
}

// Nothing that is written in a manifest makes Widens panic.
func FuzzWidens(f *testing.F) {
	typ := compiled[parcel[orderV3]](f, event.JSON)
	f.Add(typ.Schema)
	f.Add(`{"a":[]map[string]*@x,...{"b":int omitempty}}`)
	for i := range typ.Schema {
		f.Add(typ.Schema[:i])
	}
	f.Fuzz(func(t *testing.T, s string) {
		if typ.Widens(s) && s != typ.Schema && len(s) > 10*len(typ.Schema)+1000 {
			t.Log(fmt.Sprint("it repeats itself: ", len(s)))
		}
	})
}
