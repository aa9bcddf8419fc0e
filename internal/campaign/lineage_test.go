package campaign_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal/segment"
)

// A traced payload says itself which records of sources it was made of.
type traced struct {
	N   int      `json:"n"`
	Src []string `json:"src"`
}

func (v traced) key() int { return v.N % 3 }

// with is v made of others, too.
func (v traced) with(others ...traced) traced {
	src := slices.Clone(v.Src)
	for _, o := range others {
		src = append(src, o.Src...)
		v.N += o.N
	}
	slices.Sort(src)
	v.Src = slices.Compact(src)
	return v
}

var tracedSignal = weir.NewSignal[traced]("traced")

// anyFlow is a flow of stages at random. With resets true some state begins anew.
func anyFlow(seed uint64, resets bool) *weir.Definition {
	return weir.Define("any", func(f *weir.Flow) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var open []weir.Stream[traced] // that can be read
		stage := 0
		name := func(op string) string { stage++; return fmt.Sprint(op, stage) }
		source := func() weir.Stream[traced] {
			n := name("source")
			var all []traced
			for i := range 2 + rng.IntN(9) {
				all = append(all, traced{N: rng.IntN(30), Src: []string{fmt.Sprint(n, ".out:", i+1)}})
			}
			return weir.From(f, n, weir.Slice(all))
		}
		add := func(ss ...weir.Stream[traced]) { open = append(open, ss...) }
		for range 2 + rng.IntN(2) {
			add(source())
		}
		byKey := func(in weir.Input[traced]) weir.Keyed[int, traced] { return weir.KeyBy(in, traced.key) }
		emit := func() weir.EmitOption {
			e := []weir.Emission{weir.EmitAlways(), weir.EmitEvery(2), weir.EmitAtEnd(), weir.EmitOnChange()}[rng.IntN(4)]
			if resets && rng.IntN(2) == 0 {
				e = e.Reset()
			}
			return e
		}
		call := func(_ context.Context, v traced) (traced, error) {
			if v.N%5 == 4 {
				return traced{}, effect.Permanent(errors.New("no"))
			}
			return v, nil
		}
		failures := func(in weir.Stream[weir.Failed[traced]]) weir.Stream[traced] {
			return weir.Map(in, name("failed"), func(l weir.Failed[traced]) (traced, error) { return l.Input, nil })
		}
		for range 3 + rng.IntN(6) {
			one, two := rng.IntN(len(open)), rng.IntN(len(open))
			in := open[one]
			switch rng.IntN(11) {
			case 0:
				add(weir.Map(in, name("map"), func(v traced) (traced, error) { v.N++; return v, nil }))
			case 1:
				n := name("flat")
				add(weir.FlatMap(in, n, func(v traced, emit weir.Emit[traced]) error {
					for i := range v.N % 4 {
						v.N += i
						emit(v)
					}
					if v.N%7 == 6 {
						return errors.New("seven")
					}
					return nil
				}))
				add(failures(weir.DeadLetters(in, n)))
			case 2:
				a, b := weir.Split2(in, name("split"), func(v traced, a, b weir.Emit[traced]) error {
					if v.N%2 == 0 {
						a(v)
					}
					b(v)
					return nil
				})
				add(a, b)
			case 3:
				if one != two {
					add(weir.Filter(weir.Merge(in, open[two]), name("merge"), func(v traced) (bool, error) { return v.N%6 != 5, nil }))
				}
			case 4, 5:
				add(weir.Reduce(byKey(in), name("reduce"), weir.Zero[int, traced], func(acc *traced, v traced) error {
					*acc = acc.with(v)
					return nil
				}, emit()))
			case 6:
				add(weir.Latest(byKey(in), name("latest"), emit()))
			case 7:
				top := weir.TopN(byKey(in), name("top"), 2, func(v traced) int { return v.N }, func(a, b traced) int { return a.N - b.N })
				add(weir.Map(top, name("tops"), func(r weir.Ranking[traced]) (traced, error) { return traced{}.with(r...), nil }))
			case 8:
				rows := weir.Map(source(), name("row"), func(v traced) (traced, error) { return v, nil })
				joined, alone := weir.Join(byKey(in), weir.TableOf(byKey(rows)), name("join"), func(v, row traced) (traced, error) { return v.with(row), nil })
				add(joined, alone)
			case 9:
				done, failed := weir.Perform(in, name("act"), effect.Idempotent("act.v1", call), weir.Concurrency(1+rng.IntN(3)))
				add(done, failures(failed))
			case 10:
				e := effect.Idempotent("step.v1", call)
				signals := source()
				weir.Signals(weir.KeyBy(signals, func(v traced) string { return strconv.Itoa(v.N % 4) }), name("signals"), tracedSignal)
				go1 := func(s *weir.Steps, v traced, emit weir.Emit[traced]) (traced, error) {
					got, err := weir.Do(s, "do", e, v)
					if err != nil {
						return v, err
					}
					emit(got)
					sig, arrived, err := weir.Await(s, tracedSignal, strconv.Itoa(v.N%4), time.Duration(1+v.N)*time.Second)
					if err != nil {
						return v, err
					}
					if arrived {
						got = got.with(sig)
					}
					emit(got)
					return got, nil
				}
				if rng.IntN(2) == 0 {
					done, failed := weir.Orchestrate(in, name("steps"), func(s *weir.Steps, v traced, emit weir.Emit[traced]) error {
						_, err := go1(s, v, emit)
						return err
					}, weir.Using(e))
					add(done, failures(failed))
				} else {
					done, _ := weir.OrchestrateBy(byKey(in), name("stateful"), weir.Zero[int, traced], func(s *weir.Steps, acc *traced, v traced, emit weir.Emit[traced]) error {
						got, err := go1(s, v, func(o traced) { emit(o.with(*acc)) })
						*acc = acc.with(got)
						return err
					}, weir.Using(e))
					add(done)
				}
			}
		}
		for _, s := range open {
			weir.Each(s, name("sink"), func(context.Context, traced) error { return nil })
		}
	})
}

