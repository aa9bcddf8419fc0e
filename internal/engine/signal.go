package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// ErrNobodyListens says that no stage that is still at work takes signals.
var ErrNobodyListens = errors.New("no stage of this run that is still at work takes signals")

// Signal gives a signal to every stage that takes some: each keeps it until one of
// its inputs awaits it. It returns at once; told is called once, when all have
// recorded it, with where, or one of the reasons why not. A signal that a stage has
// recorded before, by its id or by the record that it was made of, is not recorded
// again and no error. The error is ErrNobodyListens; told is not called then.
func (r *Run) Signal(s plan.Signal, told func(at journal.LSN, err error)) error {
	to := r.listeners()
	if len(to) == 0 {
		return ErrNobodyListens
	}
	all := &tellers{left: len(to), told: told}
	for _, st := range to {
		st.mail.post(message{kind: signalled, signal: &arrival{Signal: s, told: all.tell}})
	}
	return nil
}

// tellers add up what several stages tell.
type tellers struct {
	mu   sync.Mutex // guards what follows; never held in a wait
	left int
	at   journal.LSN
	err  error
	told func(at journal.LSN, err error)
}

func (a *tellers) tell(at journal.LSN, err error) {
	a.mu.Lock()
	a.at, a.left = max(a.at, at), a.left-1
	if err != nil {
		a.err = err
	}
	at, err, over := a.at, a.err, a.left == 0
	a.mu.Unlock()
	if over {
		a.told(at, err)
	}
}

// An arrival is a signal on its way into a stage.
type arrival struct {
	plan.Signal
	told func(at journal.LSN, err error)
}

// signals are what a performer knows of signals. They are on record in a table of
// the stage, from their arrival until an input that awaits them is woken.
type signals struct {
	table   *plan.SignalTable
	known   map[string]bool    // ids among the latest on record
	come    []*arrival         // to be recorded, in order
	waiting map[string][]*task // by address, in order of acceptance
	taken   map[string]bool    // ids that a move takes which is not placed yet
}

func newSignals(table *plan.SignalTable) *signals {
	return &signals{table: table, known: map[string]bool{}, waiting: map[string][]*task{}, taken: map[string]bool{}}
}

// coming reports whether signals are to be recorded.
func (g *signals) coming() bool { return g != nil && len(g.come) > 0 }

// arrived puts a signal with those that are to be recorded, unless it is on record.
func (w *performer) arrived(a *arrival) {
	g := w.signals
	switch {
	case w.over:
		a.told(0, errEnded)
	case g.known[a.ID], a.From.Journal != "" && w.heardOf(a.From):
		a.told(w.s.last, nil)
	default:
		g.come = append(g.come, a)
	}
}

// heardOf reports whether a signal was made of the record before.
func (w *performer) heardOf(o plan.Origin) bool {
	row := w.signals.table.Peek(plan.SignalsOf(o.Journal))
	return row != nil && row.Seq >= o.Seq
}

// learn notes which signals are among the latest on record.
func (g *signals) learn(latest []plan.Entry) {
	for i := range latest {
		if e := &latest[i]; e.Type == plan.EntrySignal {
			g.known[e.ID] = true
		}
	}
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
		if err := plan.KeepSignal(g.table, &a.Signal); err != nil {
			return err
		}
		s.consumeOther(journal.Consumed{Kind: journal.Signalled, ID: a.ID})
		s.said = append(s.said, saying{port: &w.fx, typ: e.Type, payload: data, about: a.From})
		r.kept = append(r.kept, a)
		r.said++
		r.size += len(data)
	}
	return nil
}

// recorded lets everything follow from signals that are in the log.
func (w *performer) recorded(kept []*arrival) {
	if len(kept) == 0 {
		return
	}
	g := w.signals
	g.come = slices.Delete(g.come, 0, len(kept))
	for _, a := range kept {
		g.known[a.ID] = true
		a.told(w.s.last, nil)
	}
	for _, a := range kept {
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
// them, the oldest of both first.
func (w *performer) match(address string) {
	g := w.signals
	row := g.table.Peek(address)
	if row == nil || w.over {
		return
	}
	waiting := g.waiting[address]
	for _, kept := range row.Signals {
		if g.taken[kept.ID] {
			continue
		}
		for len(waiting) > 0 && waiting[0].moving > 0 {
			waiting = waiting[1:]
		}
		if len(waiting) == 0 {
			return
		}
		t := waiting[0]
		g.taken[kept.ID] = true
		w.move(&move{
			t: t, again: true, because: journal.Consumed{Kind: journal.Signalled, ID: kept.ID},
			note: note{entries: []plan.Entry{{Type: plan.EntryWoken, Step: t.wake.Step, Effect: t.wake.Signal, Key: t.wake.Key, Result: slices.Clone(kept.Payload), ID: kept.ID, At: time.Now().UTC()}}},
			apply: func() error {
				w.s.node.Turn.Base, w.s.node.Turn.Item = 0, -1
				return plan.TakeSignal(g.table, address, kept.ID)
			},
			told: func(journal.LSN, error) { delete(g.taken, kept.ID) },
		})
	}
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
// once they are durable.
func (r *Run) Send(ctx context.Context, signals ...plan.Signal) error {
	var last journal.LSN
	heard := false
	for _, st := range r.listeners() {
		at, err := st.send(ctx, signals)
		if errors.Is(err, errEnded) {
			continue
		}
		if err != nil {
			return err
		}
		heard, last = true, max(last, at)
	}
	if !heard {
		return ErrNobodyListens
	}
	return r.c.Log.Await(ctx, last)
}

// send returns where the stage has recorded the last of some signals.
func (s *stage) send(ctx context.Context, signals []plan.Signal) (last journal.LSN, err error) {
	type answer struct {
		at  journal.LSN
		err error
	}
	told := make(chan answer, len(signals))
	for _, g := range signals {
		s.mail.post(message{kind: signalled, signal: &arrival{Signal: g, told: func(at journal.LSN, err error) { told <- answer{at, err} }}})
	}
	ended := s.done
	for range signals {
		var a answer
		select {
		case a = <-told:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-ended:
			select {
			case a = <-told: // with its last words
			default:
				return 0, errEnded
			}
		}
		if a.err != nil {
			return 0, a.err
		}
		last = max(last, a.at)
	}
	return last, nil
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
