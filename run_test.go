package weir_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weirflow/weir"
)

// A memo is a sink that remembers, over all epochs.
type memo[T any] struct {
	mu  sync.Mutex
	all []T
}

func (m *memo[T]) add(_ context.Context, v T) error {
	m.keep(v)
	return nil
}

func (m *memo[T]) keep(v T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, v)
}

func TestRunInMemory(t *testing.T) {
	var got memo[string]
	def := weir.Define("hello", func(f *weir.Flow) {
		words := weir.From(f, "words", weir.Slice([]string{"hello", "durable", "world"}))
		loud := weir.Map(words, "shout", func(w string) (string, error) {
			if w == "durable" {
				return "", errors.New("too long")
			}
			return strings.ToUpper(w), nil
		})
		weir.Each(loud, "print", got.add)
	})
	sum, err := def.Run(t.Context(), weir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Status != weir.Completed || sum.In != 3 || sum.Out != 2 || sum.Dead != 1 || sum.Epoch != 1 || sum.Dir != "" {
		t.Errorf("summary = %+v", sum)
	}
	if !slices.Equal(got.all, []string{"HELLO", "WORLD"}) {
		t.Errorf("delivered %q", got.all)
	}
}

func TestRunIsContinued(t *testing.T) {
	var got memo[int]
	fail := true
	n := 5000
	def := weir.Define("count", func(f *weir.Flow) {
		var ns []int
		for i := range n {
			ns = append(ns, i)
		}
		in := weir.From(f, "in", weir.Slice(ns))
		sum := weir.Reduce(weir.All(in), "sum", weir.Zero, func(s *int, v int) error {
			if fail && v == 3210 {
				panic("boo")
			}
			*s += v
			return nil
		})
		weir.Each(sum, "print", got.add)
	})
	dir := t.TempDir()
	first, err := def.Run(t.Context(), weir.Options{Dir: dir})
	if err == nil || first.Status != weir.Failing || first.Stage != "sum" {
		t.Fatalf("first epoch: %+v, error %v", first, err)
	}
	fail = false
	second, err := def.Run(t.Context(), weir.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if second.Run != first.Run || second.Epoch != 2 || second.Status != weir.Completed || second.In != uint64(n) || second.Out != 1 {
		t.Errorf("second epoch: %+v after %+v", second, first)
	}
	if !slices.Equal(got.all, []int{n * (n - 1) / 2}) {
		t.Errorf("delivered %v", got.all)
	}
	third, err := def.Run(t.Context(), weir.Options{Dir: dir})
	if err != nil || third.Run == first.Run || third.Epoch != 1 {
		t.Errorf("after a completed run: %+v, %v", third, err)
	}
}

type adult struct{ Age int }

func (a adult) Validate() error {
	if a.Age < 18 {
		return errors.New("too young")
	}
	return nil
}

// What Validate refuses is a dead letter as any other: the summary counts it.
func TestSummaryCountsRefusedRecords(t *testing.T) {
	var got memo[adult]
	def := weir.Define("adults", func(f *weir.Flow) {
		weir.Each(weir.From(f, "people", weir.Slice([]adult{{17}, {18}, {3}})), "welcome", got.add)
	})
	sum, err := def.Run(t.Context(), weir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if sum.In != 1 || sum.Out != 1 || sum.Dead != 2 {
		t.Errorf("in, out, dead = %d, %d, %d, want 1, 1, 2", sum.In, sum.Out, sum.Dead)
	}
}
