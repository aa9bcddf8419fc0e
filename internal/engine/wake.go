package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// alarms are the suspended tasks that wait for a time, the first first.
type alarms struct{ tasks []*task }

// set has t woken at its time, if it waits for one.
func (a *alarms) set(t *task) {
	if t.wake.At.IsZero() {
		return
	}
	at := len(a.tasks)
	for at > 0 && a.tasks[at-1].wake.At.After(t.wake.At) {
		at--
	}
	a.tasks = slices.Insert(a.tasks, at, t)
}

// unset forgets t.
func (a *alarms) unset(t *task) {
	a.tasks = slices.DeleteFunc(a.tasks, func(o *task) bool { return o == t })
}

// ring makes moves of the tasks whose time has come, and has the stage woken for
// the next.
func (a *alarms) ring(w *performer) {
	now := time.Now()
	for len(a.tasks) > 0 && !w.over {
		t := a.tasks[0]
		if t.wake.At.After(now) {
			w.s.wakeAt = t.wake.At
			return
		}
		a.tasks = slices.Delete(a.tasks, 0, 1)
		if !w.moving(t) {
			w.moves = append(w.moves, &move{
				t: t, again: true, because: journal.Consumed{Kind: journal.TimerDue, ID: fmt.Sprintf("%d/%s", t.in.ID, t.wake.Step)},
				entries: []plan.Entry{{Type: plan.EntryWoken, Step: t.wake.Step, At: now.UTC()}},
			})
		}
	}
}
