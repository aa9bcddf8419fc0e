package payload_test

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

type (
	onlyMarshals   struct{ N int }
	onlyUnmarshals struct{ N int }
	crossed        struct{ N int }
	pointerText    struct{ N int }
	jsonOnly       struct{ N int }
	selfish        *selfish
	stamped        struct {
		time.Time
		Note string
	}
	restamped struct {
		time.Time
		Note string
	}
	wrapped   struct{ time.Time }
	unnamed   struct{ N int }
	panicking struct{ P *int }
	spaced    struct{ N int }
	badField  struct {
		Inner struct{ Deep []map[string]func() }
	}
	badMany struct {
		A func()
		B any
		c int
		D chan int
		E complex128
	}
)

func (onlyMarshals) MarshalJSON() ([]byte, error)    { return []byte("1"), nil }
func (*onlyUnmarshals) UnmarshalJSON([]byte) error   { return nil }
func (crossed) MarshalJSON() ([]byte, error)         { return []byte("1"), nil }
func (*crossed) UnmarshalText([]byte) error          { return nil }
func (*pointerText) MarshalText() ([]byte, error)    { return []byte("x"), nil }
func (*pointerText) UnmarshalText([]byte) error      { return nil }
func (jsonOnly) MarshalJSON() ([]byte, error)        { return []byte("1"), nil }
func (*jsonOnly) UnmarshalJSON([]byte) error         { return nil }
func (r restamped) MarshalJSON() ([]byte, error)     { return json.Marshal(r.Note) }
func (r *restamped) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &r.Note) }
func (unnamed) EventType() string                    { return "" }
func (spaced) EventType() string                     { return "order placed" }
func (p panicking) EventType() string                { return string(rune(*p.P)) }

func refusal[T any](c event.Codec) func() error {
	return func() error { _, err := payload.For[T](c); return err }
}

func TestRefusedTypes(t *testing.T) {
	for name, tc := range map[string]struct {
		compile func() error
		want    []string
	}{
		"pointer":            {refusal[*line](event.JSON), []string{"is a pointer: use payload_test.line itself"}},
		"interface":          {refusal[any](event.JSON), []string{"is an interface", "concrete type"}},
		"error":              {refusal[error](event.JSON), []string{"is an interface"}},
		"func":               {refusal[func()](event.JSON), []string{"func() means nothing outside this process"}},
		"unexported":         {refusal[struct{ N, m int }](event.JSON), []string{"m: is unexported", "MarshalJSON and UnmarshalJSON"}},
		"unexported, cbor":   {refusal[struct{ N, m int }](event.CBOR), []string{"MarshalBinary and UnmarshalBinary"}},
		"by path":            {refusal[badField](event.JSON), []string{"Inner.Deep[][]: func() means nothing"}},
		"all together":       {refusal[badMany](event.JSON), []string{"A: func()", "B: interface {}", "one pointer field per variant", "c: is unexported", "D: chan int", "E: complex128 has no encoding: use two float64"}},
		"uintptr":            {refusal[struct{ P uintptr }](event.JSON), []string{"P: uintptr means nothing"}},
		"unsafe pointer":     {refusal[struct{ P unsafe.Pointer }](event.JSON), []string{"P: unsafe.Pointer means nothing"}},
		"json.Number":        {refusal[struct{ N json.Number }](event.JSON), []string{"N: json.Number", "use a number type"}},
		"bool key":           {refusal[map[bool]int](event.JSON), []string{"bool cannot be a map key: use a string or an integer"}},
		"float key":          {refusal[map[float64]int](event.JSON), []string{"float64 cannot be a map key"}},
		"struct key":         {refusal[struct{ M map[line]int }](event.CBOR), []string{"M: payload_test.line cannot be a map key"}},
		"pointer to itself":  {refusal[struct{ P selfish }](event.JSON), []string{"points only to itself"}},
		"only marshals":      {refusal[onlyMarshals](event.JSON), []string{"MarshalJSON but no UnmarshalJSON", "add it"}},
		"only unmarshals":    {refusal[onlyUnmarshals](event.JSON), []string{"UnmarshalJSON but no MarshalJSON"}},
		"crossed":            {refusal[crossed](event.JSON), []string{"written by MarshalJSON but would be read by UnmarshalText"}},
		"pointer text key":   {refusal[map[pointerText]int](event.JSON), []string{"map key payload_test.pointerText has its MarshalText on a pointer"}},
		"pointer text value": {refusal[map[string]pointerText](event.JSON), []string{"map value payload_test.pointerText has its MarshalText on a pointer"}},
		"json only, cbor":    {refusal[struct{ X jsonOnly }](event.CBOR), []string{"X: payload_test.jsonOnly writes itself as JSON only"}},
		"embedded marshaler": {refusal[stamped](event.JSON), []string{"embeds time.Time, whose MarshalJSON would be used for the whole"}},
		"embedded pointer":   {refusal[struct{ *Named }](event.JSON), []string{"Named: is an embedded pointer"}},
		"same name": {refusal[struct {
			A int `json:"B"`
			B int
		}](event.JSON), []string{`B: is written as "B" like A`, "give one a json tag"}},
		"hidden by embedding": {refusal[struct {
			Named
			Label int
		}](event.JSON), []string{`Label: is written as "Label" like Named.Label`}},
		"same name, cbor": {refusal[struct {
			A int `cbor:"x" json:"a"`
			B int `json:"x"`
		}](event.CBOR), []string{`B: is written as "x" like A`, "give one a cbor tag"}},
		"tag option": {refusal[struct {
			A int `json:"a,omitall"`
		}](event.JSON), []string{`A: the tag option "omitall" is not known`}},
		"tag name": {refusal[struct {
			A int `json:"a'b"`
		}](event.JSON), []string{`A: the tag name "a'b"`}},
		"quoted text": {refusal[struct {
			A string `json:",string"`
		}](event.JSON), []string{"A: the tag option string is for numbers, not for string"}},
		"toarray": {refusal[struct {
			_ struct{} `cbor:",toarray"`
			A int
		}](event.CBOR), []string{"_: is unexported"}},
		"empty name":     {refusal[unnamed](event.JSON), []string{`EventType returns ""`, "order.placed.v1"}},
		"spaced name":    {refusal[spaced](event.JSON), []string{`EventType returns "order placed"`}},
		"panicking name": {refusal[panicking](event.JSON), []string{"EventType panics on the zero value", "return a constant"}},
		"anonymous type": {refusal[struct{ N int }](event.JSON), []string{"has no name to record: declare a named type"}},
		"no codec":       {refusal[line](event.Codec(7)), []string{"codec(7) does not exist; there are json and cbor"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.compile()
			if err == nil {
				t.Fatal("the type was accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error is\n%v\nwant %q in it", err, want)
				}
			}
		})
	}
}

func TestAcceptedTypes(t *testing.T) {
	for name, compile := range map[string]func() error{
		"embedded marshaler alone":    refusal[wrapped](event.JSON),
		"own marshaler over embedded": refusal[restamped](event.JSON),
		"big.Int, json":               refusal[struct2[*big.Int]](event.JSON),
		"big.Int, cbor":               refusal[struct2[*big.Int]](event.CBOR),
		"netip.Addr, json":            refusal[struct2[netip.Addr]](event.JSON),
		"netip.Addr, cbor":            refusal[map[netip.Addr]int](event.CBOR),
		"nothing":                     refusal[nothing](event.JSON),
	} {
		if err := compile(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type (
	struct2[T any] struct{ X T }
	nothing        struct{}
)
