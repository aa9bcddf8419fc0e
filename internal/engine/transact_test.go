package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// refuses is a database that does not take some values.
func refuses(bad ...int64) func(int64, int) error {
	return func(v int64, _ int) error {
		if slices.Contains(bad, v) {
			return event.Invalid(errRefused)
		}
		return nil
	}
}

// ledgerOf checks that every value was delivered once or is a dead letter, those
// that are bad.
func ledgerOf(t *testing.T, what string, w *world, log *memory.Log, all, bad []int64) {
	t.Helper()
	want := slices.DeleteFunc(slices.Clone(all), func(v int64) bool { return slices.Contains(bad, v) })
	if got := slices.Sorted(slices.Values(w.values())); !slices.Equal(got, want) {
		t.Fatalf("%s: delivered %v, want %v", what, got, want)
	}
	var dead []int64
	for _, text := range records(t, log, "out", "dead") {
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		dead = append(dead, v)
	}
	slices.Sort(dead)
	if !slices.Equal(dead, bad) {
		t.Fatalf("%s: dead letters %v, want %v", what, dead, bad)
	}
	var n, failed int
	for _, r := range receipts(t, log, "out") {
		n, failed = n+int(r.To-r.From+1), failed+len(r.Failed)
	}
	if n != len(all) || failed != len(bad) {
		t.Fatalf("%s: receipts for %d records, %d of them failed, want %d and %d", what, n, failed, len(all), len(bad))
	}
}

// A record that a transactional sink refuses is a dead letter, and all others of
// its batch are delivered, in order.
func TestRefusedRecords(t *testing.T) {
	all := upTo(20)
	for _, bad := range [][]int64{{1}, {20}, {7}, {3, 4}, {1, 8, 9, 20}, {1, 3, 5, 7, 9, 11, 13, 15, 17, 19}, upTo(20)} {
		for _, size := range []int{1, 3, 20} {
			synctest.Test(t, func(t *testing.T) {
				b, w, log := newBuild(), &world{}, newLog(memory.Options{})
				b.source("numbers", size, all...).node.Ports[0].Mode = plan.Copied
				s := b.sink("out", w, "numbers")
				s.spoils, s.marks, s.fail, s.node.OnError.Budget = true, true, refuses(bad...), plan.Budget{}
				wait(t, start(t, b, log), evidence.Completed)
				ledgerOf(t, fmt.Sprintf("%v of batches of %d", bad, size), w, log, all, bad)
				if !slices.IsSorted(w.values()) {
					t.Errorf("delivered %v", w.values())
				}
			})
		}
	}
}

// What is at hand goes in one transaction, though it was written in many.
func TestTransactionsTakeWhatIsAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{Manual: true})
		b.source("a", 1, upTo(20)...)
		b.source("b", 1, 101, 102, 103)
		b.sink("out", w, "a", "b").marks = true
		r := start(t, b, log)
		synctest.Wait()
		log.Release()
		wait(t, r, evidence.Completed)
		if w.calls > 2 || len(w.values()) != 23 {
			t.Errorf("%d transactions, delivered %v", w.calls, w.values())
		}
	})
}

// When the power goes off, a mark that passed over a refused record does not make
// it vanish: its dead letter was durable before.
func TestRefusedRecordsSurviveLossOfPower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, bad := append(upTo(9), 101, 102, 103), []int64{2, 5, 6, 102}
		crashes := 0
		for round := 0; ; round++ {
			w, log := &world{}, newLog(memory.Options{Manual: true})
			flow := func() *build {
				b := newBuild()
				b.source("a", 2, upTo(9)...)
				b.source("b", 3, 101, 102, 103)
				s := b.sink("out", w, "a", "b")
				s.marks, s.fail, s.node.OnError.Budget = true, refuses(bad...), plan.Budget{}
				return b
			}
			few := func(c *engine.Config) { c.Batch = 2 }
			r := start(t, flow(), log, few)
			for range round {
				synctest.Wait()
				log.Sync()
			}
			synctest.Wait()
			select {
			case <-r.Done():
				if crashes < 5 {
					t.Errorf("only %d crashes", crashes)
				}
				return
			default:
			}
			log.Crash()
			wait(t, r, evidence.Interrupted)
			crashes++
			log, err := log.Reopen()
			if err != nil {
				t.Fatal(err)
			}
			log.Release()
			wait(t, start(t, flow(), log, few), evidence.Completed)
			ledgerOf(t, fmt.Sprintf("loss of power after %d syncs", round), w, log, all, bad)
		}
	})
}

// An error of a transaction of which it is not known what became of it fails the
// stage when retries are used up: its records are neither delivered for certain nor
// dead. The mark says what they are when the run is continued.
func TestUnknownTransaction(t *testing.T) {
	for name, fault := range map[string]func() error{
		"an error": func() error { return errRefused },
		"a panic":  func() error { panic("oh") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, log := &world{}, newLog(memory.Options{})
				flow := func(lost bool) *build {
					b := newBuild()
					b.source("numbers", 2, upTo(10)...)
					s := b.sink("out", w, "numbers")
					s.marks, s.node.OnError.Panic = true, plan.DeadLetter
					s.node.Guards.Retry = &plan.Retry{Max: 3, Delay: time.Second}
					s.after = func(v int64) error {
						if lost && v >= 4 {
							return fault()
						}
						return nil
					}
					return b
				}
				res := wait(t, start(t, flow(true), log), evidence.Failed)
				if res.Stage != "out" || !strings.Contains(res.Reason, "numbers.out:") {
					t.Errorf("result %+v", res)
				}
				if dead := records(t, log, "out", "dead"); len(dead) > 0 {
					t.Errorf("dead letters %v", dead)
				}
				log = again(t, log)
				wait(t, start(t, flow(false), log), evidence.Completed)
				ledgerOf(t, name, w, log, upTo(10), nil)
			})
		})
	}
}

// An attempt that is known to have been rolled back is made again, as policy says,
// with all that it had.
func TestTransactionIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, w, log := newBuild(), &world{}, newLog(memory.Options{})
		b.source("numbers", 5, upTo(5)...).node.Ports[0].Mode = plan.Copied
		s := b.sink("out", w, "numbers")
		s.spoils = true
		s.marks, s.node.Guards.Retry = true, &plan.Retry{Max: 3, Delay: time.Second, Factor: 2}
		var sizes []int
		s.refuse = func(_ context.Context, attempt int, vs []int64) error {
			if sizes = append(sizes, len(vs)); attempt < 3 {
				return errors.New("deadlock")
			}
			return nil
		}
		began := time.Now()
		wait(t, start(t, b, log), evidence.Completed)
		ledgerOf(t, "retried", w, log, upTo(5), nil)
		if took := time.Since(began); took != 3*time.Second || !slices.Equal(sizes, []int{5, 5, 5}) {
			t.Errorf("took %v with attempts of %v", took, sizes)
		}
	})
}
