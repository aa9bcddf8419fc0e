package weir_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/perform"
)

type (
	tollV1 struct{ Cents string }
	tollV2 struct{ Cents int }
)

func (tollV1) EventType() string { return "toll.v1" }
func (tollV2) EventType() string { return "toll.v2" }

func tollTo2(v tollV1) (tollV2, error) {
	if v.Cents == "seven" {
		return tollV2{}, errors.New("seven is no number")
	}
	var n int
	_, err := fmt.Sscan(v.Cents, &n)
	return tollV2{n}, err
}

// A record that an upcaster does not take is a dead letter of whoever reads it,
// whatever that does: computes, acts or delivers.
func TestUpcasterRefusesARecord(t *testing.T) {
	p := newPlant(t)
	var tolls []tollV1
	for i := range 9 {
		tolls = append(tolls, tollV1{strconv.Itoa(i + 1)})
	}
	tolls[6].Cents = "seven"
	first := define(func(f *weir.Flow) {
		in := weir.From(f, "in", weir.Slice(tolls))
		weir.Each(weir.Map(in, "pass", func(v tollV1) (tollV1, error) { panic("as told") }), "out", none[tollV1])
		weir.Each(in, "sink", func(context.Context, tollV1) error { panic("as told") })
		acted, failed := weir.Perform(in, "act", effect.Idempotent("act", func(ctx context.Context, _ tollV1) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}))
		weir.Each(acted, "acted", none[int])
		weir.Each(failed, "failed", none[weir.Failed[tollV1]])
	})
	second := func(f *weir.Flow) {
		f.Defaults(weir.OnError{Budget: weir.Budget{Share: 1}})
		in := weir.From(f, "in", weir.Slice([]tollV2{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}, {9}}))
		weir.Each(weir.Map(in, "pass", func(v tollV2) (tollV2, error) { return v, nil }), "out", none[tollV2])
		weir.Each(in, "sink", func(_ context.Context, v tollV2) error {
			p.got.add(strconv.Itoa(v.Cents))
			return nil
		})
		acted, failed := weir.Perform(in, "act", effect.Idempotent("act", func(_ context.Context, v tollV2) (int, error) { return v.Cents, nil }))
		weir.Each(acted, "acted", none[int])
		weir.Each(failed, "failed", none[weir.Failed[tollV2]])
		weir.Each(weir.DeadLetters(in, "pass"), "letters", none[weir.Failed[tollV2]])
	}
	o := p.options()
	o.Harness.Window = 100 // everything is read before anything fails
	if sum, err := first.Run(t.Context(), o); err == nil || sum.In != 9 {
		t.Fatalf("the first half: %+v, %v", sum, err)
	}
	if text := p.refused(define(second)); !strings.Contains(text, `event.Upcast("toll.v1", …)`) {
		t.Errorf("it is refused with %q", text)
	}
	upcast := define(func(f *weir.Flow) {
		f.Upcast(event.Upcast("toll.v1", tollTo2))
		second(f)
	})
	sum := p.ends(upcast)
	if sum.Dead != 3 {
		t.Errorf("%d dead letters, want one of each reader", sum.Dead)
	}
	for _, stage := range []string{"pass", "sink", "act"} {
		letters := p.journal(stage + ".dead")
		if len(letters) != 1 || !strings.Contains(letters[0], `"ref":"in.out:7","kind":"decode","reason":"`) || !strings.Contains(letters[0], "seven is no number") {
			t.Errorf("the dead letters of %s are %v", stage, letters)
		}
	}
	want := []string{`{"Cents":1}`, `{"Cents":2}`, `{"Cents":3}`, `{"Cents":4}`, `{"Cents":5}`, `{"Cents":6}`, `{"Cents":8}`, `{"Cents":9}`}
	if got := p.journal("pass.out"); !slices.Equal(got, want) {
		t.Errorf("passed are %v", got)
	}
	if got := slices.Compact(p.got.sorted()); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6", "8", "9"}) {
		t.Errorf("delivered were %v", got)
	}
	other := func(stage string) string { return stage + ": its records were of type toll.v1, and are of toll.v2 now" }
	letters := func(stage string) string {
		return stage + ": its dead letters were of type Failed[toll.v1], and are of Failed[toll.v2] now"
	}
	p.verifies(upcast, other("in"), other("pass"), letters("sink"), letters("out"),
		"act: its records were of type Failed[toll.v1], and are of Failed[toll.v2] now",
		"failed: its dead letters were of type Failed[Failed[toll.v1]], and are of Failed[Failed[toll.v2]] now")
}

