package weir

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// A Signal is a named kind of outside event, with a T, for orchestrations to await
// by key. A signal that nobody awaits yet is kept. Every stage of orchestrations
// gets it; in each, the first that awaits it. `weir signal` sends one from another
// process, also while no process has the run.
type Signal[T any] struct{ name string }

// NewSignal names a kind of signal. A name is made of a-z, 0-9 and _, and of dots
// between parts that are not empty; others are refused where it is used.
func NewSignal[T any](name string) Signal[T] { return Signal[T]{name} }

// Name returns the signal's name.
func (sig Signal[T]) Name() string { return sig.name }

func (sig Signal[T]) valid() error {
	for part := range strings.SplitSeq(sig.name, ".") {
		if part == "" || part == "weir" || len(sig.name) > event.MaxName || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return fmt.Errorf("signal name %q: want at most %d bytes of a-z, 0-9, _ and dots between parts that are not empty, none of them weir, as in order.approved", sig.name, event.MaxName)
		}
	}
	return nil
}

// ErrNotListening says that no orchestration of a run can await a signal any more.
var ErrNotListening = errors.New("no stage of orchestrations is at work in this run")

// Send gives v to the orchestrations of r that await key, now or later. It returns
// once the signal is durable: then it arrives, whatever happens to the process.
func (sig Signal[T]) Send(ctx context.Context, r *Run, key string, v T) error {
	if err := sig.valid(); err != nil {
		return err
	}
	if err := plan.SignalKey(key); err != nil {
		return fmt.Errorf("signal %s: %w", sig.name, err)
	}
	typ, err := payload.For[T](r.codec)
	if err != nil {
		return err
	}
	data, err := typ.Append(nil, &v)
	if err != nil {
		return err
	}
	if len(data) > plan.MaxValue {
		return fmt.Errorf("signal %s: its value is %d bytes long, the limit is %d", sig.name, len(data), plan.MaxValue)
	}
	return listening(r.engine.Send(ctx, plan.Signal{
		Name: sig.name, Key: key, Payload: data, ID: ulid.Make().String(), At: time.Now(), //nolint:forbidigo // the edge: the caller's clock
	}))
}

// Signals sends every payload of in as a signal under its key, once. Those that come
// when all orchestrations have come to their end are not kept.
func Signals[T any](in Keyed[string, T], name string, sig Signal[T]) {
	s, dead := sinkStage(in, "signals", name, nil)
	s.require(in.key != nil, "key function")
	if err := sig.valid(); err != nil {
		s.problem("%v", err)
	}
	s.param("signal", sig.name)
	typ := payloadType[T](s, "payload")
	s.node.Sink = &signalling[T]{name: sig.name, key: in.key, typ: typ, dead: dead}
	s.f.atEnd = append(s.f.atEnd, func() {
		if !slices.ContainsFunc(s.f.plan.Nodes, func(n *plan.Node) bool { return n.Performing.Signals != nil }) {
			s.problem("sends signals, and the flow has no Orchestrate or OrchestrateBy that could await them")
		}
	})
}

// signalling is the plan.Sink of Signals, and its own Deliverer.
type signalling[T any] struct {
	idleDeliverer
	name string
	key  func(T) string
	typ  *payload.Type[T]
	dead morgue[T]
	send func(context.Context, ...plan.Signal) error
}

func (g *signalling[T]) Guarantee() string                          { return exactlyOnce }
func (g *signalling[T]) Bury(b *plan.Batch, i int, f *plan.Failure) { g.dead.bury(b, i, f, true) }

// Open begins to send; see plan.Sink.
func (g *signalling[T]) Open(_ context.Context, at plan.At) (plan.Deliverer, error) {
	g.send = at.Signal
	return g, nil
}

// Deliver sends the signals of some records; see plan.Deliverer. A record that was
// made a signal of before is none again.
func (g *signalling[T]) Deliver(ctx context.Context, b *plan.Batch, from, to, _ int, _ bool) (failed map[int]error, err error) {
	var signals []plan.Signal
	fail := func(i int, err error) {
		if failed == nil {
			failed = map[int]error{}
		}
		failed[i] = err
	}
	for i := from; i < to; i++ {
		s, err := g.Signal(b, i)
		if err != nil {
			fail(i, err)
			continue
		}
		signals = append(signals, s)
	}
	if len(signals) == 0 {
		return failed, nil
	}
	if err = g.send(ctx, signals...); errors.Is(err, engine.ErrNobodyListens) {
		err = nil // all that could await them have come to their end
	}
	return failed, err
}

// Signal makes a signal of a record; see plan.Signaller.
func (g *signalling[T]) Signal(b *plan.Batch, i int) (s plan.Signal, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p).Err
		}
	}()
	v, seq := b.Values.([]T)[i], b.First+uint64(i)
	id := event.RecordID{Epoch: b.Epoch, Journal: b.Journal, Seq: seq}
	s = plan.Signal{
		Name: g.name, Key: g.key(v), ID: id.String(), At: time.Unix(0, b.Recorded).UTC(), From: plan.Origin{Journal: b.Journal, Seq: seq},
	}
	if err := plan.SignalKey(s.Key); err != nil {
		return s, event.Invalid(err)
	}
	if s.Payload, err = g.typ.Append(nil, &v); err == nil && len(s.Payload) > plan.MaxValue {
		err = event.Mark(event.KindTooLarge, fmt.Errorf("the signal is %d bytes long, the limit is %d", len(s.Payload), plan.MaxValue))
	}
	return s, err
}

// listening is an error of sending as users see it.
func listening(err error) error {
	if errors.Is(err, engine.ErrNobodyListens) {
		return ErrNotListening
	}
	return err
}
