package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A stage executes the transitions of one node again, in a goroutine of its own.
type stage struct {
	v      *verifier
	node   *plan.Node
	name   string
	ports  []*port // data ports
	dead   *port   // nil if there is none
	inputs []*edge
	end    end
	does   *performer // nil unless it performs effects
	chosen bool       // it is to be executed again
	todo   chan *task

	receipted uint64 // receipts of a sink so far

	tally
	others map[uint64]string // by epoch: why what it did then is not done again

	why   []string          // it could not be executed again, once each
	count map[string]uint64 // transitions, by why

	// Of the transition in hand.
	p       *journal.Placed
	entries []entry
	items   int // consumed so far
	pieces  []piece
}

// A port is a journal that the stage writes.
type port struct {
	*plan.Port
	journal string
	count   uint64 // records, as recorded
	digest  uint64 // likewise
	edges   []*edge
}

// waiting is how many transitions may wait for a stage.
const waiting = 16

func newStage(v *verifier, n *plan.Node) *stage {
	s := &stage{
		v: v, node: n, name: n.Name, todo: make(chan *task, waiting), count: map[string]uint64{}, others: map[uint64]string{},
		chosen: len(v.Stages) == 0 || slices.Contains(v.Stages, n.Name),
	}
	s.Stage, s.max = n.Name, v.Max
	if n.Turn == nil {
		n.Turn = &plan.Turn{Item: -1}
	}
	for _, p := range n.Ports {
		s.ports = append(s.ports, &port{Port: p, journal: n.Name + "." + p.Name})
	}
	if n.Dead != nil {
		s.dead = &port{Port: n.Dead, journal: n.Name + "." + n.Dead.Name}
	}
	if n.Performer != nil {
		s.does = newPerformer(n)
	}
	s.end.ender, _ = n.Handler.(plan.Ender)
	return s
}

// all yields the ports with what readers get, dead letters last.
func (s *stage) all() []*port {
	if s.dead == nil {
		return s.ports
	}
	return append(slices.Clip(s.ports), s.dead)
}

// writes returns the port that p is of.
func (s *stage) writes(p *plan.Port) *port {
	all := s.all()
	return all[slices.IndexFunc(all, func(o *port) bool { return o.Port == p })]
}

// loop takes the stage's transitions until there are no more. After an error it
// only takes them away.
func (s *stage) loop(ctx context.Context) (err error) {
	for t := range s.todo {
		if err == nil {
			err = s.safely(ctx, t)
		}
		if t.enters == nil {
			s.v.room.give(t.size)
		}
	}
	if err == nil {
		err = s.atRest()
	}
	for _, e := range s.inputs {
		e.close()
	}
	if s.does != nil {
		for _, g := range s.does.springs {
			g.edge.close()
		}
	}
	return err
}

// safely is process; a panic of the user's outside of a handler's call is an
// error.
func (s *stage) safely(ctx context.Context, t *task) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("verify stage %s, frame %d: panic: %v\n%s", s.name, t.p.Last, v, debug.Stack())
		}
	}()
	if err := s.process(ctx, t); err != nil {
		return fmt.Errorf("verify stage %s, frame %d: %w", s.name, t.p.Last, err)
	}
	return nil
}

// givenError says that a transition can only be taken as it is recorded.
type givenError struct{ reason string }

func (e givenError) Error() string { return e.reason }

// process executes a transition again, compares, and hands on what follows.
func (s *stage) process(ctx context.Context, t *task) error {
	s.takeUp(&t.p, t.entries)
	switch {
	case t.enters != nil:
		return s.enter(t.enters)
	case t.of != "":
		return s.inherit(&t.p)
	case !t.given:
		s.add(t.wrong...)
	}
	switch {
	case t.given:
		return s.asRecorded("")
	case len(t.wrong) > 0:
		return s.asRecorded("its transition contradicts the log before it")
	}
	if reason := s.v.other(s, t.p.Epoch); reason != "" {
		return s.asRecorded(reason)
	}
	if err := s.execute(ctx); err != nil {
		given := givenError{}
		if !errors.As(err, &given) {
			return err
		}
		if err := s.drop(); err != nil {
			return err
		}
		return s.asRecorded(given.reason)
	}
	s.Transitions++
	if err := s.compare(); err != nil {
		return err
	}
	return s.atEnds()
}

// takeUp makes a transition, with these entries, the one in hand.
func (s *stage) takeUp(p *journal.Placed, entries []entry) {
	s.p, s.entries, s.items, s.pieces = p, entries, 0, s.pieces[:0]
}

// execute does what the transition did.
func (s *stage) execute(ctx context.Context) error {
	switch n := s.node; {
	case n.Handler != nil:
		return s.handle(ctx)
	case n.Sink != nil:
		return s.deliver(ctx)
	case n.Performer != nil:
		return s.act(ctx)
	}
	return nil // a source: all of it is given
}

// drop undoes what was executed of the transition in hand.
func (s *stage) drop() error {
	for _, p := range s.all() {
		p.Writer.Rollback(0)
	}
	return s.revert()
}

func (s *stage) revert() error {
	for _, t := range s.node.Tables {
		if err := t.Revert(); err != nil {
			return fmt.Errorf("undo changes of table %s: %w", t.Name(), err)
		}
	}
	s.end.revert()
	return nil
}

// asRecorded takes the transition as it is recorded. An empty reason means that
// this was asked for.
func (s *stage) asRecorded(reason string) error {
	if reason != "" {
		s.skip(reason)
	}
	s.passOver()
	for _, p := range s.all() {
		for i := range s.p.Outputs {
			if o := &s.p.Outputs[i]; o.Port == p.Name {
				s.pass(p, o)
			}
		}
	}
	s.openAsRecorded()
	return s.apply()
}

// passOver takes what was consumed as read.
func (s *stage) passOver() {
	for i := range s.p.Consumed {
		c := &s.p.Consumed[i]
		e := s.input(c.Journal)
		switch {
		case e == nil:
		case c.Kind == journal.Run:
			e.skip(c.To)
		case c.Kind == journal.Ended:
			e.saw = c.End
		}
	}
}

// pass hands a recorded output on to the readers.
func (s *stage) pass(p *port, o *journal.Output) {
	p.count, p.digest = o.First+uint64(o.Count)-1, o.Digest
	if len(p.edges) == 0 {
		return
	}
	b, err := decode(p.Port, p.journal, o, s.p, s.v.epochs)
	if err != nil {
		s.skip(err.Error())
	}
	for _, e := range p.edges {
		e.push(b)
	}
}

// skip notes that a transition was not executed again.
func (s *stage) skip(reason string) {
	if s.count[reason] == 0 {
		s.why = append(s.why, reason)
	}
	s.count[reason]++
}

func (s *stage) skips() []Skip {
	var all []Skip
	for _, reason := range s.why {
		all = append(all, Skip{Stage: s.name, Transitions: s.count[reason], Reason: reason})
	}
	return all
}

// input returns the edge that reads a journal, nil if there is none.
func (s *stage) input(name string) *edge {
	for _, e := range s.inputs {
		if e.journal == name {
			return e
		}
	}
	return nil
}
