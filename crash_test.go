package weir_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// journals returns the payloads of every data port and of the dead letters.
func journals(t *testing.T, log journal.Log) map[string][]string {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	var p journal.Placed
	for trs := journal.Transitions(in); ; {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port == journal.PortSys || o.Port == "receipts" {
				continue
			}
			name := p.Stage + "." + o.Port
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				out[name] = append(out[name], string(rec.Payload))
			}
		}
	}
}

// every has each kind of stage, without a fan-in whose order may differ.
func every(flights []flight, deliver func(context.Context, string) error) *weir.Definition {
	return weir.Define("every", func(f *weir.Flow) {
		f.Defaults(weir.OnError{Panic: weir.DeadLetter, Budget: weir.Budget{Share: 1}})
		in := weir.From(f, "flights", weir.Slice(flights))
		late, onTime := weir.Split2(in, "split", func(v flight, late, onTime weir.Emit[flight]) error {
			if v.Delay > 15 {
				late(v)
			} else {
				onTime(v)
			}
			if v.Delay == 7 {
				return errors.New("seven")
			}
			return nil
		}, weir.Ports("late", "on_time"))
		byCarrier := weir.KeyBy(onTime, func(v flight) string { return v.Carrier })
		sums := weir.Reduce(byCarrier, "sum",
			func(c string) punctuality { return punctuality{Carrier: c} },
			func(p *punctuality, v flight) error {
				p.Total += v.Delay
				p.Seen = append(p.Seen, v.Delay)
				if v.Delay == 13 {
					panic("thirteen")
				}
				return nil
			}, weir.EmitEvery(3).Reset(), weir.EmitAtEnd())
		top := weir.TopN(weir.All(late), "top", 2, func(v flight) string { return v.Carrier },
			func(a, b flight) int { return cmp.Compare(b.Delay, a.Delay) }, weir.EmitOnChange())
		weir.Flatten(top, "rows")
		last := weir.Latest(weir.KeyBy(late, func(v flight) string { return v.Carrier }), "last")
		joined := weir.LeftJoin(byCarrier, weir.TableOf(weir.KeyBy(last, func(v flight) string { return v.Carrier })), "join",
			func(v, row flight, found bool) (string, error) {
				return fmt.Sprint(v.Carrier, v.Delay, found, row.Delay), nil
			})
		weir.Each(joined, "print", deliver)
		weir.Each(sums, "ignored", ignore)
		weir.Each(weir.Records(weir.DeadLetters(in, "split")), "dead", ignore)
	})
}

// Wherever the process dies, the run that goes on writes what it would have
// written, and delivers everything.
func TestCrashAtEveryTransition(t *testing.T) {
	flights := someFlights(40)
	flights = slices.DeleteFunc(flights, func(v flight) bool { return v.Carrier == "C" && v.Delay > 15 }) // some have no row
	run := func(t *testing.T, die journal.LSN) (log *memory.Log, delivered map[string]int, epochs int) {
		t.Helper()
		delivered = map[string]int{}
		var mu sync.Mutex
		def := every(flights, func(_ context.Context, s string) error {
			mu.Lock()
			defer mu.Unlock()
			delivered[s]++
			return nil
		})
		dead := false
		o := weir.Options{Logger: quiet, Harness: &plan.Harness{Log: func(m journal.Manifest) journal.Log {
			if log == nil {
				log = memory.New(m, memory.Options{Fault: func(next journal.LSN) error {
					if next == die && !dead {
						dead = true
						return errors.New("the process dies")
					}
					return nil
				}})
				return unclosed{log}
			}
			next, err := log.Reopen()
			if err != nil {
				t.Fatal(err)
			}
			log = next
			return unclosed{log}
		}}}
		for {
			epochs++
			sum, err := def.Run(t.Context(), o)
			switch {
			case err == nil && sum.Status == weir.Completed:
				return log, delivered, epochs
			case epochs > 1 || !dead:
				t.Fatalf("dying before %d, epoch %d: %+v, %v", die, epochs, sum, err)
			case sum.Status != weir.Interrupted:
				t.Fatalf("dying before %d: %+v, %v", die, sum, err)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		log, sent, _ := run(t, 0)
		want, end := journals(t, log), log.Head()
		if len(want["sum.dead"]) == 0 || len(want["split.dead"]) == 0 {
			t.Fatal("nothing failed, so nothing was tried")
		}
		for die := journal.LSN(1); die <= end; die++ {
			log, delivered, epochs := run(t, die)
			if epochs == 1 {
				continue // this schedule took fewer transitions
			}
			if diff := gocmp.Diff(want, journals(t, log)); diff != "" {
				t.Fatalf("dying before %d of %d (-want +got):\n%s", die, end, diff)
			}
			for s, n := range sent {
				if got := delivered[s]; got < n {
					t.Errorf("dying before %d: %q delivered %d times, want %d", die, s, got, n)
				}
			}
		}
	})
}

// unclosed is a log that can be read when its run has ended.
type unclosed struct{ *memory.Log }

func (unclosed) Close() error { return nil }
