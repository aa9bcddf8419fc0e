package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A copy of a record of another run keeps its key, its time and its identity, in
// the batch that readers get at once and in the one that is read from the log.
func TestCopiesKeepTheirIdentity(t *testing.T) {
	turn := &plan.Turn{Item: -1}
	typ := typeOf[point](t)
	w := plan.NewWriter("out", typ, turn)
	of := func(seq uint64) plan.Original {
		return plan.Original{Run: "01JZ", ID: event.RecordID{Epoch: journal.ID{7}, Journal: "orders.out", Seq: seq}}
	}
	letter := plan.Origin{Journal: journal.Foreign{Run: "01K0", Epoch: journal.ID{8}, Journal: "validate.dead"}.Text(), Seq: 3}
	from := &plan.Batch{Values: []point{{X: 1}, {X: 2}, {X: 3}}, Keys: []string{"a", "", "c"}, N: 3}
	copied := func(i int) {
		w.Copy(from, i, &plan.Cause{Refs: []plan.Origin{letter}, Copy: &plan.Copy{Of: of(uint64(10 + i)), Time: int64(100 + i)}})
	}
	w.Emit(point{X: 9})
	copied(0)
	copied(1)
	copied(2)
	w.Rollback(3)
	copied(2)
	w.Emit(point{X: 9})
	o, live := w.Seal(1, 0)
	live.Journal, live.Epoch = "redrive.out", journal.ID{9}
	read, err := plan.NewDecoder(typ).Decode("redrive.out", &o, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	read.Epoch = live.Epoch
	for name, b := range map[string]*plan.Batch{"live": live, "read": read} {
		if diff := cmp.Diff([]plan.Original{{}, of(10), of(11), of(12), {}}, b.Originals); diff != "" {
			t.Errorf("%s: originals (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]int64{0, 100, 101, 102, 0}, b.Times); diff != "" {
			t.Errorf("%s: times (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]string{"", "a", "", "c", ""}, b.Keys); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", name, diff)
		}
		if got := b.ID(1); got != of(10).ID {
			t.Errorf("%s: ID of a copy = %+v", name, got)
		}
		if got, want := b.ID(4), (event.RecordID{Epoch: journal.ID{9}, Journal: "redrive.out", Seq: 5}); got != want {
			t.Errorf("%s: ID of a record = %+v, want %+v", name, got, want)
		}
		if one := b.One(2); one.Original(0) != of(11) {
			t.Errorf("%s: original of one = %+v", name, one.Original(0))
		}
	}
	w.Emit(point{X: 1})
	if _, b := w.Seal(6, 0); b.Originals != nil || b.Times != nil || b.Original(0) != (plan.Original{}) {
		t.Errorf("the next batch has originals %v, times %v", b.Originals, b.Times)
	}
}
