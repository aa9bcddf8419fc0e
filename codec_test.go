package weir_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/weirtest"
)

type measure struct {
	Sensor string  `json:"sensor"`
	Value  float64 `json:"value"`
}

func inCodec(c event.Codec) *weir.Definition {
	return weir.Define("sensors", func(f *weir.Flow) {
		f.Codec(c)
		in := weir.From(f, "in", weir.Slice([]measure{{"a", 1}, {"b", 2}, {"a", 4}}))
		ok := weir.Map(in, "check", func(r measure) (measure, error) {
			if r.Sensor == "b" {
				return r, errors.New("broken")
			}
			return r, nil
		})
		sums := weir.Reduce(weir.KeyBy(ok, func(r measure) string { return r.Sensor }), "sum",
			func(s string) measure { return measure{Sensor: s} },
			func(sum *measure, r measure) error { sum.Value += r.Value; return nil })
		weir.Each(sums, "print", func(context.Context, measure) error { return nil })
	})
}

func TestCodecsRecordTheSame(t *testing.T) {
	for _, c := range []event.Codec{event.JSON, event.CBOR} {
		t.Run(c.String(), func(t *testing.T) {
			res := weirtest.Run(t, inCodec(c))
			got := weirtest.Read[measure](t, res, "sum")
			if len(got) != 1 || got[0] != (measure{"a", 5}) {
				t.Errorf("sum = %v, want a with 5", got)
			}
			dead := weirtest.Read[weir.Failed[measure]](t, res, "check.dead")
			if len(dead) != 1 || dead[0].Input != (measure{"b", 2}) {
				t.Errorf("check.dead = %v, want b with 2", dead)
			}
		})
	}
}

// People see JSON, whatever was recorded; a run of another codec is another
// definition.
func TestRunsInCBORAreShownAsJSON(t *testing.T) {
	sum, err := inCodec(event.CBOR).Run(t.Context(), weir.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	run, err := history.Open(sum.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for journal, want := range map[string]string{
		"in": `{"sensor":"a","value":1}`, "check.dead": `"input":{"sensor":"b","value":2}`, "sum": `{"sensor":"a","value":5}`,
	} {
		for r, err := range run.Records(t.Context(), journal, history.Range{Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(r.Payload), want) {
				t.Errorf("%s:1 = %s, want %s in it", journal, r.Payload, want)
			}
		}
	}
	if rep, err := run.Check(t.Context()); err != nil || len(rep.Problems) > 0 {
		t.Errorf("Check() = %+v, %v, want no damage", rep, err)
	}
	asJSON, err := inCodec(event.JSON).Graph(nil)
	if err != nil {
		t.Fatal(err)
	}
	if asJSON.Fingerprint() == run.Graph().Fingerprint() {
		t.Error("flows in JSON and in CBOR have one fingerprint, want two: neither reads the other's state")
	}
}

func TestCodecComesFirst(t *testing.T) {
	_, err := weir.Define("late", func(f *weir.Flow) {
		weir.From(f, "in", weir.Slice([]int{1}))
		f.Codec(event.CBOR)
	}).Graph(nil)
	if err == nil || !strings.Contains(err.Error(), "Codec is called behind the first stage") {
		t.Errorf("Graph() = %v, want a word about Codec", err)
	}
}
