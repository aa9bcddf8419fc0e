package weir_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
)

type (
	ask    struct{ ID, Who string }
	said   struct{ ID, Text string }
	answer struct {
		ID string
		OK bool
	}
)

var approval = weir.NewSignal[answer]("approval")

// desk is a service that counts its calls.
type desk struct {
	mu    sync.Mutex
	calls map[string]int
}

func (d *desk) do(name string) effect.Effect[ask, said] {
	return effect.KeyedByInput(name, func(_ context.Context, c effect.Call, a ask) (said, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.calls[name+" "+a.ID]++
		if a.Who == "refused at "+name {
			return said{}, effect.Permanent(errors.New("no"))
		}
		return said{a.ID, name}, nil
	})
}

func newDesk() *desk { return &desk{calls: map[string]int{}} }

// collect gathers what a stream brings.
type collect struct {
	mu  sync.Mutex
	got []string
}

func (c *collect) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, s)
}

func (c *collect) sorted() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.got))
}

func TestOrchestrate(t *testing.T) {
	d, out := newDesk(), &collect{}
	reserve, charge, release := d.do("reserve"), d.do("charge"), d.do("release")
	def := weir.Define("shop", func(f *weir.Flow) {
		in := weir.From(f, "orders", weir.Slice([]ask{{"1", "ann"}, {"2", "refused at charge"}, {"3", "bob"}}))
		ok, failed := weir.Orchestrate(in, "checkout", func(s *weir.Steps, a ask, emit weir.Emit[said]) error {
			if _, err := weir.Do(s, "reserve", reserve, a); err != nil {
				return err
			}
			weir.Compensate(s, "release", release, a)
			n, err := weir.Capture(s, "number", func() (int, error) { return len(a.ID) + 41, nil })
			if err != nil {
				return err
			}
			emit(said{a.ID, fmt.Sprint("number ", n)})
			got, err := weir.Do(s, "charge", charge, a)
			if err != nil {
				return fmt.Errorf("charge: %w", err)
			}
			emit(got)
			return nil
		}, weir.Using(reserve), weir.Using(charge), weir.Using(release))
		weir.Each(ok, "ok", func(_ context.Context, s said) error { out.add(s.ID + " " + s.Text); return nil })
		weir.Each(failed, "bad", func(_ context.Context, f weir.Failed[ask]) error {
			out.add(fmt.Sprintf("%s failed: %s %s %q", f.Input.ID, f.Kind, f.Reason, f.Happened))
			return nil
		})
	})
	sum, err := def.Run(t.Context(), weir.Options{})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	want := []string{"1 charge", "1 number 42", "2 failed: permanent charge: no \"\"", "2 number 42", "3 charge", "3 number 42"}
	if got := out.sorted(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for call, n := range d.calls {
		if n != 1 || strings.HasPrefix(call, "release") != (call == "release 2") {
			t.Errorf("%s: %d calls", call, n)
		}
	}
}

// That a compensation was given up is told: what was done stands, or may.
func TestCompensationGivenUp(t *testing.T) {
	for _, c := range []struct {
		charge, first, second error
		want                  effect.Happened
	}{
		{errNo, nil, nil, effect.No},
		{errNo, errNo, nil, effect.Yes},
		{errNo, nil, errNo, effect.Yes},
		{errNo, errNo, errLost, effect.Yes},
		{errNo, errLost, errNo, effect.Yes},
		{errNo, nil, errLost, effect.Maybe},
		{errLost, nil, nil, effect.Maybe},
		{errLost, nil, errNo, effect.Yes},
	} {
		does := func(name string, err error) effect.Effect[ask, said] {
			return effect.KeyedByInput(name, func(context.Context, effect.Call, ask) (said, error) { return said{}, err })
		}
		charge, first, second := does("charge", c.charge), does("first", c.first), does("second", c.second)
		var got []effect.Happened
		def := weir.Define("shop", func(f *weir.Flow) {
			_, failed := weir.Orchestrate(weir.From(f, "in", weir.Slice([]ask{{ID: "1"}})), "go", func(s *weir.Steps, a ask, _ weir.Emit[said]) error {
				weir.Compensate(s, "first", first, a)
				weir.Compensate(s, "second", second, a)
				_, err := weir.Do(s, "charge", charge, a)
				return err
			}, weir.Using(charge), weir.Using(first), weir.Using(second))
			weir.Each(failed, "bad", func(_ context.Context, f weir.Failed[ask]) error {
				got = append(got, f.Happened)
				return nil
			})
		})
		if _, err := def.Run(t.Context(), weir.Options{}); err != nil || !slices.Equal(got, []effect.Happened{c.want}) {
			t.Errorf("charge: %v, compensations: %v and %v: happened %q, %v; want %q", c.charge, c.first, c.second, got, err, c.want)
		}
	}
}

var errNo, errLost = effect.Permanent(errors.New("no")), errors.New("connection lost")

// waitingDesk is a flow of payloads that sleep, and then wait for a signal that another
// source brings, or a person.
func waitingDesk(in []ask, given []answer, out *collect) *weir.Definition {
	return weir.Define("desk", func(f *weir.Flow) {
		asks := weir.From(f, "asks", weir.Slice(in))
		ok, _ := weir.Orchestrate(asks, "wait", func(s *weir.Steps, a ask, emit weir.Emit[said]) error {
			if err := weir.Sleep(s, "first", time.Hour); err != nil {
				return err
			}
			v, arrived, err := weir.Await(s, approval, a.ID, 48*time.Hour)
			if err != nil {
				return err
			}
			emit(said{a.ID, fmt.Sprint(arrived, v.OK)})
			return nil
		}, weir.Concurrency(4))
		weir.Signals(weir.KeyBy(weir.From(f, "given", weir.Slice(given)), func(a answer) string { return a.ID }), "give", approval)
		weir.Each(ok, "ok", func(_ context.Context, s said) error { out.add(s.ID + " " + s.Text); return nil })
	})
}

func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collect{}
		def := waitingDesk([]ask{{ID: "1"}, {ID: "2"}, {ID: "3"}}, []answer{{"1", true}, {"9", true}}, out)
		r, err := def.Start(t.Context(), weir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got := out.sorted(); !slices.Equal(got, []string{"1 true true"}) {
			t.Errorf("after two hours: %q", got)
		}
		if err := approval.Send(t.Context(), r, "2", answer{"2", false}); err != nil {
			t.Error(err)
		}
		began := time.Now()
		sum, err := r.Wait()
		if err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if took := time.Since(began); took < 46*time.Hour || took > 48*time.Hour {
			t.Errorf("the last waited for %v", took)
		}
		if got, want := out.sorted(), []string{"1 true true", "2 true false", "3 false false"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if err := approval.Send(t.Context(), r, "2", answer{}); !errors.Is(err, weir.ErrNotListening) {
			t.Errorf("a signal to a run that has ended: %v", err)
		}
		if err := weir.NewSignal[answer]("No Name").Send(t.Context(), r, "2", answer{}); err == nil || !strings.Contains(err.Error(), "signal name") {
			t.Errorf("a bad name: %v", err)
		}
	})
}

