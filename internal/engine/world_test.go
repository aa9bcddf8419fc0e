package engine_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/weirflow/weir/internal/plan"
)

// A world is what sinks deliver to; it outlives runs.
type world struct {
	mu        sync.Mutex
	got       []int64
	calls     int
	again     int // of records that may have been delivered before
	mark      string
	opened    []plan.At
	closed    int
	flushes   int
	renamed   int
	prepares  int
	durableOK func(b *plan.Batch) // called with each batch delivered
}

func (w *world) values() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.got)
}

// A sink delivers to a world.
type sink struct {
	node     *plan.Node
	dead     *port
	w        *world
	fail     func(v int64, attempt int) error                         // of single records
	refuse   func(ctx context.Context, attempt int, vs []int64) error // of a whole delivery
	after    func(v int64) error                                      // of a transaction that was committed, by its last value
	holds    bool
	marks    bool
	spoils   bool // it writes over what it was given to commit
	finishes bool
	crash    func(step string) // before each step of finishing
	buffered []int64
}

func (s *sink) Guarantee() string { return "at least once" }

func (s *sink) Open(_ context.Context, at plan.At) (plan.Deliverer, error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.opened = append(s.w.opened, at)
	return s, nil
}

func (s *sink) Bury(b *plan.Batch, i int, _ *plan.Failure) { s.dead.emit(b.Values.([]int64)[i]) }

func (s *sink) Deliver(ctx context.Context, b *plan.Batch, from, to, attempt int, redelivered bool) (map[int]error, error) {
	vs := b.Values.([]int64)[from:to]
	if s.refuse != nil {
		if err := s.refuse(ctx, attempt, vs); err != nil {
			return nil, err
		}
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.w.durableOK != nil {
		s.w.durableOK(b)
	}
	s.w.calls++
	if redelivered {
		s.w.again += to - from
	}
	var failed map[int]error
	for i, v := range vs {
		if s.fail != nil {
			if err := s.fail(v, attempt); err != nil {
				if failed == nil {
					failed = map[int]error{}
				}
				failed[from+i] = err
				continue
			}
		}
		if s.holds {
			s.buffered = append(s.buffered, v)
			continue
		}
		s.w.got = append(s.w.got, v)
	}
	return failed, nil
}

// Commit takes all or nothing.
func (s *sink) Commit(ctx context.Context, parts []plan.Part, attempt int, mark string) error {
	var got []int64
	for _, p := range parts {
		values := p.Batch.Values.([]int64)[p.From:p.To]
		got = append(got, values...)
		for i := range values {
			if s.spoils {
				values[i] = -1
			}
		}
	}
	if s.refuse != nil {
		if err := s.refuse(ctx, attempt, got); err != nil {
			return err
		}
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for _, v := range got {
		if s.fail != nil {
			if err := s.fail(v, attempt); err != nil {
				return err
			}
		}
	}
	s.w.calls++
	if mark != s.w.mark { // it is one that was not committed before
		s.w.got, s.w.mark = append(s.w.got, got...), mark
	}
	if s.after != nil {
		return s.after(got[len(got)-1])
	}
	return nil
}

func (s *sink) Limit() int  { return 0 }
func (s *sink) Holds() bool { return s.holds }

func (s *sink) Flush(context.Context) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.flushes++
	s.w.got = append(s.w.got, s.buffered...)
	s.buffered = nil
	return nil
}

func (s *sink) Note() (string, bool) { return fmt.Sprint("n", len(s.w.got)), s.finishes }

func (s *sink) Marks() plan.Marker {
	if !s.marks {
		return nil
	}
	return s
}

func (s *sink) Mark(context.Context) (string, error) { return s.w.mark, nil }

func (s *sink) Finishes() bool { return s.finishes }

func (s *sink) Prepare(context.Context) (string, error) {
	if s.crash != nil {
		s.crash("prepare")
	}
	s.w.prepares++
	return "prepared", nil
}

func (s *sink) Finish(context.Context) (string, error) {
	if s.crash != nil {
		s.crash("finish")
	}
	s.w.renamed++
	return "finished", nil
}

func (s *sink) Close() error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.closed++
	return nil
}
