package campaign_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// A thing is an input; a poisoned one makes every stateful stage panic after it
// did all of its work for it.
type thing struct {
	Key    string
	N      int
	Parts  []string
	Poison bool
}

type shared struct { // safe to share
	N   int
	Sum int64
}

type inner struct{ Seen []int }

type deep struct { // nothing of it is
	List   []string
	Counts map[string]int
	Inner  *inner
	Nested map[string][]int
}

func (d *deep) add(v thing) {
	d.List = append(d.List, v.Parts...)
	if d.Counts == nil {
		d.Counts, d.Nested, d.Inner = map[string]int{}, map[string][]int{}, &inner{}
	}
	for _, p := range v.Parts {
		d.Counts[p]++
		d.Nested[p] = append(d.Nested[p], v.N)
	}
	if v.N%5 == 0 {
		delete(d.Counts, "a")
		d.List = d.List[:len(d.List)/2]
	}
	if len(d.List) > 0 {
		d.List[0] += "!" // in place
	}
	d.Inner.Seen = append(d.Inner.Seen, v.N)
	slices.Sort(d.Inner.Seen)
}

// memories is a flow with every stage that has state, in each kind of emission.
// With body the poison works in the functions of the user where there are any;
// else [poisoned] does it behind them.
func memories(things []thing, body bool) *weir.Definition {
	boom := func(v thing) {
		if body && v.Poison {
			panic("after the work")
		}
	}
	return weir.Define("memories", func(f *weir.Flow) {
		f.Defaults(weir.OnError{Panic: weir.DeadLetter, Budget: weir.Budget{InARow: 1000, Share: 1}})
		in := weir.From(f, "things", weir.Slice(things))
		by := weir.KeyBy(in, func(v thing) string { return v.Key })
		for _, e := range []struct {
			name string
			emit []weir.EmitOption
		}{
			{"end", []weir.EmitOption{weir.EmitAtEnd()}},
			{"always", []weir.EmitOption{weir.EmitAlways()}},
			{"change", []weir.EmitOption{weir.EmitOnChange(), weir.EmitAtEnd()}},
			{"every", []weir.EmitOption{weir.EmitEvery(2)}},
			{"reset", []weir.EmitOption{weir.EmitEvery(3).Reset(), weir.EmitAtEnd()}},
		} {
			name, emit := e.name, e.emit
			weir.Reduce(by, "shared_"+name, weir.Zero, func(s *shared, v thing) error {
				s.N++
				s.Sum += int64(v.N)
				boom(v)
				return nil
			}, emit...)
			weir.Reduce(by, "deep_"+name, weir.Zero, func(d *deep, v thing) error {
				d.add(v)
				boom(v)
				return nil
			}, emit...)
			if body {
				continue
			}
			weir.TopN(by, "top_"+name, 2, func(v thing) int { return v.N % 7 }, func(a, b thing) int { return cmp.Compare(a.N, b.N) }, emit...)
			weir.Latest(by, "latest_"+name, emit...)
		}
		weir.Reduce(weir.All(in), "numbers", weir.Zero, func(n *int, v thing) error { *n += v.N; boom(v); return nil }, weir.EmitAlways())
		weir.Reduce(by, "maps", func(string) map[string]int { return map[string]int{} },
			func(m *map[string]int, v thing) error { (*m)[v.Key+strconv.Itoa(v.N%3)] += v.N; boom(v); return nil }, weir.EmitAlways())
		weir.Reduce(by, "slices", weir.Zero, func(s *[]int, v thing) error { *s = append(*s, v.N); boom(v); return nil }, weir.EmitAlways())
		if body {
			return
		}
		rows := weir.TableOf(by).DeleteIf(func(v thing) bool { return v.N%11 == 0 })
		weir.Join(weir.KeyBy(weir.From(f, "again", weir.Slice(things)), func(v thing) string { return v.Key }), rows, "join",
			func(v, row thing) (string, error) { return fmt.Sprint(v.N, row.N, row.Parts), nil })
		weir.LeftJoin(weir.KeyBy(weir.From(f, "more", weir.Slice(things)), func(v thing) string { return v.Key }), rows, "left",
			func(v, row thing, found bool) (string, error) { return fmt.Sprint(v.N, row.N, found), nil })
	})
}

// poisoned is a handler that panics after its body.
type poisoned struct {
	plan.Handler
	turn *plan.Turn
}

