package weir_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir"
)

// waiting is a flow that reads a channel, so that it ends when it is told to.
func waiting(ch chan int, got *memo[int]) *weir.Definition {
	return weir.Define("waiting", func(f *weir.Flow) {
		weir.Each(weir.From(f, "in", weir.Chan(ch)), "out", got.add)
	})
}

func TestControl(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, r *weir.Run, cancel context.CancelFunc)
		want weir.Status
		fail error
	}{
		{"stop", func(t *testing.T, r *weir.Run, _ context.CancelFunc) {
			t.Helper()
			if err := r.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if err := r.Stop(t.Context()); err != nil { // idempotent
				t.Error(err)
			}
		}, weir.Stopped, nil},
		{"cancel", func(_ *testing.T, r *weir.Run, _ context.CancelFunc) { r.Cancel() }, weir.Cancelled, nil},
		{"end of the context", func(_ *testing.T, _ *weir.Run, cancel context.CancelFunc) { cancel() }, weir.Cancelled, context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got memo[int]
				ch := make(chan int)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r, err := waiting(ch, &got).Start(ctx, weir.Options{Logger: quiet})
				if err != nil {
					t.Fatal(err)
				}
				ch <- 1
				ch <- 2
				synctest.Wait()
				if s := r.Status(); s != weir.Running {
					t.Errorf("status = %s", s)
				}
				tt.end(t, r, cancel)
				sum, err := r.Wait()
				if sum.Status != tt.want || !errors.Is(err, tt.fail) || sum.In != 2 || sum.Out != 2 {
					t.Errorf("Wait() = %+v, %v; want %s and %v", sum, err, tt.want, tt.fail)
				}
				if s := r.Status(); s != tt.want {
					t.Errorf("status = %s, want %s", s, tt.want)
				}
			})
		})
	}
}

func TestManualAndPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got memo[int]
		ch := make(chan int)
		r, err := waiting(ch, &got).Start(t.Context(), weir.Options{Logger: quiet, Manual: true})
		if err != nil {
			t.Fatal(err)
		}
		phase := func(want string) {
			t.Helper()
			synctest.Wait()
			if p := r.Progress(); p.Phase != want || len(p.Stages) != 2 || p.Stages[0].Name != "in" {
				t.Errorf("Progress() = %+v, want phase %s", p, want)
			}
		}
		phase("waiting")
		r.Begin()
		phase("running")
		ch <- 1
		if err := r.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		phase("paused")
		r.Unpause()
		ch <- 2
		close(ch)
		sum, err := r.Wait()
		if err != nil || sum.Status != weir.Completed || sum.Out != 2 {
			t.Errorf("Wait() = %+v, %v", sum, err)
		}
	})
}

func TestObserver(t *testing.T) {
	var moves, verdicts memo[string]
	var transitions memo[weir.Transition]
	var got memo[int]
	ch := make(chan int, 1)
	ch <- 1
	close(ch)
	_, err := waiting(ch, &got).Run(t.Context(), weir.Options{Logger: quiet, Observer: weir.Observer{
		Transition: func(tr weir.Transition) { transitions.keep(tr) },
		Moved:      func(stage, _, to, _ string) { moves.keep(stage + " " + to) },
		Contract: func(v weir.Verdict) {
			if v.Passed && v.Final {
				verdicts.keep(v.Contract + " " + v.From + " " + v.To)
			}
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(transitions.all) < 3 || transitions.all[0].LSN == 0 {
		t.Errorf("transitions = %+v", transitions.all)
	}
	all := strings.Join(append(moves.all, verdicts.all...), "\n")
	for _, want := range []string{"in Running", "pipeline Drained", "transport in.out out"} {
		if !strings.Contains(all, want) {
			t.Errorf("nobody was told of %q; of\n%s", want, all)
		}
	}
}

func TestRunsThatDoNotStart(t *testing.T) {
	var got memo[int]
	ch := make(chan int)
	def := waiting(ch, &got)
	dir := t.TempDir()
	if _, err := def.Start(t.Context(), weir.Options{Dir: filepath.Join(dir, "none"), RequireDir: true, Logger: quiet}); !errors.Is(err, weir.ErrNoDir) {
		t.Errorf("without a data directory: %v, want ErrNoDir", err)
	}
	r, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet}); !errors.Is(err, weir.ErrInUse) {
		t.Errorf("a run in use: %v, want ErrInUse", err)
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet, Continue: weir.RefuseUnfinished}); !errors.Is(err, weir.ErrUnfinished) ||
		!strings.Contains(err.Error(), "run "+r.ID()+" is stopped") {
		t.Errorf("an unfinished run: %v, want ErrUnfinished", err)
	}
	if _, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet, Run: "01ARZ3NDEKTSV4RRFFQ69G5FAV"}); !errors.Is(err, weir.ErrNoRun) {
		t.Errorf("an unknown run: %v, want ErrNoRun", err)
	}
	// A new run beside the unfinished one, and then on with the older by its id.
	second, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet, Continue: weir.StartNew})
	if err != nil {
		t.Fatal(err)
	}
	close(ch)
	if sum, err := second.Wait(); err != nil || sum.Run == r.ID() || sum.Status != weir.Completed {
		t.Errorf("a new run: %+v, %v", sum, err)
	}
	if _, err := def.Start(t.Context(), weir.Options{Dir: dir, Logger: quiet, Run: second.ID()}); !errors.Is(err, weir.ErrNoRun) {
		t.Errorf("a completed run: %v, want ErrNoRun", err)
	}
	sum, err := def.Run(t.Context(), weir.Options{Dir: dir, Logger: quiet, Run: r.ID()})
	if err != nil || sum.Run != r.ID() || sum.Epoch != 2 || sum.Status != weir.Completed {
		t.Errorf("the older run: %+v, %v", sum, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, ".gitignore")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that was there got a .gitignore: %q, %v", text, err)
	}
}

