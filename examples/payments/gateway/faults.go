package main

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Faults say how the gateway misbehaves. Shares are between 0 and 1, of what it is
// asked to do.
type Faults struct {
	Latency time.Duration // of each answer, on average

	Only string // the one path that shares are of, such as /bookings; all if empty

	Refuse     float64       // answered with 503 and Retry-After: not done
	Throttle   float64       // answered with 429 and Retry-After: not done
	RetryAfter time.Duration // whole seconds; what it says there
	Fail       float64       // answered with 500: not done, and the caller cannot know
	Break      float64       // answered with 500: done, and the caller cannot know
	Lose       float64       // done, and the connection is cut
	Late       float64       // done, and answered after LateBy
	LateBy     time.Duration

	Every  time.Duration // an outage begins this often; zero means never
	Outage time.Duration // and lasts this long: connections are cut, nothing is done

	Blind bool // nothing can be looked up
}

// A fate is what becomes of one request.
type fate int

const (
	well fate = iota
	refused
	throttled
	failed
	broke
	lost
	late
)

// fates draws them.
type fates struct {
	Faults
	retryAfter string
	began      time.Time

	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func newFates(f Faults, seed uint64) *fates {
	return &fates{
		Faults: f, retryAfter: strconv.Itoa(int(f.RetryAfter / time.Second)),
		began: time.Now(), rng: rand.New(rand.NewPCG(seed, 0)),
	}
}

// outage tells whether there is one now.
func (f *fates) outage() bool {
	return f.Every > 0 && time.Since(f.began)%f.Every >= f.Every-f.Outage
}

// draw returns what becomes of a request to a path, and how long its answer takes.
func (f *fates) draw(path string) (fate, time.Duration) {
	f.mu.Lock()
	at, wait := f.rng.Float64(), time.Duration(f.rng.ExpFloat64()*float64(f.Latency))
	f.mu.Unlock()
	if f.Only != "" && f.Only != path {
		return well, wait
	}
	for _, s := range []struct {
		fate  fate
		share float64
	}{
		{refused, f.Refuse},
		{throttled, f.Throttle},
		{failed, f.Fail},
		{broke, f.Break},
		{lost, f.Lose},
		{late, f.Late},
	} {
		if at < s.share {
			if s.fate == late {
				wait = f.LateBy
			}
			return s.fate, wait
		}
		at -= s.share
	}
	return well, wait
}
