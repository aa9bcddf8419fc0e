// Package weirtest runs flows in tests: in virtual time, with the log in memory,
// with every sink recorded instead of delivered, and with effects answered by
// functions.
//
//	func TestDeclined(t *testing.T) {
//		res := weirtest.Run(t, payments,
//			weirtest.Settings(Config{Limit: 1000}),
//			weirtest.Feed("orders", Order{"1", 500}, Order{"2", 0}),
//			weirtest.Answer("authorize", func(o Order) (Decision, error) { return Decision{o, false}, nil }))
//		got := weirtest.Read[Cancelled](t, res, "settle.declined")
//		…
//	}
//
// Time stands still while anything runs and jumps when everything waits, so a
// flow with retries, sleeps or timeouts is tested in microseconds
// ([testing/synctest]).
//
// [CrashEverywhere] is the same with the log on a disk, and a crash before every
// operation that changes it.
package weirtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// An Option tunes [Run] and [CrashEverywhere].
type Option interface{ apply(*setup) }

type option func(*setup)

func (o option) apply(s *setup) { o(s) }

// A setup is the world around a flow. It outlives processes.
type setup struct {
	config  any
	edits   []func(*plan.Flow) error // of each flow that is built
	doubles []*double
	signals []*sending
	sinks   map[string]*received
	every   int // operation a crash; zero means 1

	session  int            // of the process that is at work, from 1
	answered []*plan.Effect // of the flow that is at work
}

func newSetup(opts []Option) *setup {
	s := &setup{sinks: map[string]*received{}}
	for _, o := range opts {
		o.apply(s)
	}
	return s
}

// Settings runs a flow made by DefineWith with cfg instead of its defaults.
func Settings[C any](cfg C) Option { return option(func(s *setup) { s.config = cfg }) }

// Feed replaces what a source reads by values, which then end. The stage is named
// with its groups; T must be what it puts out. A source that is not fed reads as
// it does outside of tests.
func Feed[T any](source string, values ...T) Option {
	return option(func(s *setup) {
		s.edits = append(s.edits, func(f *plan.Flow) error {
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

// Send sends a signal when the run begins: whoever awaits it gets it then.
func Send[T any](sig weir.Signal[T], key string, v T) Option {
	return option(func(s *setup) {
		s.signals = append(s.signals, &sending{send: func(ctx context.Context, r *weir.Run) error {
			return sig.Send(ctx, r, key, v)
		}})
	})
}

type sending struct {
	send func(context.Context, *weir.Run) error
	done bool // it is durable
}

// edit puts the doubles into a flow that was built.
func (s *setup) edit(f *plan.Flow) error {
	s.answered = nil
	var errs []error
	for _, edit := range s.edits {
		errs = append(errs, edit(f))
	}
	for _, n := range f.Nodes {
		if n.Sink == nil || n.Kind == "signals" { // which deliver within the run
			continue
		}
		if s.sinks[n.Name] == nil {
			s.sinks[n.Name] = &received{}
		}
		n.Sink = &recorder{Sink: n.Sink, setup: s, to: s.sinks[n.Name]}
	}
	return errors.Join(errs...)
}

// process runs def in a process of its own until it ends, or until all that is left
// waits for decisions of people: then it is stopped.
func (s *setup) process(ctx context.Context, def *weir.Definition, o weir.Options) (weir.Summary, error) {
	s.session++
	waits := make(chan struct{}, 1)
	o.Config, o.Logger = s.config, slog.New(ears{o.Logger.Handler(), waits})
	r, err := def.Start(ctx, o)
	if err != nil {
		return weir.Summary{}, err
	}
	for _, sig := range s.signals {
		if !sig.done {
			err := sig.send(ctx, r)
			sig.done = err == nil
		}
	}
	select {
	case <-waits:
		_ = r.Stop(ctx) // Wait says how it ended
	case <-r.Done():
	}
	return r.Wait()
}

// ears hear when a run waits for decisions.
type ears struct {
	slog.Handler
	heard chan<- struct{} // has room for one
}

func (e ears) Enabled(ctx context.Context, l slog.Level) bool {
	return e.Handler.Enabled(ctx, l) || l >= slog.LevelWarn
}

func (e ears) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "waiting for decisions" {
		select {
		case e.heard <- struct{}{}:
		default:
		}
		return nil
	}
	if !e.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return e.Handler.Handle(ctx, r)
}

// Run runs def to its end and returns what it left behind: completed, or stopped
// if all that was left waited for decisions of people, which Result.InDoubt counts.
// The test fails if the flow is wired wrongly, or if the run ends otherwise: then
// Run does not return.
func Run(t *testing.T, def *weir.Definition, opts ...Option) *Result {
	t.Helper()
	s := newSetup(opts)
	res := newResult()
	var failed error
	synctest.Test(t, func(t *testing.T) {
		var log *memory.Log
		res.Summary, failed = s.process(t.Context(), def, weir.Options{
			Harness: &plan.Harness{
				Edit: s.edit,
				Log: func(m journal.Manifest) journal.Log {
					log = memory.New(m, memory.Options{})
					return unclosed{log}
				},
			},
			Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
		})
		if log == nil {
			return
		}
		if err := res.collect(log); err != nil {
			failed = errors.Join(failed, err)
		}
		failed = errors.Join(failed, log.Close())
	})
	if failed != nil {
		t.Fatalf("weirtest: %v", failed)
	}
	for name, r := range s.sinks {
		res.delivered[name] = r.values
	}
	return res
}

// unclosed is a log that stays open after the run, to be read.
type unclosed struct{ *memory.Log }

func (unclosed) Close() error { return nil }
