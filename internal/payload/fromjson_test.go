package payload_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
)

// What a person writes in JSON is read in either codec.
func TestFromJSON(t *testing.T) {
	type line struct {
		Text  string    `json:"text"`
		Count int64     `json:"count"`
		Large uint64    `json:"large"`
		Share float64   `json:"share"`
		At    time.Time `json:"at"`
		More  []string  `json:"more"`
		Known bool      `json:"known"`
	}
	const text = `{"text":"ü <b>","count":-9007199254740993,"large":18446744073709551615,"share":0.25,"at":"2026-03-01T09:00:00Z","more":["a",""],"known":true}`
	want := line{
		Text: "ü <b>", Count: -9007199254740993, Large: math.MaxUint64, Share: 0.25,
		At: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), More: []string{"a", ""}, Known: true,
	}
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		typ, err := payload.For[line](c)
		if err != nil {
			t.Fatal(err)
		}
		data, err := payload.FromJSON(c, []byte(text))
		if err != nil {
			t.Errorf("%v: FromJSON = %v", c, err)
			continue
		}
		got, err := typ.Decode(data)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v: %v (-want +got):\n%s", c, err, diff)
		}
		for _, bad := range []string{"", "{", "1 2", "{}}", "1e999999"} {
			if c == event.JSON && bad == "1e999999" {
				continue // it is JSON; no number in a type is that large
			}
			if got, err := payload.FromJSON(c, []byte(bad)); err == nil {
				t.Errorf("%v: FromJSON(%q) = %q, want an error", c, bad, got)
			}
		}
	}
}
