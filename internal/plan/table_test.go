package plan_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// coded has an encoding of its own, so that readers must decode it.
type coded struct{ n []int }

func (c coded) MarshalJSON() ([]byte, error)  { return json.Marshal(c.n) }
func (c *coded) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &c.n) }

// Tables of each sharing mode behave like a map of sums, whatever fails and
// whatever is taken back, and recovery gives the same table.
func TestTableAgainstModel(t *testing.T) {
	t.Run("mode=share", func(t *testing.T) {
		testTable(t, payload.Share, func(v *int, n int) { *v += n }, func(v int) int { return v })
	})
	t.Run("mode=clone", func(t *testing.T) {
		testTable(t, payload.Clone, func(v *[]int, n int) {
			if len(*v) > 0 {
				(*v)[0] += n // in place, so that a shallow copy would show
				return
			}
			*v = append(*v, n)
		}, sum)
	})
	t.Run("mode=decode", func(t *testing.T) {
		testTable(t, payload.Decode, func(v *coded, n int) { v.n = append(v.n, n) }, func(v coded) int { return sum(v.n) })
	})
}

func sum(ns []int) (s int) {
	for _, n := range ns {
		s += n
	}
	return s
}

func testTable[S any](t *testing.T, mode payload.Mode, add func(*S, int), read func(S) int) {
	t.Helper()
	typ, err := payload.For[S](event.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if typ.Mode != mode {
		t.Fatalf("mode of %s = %v, want %v", typ.Name, typ.Mode, mode)
	}
	keys, err := payload.KeyFor[int]()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		turn := &plan.Turn{}
		table := plan.NewTable("state", keys, typ, turn)
		copied := plan.NewTable("state", keys, typ, &plan.Turn{}) // what recovery makes of the log
		committed, open := map[int]int{}, map[int]int{}
		start := func(int) (s S) { return s }
		show := func(tab *plan.TypedTable[int, S]) map[int]int {
			got := map[int]int{}
			if err := tab.Ascend(nil, func(k int, _ string) bool {
				v, ok := tab.Get(k)
				if !ok {
					r.Fatalf("Get(%d) finds nothing that Ascend yields", k)
				}
				got[k] = read(v)
				return true
			}); err != nil {
				r.Fatal(err)
			}
			if len(got) != tab.Len() {
				r.Fatalf("Len() = %d, Ascend yields %d", tab.Len(), len(got))
			}
			return got
		}
		revert := func() {
			if err := table.Revert(); err != nil {
				r.Fatal(err)
			}
			open, turn.Item = maps.Clone(committed), 0
		}
		lsn := journal.LSN(0)
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			k := rapid.IntRange(0, 4).Draw(r, "key")
			switch rapid.SampledFrom([]string{"add", "add", "add", "fail", "delete", "put", "commit", "revert"}).Draw(r, "op") {
			case "add":
				n := rapid.IntRange(1, 9).Draw(r, "n")
				v, text, err := table.Open(k, start)
				if err != nil || text != strconv.Itoa(k) {
					r.Fatalf("Open(%d) = %q, %v", k, text, err)
				}
				add(v, n)
				table.Close()
				open[k] += n
				turn.Item++
			case "fail":
				v, _, err := table.Open(k, start)
				if err != nil {
					r.Fatal(err)
				}
				add(v, 1000)
				if rapid.Bool().Draw(r, "drop") {
					table.Drop()
				}
				if table.Undo() {
					revert()
				}
			case "put":
				var v S
				add(&v, 7)
				if err := table.Put(k, v); err != nil {
					r.Fatal(err)
				}
				table.Close()
				open[k] = 7
				turn.Item++
			case "delete":
				if err := table.Delete(k); err != nil {
					r.Fatal(err)
				}
				table.Close()
				delete(open, k)
				turn.Item++
			case "commit":
				lsn++
				st, err := table.Seal()
				if err != nil {
					r.Fatal(err)
				}
				if st.Count != table.Changed() {
					r.Fatalf("Seal() counts %d, Changed() = %d", st.Count, table.Changed())
				}
				var c journal.Change
				cs := journal.NewChanges(&st)
				for cs.Next(&c) {
					if err := copied.Apply(c, lsn, 1); err != nil {
						r.Fatal(err)
					}
				}
				if err := cs.Err(); err != nil {
					r.Fatal(err)
				}
				table.Commit(lsn)
				committed, turn.Item = maps.Clone(open), 0
				if diff := cmp.Diff(snapshot(r, table), snapshot(r, copied)); diff != "" {
					r.Fatalf("recovered snapshot (-table +recovered):\n%s", diff)
				}
			case "revert":
				revert()
			}
			if diff := cmp.Diff(open, show(table)); diff != "" {
				r.Fatalf("table (-want +got):\n%s", diff)
			}
		}
		if diff := cmp.Diff(committed, show(copied)); diff != "" {
			r.Fatalf("recovered (-want +got):\n%s", diff)
		}
	})
}

func snapshot(r *rapid.T, t plan.Table) []string {
	var out []string
	if err := t.Snapshot(func(key, value []byte, at journal.LSN) error {
		out = append(out, fmt.Sprintf("%s=%s@%d", key, value, at))
		return nil
	}); err != nil {
		r.Fatal(err)
	}
	if !slices.IsSorted(out) {
		r.Fatalf("snapshot is not in order: %q", out)
	}
	return out
}

func TestAscendGoesOnAfterAKey(t *testing.T) {
	keys, _ := payload.KeyFor[int]()
	typ, _ := payload.For[int](event.JSON)
	table := plan.NewTable("state", keys, typ, &plan.Turn{})
	for _, k := range []int{100, 9, -3, 20} { // numbers do not sort as their texts do
		if err := table.Put(k, k); err != nil {
			t.Fatal(err)
		}
		table.Close()
	}
	var got [][]int
	for _, after := range []string{"-3", "9", "10", "100"} {
		var ks []int
		if err := table.Ascend([]byte(after), func(k int, _ string) bool { ks = append(ks, k); return len(ks) < 2 }); err != nil {
			t.Fatal(err)
		}
		got = append(got, ks)
	}
	want := [][]int{{9, 20}, {20, 100}, {20, 100}, nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Ascend after a key (-want +got):\n%s", diff)
	}
	if err := table.Ascend([]byte("x"), nil); err == nil {
		t.Error("Ascend after something that is no key: no error")
	}
}
