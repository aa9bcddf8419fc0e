package engine

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// alarms are the suspended tasks that wait for a time, as a heap: the next is the
// first.
type alarms []*task

// set has t woken at its time, if it waits for one.
func (a *alarms) set(t *task) {
	if !t.wake.At.IsZero() {
		heap.Push(a, t)
	}
}

// unset forgets t.
func (a *alarms) unset(t *task) {
	if t.alarm != 0 {
		heap.Remove(a, t.alarm-1)
	}
}

// ring makes moves of the tasks whose time has come, and has the stage woken for
// the next.
func (a *alarms) ring(w *performer) {
	if len(*a) == 0 {
		return
	}
	now := time.Now()
	for len(*a) > 0 && !w.over {
		t := (*a)[0]
		if t.wake.At.After(now) {
			w.s.wakeAt = t.wake.At
			return
		}
		a.unset(t)
		if t.moving == 0 {
			w.move(&move{
				t: t, again: true, because: journal.Consumed{Kind: journal.TimerDue, ID: fmt.Sprintf("%d/%s", t.in.ID, t.wake.Step)},
				note: note{entries: []plan.Entry{{Type: plan.EntryWoken, Step: t.wake.Step, At: now.UTC()}}},
			})
		}
	}
}

// The rest is for package heap. A task knows its place, counted from 1.

func (a alarms) Len() int { return len(a) }

func (a alarms) Less(i, j int) bool {
	if c := a[i].wake.At.Compare(a[j].wake.At); c != 0 {
		return c < 0
	}
	return a[i].in.ID < a[j].in.ID
}

func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].alarm, a[j].alarm = i+1, j+1
}

func (a *alarms) Push(t any) {
	*a = append(*a, t.(*task))
	t.(*task).alarm = len(*a)
}

func (a *alarms) Pop() any {
	n := len(*a) - 1
	t := (*a)[n]
	(*a)[n], *a = nil, (*a)[:n]
	t.alarm = 0
	return t
}