type (
	countV1 struct{ Text string }
	countV2 struct{ N int }
)

func (countV1) EventType() string { return "count.v1" }
func (countV2) EventType() string { return "count.v2" }

// State that an upcaster does not take is refused before anything begins, by its
// key.
func TestResumeRefusesState(t *testing.T) {
	p := newPlant(t)
	first := define(func(f *weir.Flow) {
		in := weir.From(f, "in", steps(20, 2))
		kept := weir.Reduce(weir.KeyBy(in, func(v int) int { return v % 3 }), "count", weir.Zero[int, countV1], func(c *countV1, v int) error {
			c.Text += strconv.Itoa(v % 3)
			return nil
		})
		weir.Each(kept, "show", none[countV1])
		p.to(in, "out", 12)
	})
	second := func(read func(countV1) (countV2, error)) *weir.Definition {
		return define(func(f *weir.Flow) {
			if read != nil {
				f.Upcast(event.Upcast("count.v1", read))
			}
			in := weir.From(f, "in", steps(20, 2))
			kept := weir.Reduce(weir.KeyBy(in, func(v int) int { return v % 3 }), "count", weir.Zero[int, countV2], func(c *countV2, _ int) error {
				c.N++
				return nil
			})
			weir.Each(kept, "show", none[countV2])
			p.to(in, "out", 0)
		})
	}
	p.stops(first)
	if text := p.refused(second(nil)); !strings.Contains(text, `state of stage count, 3 entries cannot be read by this code (count.v1 → count.v2)`) || !strings.Contains(text, `event.Upcast("count.v1", …)`) {
		t.Errorf("it is refused with %q", text)
	}
	text := p.refused(second(func(c countV1) (countV2, error) {
		if strings.HasPrefix(c.Text, "1") {
			return countV2{}, errors.New("not this one")
		}
		return countV2{len(c.Text)}, nil
	}))
	if !strings.Contains(text, "the state of stage count for key 1 cannot be read") || !strings.Contains(text, "not this one") {
		t.Errorf("it is refused with %q", text)
	}
	p.ends(second(func(c countV1) (countV2, error) { return countV2{len(c.Text)}, nil }))
	if got, want := p.journal("count.out"), []string{`{"N":6}`, `{"N":7}`, `{"N":7}`}; !slices.Equal(got, want) {
		t.Errorf("the counts are %v, want %v", got, want)
	}
}

