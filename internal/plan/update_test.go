package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/plan"
)

func TestUpdatesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := plan.Entry{
			Type: rapid.String().Draw(t, "type"), Step: rapid.String().Draw(t, "step"),
			Result: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "result"), Attempt: rapid.Int().Draw(t, "attempt"),
		}
		at := rapid.Uint64().Draw(t, "sequence")
		data, err := plan.AppendUpdate(nil, at, &want)
		if err != nil {
			t.Fatal(err)
		}
		seq, got, err := plan.ParseUpdate(data)
		if diff := cmp.Diff(want, got); err != nil || seq != at || diff != "" {
			t.Errorf("ParseUpdate = %d, %v, want %d (-want +got):\n%s", seq, err, at, diff)
		}
	})
}

func FuzzParseUpdate(f *testing.F) {
	data, _ := plan.AppendUpdate(nil, 7, &plan.Entry{Type: plan.EntryOutcome, Outcome: plan.OutcomeDone})
	f.Add(data)
	f.Add([]byte("\x00\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _, _ = plan.ParseUpdate(data) // it must not panic
	})
}
