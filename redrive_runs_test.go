package weir_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
)

// Many who redrive at once take each letter once.
func TestRedriveAtOnce(t *testing.T) {
	broken := &office{valid: refuses("c1", "c2", "c3", "c4")}
	data, was := broken.recorded(t)
	mended := &office{}
	var all sync.WaitGroup
	var refused memo[string]
	for range 8 {
		all.Go(func() {
			r, err := mended.flow().Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "validate"}, weir.Options{Dir: data, Logger: quiet})
			if err != nil {
				refused.keep(err.Error())
				return
			}
			if sum, err := r.Wait(); err != nil || sum.Status != weir.Completed {
				t.Errorf("%+v, %v", sum, err)
			}
		})
	}
	all.Wait()
	if want := []string{"paid c1", "paid c2", "paid c3", "paid c4"}; !slices.Equal(mended.sorted(), want) || len(refused.all) != 7 {
		t.Errorf("posted %v, want %v; refused: %q", mended.sorted(), want, refused.all)
	}
}

// A run that is under way can be redriven: what it has given up so far.
func TestRedriveARunUnderWay(t *testing.T) {
	var said memo[int]
	gate := make(chan int, 10)
	in := weir.SourceFunc[int](func(ctx context.Context, _ weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			for {
				select {
				case n := <-gate:
					if !yield(weir.Batch[int]{Values: []int{n}, Position: weir.Position(strconv.Itoa(n))}, nil) {
						return
					}
				case <-ctx.Done():
					yield(weir.Batch[int]{}, ctx.Err())
					return
				}
			}
		}
	})
	heard := make(chan struct{}, 10)
	flow := func(broken bool) *weir.Definition {
		return weir.Define("endless", func(f *weir.Flow) {
			ns := weir.Map(weir.From[int](f, "in", in), "check", func(n int) (int, error) {
				if broken {
					return n, errors.New("no")
				}
				return n, nil
			})
			weir.Each(ns, "say", said.add)
			weir.Each(weir.DeadLetters(weir.From[int](f, "other", weir.Slice([]int{})), "check"), "tell", func(context.Context, weir.Failed[int]) error {
				heard <- struct{}{}
				return nil
			})
		})
	}
	data := t.TempDir()
	r, err := flow(true).Start(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	gate <- 1
	<-heard // delivered, so what it follows from is durable
	sum := redriveOf(t, flow(false), data, weir.Letters{Run: r.ID(), Stage: "check"})
	if !slices.Equal(said.all, []int{1}) || sum.Out != 1 {
		t.Errorf("said %v: %+v", said.all, sum)
	}
	gate <- 2
	<-heard
	redriveOf(t, flow(false), data, weir.Letters{Run: r.ID(), Stage: "check"})
	if !slices.Equal(said.all, []int{1, 2}) {
		t.Errorf("said %v", said.all)
	}
	r.Cancel()
}

// moody is a payload that its code cannot always write.
type moody int

var mood error

func (m moody) MarshalJSON() ([]byte, error) {
	if m == 2 && mood != nil {
		return nil, mood
	}
	return fmt.Append(nil, int(m)), nil
}

func (m *moody) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(string(b))
	*m = moody(n)
	return err
}