// Sleeps and signals survive restarts: what was sent while nobody awaited it, and
// what is awaited over several processes.
func TestWaitOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collect{}
		def := waitingDesk([]ask{{ID: "1"}, {ID: "2"}}, []answer{{"1", true}}, out)
		began, disk := time.Now(), &plan.Harness{FS: vfs.NewMemory()}
		for i := range 4 {
			r, err := def.Start(t.Context(), weir.Options{Dir: "/data", Harness: disk})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(19 * time.Minute)
			if i == 1 {
				if err := approval.Send(t.Context(), r, "2", answer{"2", true}); err != nil {
					t.Fatal(err)
				}
			}
			if i < 3 {
				if err := r.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			sum, err := r.Wait()
			if want := map[bool]weir.Status{true: weir.Stopped, false: weir.Completed}[i < 3]; err != nil || sum.Status != want {
				t.Fatalf("epoch %d: %+v, %v", i+1, sum, err)
			}
			if i < 3 && (sum.Open != 2 || sum.InDoubt != 0) {
				t.Errorf("epoch %d: %d open, %d in doubt", i+1, sum.Open, sum.InDoubt)
			}
		}
		if got, want := out.sorted(), []string{"1 true true", "2 true true"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(began); took < time.Hour || took > 2*time.Hour {
			t.Errorf("it took %v", took)
		}
	})
}

type account struct{ Spent int }

// One payload of a key is executed at a time, with the state that the one before
// left; a failed one leaves none.
func TestOrchestrateBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collect{}
		def := weir.Define("limits", func(f *weir.Flow) {
			var in []ask
			for i := range 40 {
				in = append(in, ask{strconv.Itoa(i), strconv.Itoa(i % 3)})
			}
			byWho := weir.KeyBy(weir.From(f, "orders", weir.Slice(in)), func(a ask) string { return a.Who })
			ok, failed := weir.OrchestrateBy(byWho, "limit", weir.Zero[string, account],
				func(s *weir.Steps, a *account, v ask, emit weir.Emit[said]) error {
					a.Spent++
					if err := weir.Sleep(s, "think", time.Minute); err != nil {
						return err
					}
					if a.Spent > 10 {
						return errors.New("over the limit")
					}
					emit(said{v.Who, strconv.Itoa(a.Spent)})
					return nil
				})
			weir.Each(ok, "ok", func(_ context.Context, s said) error { out.add(s.ID + " " + s.Text); return nil })
			weir.Each(failed, "bad", func(_ context.Context, f weir.Failed[ask]) error { out.add("failed: " + f.Reason); return nil })
		})
		began := time.Now()
		sum, err := def.Run(t.Context(), weir.Options{})
		if err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		var want []string
		for who := range 3 {
			for n := 1; n <= 10; n++ {
				want = append(want, fmt.Sprintf("%d %d", who, n))
			}
		}
		for range 10 {
			want = append(want, "failed: over the limit")
		}
		slices.Sort(want)
		if got := out.sorted(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(began); took < 13*time.Minute || took > 15*time.Minute {
			t.Errorf("it took %v: payloads of a key go one after the other, others beside them", took)
		}
	})
}

func TestOrchestrateMistakes(t *testing.T) {
	d := newDesk()
	e, other := d.do("charge"), effect.KeyedByInput("charge", func(context.Context, effect.Call, ask) (int, error) { return 0, nil })
	for says, fn := range map[string]func(*weir.Steps) error{
		"the one that was granted is from": func(s *weir.Steps) error { _, err := weir.Do(s, "a", other, ask{}); return err },
		"which was not granted":            func(s *weir.Steps) error { _, err := weir.Do(s, "a", d.do("refund"), ask{}); return err },
		"signal name":                      func(s *weir.Steps) error { _, _, err := weir.Await(s, weir.NewSignal[int]("A"), "k", 0); return err },
	} {
		def := weir.Define("wrong", func(f *weir.Flow) {
			ok, _ := weir.Orchestrate(weir.From(f, "in", weir.Slice([]ask{{ID: "1"}})), "go",
				func(s *weir.Steps, _ ask, _ weir.Emit[said]) error { return fn(s) }, weir.Using(e))
			weir.Each(ok, "ok", func(context.Context, said) error { return nil })
		})
		if _, err := def.Run(t.Context(), weir.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error with %q", err, says)
		}
	}
}
