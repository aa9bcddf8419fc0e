package redrive_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/redrive"
	"github.com/weirflow/weir/journal"
)

func TestTaken(t *testing.T) {
	takes := func(run, of, baseline string, taken ...journal.Letters) journal.Manifest {
		return journal.Manifest{Run: run, Baseline: baseline, Redrive: &journal.Redrive{Run: of, Taken: taken}}
	}
	taken := redrive.TakenFrom("O", []journal.Manifest{
		{Run: "O"},
		takes("A", "O", "", journal.Letters{Journal: "x.dead", From: 2, To: 4}),
		takes("B", "O", "", journal.Letters{Journal: "x.dead", From: 4, To: 6}, journal.Letters{Journal: "y.dead", From: 1, To: 1}),
		takes("C", "other", "", journal.Letters{Journal: "x.dead", From: 1, To: 9}),
		takes("D", "O", "A", journal.Letters{Journal: "x.dead", From: 8, To: 8}), // a replay
	})
	for seq, want := range map[uint64][]string{1: nil, 2: {"A"}, 4: {"A", "B"}, 6: {"B"}, 7: nil, 8: nil} {
		if got := taken.By("x.dead", seq); !slices.Equal(got, want) {
			t.Errorf("By(%d) = %v, want %v", seq, got, want)
		}
	}
	for n, want := range map[uint64]uint64{0: 0, 1: 0, 2: 1, 5: 4, 9: 5} {
		if got := taken.Count("x.dead", n); got != want {
			t.Errorf("Count(%d) = %d, want %d", n, got, want)
		}
	}
}

// What is picked is what is there again, in that order.
func TestPickedLettersAreNumbered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []journal.Letters
		var p redrive.Picker
		for _, name := range []string{"x.dead", "x.failed"} {
			seqs := rapid.SliceOfDistinct(rapid.Uint64Range(1, 20), rapid.ID[uint64]).Draw(t, name)
			slices.Sort(seqs)
			for _, seq := range seqs {
				p.Add(name, seq)
				want = append(want, journal.Letters{Journal: name, From: seq, To: seq})
			}
		}
		r := journal.Redrive{Taken: p.Letters()}
		var got []journal.Letters
		for n := uint64(1); n <= r.Count(); n++ {
			name, seq, ok := r.Nth(n)
			if !ok {
				t.Fatalf("Nth(%d) of %d is none", n, r.Count())
			}
			got = append(got, journal.Letters{Journal: name, From: seq, To: seq})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
		for _, n := range []uint64{0, r.Count() + 1} {
			if name, seq, ok := r.Nth(n); ok {
				t.Fatalf("Nth(%d) = %s:%d", n, name, seq)
			}
		}
	})
}
