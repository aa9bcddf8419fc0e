package weir_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
)

// An execution that has come to its end, as the record says, while its outputs wait
// for credit, is executed again by the next process: what it emitted last leaves
// then, once.
func TestOrchestrationsThatWaitForCreditAtDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 12
		d, out := newDesk(), &collect{}
		act := d.do("act")
		def := func(sink func(context.Context, said) error) *weir.Definition {
			return weir.Define("shop", func(f *weir.Flow) {
				var in []ask
				for i := range n {
					in = append(in, ask{ID: strconv.Itoa(i)})
				}
				ok, _ := weir.Orchestrate(weir.From(f, "in", weir.Slice(in)), "go", func(s *weir.Steps, a ask, emit weir.Emit[said]) error {
					emit(said{a.ID, "begun"})
					if _, err := weir.Do(s, "act", act, a); err != nil {
						return err
					}
					emit(said{a.ID, "done"})
					emit(said{a.ID, "over"})
					return nil
				}, weir.Using(act))
				weir.Each(ok, "sink", sink)
			})
		}
		nothing := func(context.Context, said) error { return nil }
		disk := vfs.NewMemory()
		world := vfs.NewFaults(disk, nil)
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: world, Window: 2, Batch: 1}}
		r, err := def(func(ctx context.Context, _ said) error { <-ctx.Done(); return ctx.Err() }).Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // everything waits for the sink
		world.Stop()
		r.Cancel()
		o.Harness.FS, o.Run = disk.Kill(), path.Base(r.Dir())
		sum, err := def(func(_ context.Context, s said) error { out.add(s.ID + " " + s.Text); return nil }).Run(t.Context(), o)
		if err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(i, " begun"), fmt.Sprint(i, " done"), fmt.Sprint(i, " over"))
		}
		slices.Sort(want)
		if got := out.sorted(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for call, n := range d.calls {
			if n != 1 {
				t.Errorf("%s: %d calls", call, n)
			}
		}
		v, err := def(nothing).Verify(t.Context(), r.Dir(), weir.VerifyOptions{Harness: o.Harness})
		if err != nil || v.Outcome != weir.Identical {
			t.Errorf("verify: %+v, %v", v, err)
		}
	})
}
