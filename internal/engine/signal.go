package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// ErrNobodyListens says that no stage that is still at work takes signals.
var ErrNobodyListens = errors.New("no stage of this run that is still at work takes signals")

// Signal gives a signal to every stage that takes some: each keeps it until one of
// its inputs awaits it. message says that it is a message from the inbox, by its id.
// It returns at once; told is called once, when all have
// recorded it, with where, or one of the reasons why not. A stage that has come to its
// end for good needs none. A signal that a stage has recorded before, by the message
// or the record that it was made of, is not recorded again and no error. The error
// is ErrNobodyListens; told is not called then.
func (r *Run) Signal(s plan.Signal, message bool, told func(at journal.LSN, err error)) error {
	to := r.listeners()
	if len(to) == 0 {
		return ErrNobodyListens
	}
	all := &tellers{left: len(to), told: told}
	for _, st := range to {
		st.signal(&arrival{Signal: s, message: message, told: all.tell})
	}
	return nil
}

// signal gives a to the stage.
func (s *stage) signal(a *arrival) {
	if !s.mail.post(message{kind: signalled, signal: a}) {
		a.told(0, s.gone())
	}
}

// gone says why a stage that has ended takes nothing more. The mailbox was found
// closed.
func (s *stage) gone() error {
	if s.rules.State() == supervise.StageDrained && s.rules.Ending() == supervise.Natural {
		return ErrNotOpen
	}
	return errEnded
}

// tellers add up what several stages tell.
type tellers struct {
	mu    sync.Mutex // guards what follows; never held in a wait
	left  int
	heard bool
	at    journal.LSN
	err   error
	told  func(at journal.LSN, err error)
}

func (a *tellers) tell(at journal.LSN, err error) {
	a.mu.Lock()
	a.at, a.left = max(a.at, at), a.left-1
	switch {
	case err == nil:
		a.heard = true
	case !errors.Is(err, ErrNotOpen):
		a.err = err
	}
	at, err, over := a.at, a.err, a.left == 0
	if err == nil && !a.heard {
		err = ErrNobodyListens
	}
	a.mu.Unlock()
	if over {
		a.told(at, err)
	}
}

// An arrival is a signal on its way into a stage.
type arrival struct {
	plan.Signal
	message bool // it came from the inbox
	told    func(at journal.LSN, err error)

	seq uint64 // on the port fx, in the open round
}

// A kept signal is on record in a table of the stage, from its arrival until an
// input that awaits it is woken.
type kept struct {
	seq   uint64 // on the port fx
	taken bool   // by a move that is not placed yet
}

// signals are what a performer knows of signals.
type signals struct {
	table   *plan.SignalTable
	come    []*arrival         // to be recorded, in order
	kept    map[string][]*kept // by address, in the order in which they came
	count   int                // of kept
	waiting map[string][]*task // by address, in order of acceptance
}

func newSignals(table *plan.SignalTable) *signals {
	return &signals{table: table, kept: map[string][]*kept{}, waiting: map[string][]*task{}}
}

// restore takes in what the table holds.
func (g *signals) restore() error {
	return plan.KeptSignals(g.table, func(seq uint64, k *plan.Kept) { g.put(k.Address(), seq) })
}

func (g *signals) put(address string, seq uint64) {
	g.kept[address] = append(g.kept[address], &kept{seq: seq})
	g.count++
}

// drop forgets a signal that was taken.
func (g *signals) drop(address string, k *kept) {
	g.count--
	if g.kept[address] = slices.DeleteFunc(g.kept[address], func(o *kept) bool { return o == k }); len(g.kept[address]) == 0 {
		delete(g.kept, address)
	}
}

// coming reports whether signals are to be recorded.
func (g *signals) coming() bool { return g != nil && len(g.come) > 0 }

// arrived puts a signal with those that are to be recorded, unless it is on record.
func (w *performer) arrived(a *arrival) {
	switch {
	case w.over:
		a.told(0, errEnded)
	case a.message && w.took.has(a.ID), a.From.Journal != "" && w.heardOf(a.From):
		a.told(w.s.last, nil)
	default:
		w.signals.come = append(w.signals.come, a)
	}
}

// heardOf reports whether a signal was made of the record before.
func (w *performer) heardOf(o plan.Origin) bool {
	row := w.signals.table.Peek(plan.SignalsOf(o.Journal))
	return row != nil && row.Seq >= o.Seq
}

// keep records the signals that have come, in the open transition.
func (w *performer) keep(r *round) error {
	s, g := w.s, w.signals
	if g == nil {
		return nil
	}
	s.node.Turn.Base, s.node.Turn.Item = 0, -1
	for _, a := range g.come[len(r.kept):] {
		if w.single && r.size > 0 || r.size >= turnBytes || len(r.kept) >= turnRecords {
			return nil
		}
		e := plan.Entry{Type: plan.EntrySignal, Effect: a.Name, Key: a.Key, ID: a.ID, Result: a.Payload, At: a.At.UTC()}
		data, err := plan.AppendEntry(nil, &e)
		if err != nil {
			return fmt.Errorf("signal %s for %q: %w", a.Name, a.Key, err)
		}
		a.seq = w.fx.count + 1 + uint64(len(r.kept))
		if err := plan.KeepSignal(g.table, a.seq, &a.Signal); err != nil {
			return err
		}
		because := journal.Consumed{Kind: journal.Signalled, ID: a.ID}
		if a.message {
			because.ID = journal.FromInbox + a.ID
		}
		s.consumeOther(because)
		s.said = append(s.said, saying{port: &w.fx, typ: e.Type, payload: data, about: a.From})
		r.kept = append(r.kept, a)
		r.said++
		r.size += len(data)
	}
	return nil
}

