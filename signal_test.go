package weir_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
)

// waits has an orchestration of each text await a signal with that key.
func waits(s *weir.Steps, v string, emit weir.Emit[string]) error {
	got, arrived, err := weir.Await(s, approval, v, 0)
	if err != nil {
		return err
	}
	emit(fmt.Sprint(v, " ", got.ID, " ", arrived))
	return nil
}

// hand puts a signal into the inbox of a run, as another process does.
func hand(t *testing.T, fsys vfs.FS, dir, key, id string) string {
	t.Helper()
	m := inbox.Message{At: time.Now(), By: "ann", Signal: &inbox.Signal{Name: approval.Name(), Key: key, Payload: fmt.Appendf(nil, `{"ID":%q,"OK":true}`, id)}}
	name, err := inbox.Put(fsys, dir, m)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// left is how many messages are in the inbox of a run.
func left(t *testing.T, fsys vfs.FS, dir string) int {
	t.Helper()
	entries, err := fsys.ReadDir(filepath.Join(dir, inbox.Dir))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A slowInbox is a disk on which it takes a second to look what is in an inbox.
type slowInbox struct{ *vfs.Memory }

func (d slowInbox) ReadDir(name string) ([]fs.DirEntry, error) {
	if filepath.Base(name) == inbox.Dir {
		time.Sleep(time.Second)
	}
	return d.Memory.ReadDir(name)
}

// A signal that was handed in before the time of a wait is not late because the
// process that had the run was not there.
func TestSignalBeforeTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := slowInbox{vfs.NewMemory()}
		const many = 700 // are more than are taken at once
		s := &script{out: &collect{}, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			got, arrived, err := weir.Await(s, approval, v, time.Hour)
			if err != nil {
				return err
			}
			emit(fmt.Sprint(v, " ", got.ID, " ", arrived))
			return nil
		}}
		var want []string
		for i := range many {
			s.in = append(s.in, strconv.Itoa(i))
			want = append(want, fmt.Sprint(i, " yes true"))
		}
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: disk}}
		r, err := s.flow().Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, v := range s.in {
			hand(t, disk, r.Dir(), v, "yes")
		}
		time.Sleep(24 * time.Hour)
		if sum, err := s.flow().Run(t.Context(), o); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		slices.Sort(want)
		if got := s.out.sorted(); !slices.Equal(got, want) {
			t.Errorf("%d of %d as they should be: %q", len(got), many, got[:min(len(got), 10)])
		}
		if n := left(t, disk, r.Dir()); n > 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// A message that could not be removed when it was recorded is known again, however
// much was recorded since; and no more of them are taken than are remembered.
func TestMessagesAreTakenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		stuck := true
		world := vfs.NewFaults(disk, func(op vfs.Op) vfs.Fault {
			if stuck && op.Kind == vfs.KindRemove && strings.Contains(op.Name, "inbox") {
				return vfs.Fault{Err: syscall.EACCES}
			}
			return vfs.Fault{}
		})
		const busy = 1500 // more is recorded than a stage looks back
		s := &script{out: &collect{}, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			if v != "waits" {
				return sleeps(s, "pause")
			}
			for i := range 3 {
				got, _, err := weir.Await(s, approval, v, 0)
				if err != nil {
					return err
				}
				emit(fmt.Sprint(i, " ", got.ID))
			}
			return nil
		}}
		s.in = []string{"waits"}
		for i := range busy {
			s.in = append(s.in, strconv.Itoa(i))
		}
		o := weir.Options{Dir: "/data", Logger: silent, CheckpointBytes: 16 << 10, Harness: &plan.Harness{FS: world}}
		r, err := s.flow().Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		hand(t, disk, r.Dir(), "waits", "first")
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := left(t, disk, r.Dir()); n != 1 {
			t.Fatalf("%d messages are left", n)
		}
		stuck = false
		if r, err = s.flow().Start(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for _, id := range []string{"second", "third"} {
			hand(t, disk, r.Dir(), "waits", id)
		}
		sum, err := r.Wait()
		if want := []string{"0 first", "1 second", "2 third"}; err != nil || sum.Status != weir.Completed || !slices.Equal(s.out.sorted(), want) {
			t.Errorf("%+v, %v: %q, want %q", sum, err, s.out.sorted(), want)
		}
		if n := left(t, disk, r.Dir()); n > 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// twice is a flow of two stages of orchestrations: one over in, one over other.
func twice(in, other []string, first, second *collect) *weir.Definition {
	return weir.Define("twice", func(f *weir.Flow) {
		one, _ := weir.Orchestrate(weir.From(f, "in", weir.Slice(in)), "one", waits)
		two, _ := weir.Orchestrate(weir.From(f, "other", weir.Slice(other)), "two", waits)
		weir.Each(one, "first", func(_ context.Context, v string) error { first.add(v); return nil })
		weir.Each(two, "second", func(_ context.Context, v string) error { second.add(v); return nil })
	})
}

// Every stage gets a signal that was taken; one that has come to its end needs none,
// and does not keep a message in the inbox.
func TestSignalsToSeveralStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		first, second := &collect{}, &collect{}
		def := twice([]string{"a"}, []string{"a", "b"}, first, second)
		r, err := def.Start(t.Context(), weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: disk}})
		if err != nil {
			t.Fatal(err)
		}
		if err := approval.Send(t.Context(), r, "a", answer{ID: "yes"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the first stage has come to its end
		hand(t, disk, r.Dir(), "c", "nobody awaits it")
		time.Sleep(time.Minute)
		if n := left(t, disk, r.Dir()); n > 0 {
			t.Errorf("%d messages are left", n)
		}
		if err := approval.Send(t.Context(), r, "b", answer{ID: "yes"}); err != nil {
			t.Fatal(err)
		}
		if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if !slices.Equal(first.sorted(), []string{"a yes true"}) || !slices.Equal(second.sorted(), []string{"a yes true", "b yes true"}) {
			t.Errorf("%q and %q", first.sorted(), second.sorted())
		}
	})
}

