package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

func contracts(t *testing.T, log *memory.Log, stage string) []evidence.Contract {
	t.Helper()
	var out []evidence.Contract
	for _, r := range records(t, log, stage, journal.PortSys) {
		if c, err := evidence.Parse[evidence.Contract]([]byte(r)); err == nil && c.Contract != "" {
			out = append(out, c)
		}
	}
	return out
}

// part returns records from to to-1 of b as a batch.
func part(b *plan.Batch, from, to int) *plan.Batch {
	c := *b
	c.First, c.N = b.First+uint64(from), to-from
	c.Values = b.Values.([]int64)[from:to]
	c.CRCs = b.CRCs[from:to]
	c.Offs = b.Offs[2*from : 2*to]
	return &c
}

// What passes from a writer to a reader is proved: whatever is lost, doubled,
// exchanged or altered in between ends the run, and is named.
func TestTransportViolations(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tamper func(b *plan.Batch) *plan.Batch
		parts  uint64
	}{
		{"a batch is lost", func(b *plan.Batch) *plan.Batch {
			if b.First <= 5 && b.Last() >= 5 {
				return nil
			}
			return b
		}, 5},
		{"the last batch is lost", func(b *plan.Batch) *plan.Batch {
			if b.Last() == 12 {
				return nil
			}
			return b
		}, 9},
		{"the last record of a batch is lost", func(b *plan.Batch) *plan.Batch {
			if b.First == 5 {
				return part(b, 0, b.N-1)
			}
			return b
		}, 5},
		{"a batch comes twice", func(b *plan.Batch) *plan.Batch {
			if b.First == 9 {
				c := *b
				c.First = 5
				return &c
			}
			return b
		}, 5},
		{"two records are exchanged", func(b *plan.Batch) *plan.Batch {
			if b.First == 5 {
				c := *b
				c.CRCs = slices.Clone(b.CRCs)
				c.CRCs[1], c.CRCs[2] = c.CRCs[2], c.CRCs[1]
				return &c
			}
			return b
		}, 5},
		{"a record is altered", func(b *plan.Batch) *plan.Batch {
			if b.First == 5 {
				c := *b
				c.CRCs = slices.Clone(b.CRCs)
				c.CRCs[3]++
				return &c
			}
			return b
		}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer engine.Tamper(func(edge string, b *plan.Batch) *plan.Batch {
					if edge != "numbers.out→inc" {
						return b
					}
					return tc.tamper(b)
				})()
				b, w, log := newBuild(), &world{}, newLog(memory.Options{})
				b.source("numbers", 4, upTo(12)...)
				b.handle("inc", add(1), "numbers")
				b.sink("out", w, "inc")
				res := wait(t, start(t, b, log), evidence.Failed)
				if !strings.Contains(res.Reason, "numbers.out → inc") {
					t.Errorf("reason %q does not name the edge", res.Reason)
				}
				var failed []evidence.Contract
				for _, stage := range []string{"inc", evidence.Pipeline} {
					for _, c := range contracts(t, log, stage) {
						if !c.Passed {
							failed = append(failed, c)
						}
					}
				}
				if len(failed) != 2 || failed[0].From != "numbers.out" || failed[0].To != "inc" || failed[0].Contract != "transport" {
					t.Fatalf("evidence %+v", failed)
				}
				if failed[0].Parts != tc.parts {
					t.Errorf("parts at %d, want %d: %s", failed[0].Parts, tc.parts, failed[0].Reason)
				}
			})
		})
	}
}

func TestEvidenceAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newBuild(), newLog(memory.Options{})
		b.source("numbers", 4, upTo(12)...)
		b.handle("inc", add(1), "numbers")
		b.sink("out", &world{}, "inc")
		wait(t, start(t, b, log), evidence.Completed)
		for stage, want := range map[string]string{"numbers": "source", "inc": "transport", "out": "transport delivery"} {
			var got []string
			for _, c := range contracts(t, log, stage) {
				if !c.Passed || !c.Final {
					t.Errorf("%s: %+v", stage, c)
				}
				if c.Contract == "transport" && (c.Writer != c.Reader || c.Reader.Count != 12 || c.Reader.Digest == 0) {
					t.Errorf("%s: sides %+v and %+v", stage, c.Writer, c.Reader)
				}
				got = append(got, c.Contract)
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: contracts %v, want %s", stage, got, want)
			}
		}
	})
}

// A stage that keeps state accounts for every input: what the handler neither
// accepted nor buried, or buried twice, ends the run, and the stage is named.
func TestAccountingViolations(t *testing.T) {
	for _, tc := range []struct {
		name    string
		letters int
		found   string
	}{
		{"an input is dropped", 0, "expected 20, found 19"},
		{"an input is buried twice", 2, "expected 20, found 21"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, log := newBuild(), newLog(memory.Options{})
				b.source("numbers", 4, upTo(20)...)
				sums := b.fold("sums", "numbers")
				inner := sums.fn
				sums.fn = func(h *handler, in int, v int64) error {
					if v == 7 {
						return errRefused
					}
					return inner(h, in, v)
				}
				sums.node.Handler = &wrongBury{folder: sums, letters: tc.letters}
				b.sink("out", &world{}, "sums")
				res := wait(t, start(t, b, log), evidence.Failed)
				if !strings.Contains(res.Reason, "accounting contract of sums") || !strings.Contains(res.Reason, tc.found) {
					t.Errorf("reason %q", res.Reason)
				}
				var failed []evidence.Contract
				for _, c := range contracts(t, log, "sums") {
					if !c.Passed {
						failed = append(failed, c)
					}
				}
				if len(failed) != 1 || failed[0].Contract != "accounting" || failed[0].To != "sums" || !failed[0].Gates || !failed[0].Final {
					t.Errorf("evidence %+v", failed)
				}
			})
		})
	}
}

// wrongBury writes another number of dead letters than one.
type wrongBury struct {
	*folder
	letters int
}

func (w *wrongBury) Bury(in int, b *plan.Batch, i int, f *plan.Failure) {
	for range w.letters {
		w.folder.Bury(in, b, i, f)
	}
}

// What was accounted for is accounted for once, over epochs, refusals, and
// transitions that had to be made again.
func TestAccountingOverEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog(memory.Options{})
		flow := func(open bool) *build {
			b := newBuild()
			b.source("numbers", 4, upTo(20)...).open = open
			sums := b.fold("sums", "numbers")
			inner := sums.fn
			sums.fn = func(h *handler, in int, v int64) error {
				_ = inner(h, in, v)
				if v%7 == 0 {
					return errRefused // half of a change is left behind
				}
				return nil
			}
			b.sink("out", &world{}, "sums")
			return b
		}
		r := start(t, flow(true), log)
		synctest.Wait()
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = log.Close()
		log, err := log.Reopen()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, start(t, flow(false), log), evidence.Completed)
		var got []string
		for _, c := range contracts(t, log, "sums") {
			if c.Contract == "accounting" {
				got = append(got, fmt.Sprint(c.Passed, c.Final, c.Writer.Count, c.Reader.Count))
			}
		}
		if want := []string{"true false 20 20", "true true 0 0"}; !slices.Equal(got, want) {
			t.Errorf("evidence %q, want %q", got, want)
		}
	})
}
