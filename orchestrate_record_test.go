package weir_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// A script is a flow of one stage of orchestrations over some texts, and what came
// out of it: results as they are, failures behind "failed: ".
type script struct {
	in   []string
	fn   func(*weir.Steps, string, weir.Emit[string]) error
	opts []weir.OrchestrateOption
	out  *collect
}

func (s *script) flow() *weir.Definition {
	return weir.Define("script", func(f *weir.Flow) {
		s.ends(weir.Orchestrate(weir.From(f, "in", weir.Slice(s.in)), "act", s.fn, s.opts...))
	})
}

func (s *script) ends(done weir.Stream[string], failed weir.Stream[weir.Failed[string]]) {
	weir.Each(done, "done", func(_ context.Context, v string) error { s.out.add(v); return nil })
	weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[string]) error {
		s.out.add(fmt.Sprintf("failed: %s %s: %s", f.Input, f.Kind, f.Reason))
		return nil
	})
}

// plays runs the flow in memory to its end.
func (s *script) plays(t *testing.T) []string {
	t.Helper()
	s.out = &collect{}
	if sum, err := toEnd(t, s.flow(), weir.Options{}); err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	return s.out.sorted()
}

// toEnd runs a flow until it ends, or waits for decisions: then it is stopped.
func toEnd(t *testing.T, def *weir.Definition, o weir.Options) (weir.Summary, error) {
	t.Helper()
	waits := make(chan struct{}, 100)
	o.Logger = slog.New(&listener{text: "waiting for decisions", heard: func() { waits <- struct{}{} }})
	r, err := def.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-waits:
		if err := r.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	case <-r.Done():
	}
	return r.Wait()
}

// dies runs the flow once for each of its transitions, lets the process die before
// that, and runs it to its end. It gives what came out to judge, with when it died.
func (s *script) dies(t *testing.T, o weir.Options, judge func(at journal.LSN, out []string)) {
	t.Helper()
	for at, more := journal.LSN(1), true; more; at++ {
		more = false
		s.out = &collect{}
		fatal := at
		log := newMemory(func(next journal.LSN) error {
			if next == fatal {
				more = true
				return errors.New("the process died")
			}
			return nil
		})
		h := plan.Harness{}
		if o.Harness != nil {
			h = *o.Harness
		}
		h.Log = func(journal.Manifest) journal.Log { return log }
		o.Harness = &h
		sum, err := toEnd(t, s.flow(), o)
		if more {
			fatal = 0
			if log, err = log.Reopen(); err != nil {
				t.Fatal(err)
			}
			sum, err = toEnd(t, s.flow(), o)
		}
		if err != nil || sum.Status != weir.Completed {
			t.Fatalf("death before %d: %+v, %v", at, sum, err)
		}
		if log, err = log.Reopen(); err != nil {
			t.Fatal(err)
		}
		judge(at, slices.Sorted(slices.Values(produced(t, log))))
	}
}

// produced returns what the stage act has written, whoever read it.
func produced(t *testing.T, log *memory.Log) (all []string) {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var p journal.Placed
	for trs := journal.Transitions(in); trs.Next(&p) == nil; {
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if p.Stage != "act" || o.Port != "out" && o.Port != "failed" {
				continue
			}
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				all = append(all, strings.Trim(string(rec.Payload), `"`))
			}
		}
	}
	return all
}

func sleeps(s *weir.Steps, step string) error { return weir.Sleep(s, step, time.Minute) }

