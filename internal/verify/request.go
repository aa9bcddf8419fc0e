package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// requests compares what is on record about the calls of an input with what its
// execution asked for.
func (s *stage) requests(t *open) {
	steps := map[string]*calls{}
	for i := range t.entries {
		e := &t.entries[i]
		switch e.Type {
		case plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome:
		case plan.EntryDecision: // and it may begin anew, with the next attempt
			if c := steps[e.Step]; c != nil {
				steps[e.Step] = &calls{attempt: c.attempt}
			}
			continue
		default:
			continue
		}
		c := steps[e.Step]
		if c == nil {
			c = &calls{}
			steps[e.Step] = c
		}
		s.entry(t, c, e, t.seqs[i])
	}
}

// calls is what was seen of the calls of one step.
type calls struct {
	attempt int  // the last that began, or ended
	begun   bool // one is on record to have begun
	ended   bool // it is on record how it ended
	told    bool // that the request differs
}

// entry compares one entry. A request that differs is told once for each step.
func (s *stage) entry(t *open, c *calls, e *plan.Entry, seq uint64) {
	differs := func(path, recorded, computed string) {
		d := s.differs(s.fxName(), seq, path, recorded, computed)
		d.Key = t.in.Key
		s.add(d)
	}
	effect := s.effect(e.Effect)
	if effect == nil {
		if !c.told {
			differs("effect", e.Effect, "none of that name")
		}
		c.told = true
		return
	}
	if c.ended {
		differs("type", e.Type, "nothing behind the end of the call")
	}
	c.ended = c.ended || e.Final
	if e.Type != plan.EntryOutcome {
		if want := c.attempt + 1; e.Attempt != want {
			differs("attempt", strconv.Itoa(e.Attempt), strconv.Itoa(want))
		}
		c.attempt, c.begun = e.Attempt, true
	} else {
		s.outcome(c, e, effect, differs)
	}
	if c.told || s.drifted(t, e) {
		return
	}
	if e.Version != effect.Version {
		c.told = true
		differs("version", e.Version, effect.Version)
	}
	if e.Hash == "" {
		return // no request could be made
	}
	asked, all := s.request(effect, e.Hash)
	if asked == nil {
		c.told = true
		s.requestDiffers(t, e, all, differs)
		return
	}
	if e.Type != plan.EntryOutcome && len(e.Request) > 0 && !bytes.Equal(e.Request, asked.data) {
		c.told = true
		for _, f := range s.paths("request", e.Request, asked.data, nil) {
			differs(f.Path, f.Recorded, f.Computed)
		}
	}
	if e.Type == plan.EntryIntent && len(e.Request) == 0 && !bytes.Equal(asked.data, t.in.Data) {
		c.told = true
		differs("request", "", s.text(asked.data))
	}
	if key := s.key(t, e, asked); e.Key != key && key != "" {
		c.told = true
		differs("key", e.Key, key)
	}
}

// outcome checks that an outcome follows from an attempt.
func (s *stage) outcome(c *calls, e *plan.Entry, effect *plan.Effect, differs func(path, recorded, computed string)) {
	if e.By != "" || e.Outcome == plan.OutcomeRejected || e.Attempt == 0 {
		return
	}
	if effect.Safety == plan.Idempotent {
		if want := c.attempt + 1; e.Attempt != want {
			differs("attempt", strconv.Itoa(e.Attempt), strconv.Itoa(want))
		}
		c.attempt = e.Attempt
		return
	}
	if !c.begun || e.Attempt != c.attempt {
		differs("attempt", fmt.Sprintf("the end of attempt %d", e.Attempt), fmt.Sprintf("%d attempts are on record", c.attempt))
	}
}

// drifted reports whether it is on record that the code asked for something else
// than what was sent, as it does now.
func (s *stage) drifted(t *open, e *plan.Entry) bool {
	for i := range t.entries {
		if d := &t.entries[i]; d.Type == plan.EntryDrift && d.Step == e.Step && d.Hash != e.Hash {
			asked, _ := s.request(s.effect(e.Effect), d.Hash)
			return asked != nil
		}
	}
	return false
}

func (s *stage) effect(name string) *plan.Effect {
	for _, e := range s.does.Effects() {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// request returns the computed request of an effect that has a hash, and all of
// the effect.
func (s *stage) request(e *plan.Effect, hash string) (found *request, all []*request) {
	for i := range s.does.asked {
		r := &s.does.asked[i]
		if r.effect != e {
			continue
		}
		all = append(all, r)
		if sum := sha256.Sum256(r.data); hex.EncodeToString(sum[:]) == hash {
			found = r
		}
	}
	return found, all
}

// requestDiffers tells of a request that was not computed.
func (s *stage) requestDiffers(t *open, e *plan.Entry, all []*request, differs func(path, recorded, computed string)) {
	if len(all) != 1 {
		differs("hash", e.Hash, fmt.Sprintf("%d other requests", len(all)))
		return
	}
	recorded := []byte(e.Request)
	if len(recorded) == 0 && e.Type == plan.EntryIntent {
		recorded = t.in.Data
	}
	if len(recorded) == 0 || bytes.Equal(recorded, all[0].data) {
		sum := sha256.Sum256(all[0].data)
		differs("hash", e.Hash, hex.EncodeToString(sum[:])+" of "+s.text(all[0].data))
		return
	}
	for _, f := range s.paths("request", recorded, all[0].data, nil) {
		differs(f.Path, f.Recorded, f.Computed)
	}
}

// key is what the call is to be identified by; "" if that cannot be told.
func (s *stage) key(t *open, e *plan.Entry, r *request) (key string) {
	defer func() {
		if recover() != nil { // of the user's function
			key = ""
		}
	}()
	switch {
	case r.effect.Key != nil:
		return r.effect.Key(r.req)
	case s.v.replays:
		return "" // the recorded ones are those of the run that was replayed
	}
	return perform.Key(&t.in, e.Step)
}