// What why names as the sources of a record is what the record was made of, as it
// says itself, and impact names the same from the other end: over random flows, in
// small and large transitions, killed or not.
func TestWhyAndImpactAreTheData(t *testing.T) {
	t.Parallel()
	seeds := uint64(60)
	if testing.Short() {
		seeds = 6
	}
	records := 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			batch := []int{1, 2, 8}[seed%3]
			def := anyFlow(seed, batch == 1)
			disk := vfs.NewMemory()
			for i := range int(seed % 4) {
				world := vfs.NewFaults(disk, vfs.StopAt(20+int(seed)*7%90+40*i))
				sum, _ := def.Run(t.Context(), weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: world, Batch: batch}})
				if disk = disk.Kill(); sum.Status == weir.Completed {
					break
				}
			}
			sum, err := def.Run(t.Context(), weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: disk, Batch: batch}})
			if err != nil || sum.Status != weir.Completed {
				t.Fatalf("seed %d: %+v, %v", seed, sum, err)
			}
			records += lineage(t, seed, disk, sum.Dir)
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d records", records)
}

// without bounds: everything is told.
var without = history.Limits{Records: 1 << 30, Depth: 1 << 30, Chain: 1 << 30, Fan: 1 << 30}

func lineage(t *testing.T, seed uint64, fsys vfs.FS, dir string) (records int) {
	t.Helper()
	view, err := segment.OpenView(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	r, err := history.Of(view)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string][]string{} // of a record of a source, by ref
	all := func(yield func(event.Ref, traced) bool) {
		summary, err := r.Summary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range summary.Stages {
			for _, p := range s.Ports {
				for rec, err := range r.Records(t.Context(), s.Name+"."+p.Name, history.Range{}) {
					if err != nil {
						t.Fatal(err)
					}
					var v traced
					if rec.Type == "traced" && json.Unmarshal(rec.Payload, &v) == nil && !yield(rec.Ref, v) {
						return
					}
				}
			}
		}
	}
	for ref, v := range all {
		if strings.HasPrefix(ref.Stage, "source") {
			made[ref.String()] = append([]string{}, made[ref.String()]...)
			continue
		}
		records++
		x, err := r.Why(t.Context(), ref, without)
		if err != nil {
			t.Fatalf("seed %d: why %s: %v", seed, ref, err)
		}
		if diff := cmp.Diff(v.Src, sourcesOf(x)); diff != "" {
			t.Errorf("seed %d: why %s (-made of +named):\n%s", seed, ref, diff)
		}
		for _, src := range v.Src {
			made[src] = append(made[src], ref.String())
		}
	}
	for src, want := range made {
		ref, err := event.ParseRef(src)
		if err != nil {
			t.Fatal(err)
		}
		x, err := r.Impact(t.Context(), ref, without)
		if err != nil {
			t.Fatalf("seed %d: impact %s: %v", seed, ref, err)
		}
		got := []string{}
		for _, e := range x.Effects {
			if e.Kind == history.EffectRecord && e.Record.Type == "traced" {
				got = append(got, e.Record.Ref.String())
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
			t.Errorf("seed %d: impact %s (-made of it +named):\n%s", seed, ref, diff)
		}
	}
	return records
}

// sourcesOf are the records of sources in an explanation.
func sourcesOf(x *history.Explanation) (all []string) {
	var explain func(*history.Explanation)
	var causes func([]history.Cause)
	explain = func(x *history.Explanation) {
		if strings.HasPrefix(x.Record.Ref.Stage, "source") {
			all = append(all, x.Record.Ref.String())
		}
		causes(x.Causes)
	}
	causes = func(cs []history.Cause) {
		for i := range cs {
			if cs[i].Input != nil {
				explain(cs[i].Input)
			}
			for c := cs[i].Change; c != nil; c = c.Before {
				causes(c.Causes)
			}
		}
	}
	explain(x)
	slices.Sort(all)
	return slices.Compact(all)
}
