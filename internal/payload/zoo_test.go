package payload_test

import (
	"bytes"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

var codecs = []event.Codec{event.JSON, event.CBOR}

// The zoo: one type per thing that codecs are known to treat in their own way.
type (
	line struct {
		ID     int64  `json:"id"`
		Name   string `json:"name"`
		Amount int64  `json:"amount"`
		OK     bool   `json:"ok"`
	}
	order struct {
		ID       string  `json:"id"`
		Customer string  `json:"customer"`
		Region   string  `json:"region"`
		SKU      string  `json:"sku"`
		Quantity int     `json:"quantity"`
		Price    int64   `json:"price"`
		Total    float64 `json:"total"`
		Express  bool    `json:"express"`
		Attempt  uint32  `json:"attempt"`
		Note     string  `json:"note"`
	}
	shipment struct {
		ID    string    `json:"id"`
		At    time.Time `json:"at"`
		Lines []line    `json:"lines"`
		Tags  []string  `json:"tags"`
	}
	scalars struct {
		A bool
		B int
		C int8
		D int16
		E int32
		F int64
		G uint
		H uint8
		I uint16
		J uint32
		K uint64
		L float32
		M float64
		N string
		O time.Duration
		P [3]int16
		Q [4]byte
		R [2]string
		S struct{}
		T time.Time
	}
	omitted struct {
		A bool             `json:"a,omitempty"`
		B int              `json:"b,omitempty"`
		C float64          `json:"c,omitempty"`
		D string           `json:"d,omitempty"`
		E []int            `json:"e,omitempty"`
		F map[string]int   `json:"f,omitempty"`
		G *int             `json:"g,omitempty"`
		H []byte           `json:"h,omitempty"`
		I float32          `json:"i,omitempty"`
		J []string         `json:"j,omitempty"`
		K [][]int          `json:"k,omitempty"`
		L map[string][]int `json:"l,omitempty"`
	}
	zeroed struct {
		A int            `json:"a,omitzero"`
		B time.Time      `json:"b,omitzero"`
		C []int          `json:"c,omitzero"`
		D *string        `json:"d,omitzero"`
		E float64        `json:"e,omitzero"`
		F line           `json:"f,omitzero"`
		G map[string]int `json:"g,omitzero"`
	}
	quoted struct {
		A int     `json:"a,string"`
		B uint8   `json:"b,string"`
		D float64 `json:"d,string"`
	}
	refs struct {
		A []byte
		B []string
		C map[string]string
		D map[int]line
		E *line
		F []*line
		G [][]byte
		H map[string][]line
		I *time.Time
		J []time.Time
		K [2][]int
		L map[string]*int
		M [][2]float32
		N map[uint8]map[string]bool
		O []bool
	}
	tree struct {
		Name string
		Kids []tree
		Next *tree
		By   map[string]tree
	}
	base struct {
		ID   int
		When time.Time
	}
	Named  struct{ Label string }
	embeds struct {
		base
		Named
		Extra string
	}
	nested struct {
		Named `json:"named"`
		Extra string
	}
	hidden struct {
		A      int
		Secret string         `json:"-"`
		Cache  map[string]int `json:"-"`
		Fn     func()         `json:"-"`
	}
	kind    string
	cents   int64
	bits    []byte
	renamed struct {
		Kind  kind
		Cents cents
		Bits  bits
		By    map[kind]cents
	}
)

// holds checks, for generated values of T under each codec, the promise the
// package comment makes.
func holds[T any](t *testing.T, want payload.Mode, gen *rapid.Generator[T]) {
	t.Helper()
	for _, c := range codecs {
		t.Run(reflect.TypeFor[T]().Name()+"/"+c.String(), func(t *testing.T) {
			typ, err := payload.For[T](c)
			if err != nil {
				t.Fatal(err)
			}
			if typ.Mode != want {
				t.Fatalf("mode is %v (%s), want %v", typ.Mode, typ.Why, want)
			}
			rapid.Check(t, func(t *rapid.T) {
				v := gen.Draw(t, "v")
				typ.Normalize(&v)
				data, err := typ.Append([]byte("head"), &v)
				if err != nil {
					t.Fatal(err)
				}
				if string(data[:4]) != "head" {
					t.Fatalf("Append changed what was in the buffer: %q", data)
				}
				data = data[4:]
				got, err := typ.Decode(data)
				if err != nil {
					t.Fatalf("%v\n%s", err, data)
				}
				if !same(got, v) {
					t.Fatalf("decoded %#v\nnormal  %#v\n%s", got, v, data)
				}
				if typ.Mode != payload.Decode {
					if c := typ.Clone(&v); !same(c, v) {
						t.Fatalf("clone %#v\nof    %#v", c, v)
					}
				}
				again, err := typ.Append(nil, &got)
				if err != nil || !bytes.Equal(again, data) {
					t.Fatalf("encoded again %q, %v, want %q", again, err, data)
				}
			})
		})
	}
}

// same is reflect.DeepEqual that also sees the sign of a zero.
func same[T any](a, b T) bool {
	return reflect.DeepEqual(a, b) && signs(reflect.ValueOf(a)) == signs(reflect.ValueOf(b))
}

func signs(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Float32, reflect.Float64:
		if math.Signbit(v.Float()) {
			return "-"
		}
		return "+"
	case reflect.Struct:
		s := ""
		for _, field := range v.Fields() {
			s += signs(field)
		}
		return s
	case reflect.Array, reflect.Slice:
		s := ""
		for i := range v.Len() {
			s += signs(v.Index(i))
		}
		return s
	}
	return ""
}

