package campaign_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/internal/vfs"
)

// A hundred flows at once in one process, each on disk with a file of its own:
// none sees anything of another, and nothing is left of them.
func TestHundredFlowsAtOnce(t *testing.T) {
	dir := t.TempDir()
	files, goroutines := open(t), runtime.NumGoroutine()
	const flows, records = 100, 200
	var wg sync.WaitGroup
	for i := range flows {
		wg.Go(func() {
			out := fmt.Sprintf("%s/out%d.jsonl", dir, i)
			var mu sync.Mutex
			var got []string
			name := "same"
			if i%2 == 0 {
				name = fmt.Sprint("flow", i)
			}
			def := weir.Define(name, func(f *weir.Flow) {
				var in []string
				for n := range records {
					in = append(in, fmt.Sprintf("%d:%d", i, n))
				}
				words := weir.From(f, "in", few[string]{in, 32})
				counted := weir.Reduce(weir.KeyBy(words, func(s string) string { return s[len(s)-1:] }), "count", weir.Zero,
					func(n *int, _ string) error { *n++; return nil })
				weir.Into(words, "file", jsonl.Write[string](out))
				weir.Each(weir.Map(words, "same", func(s string) (string, error) { return s, nil }), "remember", func(_ context.Context, s string) error {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, s)
					return nil
				})
				weir.Each(counted, "counts", none[int])
			})
			sum, err := def.Run(t.Context(), weir.Options{Dir: dir + "/data", Logger: quiet, Continue: weir.StartNew})
			if err != nil || sum.Status != weir.Completed || sum.In != records || sum.Out != 2*records+10 || sum.Dead != 0 {
				t.Errorf("flow %d: %+v, %v", i, sum, err)
			}
			var want []string
			text := ""
			for n := range records {
				want = append(want, fmt.Sprintf("%d:%d", i, n))
				text += fmt.Sprintf("%q\n", want[n])
			}
			if !slices.Equal(got, want) {
				t.Errorf("flow %d delivered %q", i, got)
			}
			if got := contents(vfs.OS, out); got != text {
				t.Errorf("flow %d wrote %q", i, got)
			}
		})
	}
	wg.Wait()
	for range 1000 { // goroutines that are done may take a moment to be gone
		if runtime.NumGoroutine() <= goroutines {
			break
		}
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, at first %d:\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
	}
	if n := open(t); n > files {
		t.Errorf("%d open files, at first %d", n, files)
	}
}

// open counts the open files of the process, where the system tells, without those
// that Go's runtime opens when it first waits for one.
func open(t *testing.T) (n int) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink(filepath.Join(dir, e.Name())); to != "anon_inode:[eventpoll]" && to != "anon_inode:[eventfd]" {
			n++
		}
	}
	return n
}

func none[T any](context.Context, T) error { return nil }
