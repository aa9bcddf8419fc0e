package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir"
)

// A plan is made beside the process that owns the run, and leaves that alone.
func TestPlanBesideAnOwner(t *testing.T) { synctest.Test(t, planBesideAnOwner) }

func planBesideAnOwner(t *testing.T) {
	p := newPlant(t)
	hold := make(chan struct{})
	flow := func(more bool) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", steps(9, 1))
			if more {
				in = plus(in, "more", 0)
			}
			weir.Each(in, "out", func(_ context.Context, v int) error {
				if v == 3 {
					<-hold
				}
				return nil
			})
		})
	}
	r, err := flow(false).Start(t.Context(), p.options())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	plan, err := flow(true).PlanResume(t.Context(), p.options())
	if err != nil || plan.Owner == "" || plan.Epoch != 2 || len(plan.Refusals) > 0 {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	o := p.options()
	o.Run = r.ID()
	if _, err := flow(true).Run(t.Context(), o); !errors.Is(err, weir.ErrInUse) {
		t.Errorf("it goes on beside its owner: %v", err)
	}
	close(hold)
	if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	if _, err := flow(true).PlanResume(t.Context(), p.options()); !errors.Is(err, weir.ErrNoRun) {
		t.Errorf("a plan for a run that is completed: %v", err)
	}
	o = p.options()
	o.Dir = "/nowhere"
	if _, err := flow(true).PlanResume(t.Context(), o); !errors.Is(err, weir.ErrNoRun) {
		t.Errorf("a plan where nothing is: %v", err)
	}
	if _, err := p.disk.Stat("/nowhere"); err == nil {
		t.Error("a plan made a data directory")
	}
}

// gated is a source that waits behind some of its numbers until it is told to end.
type gated struct {
	inSteps
	upTo int
}

func (s gated) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
	return func(yield func(weir.Batch[int], error) bool) {
		part := s.inSteps
		part.n = min(s.n, s.upTo)
		for b, err := range part.Read(ctx, after) {
			if !yield(b, err) {
				return
			}
		}
		if s.upTo < s.n {
			<-ctx.Done()
		}
	}
}

// A port that goes and comes again goes on where it was, and what is said for a
// change that was made is no obstacle.
func TestResumePorts(t *testing.T) { synctest.Test(t, resumePorts) }

func resumePorts(t *testing.T) {
	p := newPlant(t)
	flow := func(ports, upTo int) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", gated{inSteps{30, 1}, upTo})
			if ports == 1 {
				p.to(plus(in, "split", 0), "even", 0)
				return
			}
			even, odd := weir.Split2(in, "split", func(v int, even, odd weir.Emit[int]) error {
				if v%2 == 0 {
					even(v)
				} else {
					odd(v)
				}
				return nil
			}, weir.Ports("out", "odd"))
			p.to(even, "even", 0)
			p.to(odd, "odd", 0)
		})
	}
	part := func(ports, upTo int, more ...func(*weir.Options)) {
		t.Helper()
		o := p.options()
		for _, fn := range more {
			fn(&o)
		}
		r, err := flow(ports, upTo).Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.whole()
	}
	part(2, 8)
	part(1, 16) // odd is drained, so nobody has to give it up
	part(1, 20, starting("nobody=now"), mapping("a=b"), retiring("nobody"))
	in := p.plans(flow(2, 30), "odd", "split.odd")
	if in.From != 5 || in.Records != 0 {
		t.Errorf("the plan says that odd begins with %+v, behind 4 records", in)
	}
	part(2, 24)
	p.ends(flow(2, 30))
	if got, want := p.journal("split.odd"), []string{"1", "3", "5", "7", "21", "23", "25", "27", "29"}; !slices.Equal(got, want) {
		t.Errorf("odd are %v, want %v", got, want)
	}
	var got []string
	for v := range 30 {
		if n := v + 1; n%2 == 1 && (n < 9 || n > 20) {
			got = append(got, fmt.Sprint("odd ", n))
		} else {
			got = append(got, fmt.Sprint("even ", n))
		}
	}
	slices.Sort(got)
	if !slices.Equal(p.got.sorted(), got) {
		t.Errorf("delivered were %v, want %v", p.got.sorted(), got)
	}
}

type tuned struct {
	Limit int
	Extra int
}

// A setting that the changed flow has and the run did not have is recorded with
// the change.
func TestResumeRecordsNewSettings(t *testing.T) {
	p := newPlant(t)
	type first struct{ Limit int }
	was := weir.DefineWith("plant", first{4}, func(f *weir.Flow, cfg first) {
		p.to(weir.From(f, "in", steps(9, 1)), "out", cfg.Limit)
	})
	p.stops(was)
	now := func(extra int) *weir.Definition {
		return weir.DefineWith("plant", tuned{0, extra}, func(f *weir.Flow, cfg tuned) {
			p.to(plus(weir.From(f, "in", steps(9, 1)), "more", cfg.Extra), "out", cfg.Limit+cfg.Extra)
		})
	}
	p.stops(now(100))
	o := p.options()
	if _, err := now(7).Run(t.Context(), o); err == nil {
		t.Fatal("it went on with another value than the one that was recorded")
	}
	names := []string{}
	for _, s := range p.manifest().Settings {
		names = append(names, s.Name+"="+string(s.Value))
	}
	if want := []string{"limit=4", "extra=100"}; !slices.Equal(names, want) {
		t.Errorf("recorded are %v, want %v", names, want)
	}
}