// What cannot be written is not lost: the redrive fails, and goes on once it can.
func TestRedriveWhatCannotBeWritten(t *testing.T) {
	var said memo[moody]
	broken := true
	mood = nil
	def := weir.Define("moods", func(f *weir.Flow) {
		ns := weir.Map(weir.From(f, "in", weir.Slice([]moody{1, 2, 3})), "check", func(m moody) (int, error) {
			if broken && m == 2 {
				return 0, errors.New("not now")
			}
			return int(m), nil
		})
		weir.Each(ns, "say", func(_ context.Context, n int) error { said.keep(moody(n)); return nil })
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	broken, said.all, mood = false, nil, errors.New("in no mood")
	r, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "check"}, weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := r.Wait(); err == nil || sum.Status != weir.Failing || sum.Stage != "redrive" || !strings.Contains(err.Error(), "in no mood") || sum.In != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	mood = nil
	// Who runs the flow does not go on with a redrive.
	if next, err := def.Run(t.Context(), weir.Options{Dir: data, Continue: weir.RefuseUnfinished, Logger: quiet}); err != nil || next.Run == r.ID() || next.Epoch != 1 {
		t.Errorf("the next run: %+v, %v", next, err)
	}
	said.all = nil
	sum, err := def.Run(t.Context(), weir.Options{Dir: data, Run: r.ID(), Logger: quiet})
	if err != nil || sum.Status != weir.Completed || sum.Epoch != 2 || !slices.Equal(said.all, []moody{2}) {
		t.Errorf("%+v, %v, said %v", sum, err, said.all)
	}
}

// A redrive that was stopped goes on where it was, while the recorded run is there.
func TestRedriveGoesOn(t *testing.T) {
	var said memo[int]
	block := make(chan struct{})
	broken := true
	def := weir.Define("goes_on", func(f *weir.Flow) {
		var all []int
		for i := range 2000 {
			all = append(all, i)
		}
		ns := weir.Map(weir.From(f, "in", weir.Slice(all)), "check", func(n int) (int, error) {
			if broken {
				return n, errors.New("no")
			}
			return n, nil
		}, weir.OnError{Budget: weir.Budget{InARow: 1 << 20, Share: 1}})
		weir.Each(ns, "say", func(ctx context.Context, n int) error {
			if n == 300 && block != nil {
				close(block)
				<-ctx.Done()
				return ctx.Err()
			}
			return said.add(ctx, n)
		})
	})
	data := t.TempDir()
	was := runOf(t, def, data)
	broken = false
	o := weir.Options{Dir: data, Logger: quiet, Harness: &plan.Harness{Window: 8, Batch: 4}}
	r, err := def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "check"}, o)
	if err != nil {
		t.Fatal(err)
	}
	<-block
	r.Cancel()
	block = nil
	// It needs the run that it redrives, as long as letters are to be read.
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(was.Dir, away); err != nil {
		t.Fatal(err)
	}
	o.Run = r.ID()
	if sum, err := def.Run(t.Context(), o); err == nil || sum.Status != weir.Failing || !strings.Contains(err.Error(), "put it back to go on") {
		t.Errorf("without the run that is redriven: %+v, %v", sum, err)
	}
	if err := os.Rename(away, was.Dir); err != nil {
		t.Fatal(err)
	}
	said.all = nil
	sum, err := def.Run(t.Context(), o)
	if err != nil || sum.Status != weir.Completed || sum.In != 2000 || sum.Out != 2000 || sum.Epoch != 3 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if n := len(said.all); n == 0 || n >= 2000 || said.all[n-1] != 1999 {
		t.Errorf("said %d", n)
	}
	if v := verifyShop(t, def, sum.Dir, weir.VerifyOptions{}); v.Outcome != weir.Identical {
		t.Errorf("verify: %s %v %+v", v.Outcome, v.Skipped, v.Differences)
	}
}

// A call that was cut off in the recorded run, and then came to nothing, goes on from
// both in the redrive, which is verified and replayed as any run is.
func TestRedriveAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &life{disk: vfs.NewMemory()}
		var keys []string
		fate := "it dies"
		act := effect.KeyedByInput("act.v1", func(_ context.Context, c effect.Call, n int) (string, error) {
			keys = append(keys, c.Key)
			switch fate {
			case "it dies":
				l.dies()
				return "", errors.New("cut off")
			case "it fails":
				return "", errors.New("connection lost")
			}
			return strconv.Itoa(n), nil
		})
		def := weir.Define("crashed", func(f *weir.Flow) {
			done, _ := weir.Perform(weir.From(f, "in", weir.Slice([]int{7})), "act", act)
			weir.Each(done, "tell", func(context.Context, string) error { return nil })
		})
		l.live(t, def, nil)
		fate = "it fails"
		l.live(t, def, nil)
		l.is(t, weir.Completed)
		if l.last.Failed != 1 || l.last.Epoch != 2 {
			t.Fatalf("%+v", l.last)
		}
		fate = "it works"
		o := weir.Options{Dir: "/data", Logger: quiet, Harness: &plan.Harness{FS: l.disk}}
		r, err := def.Redrive(t.Context(), weir.Letters{Run: l.last.Run, Stage: "act"}, o)
		if err != nil {
			t.Fatal(err)
		}
		l.last, l.err = r.Wait()
		l.dir = l.last.Dir
		l.is(t, weir.Completed)
		if l.last.Out != 1 || len(keys) != 3 || keys[1] != keys[0] || keys[2] != keys[0] {
			t.Errorf("%+v after calls with the keys %q", l.last, keys)
		}
		sameAgain(t, def, l)
	})
}