// A change that was in the code from the beginning is known, wherever in the
// function it is asked for, and whenever the process dies.
func TestSinceIsTrueOfNewExecutions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{in: []string{"a"}, fn: func(s *weir.Steps, _ string, emit weir.Emit[string]) error {
			first := weir.Since(s, "first")
			if err := sleeps(s, "one"); err != nil {
				return err
			}
			second := weir.Since(s, "second")
			_ = s.Now()
			if _, err := weir.Capture(s, "two", func() (int, error) { return 1, nil }); err != nil {
				return err
			}
			third, again := weir.Since(s, "third"), weir.Since(s, "first")
			if err := sleeps(s, "three"); err != nil {
				return err
			}
			emit(fmt.Sprint(first, second, third, again))
			return nil
		}}
		s.dies(t, weir.Options{}, func(at journal.LSN, out []string) {
			if !slices.Equal(out, []string{"true true true true"}) {
				t.Errorf("death before %d: %q", at, out)
			}
		})
	})
}

// An execution that has gone beyond the place where a change came in goes on in the
// old way, for good; one that has not, and a new one, take the new way.
func TestSinceOfExecutionsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &plan.Harness{FS: vfs.NewMemory()}
		var s *script
		old := func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			if v == "far" {
				if _, err := weir.Capture(s, "step", func() (string, error) { return "old", nil }); err != nil {
					return err
				}
			}
			if _, _, err := weir.Await(s, approval, v, 0); err != nil {
				return err
			}
			emit(v + " in the old way")
			return nil
		}
		changed := func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			way := "old"
			if weir.Since(s, "change") {
				way = "new"
			} else if _, err := weir.Capture(s, "step", func() (string, error) { return "", errors.New("it is on record") }); err != nil {
				return err
			}
			if _, _, err := weir.Await(s, approval, v, 0); err != nil {
				return err
			}
			if again := weir.Since(s, "change"); again != (way == "new") {
				return fmt.Errorf("it said %v, and then the %s way", again, way)
			}
			emit(v + " in the " + way + " way")
			return nil
		}
		s = &script{in: []string{"far"}, fn: old, out: &collect{}}
		for epoch := range 4 {
			if epoch == 1 {
				s.fn = changed
			}
			r, err := s.flow().Start(t.Context(), weir.Options{Dir: "/data", Logger: silent, Harness: disk})
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if epoch == 3 {
				if err := approval.Send(t.Context(), r, "far", answer{}); err != nil {
					t.Fatal(err)
				}
				if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
					t.Fatalf("%+v, %v", sum, err)
				}
				break
			}
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		s2 := &script{in: []string{"near"}, fn: changed}
		s2.out = s.out
		r, err := s2.flow().Start(t.Context(), weir.Options{Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		if err := approval.Send(t.Context(), r, "near", answer{}); err != nil {
			t.Fatal(err)
		}
		if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if got, want := s.out.sorted(), []string{"far in the old way", "near in the new way"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// Changes and steps may have the same name.
func TestSinceNamedLikeAStep(t *testing.T) {
	s := &script{in: []string{"a"}, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
		if weir.Since(s, "fees") {
			fee, err := weir.Capture(s, "fees", func() (string, error) { return "7", nil })
			if err != nil {
				return err
			}
			v += fee
		}
		emit(v)
		return nil
	}}
	if got := s.plays(t); !slices.Equal(got, []string{"a7"}) {
		t.Errorf("%q", got)
	}
}

// Names come from payloads: one that cannot be recorded is a failure of its payload.
func TestNamesThatCannotBeRecorded(t *testing.T) {
	d := newDesk()
	charge := d.do("charge")
	long := strings.Repeat("x", 513)
	for says, step := range map[string]func(*weir.Steps) error{
		"513 bytes":    func(s *weir.Steps) error { return sleeps(s, long) },
		"0 bytes":      func(s *weir.Steps) error { return sleeps(s, "") },
		"UTF-8":        func(s *weir.Steps) error { _, err := weir.Do(s, "charge \xff", charge, ask{}); return err },
		"zero byte":    func(s *weir.Steps) error { return sleeps(s, "a\x00b") },
		"are reserved": func(s *weir.Steps) error { return sleeps(s, "await approval a") },
		"weir.":        func(s *weir.Steps) error { return sleeps(s, "weir.x") },
		"undo \xff": func(s *weir.Steps) error {
			weir.Compensate(s, "undo \xff", charge, ask{})
			return nil
		},
		"signal's key is not UTF-8": func(s *weir.Steps) error {
			_, _, err := weir.Await(s, approval, "\xff", time.Second)
			return err
		},
		"signal's key has 4097 bytes": func(s *weir.Steps) error {
			_, _, err := weir.Await(s, approval, strings.Repeat("x", 4097), time.Second)
			return err
		},
	} {
		s := &script{in: []string{"a"}, opts: []weir.OrchestrateOption{weir.Using(charge)}, fn: func(s *weir.Steps, _ string, _ weir.Emit[string]) error {
			return step(s)
		}}
		says = strings.Trim(strconv.Quote(says), `"`)
		if got := s.plays(t); len(got) != 1 || !strings.Contains(got[0], says) || !strings.Contains(got[0], string(event.KindValidation)) {
			t.Errorf("%q, want a failure with %q", got, says)
		}
	}
}

// A wait is named by signal and key together, whatever characters the key has.
func TestAwaitAnyKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := []string{"a", "a 2", "a", "", `"`, "a\x00b", "ключ", strings.Repeat("k", 4000), strings.Repeat("k", 4000) + "2"}
		s := &script{in: []string{"x"}, out: &collect{}, fn: func(s *weir.Steps, _ string, emit weir.Emit[string]) error {
			if err := sleeps(s, "pause"); err != nil {
				return err
			}
			for _, k := range keys {
				v, arrived, err := weir.Await(s, approval, k, 0)
				if err != nil {
					return err
				}
				emit(fmt.Sprint(len(k), arrived, v.ID))
			}
			return nil
		}}
		r, err := s.flow().Start(t.Context(), weir.Options{Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i, k := range keys {
			id := fmt.Sprint("for ", i)
			if err := approval.Send(t.Context(), r, k, answer{ID: id}); err != nil {
				t.Fatalf("key %q: %v", k, err)
			}
			want = append(want, fmt.Sprint(len(k), true, id))
		}
		if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if slices.Sort(want); !slices.Equal(s.out.sorted(), want) {
			t.Errorf("%q, want %q", s.out.sorted(), want)
		}
		for _, k := range []string{"\xff", strings.Repeat("k", 4097)} {
			if err := approval.Send(t.Context(), r, k, answer{}); err == nil || errors.Is(err, weir.ErrNotListening) {
				t.Errorf("Send with a key of %d bytes that is none: %v", len(k), err)
			}
		}
	})
}

// The time of a step stays what it was, whatever is recorded about the step later.
func TestNowStaysWhatItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &plan.Harness{FS: vfs.NewMemory()}
		d := newDesk()
		charge := d.do("charge")
		var now []time.Time
		s := &script{in: []string{"a"}, out: &collect{}}
		for epoch := range 4 {
			s.opts = []weir.OrchestrateOption{weir.Using(charge)}
			s.fn = func(s *weir.Steps, _ string, _ weir.Emit[string]) error {
				who := strconv.Itoa(epoch / 2) // the third process would ask for something else, and notes that
				if _, err := weir.Do(s, "charge", charge, ask{ID: "1", Who: who}); err != nil {
					return err
				}
				now = append(now, s.Now())
				_, _, err := weir.Await(s, approval, "k", 0)
				return err
			}
			r, err := s.flow().Start(t.Context(), weir.Options{Dir: "/data", Logger: silent, Harness: disk})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if len(now) < 4 {
			t.Fatalf("%d executions", len(now))
		}
		for _, at := range now {
			if !at.Equal(now[0]) {
				t.Errorf("Now is %v, and then %v", now[0], at)
			}
		}
	})
}

