package weir

import (
	"encoding/hex"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// An entry is the state of a key: what a stage keeps of type E, and what its
// emissions remember.
type entry[E any] struct {
	Value E `json:"value"`
	tally
}

// A fold is a stage that keeps an E for each key and emits an Out of it.
type fold[K comparable, In, E, Out any] struct {
	start func(K) E
	step  func(e *E, v In, from plan.Origin) error
	show  func(e *E) Out                              // may share memory with e
	refs  func(e *E, dst []plan.Origin) []plan.Origin // the records that are shown; nil if the key says it all
	kept  topology.Type                               // what an E is for people
}

// An ending is a handler that emits at the end.
type ending[In any] struct {
	handler[In]
	atEnd func(after []byte, full func() bool) (last []byte, done bool, err error)
}

// AtEnd emits the entries; see plan.Ender.
func (e *ending[In]) AtEnd(after []byte, full func() bool) (last []byte, done bool, failure *plan.Failure) {
	defer func() {
		if p := recover(); p != nil {
			failure = panicked(p)
		}
	}()
	for _, o := range e.outs {
		o.Watch(nil, 0)
	}
	e.turn.Item = -1
	last, done, err := e.atEnd(after, full)
	if err != nil {
		return last, false, refused(err, event.KindDomain)
	}
	return last, done, nil
}

// add adds the stage and returns its output.
func (c fold[K, In, E, Out]) add(op, name string, in Keyed[K, In], opts []EmitOption, complete func(*stage)) Stream[Out] {
	s := keyedStage(topology.Stateful, op, name, in)
	var set plan.StateSettings
	for i, o := range opts {
		if o == nil {
			s.problem("option %d is nil", i+1)
			continue
		}
		o.ApplyEmit(&set)
	}
	s.state(set)
	if len(set.Emit) == 0 {
		set.Emit = []plan.Emission{EmitAtEnd().e}
	}
	s.param("emit", describeEmissions(set.Emit))
	complete(s)

	keys := keyType[K](s)
	t := newTable[K, entry[E]](s, "state", keys, c.kept)
	w := addPort[Out](s, "out")
	dead := addDead[In](s)
	if t == nil || keys == nil {
		return port[Out](s, 0)
	}
	c.run(s, in.key, t, w, payloadType[Out](s, ""), dead, newEmissions(set.Emit))
	return port[Out](s, 0)
}

// run makes the handler.
func (c fold[K, In, E, Out]) run(s *stage, key func(In) K, t *plan.TypedTable[K, entry[E]], w *plan.TypedWriter[Out], typ *payload.Type[Out], dead morgue[In], emit emissions) {
	var (
		cause   = plan.Cause{HasKey: true, FromKey: true}
		scratch []byte
		present *entry[E] // what encode encodes
	)
	start := func(k K) entry[E] { return entry[E]{Value: c.start(k)} }
	out := func(e *entry[E], text string) {
		cause.Key = text
		if c.refs != nil {
			cause.Refs = c.refs(&e.Value, cause.Refs[:0])
		}
		w.EmitFrom(c.show(&e.Value), &cause)
	}
	encode := func() (data []byte, err error) {
		v := c.show(&present.Value)
		typ.Normalize(&v)
		scratch, err = typ.Append(scratch[:0], &v)
		return scratch, err
	}
	h := handler[In]{turn: s.node.Turn, outs: []outlet{w}, dead: dead, rows: t}
	h.step = func(b *plan.Batch, i int, v In) error {
		e, text, err := t.Open(key(v), start)
		if err != nil {
			return err
		}
		if err := c.step(&e.Value, v, plan.Origin{Journal: b.Journal, Seq: b.First + uint64(i)}); err != nil {
			return err
		}
		present = e
		due, reset, err := emit.after(&e.tally, encode)
		if err != nil {
			return err
		}
		if due {
			out(e, text)
		}
		if reset {
			t.Drop()
		}
		return nil
	}
	due, reset := emit.atEnd()
	if !due {
		s.node.Handler = &h
		return
	}
	s.node.Handler = &ending[In]{handler: h, atEnd: func(after []byte, full func() bool) (last []byte, done bool, err error) {
		last, done = after, true
		failed := t.Ascend(after, func(k K, text string) bool {
			out(t.Peek(k), text)
			if err = s.node.Turn.Err; err != nil {
				w.Forget()
				return false
			}
			if reset {
				if err = t.Delete(k); err != nil {
					return false
				}
				t.Close()
			}
			last = []byte(text)
			done = !full()
			return done
		})
		if err == nil {
			err = failed
		}
		return last, done, err
	}}
}

// keyedStage adds a stage that reads a keyed stream as its first input.
func keyedStage[K comparable, T any](kind topology.Kind, op, name string, in Keyed[K, T]) *stage {
	s := in.in.f.add(kind, op, name)
	s.require(in.key != nil, "key function")
	s.read(in.in.ports, 0, plan.Stream, in.via())
	return s
}

// state applies what options say to a stage with state.
func (s *stage) state(set plan.StateSettings) {
	s.f.faults(s.node.Name, s.node.Caller, set.Faults)
	if set.OnError != nil {
		s.node.OnError = *set.OnError
	}
}

// newTable adds a table of Ss; nil, with a problem, if S cannot be recorded.
// kept is what the user knows the state as.
func newTable[K comparable, S any](s *stage, name string, keys *payload.KeyType[K], kept topology.Type) *plan.TypedTable[K, S] {
	typ, err := payload.For[S](s.f.codec, s.f.upcasters...)
	if err != nil {
		s.problem("its state: %v", err)
		return nil
	}
	kept.Schema, kept.Shape = hex.EncodeToString(typ.SchemaHash[:]), typ.Schema
	s.f.stages[s.at].State = &kept
	t := plan.NewTable(name, keys, typ, s.node.Turn)
	s.node.Tables, s.node.Kept = append(s.node.Tables, t), t
	return t
}