// What is redriven from a redrive is still the record that it was at first: with its
// ref, key and time. A replay of a redrive takes nothing.
func TestRedriveARedrive(t *testing.T) {
	type shown struct {
		Ref, Key string
		At       time.Time
	}
	var saw []shown
	fate := errors.New("no")
	def := weir.Define("again", func(f *weir.Flow) {
		in := weir.KeyBy(weir.From(f, "in", weir.Slice([]string{"a", "b"})), func(s string) string { return s })
		counts := weir.Reduce(in, "count", func(string) int { return 0 }, func(n *int, _ string) error { *n++; return nil })
		weir.Each(weir.Map(weir.Records(counts), "look", func(r event.Record[int]) (int, error) {
			saw = append(saw, shown{r.Ref.String(), r.Key, r.Time})
			return r.Value, fate
		}), "say", func(context.Context, int) error { return nil })
	})
	data := t.TempDir()
	first := runOf(t, def, data) // and verified, which looks again
	was := saw
	if len(was) != 2 || was[0].Key == "" || was[0].Key == was[1].Key {
		t.Fatalf("saw %v", was)
	}
	saw = nil
	second := redriveOf(t, def, data, weir.Letters{Run: first.Run, Stage: "look"})
	if diff := cmp.Diff(was, saw[:2]); diff != "" {
		t.Errorf("a redrive (-recorded +redriven):\n%s", diff)
	}
	saw, fate = nil, nil
	third := redriveOf(t, def, data, weir.Letters{Run: second.Run, Stage: "look"})
	if diff := cmp.Diff(was, saw[:2]); diff != "" {
		t.Errorf("a redrive of a redrive (-recorded +redriven):\n%s", diff)
	}
	replayed(t, def, third.Dir, weir.Options{Dir: data})
	run, err := history.Open(second.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	if _, by, err := run.GivenUp(t.Context()); err != nil || len(by) != 1 || by[0].Run != third.Run {
		t.Errorf("redriven by %+v, %v, want %s alone", by, err, third.Run)
	}
}

// The recorded run may be put back from a copy, and gone on with from there: what a
// redrive names is then not what is found, and says so.
func TestRedriveOfAnotherPast(t *testing.T) {
	rest := false
	rows := weir.SourceFunc[int](func(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[int], error] {
		return func(yield func(weir.Batch[int], error) bool) {
			for n := len(after) + 1; n <= 4; n++ {
				if n > 2 && !rest {
					<-ctx.Done()
					return
				}
				if !yield(weir.Batch[int]{Values: []int{n}, Position: weir.Position(strings.Repeat("i", n))}, nil) {
					return
				}
			}
		}
	})
	var fate error
	heard := make(chan struct{}, 8)
	def := weir.Define("past", func(f *weir.Flow) {
		in := weir.From[int](f, "in", rows)
		weir.Each(weir.Map(in, "check", func(n int) (int, error) { return n, fate }), "say", func(context.Context, int) error { return nil })
		weir.Each(weir.DeadLetters(in, "check"), "tell", func(context.Context, weir.Failed[int]) error { heard <- struct{}{}; return nil })
	})
	fate = errors.New("no")
	data := t.TempDir()
	r, err := def.Start(t.Context(), weir.Options{Dir: data, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	<-heard
	<-heard
	r.Cancel()
	was, _ := r.Wait()
	rest = true
	goOn := func() {
		t.Helper()
		sum, err := def.Run(t.Context(), weir.Options{Dir: data, Run: was.Run, Logger: quiet})
		if err != nil || sum.Status != weir.Completed || sum.Dead != 4 {
			t.Fatalf("%+v, %v", sum, err)
		}
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(was.Dir)); err != nil {
		t.Fatal(err)
	}
	goOn()

	fate = nil
	var flow *plan.Flow
	o := weir.Options{Dir: data, Logger: quiet, Harness: &plan.Harness{Edit: func(f *plan.Flow) error { flow = f; return nil }}}
	if r, err = def.Redrive(t.Context(), weir.Letters{Run: was.Run, Stage: "check"}, o); err != nil {
		t.Fatal(err)
	}
	sum, err := r.Wait()
	if err != nil || sum.Out != 4 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if err := os.RemoveAll(was.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(was.Dir, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	read := func(after string) error {
		return flow.Nodes[0].Source.Read(t.Context(), after, func(*plan.Read) bool { return true })
	}
	if err := read(""); err == nil || !strings.Contains(err.Error(), "has 2 of the letters check.dead:1 to 4") {
		t.Errorf("letters that are gone: %v", err)
	}
	if err := read("check.dead:5"); err == nil || !strings.Contains(err.Error(), "none of the letters that this run takes") {
		t.Errorf("a position that is none: %v", err)
	}
	fate = errors.New("no")
	goOn()
	if got := whyOf(t, sum.Dir, "check.out:4"); !slices.Equal(got, []string{"redrive.out:4", " check.dead:4 " + was.Run + " the run has another record there"}) {
		t.Errorf("why: %q", got)
	}
}
