// Package weirtest runs flows in tests: in virtual time, with the log in memory,
// and with every sink recorded instead of delivered.
//
//	func TestDeclined(t *testing.T) {
//		res := weirtest.Run(t, payments,
//			weirtest.Settings(Config{Limit: 1000}),
//			weirtest.Feed("orders", Order{"1", 500}, Order{"2", 0}))
//		got := weirtest.Read[Cancelled](t, res, "settle.declined")
//		…
//	}
//
// Time stands still while anything runs and jumps when everything waits, so a
// flow with retries or pauses is tested in microseconds ([testing/synctest]).
package weirtest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
	"github.com/weirflow/weir/topology"
)

// An Option tunes [Run].
type Option interface{ apply(*setup) }

type setup struct {
	config any
	feeds  []func(*plan.Flow) error
}

type option func(*setup)

func (o option) apply(s *setup) { o(s) }

// Settings runs a flow made by DefineWith with cfg instead of its defaults.
func Settings[C any](cfg C) Option { return option(func(s *setup) { s.config = cfg }) }

// Feed replaces what a source reads by values, which then end. The stage is named
// with its groups; T must be what it puts out. A source that is not fed reads as
// it does outside of tests.
func Feed[T any](source string, values ...T) Option {
	return option(func(s *setup) {
		s.feeds = append(s.feeds, func(f *plan.Flow) error {
			var names []string
			for _, n := range f.Nodes {
				if n.Source == nil {
					continue
				}
				names = append(names, n.Name)
				if n.Name != source {
					continue
				}
				if got, want := reflect.TypeFor[T](), n.Ports[0].Go; got != want {
					return fmt.Errorf("Feed(%q) has values of %v, the source puts out %v", source, got, want)
				}
				n.Source, n.Warnings = newFeed(n.Source, values), nil
				return nil
			}
			return fmt.Errorf("Feed(%q): the flow has no such source; it has %q", source, names)
		})
	})
}

// A Result is what a run left behind.
type Result struct {
	weir.Summary

	codec     event.Codec          // of payloads
	ports     map[string][]written // by journal, reserved ports included
	delivered map[string][]any     // what each sink got
}

type written struct {
	typ     string
	payload []byte
}

// Run runs def to its end and returns what it left behind. The test fails if the
// flow is wired wrongly, or if the run does not complete: then Run does not
// return.
func Run(t *testing.T, def *weir.Definition, opts ...Option) *Result {
	t.Helper()
	var s setup
	for _, o := range opts {
		o.apply(&s)
	}
	res := &Result{ports: map[string][]written{}, delivered: map[string][]any{}}
	var failed error
	synctest.Test(t, func(t *testing.T) {
		recorders := map[string]*recorder{}
		var log *memory.Log
		harness := &plan.Harness{
			Edit: func(f *plan.Flow) error { return edit(f, &s, recorders) },
			Log: func(m journal.Manifest) journal.Log {
				log = memory.New(m, memory.Options{})
				return unclosed{log}
			},
		}
		res.Summary, failed = def.Run(t.Context(), weir.Options{
			Config: s.config, Harness: harness,
			Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if log == nil {
			return
		}
		if err := res.collect(log); err != nil {
			failed = errors.Join(failed, err)
		}
		for name, r := range recorders {
			res.delivered[name] = r.values
		}
		failed = errors.Join(failed, log.Close())
	})
	if failed != nil {
		t.Fatalf("weirtest: %v", failed)
	}
	return res
}

// unclosed is a log that stays open after the run, to be read.
type unclosed struct{ *memory.Log }

func (unclosed) Close() error { return nil }

func edit(f *plan.Flow, s *setup, recorders map[string]*recorder) error {
	var errs []error
	for _, feed := range s.feeds {
		errs = append(errs, feed(f))
	}
	for _, n := range f.Nodes {
		if n.Sink != nil {
			r := &recorder{Sink: n.Sink}
			recorders[n.Name], n.Sink = r, r
		}
	}
	return errors.Join(errs...)
}

// collect reads every journal of the run.
func (r *Result) collect(log journal.Log) error {
	in, err := log.Read(0)
	if err != nil {
		return err
	}
	g, err := topology.Parse(log.Manifest().Definition)
	if err == nil {
		err = r.codec.UnmarshalText([]byte(g.Codec()))
	}
	if err != nil {
		return errors.Join(err, in.Close())
	}
	trs := journal.Transitions(in)
	var p journal.Placed
	for {
		err := trs.Next(&p)
		if errors.Is(err, io.EOF) {
			return trs.Close()
		}
		if err != nil {
			return errors.Join(err, trs.Close())
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			name := p.Stage + "." + o.Port
			var rec journal.Record
			for rs := journal.NewRecords(o); ; {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				r.ports[name] = append(r.ports[name], written{o.Type, slices.Clone(rec.Payload)})
			}
		}
	}
}

// Read returns what was written to a port, "settle.paid" or "validate.dead", in
// order; with the name of a stage alone, "shout", what its one port holds, or for
// a sink what was delivered to it. A port that was never written is empty. The
// test fails if T is not what the port holds.
func Read[T any](tb testing.TB, r *Result, port string) []T {
	tb.Helper()
	if got, ok := r.delivered[port]; ok {
		out := make([]T, len(got))
		for i, v := range got {
			if out[i], ok = v.(T); !ok {
				tb.Fatalf("weirtest: sink %s got %T, not %v", port, v, reflect.TypeFor[T]())
			}
		}
		return out
	}
	if !strings.Contains(port, ".") {
		port += ".out"
	}
	typ, err := payload.For[T](r.codec)
	if err != nil {
		tb.Fatalf("weirtest: read %s: %v", port, err)
	}
	out := make([]T, len(r.ports[port]))
	for i, w := range r.ports[port] {
		if err := typ.DecodeAs(payload.Recorded{Name: w.typ}, w.payload, &out[i]); err != nil {
			tb.Fatalf("weirtest: read %s:%d: %v", port, i+1, err)
		}
	}
	return out
}