// A payload that only got fields is read as it is; one that kept its name and lost
// some needs an upcaster from what was recorded.
func TestResumeFields(t *testing.T) {
	type was struct{ N int }
	run := func(p *plant, def *weir.Definition) { p.stops(def) }
	first := func(p *plant) *weir.Definition {
		failing := make(chan struct{}) // 5 and 6 are recorded and not delivered, and nothing else
		return define(func(f *weir.Flow) {
			in := weir.Map(weir.From(f, "in", steps(12, 3)), "item", func(v int) (item[was], error) {
				if v == 7 {
					<-failing
					panic("as told")
				}
				return item[was]{was{v}}, nil
			})
			weir.Each(in, "out", func(_ context.Context, v item[was]) error {
				if v.V.N == 5 {
					close(failing)
					panic("as told")
				}
				return nil
			})
		})
	}
	t.Run("more", func(t *testing.T) {
		type is struct {
			Note string
			N    int
		}
		p := newPlant(t)
		run(p, first(p))
		def := define(func(f *weir.Flow) {
			in := weir.Map(weir.From(f, "in", steps(12, 3)), "item", func(v int) (item[is], error) { return item[is]{is{"new", v}}, nil })
			weir.Each(in, "out", func(_ context.Context, v item[is]) error {
				p.got.add(fmt.Sprint(v.V.N, v.V.Note))
				return nil
			})
		})
		plan, err := def.PlanResume(t.Context(), p.options())
		if err != nil || len(plan.Refusals) > 0 {
			t.Fatalf("%+v, %v", plan, err)
		}
		notes := ""
		for _, s := range plan.Stages {
			notes += strings.Join(s.Notes, "\n")
		}
		if !strings.Contains(notes, "fields were added, which are zero there (other fields of item)") {
			t.Errorf("the notes are %q", notes)
		}
		p.ends(def)
		if got := p.got.sorted(); !slices.Contains(got, "5") || !slices.Contains(got, "12new") {
			t.Errorf("delivered were %v", got)
		}
	})
	t.Run("others", func(t *testing.T) {
		type is struct{ Number string }
		p := newPlant(t)
		run(p, first(p))
		second := func(up ...event.Upcaster) *weir.Definition {
			return define(func(f *weir.Flow) {
				f.Upcast(up...)
				in := weir.Map(weir.From(f, "in", steps(12, 3)), "item", func(v int) (item[is], error) { return item[is]{is{strconv.Itoa(v)}}, nil })
				weir.Each(in, "out", func(_ context.Context, v item[is]) error {
					p.got.add(v.V.Number)
					return nil
				})
			})
		}
		if text := p.refused(second()); !strings.Contains(text, "cannot be read by this code (other fields of item)") || !strings.Contains(text, "of a type with the recorded fields") {
			t.Errorf("it is refused with %q", text)
		}
		// One that wants other fields than the recorded ones is not what is asked for.
		if text := p.refused(second(event.Upcast("item", func(o item[struct{ X int }]) (item[is], error) { return item[is]{}, nil }))); !strings.Contains(text, "cannot be read") {
			t.Errorf("it is refused with %q", text)
		}
		p.ends(second(event.Upcast("item", func(o item[was]) (item[is], error) { return item[is]{is{strconv.Itoa(o.V.N)}}, nil })))
		if got := p.got.sorted(); !slices.Contains(got, "5") || !slices.Contains(got, "12") || slices.Contains(got, "") {
			t.Errorf("delivered were %v", got)
		}
	})
}

// An item is called so whatever it holds.
type item[T any] struct{ V T }

func (item[T]) EventType() string { return "item" }

// An accepted input whose call is on record under another effect is put aside for a
// person; others go on. One of another type is refused once it was acted upon.
func TestResumeOpenWork(t *testing.T) { synctest.Test(t, resumeOpenWork) }

