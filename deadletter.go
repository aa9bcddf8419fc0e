package weir

import (
	"fmt"
	"reflect"

	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
)

// Failed is an input that a stage gave up on: a dead letter, or the second result
// of [Perform].
type Failed[T any] struct {
	// Input is the payload. It is zero where that is not what failed: for the
	// row of a join's table, or a payload that cannot be written once more. Ref
	// names the record in any case.
	Input T `json:"input"`

	Ref    event.Ref  `json:"ref"` // zero for what a source could not accept
	Kind   event.Kind `json:"kind"`
	Reason string     `json:"reason"`

	// Attempts is how many calls were made of an effect that finally failed; zero
	// for a dead letter.
	Attempts int `json:"attempts,omitempty"`

	// Happened tells of such an effect whether the action may have happened all the
	// same; of an orchestration, whether the call that it failed on may have, or
	// what it did before stands, because a compensation was given up. Of a dead
	// letter it is effect.No.
	Happened effect.Happened `json:"happened,omitempty"`
}

// EventType returns the name of T in brackets: "Failed[order.placed.v1]".
func (Failed[T]) EventType() string { return "Failed[" + payloadName[T]() + "]" }

// payloadName is what T is called in the log.
func payloadName[T any]() string {
	if t, err := payload.For[T](event.JSON); err == nil {
		return t.Name
	}
	return bareType(reflect.TypeFor[T]()) // T itself is refused elsewhere
}

// DeadLetters reads what stage could not process of in: the payload with the
// error. in names the type; stage is the name of the reader as the stages around
// this call would give it, declared before. Every stage has dead letters, sinks
// too; for those of a source use [BadInput].
func DeadLetters[T any](in Input[T], stage string) Stream[Failed[T]] {
	s := streamOf(in)
	return Stream[Failed[T]]{f: s.f, ports: []feed{s.f.deadLetters(stage, reflect.TypeFor[Failed[T]]())}}
}

// BadInput reads what a source could not decode or a payload's Validate method
// refused, as it came.
func BadInput(f *Flow, source string) Stream[Failed[[]byte]] {
	return Stream[Failed[[]byte]]{f: f, ports: []feed{f.deadLetters(source, reflect.TypeFor[Failed[[]byte]]())}}
}

// deadLetters finds the dead letters of a stage and checks their type.
func (f *Flow) deadLetters(name string, want reflect.Type) feed {
	at := f.open()
	none := feed{f: f, node: -1}
	i, ok := f.index[f.prefix+name]
	if !ok {
		i, ok = f.index[name]
	}
	if !ok {
		f.atEnd = append(f.atEnd, func() { f.noDeadLetters(name, at) })
		return none
	}
	n := f.plan.Nodes[i]
	if got := n.Dead.Go; got != want {
		hint := ""
		if n.Source != nil {
			hint = "; use BadInput for a source"
		}
		f.problem(n.Name, at, "its dead letters are %s, not %s%s", bareType(got), bareType(want), hint)
		return none
	}
	return feed{f: f, node: i, port: plan.DeadPort}
}

func (f *Flow) noDeadLetters(name, at string) {
	names := make([]string, 0, len(f.plan.Nodes))
	for _, n := range f.plan.Nodes {
		if n.Name == name {
			f.problem(name, at, "its dead letters are read before it is declared (%s); read them after", n.Caller)
			return
		}
		names = append(names, n.Name)
	}
	f.problem("", at, "dead letters of stage %q are read, but there is no such stage%s", name, hint(name, names))
}

// A morgue writes the dead letters of a stage.
type morgue[In any] struct {
	w *plan.TypedWriter[Failed[In]]
}

func addDead[In any](s *stage) morgue[In] {
	var typ *payload.Type[Failed[In]]
	if payloadType[In](s, "payload") != nil { // else the problem is told once
		typ = payloadType[Failed[In]](s, "dead letters")
	}
	p, w := newPort[Failed[In]](s, event.PortDead, typ)
	s.node.Dead = p
	if typ != nil {
		dead := describe(typ)
		s.f.stages[s.at].Dead = &dead
	}
	return morgue[In]{w}
}

// bury writes record i of b; own says that b holds Ins.
func (m morgue[In]) bury(b *plan.Batch, i int, f *plan.Failure, own bool) {
	stage, port := splitJournal(b.Journal)
	dead := Failed[In]{
		Ref:    event.Ref{Stage: stage, Port: port, Seq: b.First + uint64(i)},
		Kind:   f.Kind,
		Reason: reason(f.Kind, f.Err),
	}
	if own {
		dead.Input = b.Values.([]In)[i]
	}
	m.write(dead)
}

// write writes a dead letter, without its input if that cannot be written.
func (m morgue[In]) write(dead Failed[In]) { m.writeFrom(dead, nil) }

// writeFrom is write with further causes; nil means none.
func (m morgue[In]) writeFrom(dead Failed[In], c *plan.Cause) {
	m.w.EmitFrom(dead, c)
	if err := m.w.Err(); err != nil {
		m.w.Forget()
		var none In
		dead.Input = none
		dead.Reason = reason(dead.Kind, fmt.Errorf("%s (left out: %w)", dead.Reason, err))
		m.w.EmitFrom(dead, c)
	}
}
