// Package peer is what the programs beside it have in common. Each has a peer of
// Weir's perform three recorded steps, which do nothing, for each input, so many
// inputs at once, and prints a [Result] as one line of JSON:
//
//	dbos -dir DIR [-postgres DSN] -concurrent 64 -inputs 1000
package peer

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Steps is how many steps an input has.
const Steps = 3

// A Task is what a program is asked to do.
type Task struct {
	Dir        string // for its files
	Postgres   string // DSN of an empty database; empty for SQLite
	Unsynced   bool   // leave the durability at its default where that is less than a sync for each commit
	Concurrent int    // inputs at once
	Inputs     int

	began        time.Time
	cpu          time.Duration // when it began
	elapsed, ate time.Duration
}

// A Result is what it did.
type Result struct {
	Inputs  int           `json:"inputs"`
	Elapsed time.Duration `json:"elapsed_ns"` // from the first timed input to the end of the last
	CPU     time.Duration `json:"cpu_ns"`     // of this process, meanwhile
	Sync    string        `json:"sync"`       // what its database says about durability
}

// Main runs a program. It returns only if that succeeded. run says what its
// database's durability is.
func Main(run func(context.Context, *Task) (sync string, err error)) {
	var t Task
	flag.StringVar(&t.Dir, "dir", "", "directory for files")
	flag.StringVar(&t.Postgres, "postgres", "", "DSN of an empty PostgreSQL database (default: SQLite in the directory)")
	flag.BoolVar(&t.Unsynced, "unsynced", false, "leave the durability of SQLite at the peer's default")
	flag.IntVar(&t.Concurrent, "concurrent", 1, "inputs at once")
	flag.IntVar(&t.Inputs, "inputs", 100, "how many inputs")
	flag.Parse()
	sync, err := run(context.Background(), &t)
	if err == nil && t.elapsed == 0 {
		err = errors.New("nothing was timed")
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(Result{t.Inputs, t.elapsed, t.ate, sync})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Warm is how many inputs are performed before those that are timed.
func (t *Task) Warm() int { return t.Inputs/10 + t.Concurrent }

// Each calls one for each input, so many at once, and times that. one returns when
// its input has come to its end. Those to warm up come first.
func (t *Task) Each(one func(i int) error) error {
	if err := t.loop(0, t.Warm(), one); err != nil {
		return err
	}
	t.Begin()
	defer t.End()
	return t.loop(t.Warm(), t.Inputs, one)
}

// Begin starts the clock, End stops it; [Task.Each] does both.
func (t *Task) Begin() { t.began, t.cpu = time.Now(), cpuTime() }
func (t *Task) End()   { t.elapsed, t.ate = time.Since(t.began), cpuTime()-t.cpu }

func (t *Task) loop(from, n int, one func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, t.Concurrent)
	for k := range errs {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[k] == nil; i = int(next.Add(1)) - 1 {
				errs[k] = one(from + i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
