package weir_test

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
)

// What each kind of stage writes, with its causes: the items it consumed, the
// records it refers to, the state entry it emitted from.
func TestCauses(t *testing.T) {
	type visit struct {
		User string
		Page int
	}
	def := weir.Define("visits", func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice([]visit{{"ann", 1}, {"bob", 2}, {"ann", 3}}))
		weir.FlatMap(in, "twice", func(v visit, emit weir.Emit[visit]) error {
			emit(v)
			emit(visit{v.User, -v.Page})
			return nil
		})
		byUser := weir.KeyBy(in, func(v visit) string { return v.User })
		weir.Reduce(byUser, "pages", weir.Zero, func(n *int, v visit) error { *n += v.Page; return nil }, weir.EmitAlways().Reset(), weir.EmitAtEnd())
		weir.Reduce(byUser, "count", weir.Zero, func(n *int, _ visit) error { *n++; return nil })
		weir.Reduce(weir.All(in), "all", weir.Zero, func(n *int, _ visit) error { *n++; return nil }, weir.EmitEvery(2))
		weir.Latest(byUser, "last")
		weir.TopN(weir.All(in), "top", 2, func(v visit) int { return v.Page }, func(a, b visit) int { return cmp.Compare(b.Page, a.Page) })
		names := weir.TableOf(weir.KeyBy(weir.From(f, "names", weir.Slice([]visit{{"ann", 9}, {"bob", 8}, {"bob", 0}})), func(v visit) string { return v.User })).
			DeleteIf(func(v visit) bool { return v.Page == 0 })
		weir.Join(byUser, names, "join", func(a, b visit) (int, error) { return a.Page*10 + b.Page, nil })
		weir.LeftJoin(byUser, names, "left", func(a, b visit, found bool) (int, error) {
			if !found {
				return 0, event.Invalid(errors.New("unknown"))
			}
			return b.Page, nil
		})
		weir.Each(weir.Records(in), "each", func(_ context.Context, r event.Record[visit]) error {
			if r.Value.Page == 2 {
				return errors.New("no twos")
			}
			return nil
		})
	})
	d := drive(t, def, 10)
	tests := []struct{ stage, want string }{
		{"twice", `
twice.out:1 {"User":"ann","Page":1} ← [0] []
twice.out:2 {"User":"ann","Page":-1} ← [0] []
twice.out:3 {"User":"bob","Page":2} ← [1] []
twice.out:4 {"User":"bob","Page":-2} ← [1] []
twice.out:5 {"User":"ann","Page":3} ← [2] []
twice.out:6 {"User":"ann","Page":-3} ← [2] []`},
		{"pages", `
pages.out:1 1 ← [0] [] key "ann" from=true
pages.out:2 2 ← [1] [] key "bob" from=true
pages.out:3 3 ← [2] [] key "ann" from=true
pages/state ann=true ← 0 [0 2]
pages/state bob=true ← 0 [1]`},
		{"count", `
count/state ann={"value":2}false ← 0 [0 2]
count/state bob={"value":1}false ← 0 [1]
count.out:1 2 ← [] [] key "ann" from=true
count.out:2 1 ← [] [] key "bob" from=true`},
		{"all", `
all.out:1 2 ← [1] [] key "" from=true
all/state ={"value":3,"inputs":3}false ← 0 [0 1 2]`},
		{"last", `
last/state ann={"value":{"payload":{"User":"ann","Page":3},"journal":"in.out","seq":3}}false ← 0 [0 2]
last/state bob={"value":{"payload":{"User":"bob","Page":2},"journal":"in.out","seq":2}}false ← 0 [1]
last.out:1 {"User":"ann","Page":3} ← [] [in.out:3] key "ann" from=true
last.out:2 {"User":"bob","Page":2} ← [] [in.out:2] key "bob" from=true`},
		{"top", `
top/state ={"value":{"rows":[{"payload":{"User":"ann","Page":3},"journal":"in.out","seq":3},{"payload":{"User":"bob","Page":2},"journal":"in.out","seq":2}]}}false ← 0 [0 1 2]
top.out:1 [{"User":"ann","Page":3},{"User":"bob","Page":2}] ← [] [in.out:3 in.out:2] key "" from=true`},
		{"join", `
join/rows ann={"payload":{"User":"ann","Page":9},"journal":"names.out","seq":1}false ← 0 [0]
join/rows bob=true ← 0 [1 2]
join.out:1 19 ← [0] [names.out:1]
join.out:2 39 ← [2] [names.out:1]
join.unmatched:1 {"User":"bob","Page":2} ← [1] []`},
		{"left", `
left/rows ann={"payload":{"User":"ann","Page":9},"journal":"names.out","seq":1}false ← 0 [0]
left/rows bob=true ← 0 [1 2]
left.dead:1 {"input":{"User":"bob","Page":2},"ref":"in.out:2","kind":"validation","reason":"unknown"} ← [1] []
left.out:1 9 ← [0] [names.out:1]
left.out:2 9 ← [2] [names.out:1]`},
		{"each", `
each.dead:1 {"input":{"Value":{"User":"bob","Page":2},"Ref":"in.out:2","Key":"","Time":"1970-01-01T00:00:00Z","Recorded":"1970-01-01T00:00:00Z"},"ref":"in.out:2","kind":"","reason":"no twos"} ← [1] []`},
	}
	for _, tt := range tests {
		t.Run(tt.stage, func(t *testing.T) {
			if diff := gocmp.Diff(strings.Split(strings.TrimSpace(tt.want), "\n"), strings.Split(d.lines(tt.stage), "\n")); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}