// A signal is not taken if a stage that may await it later has ended for now.
func TestSendToARunThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := &collect{}, &collect{}
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: vfs.NewMemory()}}
		var in []string
		for i := range 40 {
			in = append(in, strconv.Itoa(i))
		}
		taken := map[string]bool{}
		for epoch := 0; ; epoch++ {
			r, err := twice(in, in, first, second).Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			stop := epoch < 12
			var lost error
			sending := make(chan struct{})
			go func() {
				defer close(sending)
				for _, v := range in {
					if taken[v] {
						continue
					}
					if lost = approval.Send(t.Context(), r, v, answer{ID: "yes"}); lost != nil {
						return
					}
					if taken[v] = true; stop && len(taken)%3 == 0 {
						return
					}
				}
			}()
			if !stop {
				<-sending
				if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed || lost != nil {
					t.Fatalf("%+v, %v, %v", sum, err, lost)
				}
				break
			}
			if err := r.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-sending
			if errors.Is(lost, weir.ErrNotListening) {
				t.Errorf("epoch %d: %v, and it will", epoch, lost)
			}
		}
		if a, b := slices.Compact(first.sorted()), slices.Compact(second.sorted()); len(a) != len(in) || len(b) != len(in) {
			t.Errorf("%d and %d of %d", len(a), len(b), len(in))
		}
	})
}

// A stop loses no signal that the flow itself sends, and makes no dead letter of
// one, whichever of the stages ends first.
func TestStopWhileTheFlowSendsSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &collect{}
		var in []string
		for i := range 60 {
			in = append(in, strconv.Itoa(i))
		}
		def := func() *weir.Definition {
			return weir.Define("approvals", func(f *weir.Flow) {
				ok, failed := weir.Orchestrate(weir.From(f, "in", weir.Slice(in)), "act", waits, weir.Concurrency(4))
				given := weir.Map(weir.From(f, "given", weir.Slice(in)), "slowly", func(v string) (answer, error) { return answer{ID: v}, nil })
				weir.Signals(weir.KeyBy(given, func(a answer) string { return a.ID }), "give", approval)
				// And what is done tells another.
				weir.Signals(weir.KeyBy(weir.Map(ok, "told", func(v string) (answer, error) { return answer{ID: "told " + v}, nil }),
					func(a answer) string { return a.ID }), "tell", approval)
				weir.Each(ok, "ok", func(_ context.Context, v string) error { out.add(v); return nil })
				weir.Each(failed, "failed", none[weir.Failed[string]])
			})
		}
		o := weir.Options{Dir: "/data", Logger: silent, Harness: &plan.Harness{FS: vfs.NewMemory(), Window: 4, Batch: 2}}
		for epoch := 0; ; epoch++ {
			r, err := def().Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(epoch) * 50 * time.Microsecond)
			if epoch < 30 {
				if err := r.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			sum, err := r.Wait()
			if err != nil || sum.Dead != 0 {
				t.Fatalf("epoch %d: %+v, %v", epoch, sum, err)
			}
			if sum.Status == weir.Completed {
				break
			}
		}
		var want []string
		for _, v := range in {
			want = append(want, fmt.Sprint(v, " ", v, " true"))
		}
		slices.Sort(want)
		if got := slices.Compact(out.sorted()); !slices.Equal(got, want) {
			t.Errorf("%d of %d: %q", len(got), len(want), got)
		}
	})
}

