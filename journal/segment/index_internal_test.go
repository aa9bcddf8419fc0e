package segment

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/journal"
)

// The index is not visible through the package's API: this test is of its inside.

// FuzzIndex: an index that is accepted encodes to the same bytes, and whatever is
// asked of it gives no panic.
func FuzzIndex(f *testing.F) {
	x := newIndex()
	for i := range 50 {
		x.add(journal.LSN(i+1), headerSize+int64(i)*10_000, true, i%10 == 3, "orders", []journal.Span{
			{Stage: "orders", Port: "out", First: uint64(i)*3 + 1, Count: 3},
			{Stage: "orders", Port: "dead", First: uint64(i) + 1, Count: 1},
		})
	}
	f.Add(x.encode())
	f.Add(newIndex().encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := parseIndex(b)
		if err != nil {
			return
		}
		for p, j := range x.journals {
			x.find(p, 0)
			x.find(p, j.last)
			x.find(p, j.last/2)
		}
		x.before(0)
		x.before(1 << 60)
		if again, err := parseIndex(x.encode()); err != nil || len(again.marks) != len(x.marks) || len(again.journals) != len(x.journals) {
			t.Errorf("what was parsed does not parse again: %v", err)
		}
	})
}

// An index finds every record, no more than markEvery and a transition before it.
func TestIndexFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type record struct {
			seq uint64
			lsn journal.LSN
			off int64
		}
		x := newIndex()
		lsn, off, last := journal.LSN(rapid.IntRange(0, 100).Draw(t, "before")), int64(headerSize), map[string]uint64{}
		made := map[string][]record{}
		for range rapid.IntRange(1, 60).Draw(t, "transitions") {
			for part := range rapid.IntRange(1, 3).Draw(t, "parts") {
				lsn++
				var spans []journal.Span
				for _, p := range []string{"out", "dead"} {
					n := rapid.IntRange(0, 4).Draw(t, "records")
					spans = append(spans, journal.Span{Stage: "a", Port: p, First: last[p] + 1, Count: n})
					for range n {
						last[p]++
						made[p] = append(made[p], record{last[p], lsn, off})
					}
				}
				x.add(lsn, off, part == 0, false, "a", spans)
				off += int64(rapid.IntRange(36, 20_000).Draw(t, "size"))
			}
		}
		b := x.encode()
		y, err := parseIndex(b)
		if err != nil || !bytes.Equal(y.encode(), b) {
			t.Fatalf("an index does not survive: %v", err)
		}
		for p, records := range made {
			for _, r := range records {
				m, ok := y.find(port{"a", p}, r.seq)
				if !ok || m.lsn > r.lsn || m.off > r.off || r.off-m.off > markEvery+5*20_000 {
					t.Fatalf("record %s:%d at LSN %d, offset %d: found %+v, %v", p, r.seq, r.lsn, r.off, m, ok)
				}
			}
		}
	})
}