// What a function does because a capture failed is not undone by a crash after
// which the capture would work.
func TestFailedCaptureThatSomethingFollowedFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		s := &script{in: []string{"a"}, fn: func(s *weir.Steps, _ string, emit weir.Emit[string]) error {
			emit("begins")
			_, err := weir.Capture(s, "number", func() (string, error) {
				if tries++; tries == 1 {
					return "", errors.New("busy")
				}
				return "two", nil
			})
			if errors.Is(err, weir.ErrSuspended) {
				return err
			}
			way := "good"
			if err != nil {
				way = err.Error()
			}
			if got, err := weir.Capture(s, "way "+way, func() (string, error) { return way, nil }); err != nil || got != way {
				return fmt.Errorf("%s, %w", got, err)
			}
			if err := sleeps(s, "pause"); err != nil {
				return err
			}
			emit(way)
			return nil
		}}
		ways := map[string]bool{}
		s.dies(t, weir.Options{}, func(at journal.LSN, out []string) {
			tries = 0
			if len(out) != 2 || out[0] == out[1] {
				t.Errorf("death before %d: %q", at, out)
			}
			ways[strings.Join(out, ",")] = true
		})
		if !ways["begins,busy"] || !ways["begins,good"] {
			t.Errorf("it went %v: the test does not see both", ways)
		}
	})
}