// manyKept is how many signals that nobody awaits are worth a word.
const manyKept = 100_000

// recorded lets everything follow from signals that are in the log.
func (w *performer) recorded(came []*arrival) {
	if len(came) == 0 {
		return
	}
	g := w.signals
	g.come = slices.Delete(g.come, 0, len(came))
	for _, a := range came {
		if a.message {
			w.took.add(a.ID)
		}
		if g.put(a.Address(), a.seq); g.count%manyKept == 0 {
			w.s.run.log.Warn("signals that nobody awaits are kept, and fill memory", attr("stage", w.s.name), attr("signals", strconv.Itoa(g.count)))
		}
		a.told(w.s.last, nil)
	}
	for _, a := range came {
		w.match(a.Address())
	}
}

// awaits has t woken by a signal, if it waits for one.
func (w *performer) awaits(t *task) {
	if t.wake.Signal == "" || w.signals == nil {
		return
	}
	a := addressOf(t)
	waiting := w.signals.waiting[a]
	at := len(waiting)
	for at > 0 && waiting[at-1].in.ID > t.in.ID {
		at--
	}
	w.signals.waiting[a] = slices.Insert(waiting, at, t)
	w.match(a)
}

// awaitsNot forgets that t waits for a signal.
func (w *performer) awaitsNot(t *task) {
	if t.wake.Signal == "" || w.signals == nil {
		return
	}
	a := addressOf(t)
	waiting := slices.DeleteFunc(w.signals.waiting[a], func(o *task) bool { return o == t })
	if w.signals.waiting[a] = waiting; len(waiting) == 0 {
		delete(w.signals.waiting, a)
	}
}

func addressOf(t *task) string {
	s := plan.Signal{Name: t.wake.Signal, Key: t.wake.Key}
	return s.Address()
}

// match makes moves of the kept signals of an address and the tasks that await
// them, the oldest of both first. Once nothing waits for signals any more they are
// left to the next epoch.
func (w *performer) match(address string) {
	g := w.signals
	if w.over || w.stopping {
		return
	}
	waiting := g.waiting[address]
	for _, k := range g.kept[address] {
		if k.taken {
			continue
		}
		for len(waiting) > 0 && waiting[0].moving > 0 {
			waiting = waiting[1:]
		}
		if len(waiting) == 0 {
			return
		}
		w.give(waiting[0], address, k)
	}
}

// give makes a move of a kept signal and a task that awaits it.
func (w *performer) give(t *task, address string, k *kept) {
	g := w.signals
	row := g.table.Peek(plan.KeptRow(k.seq))
	k.taken = true
	w.move(&move{
		t: t, again: true, because: journal.Consumed{Kind: journal.Signalled, ID: row.ID},
		note: note{entries: []plan.Entry{{Type: plan.EntryWoken, Step: t.wake.Step, Effect: row.Name, Key: row.Key, Result: slices.Clone(row.Payload), ID: row.ID, At: time.Now().UTC()}}},
		apply: func() error {
			w.s.node.Turn.Base, w.s.node.Turn.Item = 0, -1
			return plan.TakeSignal(g.table, k.seq)
		},
		told: func(_ journal.LSN, err error) {
			if k.taken = false; err == nil {
				g.drop(address, k)
			}
		},
	})
}

// unheard tells those whose signals were not recorded.
func (w *performer) unheard(err error) {
	if w.signals == nil {
		return
	}
	for _, a := range w.signals.come {
		a.told(0, err)
	}
	w.signals.come = nil
}

// Send gives signals to every stage that takes some, as Signal does, and returns
// once they are durable. After an error it is not known which stages have recorded
// which of them.
func (r *Run) Send(ctx context.Context, signals ...plan.Signal) error {
	type answer struct {
		at  journal.LSN
		err error
	}
	to := r.listeners()
	told := make(chan answer, len(to)*len(signals))
	for _, st := range to {
		for _, g := range signals {
			st.signal(&arrival{Signal: g, told: func(at journal.LSN, err error) { told <- answer{at, err} }})
		}
	}
	var last journal.LSN
	heard := false
	for range cap(told) {
		select {
		case a := <-told:
			if a.err != nil && !errors.Is(a.err, ErrNotOpen) {
				return a.err
			}
			heard, last = heard || a.err == nil, max(last, a.at)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if !heard {
		return ErrNobodyListens
	}
	return r.c.Log.Await(ctx, last)
}

// listeners are the stages that take signals.
func (r *Run) listeners() (to []*stage) {
	for _, s := range r.stages {
		if s.node.Performer != nil && s.node.Performing.Signals != nil && !s.ended {
			to = append(to, s)
		}
	}
	return to
}

// unsignalled reports whether no stage will send a signal any more in this epoch: then a
// stage that takes some, and whose input has ended, may end as well. If not, the
// stage looks again when others rest.
func (s *stage) unsignalled() bool {
	r := s.run
	gives := func(o *stage) bool {
		_, ok := o.node.Sink.(plan.Signaller)
		return ok && !o.over()
	}
	if !slices.ContainsFunc(r.stages, gives) {
		return true
	}
	s.listens.Store(true)
	r.listening.Store(true)
	for _, o := range r.stages {
		if !o.over() && (o.node.Source != nil || !o.resting.Load() && !o.listens.Load()) {
			return false
		}
	}
	return !slices.ContainsFunc(r.edges, func(e *edge) bool { return !e.to.over() && e.to != s && e.standing().pending })
}

// over reports whether the stage does nothing more in this epoch.
func (s *stage) over() bool {
	return s.ended || supervise.StageState(s.state.Load()).Terminal()
}
