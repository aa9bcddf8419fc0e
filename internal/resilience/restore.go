package resilience

import (
	"errors"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
)

// An attempt is a call as the record has it.
type attempt struct {
	began, ended time.Time
	verdict      verdict
	open         bool // no end is on record
}

// Restore goes through the attempts that entries tell of, oldest first, as if
// they were made now: a breaker that was open is open for the rest of its time, a
// bucket is as empty as the attempts left it. It is called before the guard is
// used; entries of other effects are passed over. What several guards share is
// restored from the entries of all, whichever comes first.
//
// The breaker's Counts is asked about errors made of what is on record: kind,
// text, and whether the failure was permanent.
func (g *Guard) Restore(entries []plan.Entry) {
	now := g.set.now()
	past := g.attempts(entries)
	for i := range past { // the clock may have been put back since
		a := &past[i]
		if ahead := a.ended.Sub(now); ahead > 0 {
			a.began, a.ended = a.began.Add(-ahead), now
		}
	}
	if g.breaker != nil {
		g.breaker.restore(past)
	}
	if g.bucket != nil {
		g.bucket.restore(past, now)
	}
}

// attempts returns the attempts that entries tell of.
func (g *Guard) attempts(entries []plan.Entry) []attempt {
	type id struct {
		step, key string
		attempt   int
	}
	var all []attempt
	began := map[id]int{} // index in all of what has a beginning on record
	for i := range entries {
		e := &entries[i]
		if e.Effect != g.effect {
			continue
		}
		k := id{e.Step, e.Key, e.Attempt}
		switch e.Type {
		case plan.EntryIntent, plan.EntryAttempt:
			k.attempt = max(k.attempt, 1) // the intent is written just before the first
			if at, ok := began[k]; ok {
				all[at].began = e.At
				continue
			}
			began[k] = len(all)
			all = append(all, attempt{began: e.At, ended: e.At, open: true})
		case plan.EntryOutcome:
			v, made := g.recorded(e)
			if !made {
				continue
			}
			a := attempt{began: e.At.Add(-max(e.Took, 0)), ended: e.At, verdict: v}
			if at, ok := began[k]; ok {
				all[at] = a
				delete(began, k)
			} else {
				all = append(all, a)
			}
		}
	}
	return all
}

// recorded returns what a recorded outcome says about the service, and whether an
// attempt was made that ended with it.
func (g *Guard) recorded(e *plan.Entry) (v verdict, made bool) {
	if e.Attempt == 0 || e.By != "" {
		return nothing, false
	}
	switch e.Outcome {
	case plan.OutcomeDone:
		return worked, true
	case plan.OutcomeNotDone, plan.OutcomeUnknown:
		err := errors.New(e.Reason)
		if e.Kind != "" {
			err = event.Mark(e.Kind, err)
		}
		if e.Outcome == plan.OutcomeNotDone {
			err = &plan.RefusedError{Err: err, Final: e.Kind == event.KindPermanent, After: e.RetryAfter}
		}
		return judge(err, g.counts), true
	default:
		return nothing, false
	}
}

// restore has the breaker go through past, together with what it was restored from
// before.
func (b *breaker) restore(past []attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	past = append(b.past, past...)
	if b.policy.Name != "" {
		b.past = past
	}
	s := breakerState{latest: newWindow(&b.policy)}
	type edge struct {
		at  time.Time
		end bool
		of  int
	}
	var edges []edge
	for i, a := range past {
		if !a.open {
			edges = append(edges, edge{a.began, false, i}, edge{a.ended, true, i})
		}
	}
	slices.SortStableFunc(edges, func(x, y edge) int { return x.at.Compare(y.at) })
	rounds := make(map[int]uint64, len(past))
	for _, e := range edges {
		a := &past[e.of]
		if !e.end {
			if b.step(&s, e.at) {
				rounds[e.of] = s.round
			}
		} else if round, out := rounds[e.of]; out {
			b.count(&s, e.at, round, a.verdict, a.ended.Sub(a.began))
		}
	}
	// Calls of this process may be under way: they are of no round of s. What they
	// led to is kept if it is worse.
	s.round += b.state.round + 1
	if s.phase == halfOpen {
		s.probing = 0
	}
	if b.state.phase != open || s.phase == open && s.until.After(b.state.until) {
		b.state = s
		b.wake()
	}
}

// restore takes the tokens of past, together with what was taken before.
func (b *bucket) restore(past []attempt, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	past = append(b.past, past...)
	slices.SortStableFunc(past, func(x, y attempt) int { return x.began.Compare(y.began) })
	if b.policy.Name != "" {
		b.past = past
	}
	tokens := b.full()
	for _, a := range past {
		tokens.ReserveN(a.began, 1)
	}
	// What this process took already stays taken.
	for more := int(tokens.TokensAt(now) - b.tokens.Load().TokensAt(now)); more > 0; more-- {
		tokens.ReserveN(now, 1)
	}
	b.tokens.Store(tokens)
}