// A run that cannot be gone on with by another definition is refused, with what
// differs and what to do.
func TestChangedDefinition(t *testing.T) {
	define := func(name string, op func(weir.Stream[int]) weir.Stream[int]) *weir.Definition {
		return weir.Define("changing", func(f *weir.Flow) {
			in := weir.From(f, "in", weir.Slice([]int{1}))
			weir.Each(op(in), name, func(context.Context, int) error { panic("stop here") })
		})
	}
	double := func(in weir.Stream[int]) weir.Stream[int] {
		return weir.Map(in, "double", func(n int) (int, error) { return 2 * n, nil })
	}
	dir := t.TempDir()
	o := weir.Options{Dir: dir, Logger: quiet}
	first, err := define("print", double).Run(t.Context(), o)
	if err == nil {
		t.Fatalf("the first epoch ended %s", first.Status)
	}
	_, err = define("show", func(in weir.Stream[int]) weir.Stream[int] {
		return weir.Filter(in, "double", func(int) (bool, error) { return true, nil })
	}).Run(t.Context(), o)
	changed, ok := errors.AsType[*weir.DefinitionError](err)
	if !ok || changed.Run != first.Run {
		t.Fatalf("a changed definition: %v", err)
	}
	for _, want := range []string{"stage print removed", "stage show added", "parameter operator of double changed: map → filter", "it cannot be gone on with", "--map show=print"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	// A change that does not shape the record is none.
	again, err := define("print", func(in weir.Stream[int]) weir.Stream[int] {
		return weir.Map(in, "double", func(n int) (int, error) { return 2 * n, nil }, weir.OnError{Error: weir.Fail})
	}).Run(t.Context(), o)
	if again.Run != first.Run || again.Epoch != 2 {
		t.Errorf("with another policy: %+v, %v", again, err)
	}
}

type config struct {
	File  weir.Path
	Token weir.Secret
	Times int
}

// A run goes on with the settings it began with; secrets are nowhere on disk.
func TestSettingsOfAContinuedRun(t *testing.T) {
	var seen []config
	fail := true
	def := weir.DefineWith("configured", config{Times: 1}, func(f *weir.Flow, cfg config) {
		seen = append(seen, cfg)
		weir.Each(weir.From(f, "in", weir.Slice([]int{1})), "out", func(context.Context, int) error {
			if fail {
				panic("stop here")
			}
			return nil
		})
	})
	dir := filepath.Join(t.TempDir(), "data")
	first, err := def.Run(t.Context(), weir.Options{Dir: dir, Logger: quiet, Config: config{File: "a.csv", Token: "hunter2", Times: 3}})
	if err == nil {
		t.Fatalf("the first epoch ended %s", first.Status)
	}
	fail = false
	if _, err := def.Run(t.Context(), weir.Options{
		Dir: dir, Logger: quiet, Config: config{File: "b.csv", Token: "hunter3", Times: 4}, Sources: map[string]string{"times": "command line"},
	}); err != nil {
		t.Fatal(err)
	}
	abs, _ := filepath.Abs("a.csv")
	if last, want := seen[len(seen)-1], (config{weir.Path(abs), "hunter3", 4}); last != want {
		t.Errorf("continued with %#v, want %#v", last, want)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "hunter") {
			t.Errorf("the secret is in %s", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".gitignore")); err != nil {
		t.Error(err)
	}
}

func TestResources(t *testing.T) {
	var opened, closed int
	var wrong error
	def := weir.Define("resources", func(f *weir.Flow) {
		fails := 1
		db := weir.Open(f, "db", func(context.Context) (*int, func() error, error) {
			if fails--; fails >= 0 {
				return nil, nil, errors.New("not yet")
			}
			opened++
			return &opened, func() error { closed++; return nil }, nil
		})
		unused := weir.Open(f, "unused", func(context.Context) (int, func() error, error) { panic("nobody asked") })
		in := weir.From(f, "in", weir.Slice([]int{1, 2, 3}))
		weir.Each(in, "a", func(ctx context.Context, n int) error {
			_, err := db.Get(ctx)
			if n == 1 {
				wrong = err
				return nil
			}
			return err
		})
		_ = unused
	})
	if _, err := def.Run(t.Context(), weir.Options{Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if opened != 1 || closed != 1 || wrong == nil || wrong.Error() != "open resource db: not yet" {
		t.Errorf("opened %d times, closed %d times, first error %v", opened, closed, wrong)
	}
}

func TestTookIsVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		def := weir.Define("slow", func(f *weir.Flow) {
			weir.Each(weir.From(f, "in", weir.Slice([]int{1})), "out", func(ctx context.Context, _ int) error {
				select {
				case <-time.After(time.Hour):
				case <-ctx.Done():
				}
				return nil
			})
		})
		sum, err := def.Run(t.Context(), weir.Options{Logger: quiet})
		if err != nil || sum.Took < time.Hour {
			t.Errorf("took %v, %v", sum.Took, err)
		}
	})
}
