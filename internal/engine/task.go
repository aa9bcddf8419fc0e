package engine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// A task is one accepted input that is not finished: an entry of the stage's open
// work. It belongs to the stage's goroutine; an execution of it gets what it needs
// when it begins.
type task struct {
	in      plan.Accepted
	state   taskState
	notes   []note        // recorded of it, in order
	must    journal.LSN   // what a call of it waits for
	late    bool          // it was parked: its output leaves when it comes, not in order
	emit    func()        // of an answered one; may be nil
	failure *plan.Failure // of an answered one: it is buried
	wake    plan.Wake     // of a suspended one
	alarm   int           // place among the alarms, counted from 1; zero if it has none
	moving  int           // moves of it that wait to be placed
	now     *move         // of it, in the open round
	leaving bool          // it finishes with the open round
}

type taskState uint8

const (
	taskBlocked   taskState = iota // behind another of its key
	taskReady                      // waits for a slot
	taskRunning                    //
	taskAnswered                   // its outcome is recorded, its output is not
	taskParked                     // waits for a decision
	taskSuspended                  // waits for a time or a signal
	taskCut                        // goes on at resume
)

// origin is the record that was accepted.
func (t *task) origin() plan.Origin {
	return plan.Origin{Journal: t.in.Input.Journal, Seq: t.in.Input.Seq}
}

func (t *task) ref() string { return fmt.Sprintf("%s:%d", t.in.Input.Journal, t.in.Input.Seq) }

// A note is what one transition recorded of a task. Nobody changes it: executions
// share memory with it.
type note struct {
	entries []plan.Entry
	first   uint64 // sequence of the first entry on the port fx; the others follow it. Zero: a single one on another stage's port
}

// history is all that was recorded of t.
func (t *task) history() []plan.Entry {
	switch len(t.notes) {
	case 0:
		return nil
	case 1:
		return slices.Clip(t.notes[0].entries)
	}
	var all []plan.Entry
	for i := range t.notes {
		all = append(all, t.notes[i].entries...)
	}
	return all
}

// last is what was recorded of t last, nil if nothing was.
func (t *task) last() *plan.Entry {
	if len(t.notes) == 0 {
		return nil
	}
	es := t.notes[len(t.notes)-1].entries
	return &es[len(es)-1]
}

// add makes a task of an accepted input and puts it behind the others.
func (w *performer) add(t *task) {
	w.tasks[t.in.ID] = t
	w.bytes += len(t.in.Data)
	w.s.open.Store(int64(len(w.tasks)))
	if !w.tune.Unordered && !t.late {
		w.order = append(w.order, t)
	}
	if t.in.Key != "" {
		w.keys[t.in.Key] = append(w.keys[t.in.Key], t)
	}
	switch {
	case t.state == taskParked:
		w.parked++
	case t.state == taskAnswered && w.tune.Unordered:
		w.loose = append(w.loose, t)
	case t.state == taskAnswered:
	case t.in.Key == "" || w.keys[t.in.Key][0] == t:
		w.enqueue(t)
	}
}

// yield lets the next of t's key go, after what was placed of t.
func (w *performer) yield(t *task) {
	k := t.in.Key
	if k == "" || len(w.keys[k]) == 0 || w.keys[k][0] != t {
		return
	}
	w.keys[k] = w.keys[k][1:]
	if len(w.keys[k]) == 0 {
		delete(w.keys, k)
		return
	}
	next := w.keys[k][0]
	next.must = max(next.must, t.must)
	if next.state == taskBlocked {
		w.enqueue(next)
	}
}

// remove forgets a finished task.
func (w *performer) remove(t *task) {
	delete(w.tasks, t.in.ID)
	w.bytes -= len(t.in.Data)
	w.s.open.Store(int64(len(w.tasks)))
}

// sorted returns the tasks in order of acceptance.
func (w *performer) sorted() []*task {
	all := make([]*task, 0, len(w.tasks))
	for _, id := range slices.Sorted(maps.Keys(w.tasks)) {
		all = append(all, w.tasks[id])
	}
	return all
}

// remember puts the open work into what a snapshot holds.
func (w *performer) remember(at *recovery.Stage) error {
	if w.at != nil { // the stage ends before it took it in
		at.NextOpen, at.Taken = w.at.NextOpen, w.at.Taken
		for i := range w.at.Open {
			o := w.at.Open[i]
			var err error
			if o.Data, err = w.renew(&o); err == nil {
				o.Updates, err = ownUpdates(&o)
			}
			if err != nil {
				return err
			}
			at.Open = append(at.Open, o)
		}
		return nil
	}
	at.NextOpen, at.Taken = w.next, w.took.ids
	for _, t := range w.sorted() {
		o := recovery.Open{OpenWork: journal.OpenWork{
			Op: journal.OpenAdd, ID: t.in.ID, Epoch: t.in.Input.Epoch, Journal: t.in.Input.Journal, Seq: t.in.Input.Seq, Data: t.in.Data,
		}}
		for _, n := range t.notes {
			for i := range n.entries {
				u, err := plan.AppendUpdate(nil, n.first+uint64(i), &n.entries[i])
				if err != nil {
					return fmt.Errorf("open work of %s: %w", t.ref(), err)
				}
				o.Updates = append(o.Updates, u)
			}
		}
		at.Open = append(at.Open, o)
	}
	return nil
}

// ownUpdates returns the updates of an accepted input as the stage would write them:
// what another stage recorded is not on its port.
func ownUpdates(o *recovery.Open) ([][]byte, error) {
	all := slices.Clone(o.Updates)
	for i := range o.Foreign {
		_, e, err := plan.ParseUpdate(all[i])
		if err == nil {
			all[i], err = plan.AppendUpdate(nil, 0, &e)
		}
		if err != nil {
			return nil, fmt.Errorf("open work of %s:%d: %w", o.Journal, o.Seq, err)
		}
	}
	return all, nil
}
