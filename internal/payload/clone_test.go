package payload_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

// scribble changes everything that can be reached through v's references.
func scribble(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			scribble(v.Elem())
			v.Elem().SetZero()
		}
	case reflect.Slice:
		for i := range v.Len() {
			scribble(v.Index(i))
			v.Index(i).SetZero()
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(k))
			scribble(elem)
			v.SetMapIndex(k, reflect.Value{})
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for _, field := range v.Fields() {
			scribble(field)
		}
	case reflect.Array:
		for i := range v.Len() {
			scribble(v.Index(i))
		}
	}
}

func TestClonesAndNormalizedValuesShareNothing(t *testing.T) {
	typ := compiled[refs](t, event.JSON)
	trees := compiled[tree](t, event.JSON)
	rapid.Check(t, func(t *rapid.T) {
		v := made[refs]().Draw(t, "v")
		normal := v
		typ.Normalize(&normal)
		data, err := typ.Append(nil, &normal)
		if err != nil {
			t.Fatal(err)
		}
		want, err := typ.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		clone := typ.Clone(&normal)
		scribble(reflect.ValueOf(&v))
		if !reflect.DeepEqual(normal, want) {
			t.Fatal("a normalized value changed with what it was made from")
		}
		scribble(reflect.ValueOf(&normal))
		if !reflect.DeepEqual(clone, want) {
			t.Fatal("a clone changed with its original")
		}
		tr := genTree(2).Draw(t, "tree")
		trees.Normalize(&tr)
		data, _ = trees.Append(nil, &tr)
		wantTree, _ := trees.Decode(data)
		twin := trees.Clone(&tr)
		scribble(reflect.ValueOf(&tr))
		if !reflect.DeepEqual(twin, wantTree) {
			t.Fatal("a cloned tree changed with its original")
		}
	})
}

func TestNormalizeLeavesWhatItIsGivenAlone(t *testing.T) {
	local := time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 3600))
	times := []time.Time{local}
	v := struct{ J []time.Time }{times}
	type holder struct{ J []time.Time }
	typ := compiled[holder](t, event.JSON)
	h := holder(v)
	typ.Normalize(&h)
	if times[0].Location() == time.UTC {
		t.Error("Normalize changed the caller's slice")
	}
	if h.J[0].Location() != time.UTC {
		t.Error("Normalize left a time as it was")
	}
}

type opaque struct{ secret []int }

func (o opaque) MarshalText() ([]byte, error)     { return []byte(strings.Repeat("x", len(o.secret))), nil }
func (o *opaque) UnmarshalText(text []byte) error { o.secret = make([]int, len(text)); return nil }

type vouched struct {
	O    opaque
	At   time.Time
	Tags []string
}

func (v vouched) Clone() vouched {
	v.O.secret = append([]int(nil), v.O.secret...)
	v.Tags = append([]string(nil), v.Tags...)
	return v
}

func TestOwnCloneMethod(t *testing.T) {
	typ := compiled[vouched](t, event.JSON)
	if typ.Mode != payload.Clone || typ.Why != "" {
		t.Fatalf("mode is %v (%s), want clone", typ.Mode, typ.Why)
	}
	v := vouched{O: opaque{[]int{1}}, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("x", 60)), Tags: []string{"a"}}
	normal := v
	typ.Normalize(&normal)
	clone := typ.Clone(&normal)
	v.O.secret[0], v.Tags[0] = 9, "z"
	normal.Tags[0] = "y"
	want := vouched{O: opaque{[]int{1}}, At: v.At.UTC(), Tags: []string{"a"}}
	if diff := cmp.Diff(want, clone, cmp.AllowUnexported(opaque{})); diff != "" {
		t.Errorf("clone (-want +got):\n%s", diff)
	}
}