// Code that cannot be right fails the stage, with words, and never hangs.
func TestWrongCode(t *testing.T) {
	d := newDesk()
	charge, release := d.do("charge"), d.do("release")
	one := func() (int, error) { return 1, nil }
	for says, fn := range map[string]func(*weir.Steps, weir.Emit[string]) error{
		"a step was taken, or": func(s *weir.Steps, _ weir.Emit[string]) error {
			_, err := weir.Capture(s, "outer", func() (int, error) { return weir.Capture(s, "inner", one) })
			return err
		},
		"or something emitted, within weir.Capture": func(s *weir.Steps, emit weir.Emit[string]) error {
			_, err := weir.Capture(s, "outer", func() (int, error) { emit("never"); return 1, nil })
			return err
		},
		`are called "undo"`: func(s *weir.Steps, _ weir.Emit[string]) error {
			weir.Compensate(s, "undo", release, ask{})
			_, err := weir.Do(s, "undo", charge, ask{})
			return err
		},
		`are called "do"`: func(s *weir.Steps, _ weir.Emit[string]) error {
			_, err := weir.Do(s, "do", charge, ask{})
			weir.Compensate(s, "do", release, ask{})
			return err
		},
		"does not return": func(s *weir.Steps, _ weir.Emit[string]) error {
			for sleeps(s, "again") != nil { // until it works, it says
			}
			return nil
		},
		"name of a change": func(s *weir.Steps, _ weir.Emit[string]) error { weir.Since(s, "\xff"); return nil },
		"cannot be recorded": func(s *weir.Steps, _ weir.Emit[string]) error {
			_, err := weir.Capture(s, "channel", func() (chan int, error) { return nil, nil })
			return err
		},
	} {
		s := &script{in: []string{"a"}, out: &collect{}, opts: []weir.OrchestrateOption{weir.Using(charge), weir.Using(release)}}
		s.fn = func(s *weir.Steps, _ string, emit weir.Emit[string]) error { return fn(s, emit) }
		if _, err := s.flow().Run(t.Context(), weir.Options{Logger: silent}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want an error with %q", err, says)
		}
	}
}

// Steps belong to the call of the function that they were given to.
func TestStepsOutliveNothing(t *testing.T) {
	var kept *weir.Steps
	var say weir.Emit[string]
	calls := 0
	s := &script{in: []string{"a"}, fn: func(s *weir.Steps, _ string, emit weir.Emit[string]) error {
		kept, say = s, emit
		emit("one")
		return nil
	}}
	if got := s.plays(t); !slices.Equal(got, []string{"one"}) {
		t.Fatalf("%q", got)
	}
	_, err := weir.Capture(kept, "late", func() (int, error) { calls++; return 1, nil })
	if err == nil || errors.Is(err, weir.ErrSuspended) || calls > 0 || !strings.Contains(err.Error(), "has returned") {
		t.Errorf("a step after the end: %v, %d calls", err, calls)
	}
	defer func() {
		if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), "has returned") {
			t.Errorf("emit after the end: %v", v)
		}
	}()
	say("late")
}