// What the flow sends when nobody can await it any more is no failure, whenever it
// comes.
func TestSignalsThatNobodyAwaits(t *testing.T) {
	for _, late := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			sum, err := weir.Define("late", func(f *weir.Flow) {
				_, failed := weir.Orchestrate(weir.From(f, "in", weir.Slice([]string{"a"})), "act", func(*weir.Steps, string, weir.Emit[string]) error { return nil })
				weir.Each(failed, "failed", none[weir.Failed[string]])
				given := weir.From[answer](f, "given", pausing[answer]{[]answer{{ID: "x"}, {ID: "y"}}, late})
				weir.Signals(weir.KeyBy(given, func(a answer) string { return a.ID }), "give", approval)
			}).Run(t.Context(), weir.Options{Logger: silent})
			if err != nil || sum.Status != weir.Completed || sum.Dead != 0 || sum.Out != 2 {
				t.Errorf("after %v: %+v, %v", late, sum, err)
			}
		})
	}
	_, err := weir.Define("none", func(f *weir.Flow) {
		weir.Signals(weir.KeyBy(weir.From(f, "given", weir.Slice([]answer{})), func(a answer) string { return a.ID }), "give", approval)
	}).Run(t.Context(), weir.Options{Logger: silent})
	if err == nil || !strings.Contains(err.Error(), "no Orchestrate") {
		t.Errorf("signals in a flow without orchestrations: %v", err)
	}
}

// What is too large for a signal is a failure of its own, and takes no other with it.
func TestSignalsThatAreTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("values of tens of MiB")
	}
	huge := strings.Repeat("x", plan.MaxValue)
	synctest.Test(t, func(t *testing.T) {
		out := &collect{}
		var dead []string
		def := weir.Define("large", func(f *weir.Flow) {
			ok, _ := weir.Orchestrate(weir.From(f, "in", weir.Slice([]string{"a", "b", "c"})), "act", waits)
			weir.Each(ok, "ok", func(_ context.Context, v string) error { out.add(v[:min(len(v), 20)]); return nil })
			given := weir.From(f, "given", weir.Slice([]answer{{ID: "a"}, {ID: huge}, {ID: "c"}, {ID: "bad"}}))
			byID := weir.KeyBy(given, func(a answer) string {
				if a.ID == "bad" {
					return "\xff"
				}
				return a.ID[:1]
			})
			weir.Signals(byID, "give", approval)
			weir.Each(weir.DeadLetters(byID, "give"), "dead", func(_ context.Context, x weir.Failed[answer]) error {
				dead = append(dead, string(x.Kind))
				return nil
			})
		})
		r, err := def.Start(t.Context(), weir.Options{Logger: silent})
		if err != nil {
			t.Fatal(err)
		}
		if err := approval.Send(t.Context(), r, "b", answer{ID: huge}); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("Send of a value that is too long: %v", err)
		}
		large := huge[:plan.MaxValue-100]
		if err := approval.Send(t.Context(), r, "b", answer{ID: large}); err != nil { // as large as can be is taken, and arrives
			t.Error(err)
		}
		if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if got, want := out.sorted(), []string{"a a true", "b " + large[:18], "c c true"}; !slices.Equal(got, want) || !slices.Equal(dead, []string{"too_large", "validation"}) {
			t.Errorf("%q, want %q; dead %q", got, want, dead)
		}
	})
}

// A pausing source waits before it gives what it has.
type pausing[T any] struct {
	values []T
	wait   time.Duration
}

func (pausing[T]) Bounded() bool { return true }

func (p pausing[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		select {
		case <-time.After(p.wait):
		case <-ctx.Done():
			return
		}
		if after == "" {
			yield(weir.Batch[T]{Values: p.values, Position: "all"}, nil)
		}
	}
}

// What is written about a signal that is kept does not grow with how many are; and
// the oldest is given first.
func TestManyKeptSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many, size = 2000, 1000
		var written atomic.Int64
		s := &script{in: []string{"a"}, out: &collect{}, fn: func(s *weir.Steps, v string, emit weir.Emit[string]) error {
			if err := sleeps(s, "pause"); err != nil {
				return err
			}
			for range 3 {
				got, _, err := weir.Await(s, approval, v, 0)
				if err != nil {
					return err
				}
				emit(strings.TrimLeft(got.ID, "x"))
			}
			return nil
		}}
		o := weir.Options{Dir: "/data", Logger: silent, CheckpointBytes: 1 << 40, Harness: &plan.Harness{FS: vfs.NewMemory()}}
		o.Observer.Transition = func(t weir.Transition) { written.Add(int64(t.Bytes)) }
		r, err := s.flow().Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range many {
			if err := approval.Send(t.Context(), r, "a", answer{ID: strings.Repeat("x", size) + strconv.Itoa(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if n := written.Load(); n > 10*many*size {
			t.Errorf("%d bytes were written about %d signals of %d bytes", n, many, size)
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sum, err := s.flow().Run(t.Context(), o); err != nil || sum.Status != weir.Completed {
			t.Fatalf("%+v, %v", sum, err)
		}
		if got, want := s.out.sorted(), []string{"0", "1", "2"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}