func TestCloneOfADecodedTypePanics(t *testing.T) {
	typ := compiled[struct2[opaque]](t, event.JSON)
	if typ.Mode != payload.Decode || typ.Why != "X has its own MarshalText, and only that knows what it gives back" {
		t.Fatalf("mode is %v, %q", typ.Mode, typ.Why)
	}
	defer func() {
		if p := recover(); p == nil || !strings.Contains(p.(string), "must be decoded") {
			t.Errorf("recovered %v", p)
		}
	}()
	typ.Clone(&struct2[opaque]{})
}

type (
	lenient  struct{ N *[]int }
	isZeroer struct{ N int }
	point    struct{ X, Y float64 }
	spot     struct {
		At point `json:"at,omitzero"`
	}
	omitsIt struct {
		Z isZeroer `json:"z,omitzero"`
	}
)

func (z isZeroer) IsZero() bool { return z.N < 10 }

func TestTypesThatCannotBePredictedAreDecoded(t *testing.T) {
	if typ := compiled[lenient](t, event.JSON); typ.Mode != payload.Decode || !strings.HasPrefix(typ.Why, "N points to something that may be nil") {
		t.Errorf("pointer to slice: %v, %q", typ.Mode, typ.Why)
	}
	if typ := compiled[spot](t, event.JSON); typ.Mode != payload.Decode || typ.Why != "At may be omitted with a negative zero in it" {
		t.Errorf("omitzero with floats: %v, %q", typ.Mode, typ.Why)
	}
	for _, c := range codecs {
		typ := compiled[omitsIt](t, c)
		if typ.Mode != payload.Decode || !strings.HasPrefix(typ.Why, "Z is omitted when its own IsZero says so") {
			t.Errorf("IsZero: %v, %q", typ.Mode, typ.Why)
		}
		data, err := typ.Append(nil, &omitsIt{isZeroer{7}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := typ.Decode(data); err != nil || got.Z.N != 0 {
			t.Errorf("%v: %+v, %v from %q, want it omitted", c, got, err, data)
		}
	}
}

type picky struct{ N int }

var errPicky = errors.New("too small")

func (p *picky) Validate() error {
	switch {
	case p.N < 0:
		return event.Mark(event.KindDomain, errPicky)
	case p.N == 0:
		return errPicky
	}
	return nil
}

func TestValidate(t *testing.T) {
	typ := compiled[picky](t, event.JSON)
	if !typ.Validates() || compiled[line](t, event.JSON).Validates() {
		t.Error("Validates is wrong")
	}
	if err := typ.Validate(&picky{1}); err != nil {
		t.Errorf("Validate(1) = %v", err)
	}
	if err := typ.Validate(&picky{0}); !errors.Is(err, errPicky) || event.KindOf(err) != event.KindValidation {
		t.Errorf("Validate(0) = %v", err)
	}
	if err := typ.Validate(&picky{-1}); event.KindOf(err) != event.KindDomain {
		t.Errorf("Validate(-1) = %v", err)
	}
	if err := compiled[line](t, event.JSON).Validate(&line{}); err != nil {
		t.Errorf("Validate of a type without = %v", err)
	}
}

func TestTypesAreSafeForConcurrentUse(t *testing.T) {
	for _, c := range codecs {
		typ := compiled[refs](t, c)
		v := refs{
			B: []string{"x"}, C: map[string]string{"a": "b", "c": "d"}, E: &line{ID: 1},
			H: map[string][]line{"k": {{ID: 2}}}, N: map[uint8]map[string]bool{1: {"y": true, "n": false}, 2: nil},
		}
		want, err := typ.Append(nil, &v)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan string) // from each reader once
		for range 8 {
			go func() {
				for range 200 {
					w := typ.Clone(&v)
					data, err := typ.Append(nil, &w)
					if err != nil || !bytes.Equal(data, want) {
						done <- "a clone is written differently"
						return
					}
					if back, err := typ.Decode(data); err != nil || !reflect.DeepEqual(back, v) {
						done <- "a clone reads back differently"
						return
					}
				}
				done <- ""
			}()
		}
		for range 8 {
			if msg := <-done; msg != "" {
				t.Errorf("%v: %s", c, msg)
			}
		}
	}
}