// What an orchestration emits at its end waits for its readers; a process that dies
// meanwhile loses none of it.
func TestEndThatWaitsForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in, want []string
		for i := range 6 {
			in = append(in, strconv.Itoa(i))
			want = append(want, fmt.Sprint(i, " one"), fmt.Sprint(i, " two"))
		}
		s := &script{in: in, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			if err := sleeps(s, "pause"); err != nil {
				return err
			}
			emit(v + " one")
			emit(v + " two")
			return nil
		}}
		s.dies(t, weir.Options{Harness: &plan.Harness{Window: 1, Batch: 1}}, func(at journal.LSN, out []string) {
			if !slices.Equal(out, want) {
				t.Errorf("death before %d: %q", at, out)
			}
		})
	})
}

// State that cannot be recorded fails its payload, and leaves the key's state as it
// was.
func TestStateThatCannotBeRecorded(t *testing.T) {
	type sum struct{ Of float64 }
	s := &script{out: &collect{}}
	def := weir.Define("script", func(f *weir.Flow) {
		in := weir.KeyBy(weir.From(f, "in", weir.Slice([]string{"1", "2", "3"})), func(string) string { return "k" })
		s.ends(weir.OrchestrateBy(in, "act", weir.Zero[string, sum], func(s *weir.Steps, a *sum, v string, emit weir.Emit[string]) error {
			if a.Of++; v == "2" {
				a.Of = math.NaN()
			}
			emit(fmt.Sprint(v, " makes ", a.Of))
			return nil
		}))
	})
	sum1, err := def.Run(t.Context(), weir.Options{Logger: silent})
	if err != nil || sum1.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum1, err)
	}
	if got := s.out.sorted(); len(got) != 3 || got[0] != "1 makes 1" || got[1] != "3 makes 2" || !strings.HasPrefix(got[2], "failed: 2 validation: the state that it left") {
		t.Errorf("%q", got)
	}
}

// What many orchestrations emit at once, each not too much, is no reason to fail;
// what one emits beyond the limit is a failure of its own.
func TestLargeEmissions(t *testing.T) {
	if testing.Short() {
		t.Skip("300 MiB are emitted")
	}
	part := strings.Repeat("x", 10<<20)
	s := &script{out: &collect{}, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
		emit(v + part)
		if v == "too much" {
			emit(part)
		}
		if _, err := weir.Capture(s, "one", func() (int, error) { return 1, nil }); err != nil {
			return err
		}
		emit(v + part)
		return nil
	}}
	for i := range 14 {
		s.in = append(s.in, strconv.Itoa(i))
	}
	s.in = append(s.in, "too much")
	s.out = &collect{}
	var got []string
	sum, err := weir.Define("large", func(f *weir.Flow) {
		done, failed := weir.Orchestrate(weir.From(f, "in", weir.Slice(s.in)), "act", s.fn)
		weir.Each(done, "done", func(_ context.Context, v string) error { got = append(got, strings.TrimRight(v, "x")); return nil })
		weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[string]) error {
			s.out.add(f.Input + ": " + string(f.Kind))
			return nil
		})
	}).Run(t.Context(), weir.Options{Logger: silent})
	if err != nil || sum.Status != weir.Completed {
		t.Fatalf("%+v, %v", sum, err)
	}
	if len(got) != 28 || !slices.Equal(s.out.sorted(), []string{"too much: too_large"}) {
		t.Errorf("%d came out, failed %q", len(got), s.out.sorted())
	}
}