var (
	genTime = rapid.Custom(func(t *rapid.T) time.Time {
		zones := []*time.Location{time.UTC, time.Local, time.FixedZone("odd", 5*3600+1800), time.FixedZone("sec", 4321)}
		if rapid.IntRange(0, 4).Draw(t, "zero") == 0 {
			return time.Time{}.In(rapid.SampledFrom(zones).Draw(t, "zone"))
		}
		sec := rapid.Int64Range(-62135596800, 253402300799).Draw(t, "sec")
		nsec := rapid.SampledFrom([]int64{0, 1, 1000, 120000000, 999999999}).Draw(t, "nsec")
		return time.Unix(sec, nsec).In(rapid.SampledFrom(zones).Draw(t, "zone"))
	})
	genFloat = rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), 1e21, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64, 0.1}))
	genText  = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "<b>&\u2028\u2029", "\x00\x1f\x7f\"\\/", "\ufffd", "\U0001f600", "null"}))
)

// made returns a generator of T by reflection, with the generators above where
// corner cases matter.
func made[T any]() *rapid.Generator[T] {
	return rapid.MakeCustom[T](rapid.MakeConfig{Types: map[reflect.Type]*rapid.Generator[any]{
		reflect.TypeFor[time.Time](): genTime.AsAny(),
		reflect.TypeFor[float64]():   genFloat.AsAny(),
		reflect.TypeFor[string]():    genText.AsAny(),
		reflect.TypeFor[kind]():      rapid.Map(genText, func(s string) kind { return kind(s) }).AsAny(),
		reflect.TypeFor[func()]():    rapid.Just(func() {}).AsAny(),
	}})
}

func genTree(depth int) *rapid.Generator[tree] {
	return rapid.Custom(func(t *rapid.T) tree {
		v := tree{Name: genText.Draw(t, "name")}
		if depth == 0 {
			return v
		}
		sub := genTree(depth - 1)
		v.Kids = rapid.SliceOfN(sub, -1, 2).Draw(t, "kids")
		v.By = rapid.MapOfN(genText, sub, -1, 2).Draw(t, "by")
		if rapid.Bool().Draw(t, "next") {
			next := sub.Draw(t, "next")
			v.Next = &next
		}
		return v
	})
}

func TestDecodedEqualsNormalized(t *testing.T) {
	holds(t, payload.Share, made[line]())
	holds(t, payload.Share, made[order]())
	holds(t, payload.Clone, made[shipment]())
	holds(t, payload.Share, made[scalars]())
	holds(t, payload.Clone, made[omitted]())
	holds(t, payload.Clone, made[zeroed]())
	holds(t, payload.Share, made[quoted]())
	holds(t, payload.Clone, made[refs]())
	holds(t, payload.Share, made[embeds]())
	holds(t, payload.Share, made[nested]())
	holds(t, payload.Clone, made[renamed]())
	holds(t, payload.Share, made[hidden]())
	holds(t, payload.Clone, genTree(3))
	holds(t, payload.Share, rapid.Int())
	holds(t, payload.Share, genText)
	holds(t, payload.Share, genFloat)
	holds(t, payload.Clone, made[[]string]())
	holds(t, payload.Clone, made[map[string]int]())
}
