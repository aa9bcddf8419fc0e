package history_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// Why and Impact are each other's inverse, and both agree with the causes that
// were written: over random runs of stages that read each other.
func TestWhyAndImpactAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := memory.New(journal.Manifest{Run: run, Flow: "f"}, memory.Options{})
		names := []string{"a", "b", "c", "d"}
		written := map[string]uint64{}
		cursors := map[[2]string]uint64{}
		frames := map[string]uint64{}
		causes := map[event.Ref][]event.Ref{}
		var enc journal.Encoder
		for range rapid.IntRange(1, 25).Draw(t, "transitions") {
			stage := rapid.SampledFrom(names).Draw(t, "stage")
			tr := journal.Transition{Stage: stage, Number: frames[stage] + 1}
			var items []event.Ref
			for _, up := range names {
				k := [2]string{stage, up}
				to := min(cursors[k]+rapid.Uint64Range(0, 2).Draw(t, "read"), written[up])
				if up == stage || to == cursors[k] {
					continue
				}
				tr.Consumed = append(tr.Consumed, journal.Consumed{Kind: journal.Run, Journal: up + ".out", From: cursors[k] + 1, To: to})
				for seq := cursors[k] + 1; seq <= to; seq++ {
					items = append(items, event.Ref{Stage: up, Port: "out", Seq: seq})
				}
				cursors[k] = to
			}
			o := journal.Output{Port: "out", Type: "t", First: written[stage] + 1}
			item := -1
			for range rapid.IntRange(0, 3).Draw(t, "records") {
				rec := journal.Record{Payload: []byte("1")}
				ref := event.Ref{Stage: stage, Port: "out", Seq: written[stage] + 1}
				for i, of := range items {
					if rapid.Bool().Draw(t, "cause") {
						rec.Items = append(rec.Items, i)
						causes[ref] = append(causes[ref], of)
					}
				}
				// An absolute cause: something consumed before.
				for _, up := range names {
					if n := cursors[[2]string{stage, up}]; n > 0 && rapid.IntRange(0, 4).Draw(t, "ref") == 0 {
						seq := rapid.Uint64Range(1, n).Draw(t, "sequence")
						o.Journals = append(o.Journals, up+".out")
						rec.Refs = append(rec.Refs, journal.Ref{Journal: len(o.Journals) - 1, Seq: seq})
						causes[ref] = append(causes[ref], event.Ref{Stage: up, Port: "out", Seq: seq})
					}
				}
				o.Records, item = journal.AppendRecord(o.Records, item, &rec)
				o.Count++
				written[stage]++
			}
			if o.Count > 0 {
				tr.Outputs = []journal.Output{o}
			}
			fs, err := enc.Encode(&tr)
			if err != nil {
				t.Fatal(err)
			}
			frames[stage]++
			if _, err := log.Append(t.Context(), journal.Normal, fs...); err != nil {
				t.Fatal(err)
			}
		}
		log.Kill()
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		r, err := history.Of(log)
		if err != nil {
			t.Fatal(err)
		}

		var all []event.Ref
		before := map[event.Ref]map[event.Ref]bool{} // everything that a record follows from
		var walk func(set map[event.Ref]bool, ref event.Ref)
		walk = func(set map[event.Ref]bool, ref event.Ref) {
			for _, c := range causes[ref] {
				if !set[c] {
					set[c] = true
					walk(set, c)
				}
			}
		}
		for _, s := range names {
			for seq := uint64(1); seq <= written[s]; seq++ {
				ref := event.Ref{Stage: s, Port: "out", Seq: seq}
				all = append(all, ref)
				before[ref] = map[event.Ref]bool{}
				walk(before[ref], ref)
			}
		}
		for _, ref := range all {
			x, err := r.Why(t.Context(), ref, history.Limits{Fan: 1000})
			if err != nil {
				t.Fatalf("Why(%s): %v", ref, err)
			}
			got := map[event.Ref]bool{}
			collect(got, x)
			if diff := cmp.Diff(texts(before[ref]), texts(got)); diff != "" {
				t.Fatalf("Why(%s) (-want +got):\n%s", ref, diff)
			}
			after := map[event.Ref]bool{}
			for other, set := range before {
				if set[ref] && other != ref {
					after[other] = true
				}
			}
			i, err := r.Impact(t.Context(), ref, history.Limits{})
			if err != nil {
				t.Fatalf("Impact(%s): %v", ref, err)
			}
			came := map[event.Ref]bool{}
			for _, e := range i.Effects {
				came[e.Record.Ref] = true
			}
			if diff := cmp.Diff(texts(after), texts(came)); diff != "" {
				t.Fatalf("Impact(%s) (-want +got):\n%s", ref, diff)
			}
		}
	})
}

// collect adds every input in x to set.
func collect(set map[event.Ref]bool, x *history.Explanation) {
	for _, c := range x.Causes {
		set[*c.Ref] = true
		if c.Input != nil {
			collect(set, c.Input)
		}
	}
}

func texts(set map[event.Ref]bool) map[string]bool {
	out := map[string]bool{}
	for ref := range maps.Keys(set) {
		out[fmt.Sprint(ref)] = true
	}
	return out
}
