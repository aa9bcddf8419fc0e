package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
)

// A drawn flow: a source or stage for each entry, reading those before it.
type drawn []drawnStage

type drawnStage struct {
	kind    string
	from    []int // entries that are read; of a join the second is the table
	records int   // of a source
	size    int   // of its batches
	yields  int   // the handler lets others run before every so many records
}

func draw(t *rapid.T) drawn {
	var d drawn
	for range rapid.IntRange(1, 3).Draw(t, "sources") {
		d = append(d, drawnStage{
			kind: "source", records: rapid.SampledFrom([]int{0, 1, 5, 40}).Draw(t, "records"), size: rapid.IntRange(1, 9).Draw(t, "size"),
		})
	}
	for range rapid.IntRange(1, 9).Draw(t, "stages") {
		st := drawnStage{kind: rapid.SampledFrom([]string{"map", "split", "join", "left", "sum", "expand", "merge"}).Draw(t, "kind")}
		st.yields = rapid.IntRange(1, 5).Draw(t, "yields")
		most := map[string]int{"join": 2, "left": 2, "merge": 3}[st.kind]
		st.from = rapid.SliceOfNDistinct(rapid.IntRange(0, len(d)-1), 1, max(1, min(most, len(d))), rapid.ID[int]).Draw(t, "from")
		if len(st.from) == 1 && most == 2 {
			st.kind = "map"
		}
		d = append(d, st)
	}
	return d
}

// define makes the flow. Both results of a split or join go on as one diamond.
func (d drawn) define() *weir.Definition {
	return weir.Define("drawn", func(f *weir.Flow) {
		f.Defaults(weir.OnError{Budget: weir.Budget{InARow: 1000, Share: 1}})
		key := func(n int) int { return n % 3 }
		var outs []weir.Stream[int]
		for i, st := range d {
			seen, name := 0, fmt.Sprint(st.kind, i)
			pause := func() {
				if seen++; st.yields > 0 && seen%st.yields == 0 {
					runtime.Gosched()
				}
			}
			var out weir.Stream[int]
			switch st.kind {
			case "source":
				var ns []int
				for n := range st.records {
					ns = append(ns, n)
				}
				out = weir.From(f, name, few[int]{ns, st.size})
			case "map":
				out = weir.Map(outs[st.from[0]], name, func(n int) (int, error) {
					if pause(); n%7 == 3 {
						return 0, errors.New("no")
					}
					return n + 1, nil
				})
			case "split": // a diamond
				even, odd := weir.Split2(outs[st.from[0]], name, func(n int, even, odd weir.Emit[int]) error {
					if pause(); n%2 == 0 {
						even(n)
					} else {
						odd(n)
					}
					return nil
				})
				out = weir.Map(weir.Merge(even, weir.Map(odd, name+"_odd", func(n int) (int, error) { return n * 3, nil })), name+"_both",
					func(n int) (int, error) { return n, nil })
			case "join": // its second result is read, too
				joined, rest := weir.Join(weir.KeyBy(outs[st.from[0]], key), weir.TableOf(weir.KeyBy(outs[st.from[1]], key)), name,
					func(n, _ int) (int, error) { pause(); return n, nil })
				out = weir.Map(weir.Merge(joined, rest), name+"_all", func(n int) (int, error) { return n, nil })
			case "left":
				out = weir.LeftJoin(weir.KeyBy(outs[st.from[0]], key), weir.TableOf(weir.KeyBy(outs[st.from[1]], key)), name,
					func(n, _ int, _ bool) (int, error) { pause(); return n + 1, nil })
			case "sum":
				out = weir.Reduce(weir.KeyBy(outs[st.from[0]], key), name, weir.Zero, func(s *int, n int) error { pause(); *s += n; return nil })
			case "expand":
				out = weir.FlatMap(outs[st.from[0]], name, func(n int, emit weir.Emit[int]) error {
					pause()
					for k := range n%3 + 1 {
						emit(n + k)
					}
					return nil
				})
			case "merge":
				var ins []weir.Input[int]
				for _, from := range st.from {
					ins = append(ins, outs[from])
				}
				out = weir.Map(weir.Merge(ins...), name, func(n int) (int, error) { pause(); return n, nil })
			}
			outs = append(outs, out)
			weir.Each(out, name+"_sink", func(context.Context, int) error { return nil })
		}
	})
}

// A flow that ends without windows ends with windows of one record, and with the
// same results: no diamond, merge or table that is read first makes stages wait
// for each other. A deadlock ends the bubble, and with it the test, at once.
func TestSmallWindowsDoNotDeadlock(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := draw(rt)
		want, err := inMemory(t, d.define(), plan.Harness{Window: 1 << 30})
		if err != nil {
			rt.Fatal(err)
		}
		h := plan.Harness{Window: 1, Batch: rapid.SampledFrom([]int{1, 2, 1024}).Draw(rt, "batch")}
		got, err := inMemory(t, d.define(), h)
		if err != nil {
			rt.Fatal(err)
		}
		strip := func(m map[string][]string) map[string][]string {
			for name := range m {
				if name[len(name)-5:] == ".dead" { // the number of an input depends on what came first
					m[name] = make([]string, len(m[name]))
				}
			}
			return m
		}
		if diff := gocmp.Diff(strip(want.sorted()), strip(got.sorted())); diff != "" {
			rt.Errorf("journals (-unlimited +windows of 1):\n%s", diff)
		}
	})
}
