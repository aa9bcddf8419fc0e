package weir_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
)

type flight struct {
	Carrier string
	Delay   int
	Notes   []string
}

type punctuality struct {
	Carrier string
	Flights int
	Total   int
	Seen    []int
}

func ignore[T any](context.Context, T) error { return nil }

// onPanic makes panics dead letters.
var onPanic = weir.OnError{Panic: weir.DeadLetter}

// handlers is a flow with every kind of handler, in which some inputs fail after
// they emitted and changed state.
func handlers(flights []flight) *weir.Definition {
	return weir.Define("handlers", func(f *weir.Flow) {
		f.Defaults(onPanic)
		in := weir.From(f, "flights", weir.Slice(flights))
		late, onTime := weir.Split2(in, "split", func(v flight, late, onTime weir.Emit[flight]) error {
			if v.Delay > 15 {
				late(v)
			} else {
				onTime(v)
			}
			if v.Delay == 7 {
				return event.Invalid(errors.New("seven"))
			}
			return nil
		}, weir.Ports("late", "on_time"))
		all := weir.Merge(late, onTime)
		names := weir.Map(all, "name", func(v flight) (string, error) { return v.Carrier, nil })
		weir.Filter(names, "not_b", func(s string) (bool, error) { return s != "B", nil })
		sum := weir.Reduce(weir.KeyBy(all, func(v flight) string { return v.Carrier }), "sum",
			func(c string) punctuality { return punctuality{Carrier: c} },
			func(p *punctuality, v flight) error {
				p.Flights++
				p.Total += v.Delay
				p.Seen = append(p.Seen, v.Delay)
				switch v.Delay {
				case 13:
					panic("thirteen")
				case 4:
					return errors.New("four")
				}
				return nil
			}, weir.EmitEvery(2), weir.EmitAtEnd())
		weir.Reduce(weir.KeyBy(names, func(s string) string { return s }), "count", weir.Zero, func(n *int, s string) error {
			if *n++; *n == 3 {
				return fmt.Errorf("three of %s", s)
			}
			return nil
		}, weir.EmitAlways())
		top := weir.TopN(weir.All(all), "top", 2, func(v flight) string { return v.Carrier },
			func(a, b flight) int { return cmp.Compare(b.Delay, a.Delay) }, weir.EmitOnChange())
		weir.Flatten(top, "rows")
		last := weir.Latest(weir.KeyBy(late, func(v flight) string { return v.Carrier }), "last")
		table := weir.TableOf(weir.KeyBy(last, func(v flight) string { return v.Carrier }))
		joined, none := weir.Join(weir.KeyBy(onTime, func(v flight) string { return v.Carrier }), table, "join",
			func(v, row flight) (string, error) { return fmt.Sprint(v.Carrier, v.Delay, "/", row.Delay), nil })
		weir.Each(joined, "print", ignore)
		weir.Each(weir.Records(none), "print_records", ignore)
		weir.Each(weir.DeadLetters(all, "sum"), "dead", func(context.Context, weir.Failed[flight]) error { return errors.New("no") })
		_ = sum
	})
}

func someFlights(n int) []flight {
	var out []flight
	for i := range n {
		out = append(out, flight{Carrier: string(rune('A' + i%3)), Delay: (i * 7) % 29, Notes: []string{strconv.Itoa(i)}})
	}
	return out
}

// What comes out must not depend on how inputs fall into transitions.
func TestHandlersDoNotSeeTransitions(t *testing.T) {
	def := handlers(someFlights(60))
	want := drive(t, def, 1)
	for _, size := range []int{2, 7, 60} {
		got := drive(t, def, size)
		for name, w := range want.ports {
			if diff := gocmp.Diff(payloads(w), payloads(got.ports[name])); diff != "" {
				t.Errorf("%s with transitions of %d (-1 +%d):\n%s", name, size, size, diff)
			}
			if w.digest != got.ports[name].digest {
				t.Errorf("%s: digest with transitions of %d = %x, want %x", name, size, got.ports[name].digest, w.digest)
			}
		}
	}
	if n := len(values[weir.Failed[flight]](want, "sum.dead")); n == 0 {
		t.Error("nothing failed, so nothing was tried")
	}
}

func payloads(w *written) []string {
	var out []string
	for _, b := range w.batches {
		for i := range b.N {
			out = append(out, string(b.Payload(i)))
		}
	}
	return out
}