func resumeOpenWork(t *testing.T) {
	p := newPlant(t)
	flow := func(name string, blocks bool) *weir.Definition {
		return define(func(f *weir.Flow) {
			in := weir.From(f, "in", steps(9, 3))
			done, failed := weir.Perform(in, "act", effect.KeyedByInput(name, func(ctx context.Context, _ effect.Call, v int) (int, error) {
				if blocks && v == 4 {
					<-ctx.Done()
					return 0, context.Cause(ctx)
				}
				return v, nil
			}))
			p.to(done, "done", 0)
			weir.Each(failed, "failed", none[weir.Failed[int]])
		})
	}
	r, err := flow("pay", true).Start(t.Context(), p.options())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := r.Stop(ctx); err == nil {
		t.Fatal("no call was under way")
	}
	other := define(func(f *weir.Flow) {
		f.Upcast(event.Upcast("int", func(v int) (tollV2, error) { return tollV2{v}, nil }))
		in := weir.From(f, "in", weir.Slice([]tollV2{}))
		done, failed := weir.Perform(in, "act", effect.KeyedByInput("pay", func(context.Context, effect.Call, tollV2) (int, error) { return 0, nil }))
		p.to(done, "done", 0)
		weir.Each(failed, "failed", none[weir.Failed[tollV2]])
	})
	if text := p.refused(other); !strings.Contains(text, "is of another type now (int → toll.v2), and 1 has been sent as a request") {
		t.Errorf("it is refused with %q", text)
	}
	plan, err := flow("charge", false).PlanResume(t.Context(), p.options())
	if err != nil || len(plan.Refusals) > 0 || !strings.Contains(fmt.Sprint(plan.Stages), "effect pay is gone: accepted inputs that have called it wait for a decision") {
		t.Fatalf("%+v, %v", plan, err)
	}
	r, err = flow("charge", false).Start(t.Context(), p.options())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if pr := r.Progress(); pr.Phase != "waiting for decisions" {
		t.Fatalf("the run is %+v", pr)
	}
	v, done := p.view()
	run, err := history.Of(v)
	if err != nil {
		t.Fatal(err)
	}
	var parked []history.Call
	for c, err := range run.Open(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		parked = append(parked, c)
	}
	done()
	if len(parked) != 1 || parked[0].State != history.CallParked || !strings.Contains(parked[0].Reason, "effect pay is on record where the code has charge") {
		t.Fatalf("put aside are %+v", parked)
	}
	d := inbox.Decision{Stage: "act", Input: *parked[0].InputID, Verdict: perform.DecideContinue}
	if _, err := inbox.Put(p.disk, p.dir(), inbox.Message{At: time.Now().UTC(), By: "somebody", Decision: &d}); err != nil {
		t.Fatal(err)
	}
	sum, err := r.Wait()
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	p.whole()
	if got := slices.Compact(p.got.sorted()); len(got) != 9 {
		t.Errorf("done are %v", got)
	}
}

// What was accepted and not acted upon is read by an upcaster.
func TestResumeAcceptedIsUpcast(t *testing.T) { synctest.Test(t, resumeAccepted) }

func resumeAccepted(t *testing.T) {
	p := newPlant(t)
	first := define(func(f *weir.Flow) {
		in := weir.Map(weir.From(f, "in", steps(9, 3)), "toll", func(v int) (tollV1, error) { return tollV1{strconv.Itoa(v)}, nil })
		done, failed := weir.Perform(in, "act", effect.Idempotent("pay", func(ctx context.Context, _ tollV1) (int, error) {
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}), weir.Concurrency(2))
		p.to(done, "done", 0)
		weir.Each(failed, "failed", none[weir.Failed[tollV1]])
	})
	r, err := first.Start(t.Context(), p.options())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := r.Stop(ctx); err == nil {
		t.Fatal("no call was under way")
	}
	second := func(name string) *weir.Definition {
		return define(func(f *weir.Flow) {
			f.Upcast(event.Upcast("toll.v1", tollTo2))
			in := weir.Map(weir.From(f, "in", steps(9, 3)), "toll", func(v int) (tollV2, error) { return tollV2{v}, nil })
			done, failed := weir.Perform(weir.KeyBy(in, func(v tollV2) int { return v.Cents % 2 }), name, effect.Idempotent("pay", func(_ context.Context, v tollV2) (int, error) { return v.Cents, nil }))
			p.to(done, "done", 0)
			weir.Each(failed, "failed", none[weir.Failed[tollV2]])
		})
	}
	plan, err := second("act").PlanResume(t.Context(), p.options())
	if err != nil || len(plan.Refusals) > 0 || !strings.Contains(fmt.Sprint(plan.Stages), "what stage act has accepted, 2 inputs: read by an upcaster (toll.v1 → toll.v2)") &&
		!strings.Contains(fmt.Sprint(plan.Stages), "read by an upcaster (toll.v1 → toll.v2)") {
		t.Fatalf("%+v, %v", plan, err)
	}
	p.ends(second("perform"), mapping("perform=act")) // and under another name
	if got, want := p.got.sorted(), []string{"done 1", "done 2", "done 3", "done 4", "done 5", "done 6", "done 7", "done 8", "done 9"}; !slices.Equal(got, want) {
		t.Errorf("done are %v", got)
	}
}