type poisonedEnder struct {
	poisoned
	plan.Ender
}

func (p poisoned) Handle(in int, b *plan.Batch, from, to int) (next int, dirty bool, f *plan.Failure) {
	base, values := p.turn.Base, reflect.ValueOf(b.Values)
	defer func() { p.turn.Base = base }()
	for i := from; i < to; i++ {
		p.turn.Base = base + i - from
		if _, dirty, f := p.Handler.Handle(in, b, i, i+1); f != nil {
			return i, dirty, f
		}
		if v, ok := reflect.TypeAssert[thing](values.Index(i)); ok && v.Poison {
			return i, true, &plan.Failure{Err: errors.New("after the work"), Panic: true}
		}
	}
	return to, false, nil
}

// poison puts [poisoned] around the handlers of a flow.
func poison(f *plan.Flow) error {
	for _, n := range f.Nodes {
		if n.Handler == nil {
			continue
		}
		p := poisoned{n.Handler, n.Turn}
		if e, ok := n.Handler.(plan.Ender); ok {
			n.Handler = poisonedEnder{p, e}
		} else {
			n.Handler = p
		}
	}
	return nil
}

// inMemory runs def in memory and in a bubble and returns the outcome.
func inMemory(t *testing.T, def *weir.Definition, h plan.Harness) (o *outcome, err error) {
	synctest.Test(t, func(t *testing.T) {
		var log *memory.Log
		h.Log = func(m journal.Manifest) journal.Log {
			log = memory.New(m, memory.Options{})
			return kept{log}
		}
		if _, err = def.Run(t.Context(), weir.Options{Logger: quiet, Harness: &h}); err == nil {
			o, err = outcomeOf(log)
		}
	})
	return o, err
}

// kept is a log that can be read after the run.
type kept struct{ journal.Log }

func (kept) Close() error { return nil }

// A handler that panics after its body leaves nothing behind, wherever in a
// transition its inputs are: all results are those of a run without them.
func TestPanicAfterTheBodyLeavesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var all, good []thing
		var bad []string
		for i := range rapid.IntRange(1, 30).Draw(rt, "things") {
			v := thing{
				Key: rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(rt, "key"), N: i + 1,
				Parts: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 3).Draw(rt, "parts"),
			}
			v.Poison = rapid.IntRange(0, 3).Draw(rt, "poison") == 0
			if all = append(all, v); !v.Poison {
				good = append(good, v)
			} else {
				text, err := json.Marshal(v)
				if err != nil {
					rt.Fatal(err)
				}
				bad = append(bad, string(text))
			}
		}
		body := rapid.Bool().Draw(rt, "in the body")
		h := plan.Harness{Batch: rapid.SampledFrom([]int{1, 3, 1024}).Draw(rt, "batch"), Paranoid: true}
		want, err := inMemory(t, memories(good, body), h)
		if err != nil {
			rt.Fatal(err)
		}
		if !body {
			h.Edit = poison
		}
		got, err := inMemory(t, memories(all, body), h)
		if err != nil {
			rt.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(got.types)) {
			stage, port, _ := strings.Cut(name, ".")
			switch {
			case strings.HasPrefix(got.types[name], "weir.") || slices.Contains([]string{"things", "again", "more"}, stage):
			case port == "dead":
				var inputs []string
				for _, p := range got.ports[name] {
					var d struct{ Input json.RawMessage }
					if err := json.Unmarshal([]byte(p), &d); err != nil {
						rt.Fatal(err)
					}
					inputs = append(inputs, string(d.Input))
				}
				expected := bad
				if stage == "join" || stage == "left" { // as a row and as a payload
					inputs = slices.DeleteFunc(inputs, func(s string) bool { return s == `{"Key":"","N":0,"Parts":null,"Poison":false}` })
				}
				if diff := gocmp.Diff(expected, inputs); diff != "" {
					rt.Errorf("%s (-want +got):\n%s", name, diff)
				}
			default:
				if diff := gocmp.Diff(want.ports[name], got.ports[name]); diff != "" {
					rt.Errorf("%s (-without +with poison):\n%s", name, diff)
				}
			}
		}
		for name := range want.types { // in any order: each is judged by itself
			if got.types[name] == "" {
				rt.Errorf("%s holds nothing, want %v", name, want.ports[name])
			}
		}
	})
}
