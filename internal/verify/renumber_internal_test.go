package verify

import "testing"

// What a journal of a replay holds after each transition: recorded up to, replayed up to.
func TestNumbering(t *testing.T) {
	type step struct{ recorded, replayed uint64 }
	for _, tt := range []struct {
		name  string
		steps []step
		of    map[uint64]uint64
	}{
		{"the same", []step{{3, 3}, {7, 7}}, map[uint64]uint64{1: 1, 3: 3, 5: 5, 7: 7}},
		{"one more in the second", []step{{3, 3}, {5, 6}, {7, 8}}, map[uint64]uint64{3: 3, 4: 4, 5: 6, 6: 7, 7: 8}},
		{"fewer", []step{{4, 2}, {8, 6}}, map[uint64]uint64{1: 1, 2: 2, 3: 2, 4: 2, 5: 3, 8: 6}},
		{"none", []step{{4, 0}, {8, 4}}, map[uint64]uint64{1: 0, 4: 0, 5: 1, 8: 4}},
		{"the same again behind a difference", []step{{2, 3}, {4, 4}, {6, 6}}, map[uint64]uint64{1: 1, 2: 3, 3: 4, 4: 4, 5: 5, 6: 6}},
		{"beyond", []step{{2, 2}}, map[uint64]uint64{5: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &pen{written: map[string]*total{}, numbers: map[string]*numbering{}}
			for _, s := range tt.steps {
				w.total("out").count = s.replayed
				w.number("out", s.recorded)
			}
			for seq, want := range tt.of {
				if got := w.numbers["out"].of(seq); got != want {
					t.Errorf("a reader up to %d reads up to %d, want %d", seq, got, want)
				}
			}
		})
	}
	if got := (*numbering)(nil).of(3); got != 0 {
		t.Errorf("of a journal without records: %d", got)
	}
	w := &pen{written: map[string]*total{}, numbers: map[string]*numbering{}}
	for i := range uint64(10_000) {
		w.total("out").count = i + 1
		w.number("out", i+1)
	}
	if n := len(w.numbers["out"].recorded); n != 1 {
		t.Errorf("%d entries for a journal that comes out as recorded, want 1", n)
	}
}
