package peer

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// Each input is performed once, and the clock runs while those do that count.
func TestEach(t *testing.T) {
	task := Task{Concurrent: 4, Inputs: 50}
	var mu sync.Mutex
	seen := map[int]int{}
	early := 0 // before the clock ran
	err := task.Each(func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		if seen[i]++; task.began.IsZero() {
			early++
		}
		time.Sleep(time.Microsecond)
		return nil
	})
	if err != nil || len(seen) != task.Warm()+task.Inputs || early != task.Warm() || task.elapsed <= 0 {
		t.Errorf("Each = %v: %d inputs, %d of them to warm up, in %v", err, len(seen), early, task.elapsed)
	}
	for i, n := range seen {
		if n != 1 || i < 0 || i >= task.Warm()+task.Inputs {
			t.Errorf("input %d was performed %d times", i, n)
		}
	}
}

// What fails ends it.
func TestEachFails(t *testing.T) {
	wrong := errors.New("wrong")
	task := Task{Concurrent: 4, Inputs: 50}
	if err := task.Each(func(i int) error {
		if i == 20 {
			return wrong
		}
		return nil
	}); !errors.Is(err, wrong) {
		t.Errorf("Each = %v", err)
	}
}
