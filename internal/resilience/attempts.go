package resilience

import (
	"context"
	"time"
)

// Attempts counts the attempts of one action of a source or a sink. It belongs to
// one goroutine.
type Attempts struct {
	guard *Guard
	made  int
	first time.Time
}

// Attempts returns a count of none.
func (g *Guard) Attempts() *Attempts { return &Attempts{guard: g} }

// Reset begins anew: the action succeeded.
func (a *Attempts) Reset() { a.made = 0 }

// Again counts an attempt that ended with err, waits as the policy asks, and
// reports whether to make another. It is false once ctx has ended.
func (a *Attempts) Again(ctx context.Context, err error) bool {
	set := a.guard.set
	now := set.now()
	if a.made++; a.made == 1 {
		a.first = now
	}
	t := Tried{Made: a.made, First: a.first, Last: now, After: After(err, now)}
	if set.rand != nil {
		t.Draw = set.rand()
	}
	at, ok := Next(a.guard.retry, t)
	return ok && sleep(ctx, at.Sub(now))
}
