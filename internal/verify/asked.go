package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/weirflow/weir/internal/perform"
	"github.com/weirflow/weir/internal/plan"
)

// compare holds what the code asks for at a step against what is on record of it.
// With an error the execution ends here: nothing is on record, or not how it ended,
// or something else than the code asks for.
func (x *execution) compare(e *plan.Entry) error {
	past := x.of(e)
	if e.Type != plan.EntryChange {
		x.came[e.Step] = true
	}
	if len(past) == 0 {
		return x.wants(e)
	}
	x.last = max(x.last, past[len(past)-1].seq)
	for _, f := range past {
		if kindOf(f.Type) != kindOf(e.Type) {
			x.tell(Changed, f, Field{"type", word(f.Type), word(e.Type)})
			return errUnrecorded
		}
	}
	switch e.Type {
	case plan.EntryIntent:
		return x.compareCall(e, past)
	case plan.EntryWaiting:
		x.compareWait(e, past)
	default:
		x.surplus(past, 1)
	}
	return nil
}

// kindOf is the kind of step that an entry is of.
func kindOf(typ string) string {
	switch typ {
	case plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome, plan.EntryDrift:
		return "call"
	case plan.EntryWaiting, plan.EntryWoken:
		return "wait"
	}
	return typ
}

// of returns what counts of a step's record, without what people said of it.
func (x *execution) of(e *plan.Entry) (past []*fact) {
	for i := range x.t.facts[:x.n] {
		f := &x.t.facts[i]
		switch {
		case f.Step != e.Step, (f.Type == plan.EntryChange) != (e.Type == plan.EntryChange):
		case f.Type == plan.EntryDecision && f.Outcome == perform.DecideContinue:
			past = past[:0]
		case f.Type == plan.EntryDecision, f.Type == plan.EntryParked, f.Type == plan.EntryCompleted:
		default:
			past = append(past, f)
		}
	}
	return past
}

// surplus tells of facts of a step beyond the first n.
func (x *execution) surplus(past []*fact, n int) {
	for _, f := range past[min(n, len(past)):] {
		told := x.told
		x.tell(Inconsistent, f, Field{"type", "another " + word(f.Type), "none behind the one before"})
		x.told = told
	}
}

// compareWait compares a wait. When one began that is the first step is on record
// only by how long it is.
func (x *execution) compareWait(e *plan.Entry, past []*fact) {
	w := past[0]
	told := x.told
	defer func() { x.told = told }() // the execution goes on
	if w.Type != plan.EntryWaiting {
		x.tell(Inconsistent, w, Field{"type", word(w.Type), word(e.Type)})
		return
	}
	at := e.At
	if e.Took > 0 && at.IsZero() {
		if began := w.At.Add(-e.Took); !began.Before(x.t.accepted) && !began.After(w.at) {
			at = w.At
		} else {
			at = w.at.Add(e.Took)
		}
	}
	switch {
	case w.Effect != e.Effect:
		x.tell(Changed, w, Field{"signal", w.Effect, e.Effect})
	case w.Key != e.Key:
		x.tell(Changed, w, Field{"key", w.Key, e.Key})
	case !w.At.Equal(at):
		x.tell(Changed, w, Field{"until", timeText(w.At), timeText(at)})
	}
	if len(past) > 1 {
		if o := past[1]; o.Type != plan.EntryWoken {
			x.tell(Inconsistent, o, Field{"type", word(o.Type), word(plan.EntryWoken)})
		} else if o.ID == "" && o.At.Before(w.At) {
			x.tell(Inconsistent, o, Field{"at", timeText(o.At), "not before " + timeText(w.At)})
		}
	}
	x.surplus(past, 2)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// compareCall compares what is on record of a call with what the code asks for. A
// request that differs is told once.
func (x *execution) compareCall(e *plan.Entry, past []*fact) error {
	c := call{x: x, asked: e, effect: x.s.effect(e.Effect)}
	for _, f := range past {
		if f.Type == plan.EntryDrift {
			c.known = c.known || f.Hash == e.Hash && f.Version == e.Version
		}
	}
	told := x.told
	x.told = false
	for _, f := range past {
		c.fact(f)
	}
	x.told = told
	switch {
	case c.stranger:
		x.told = true
		return errUnrecorded
	case !c.ended && !x.decided(e.Step):
		if x.ends && !x.quiet && !x.told {
			d := x.s.about(x.t, Changed, x.last+1, e.Step)
			d.Fields = []Field{{"end", "the input is finished", "a call of " + e.Effect + " is not at its end"}}
			x.s.add(d)
		}
		x.told = true
		return errUnrecorded
	}
	return nil
}

// decided reports whether a person ended the call of a step.
func (x *execution) decided(step string) bool {
	for i := x.n - 1; i >= 0; i-- {
		if f := &x.t.facts[i]; f.Step == step {
			return f.Type == plan.EntryDecision && (f.Outcome == perform.DecideDone || f.Outcome == perform.DecideFailed)
		}
	}
	return false
}

// A call is what was seen of the record of one call, compared with what is asked
// for.
type call struct {
	x        *execution
	asked    *plan.Entry
	effect   *plan.Effect
	attempt  int   // the last that began, or ended
	begun    *fact // by which it began, if that is on record and its end is not
	ended    bool  // it is on record how it ended
	known    bool  // it is on record that the code asks for something else than was sent
	differs  bool  // that is told
	stranger bool  // it is a call of another effect
}

func (c *call) tell(f *fact, path, recorded, computed string) {
	c.x.tell(Changed, f, Field{path, recorded, computed})
}

// fact compares one entry.
func (c *call) fact(f *fact) {
	if f.Type == plan.EntryDrift {
		return
	}
	if c.ended {
		c.tell(f, "type", word(f.Type), "nothing behind the end of the call")
	}
	c.ended = c.ended || f.Final
	if f.Effect != c.asked.Effect {
		if !c.stranger {
			c.tell(f, "effect", f.Effect, c.asked.Effect)
		}
		c.stranger = true
		return
	}
	if f.Type != plan.EntryOutcome {
		if want := c.attempt + 1; f.Attempt != want {
			c.tell(f, "attempt", strconv.Itoa(f.Attempt), strconv.Itoa(want))
		} else if c.begun != nil && c.begun.epoch == f.epoch && !c.begun.taken {
			c.tell(f, "type", word(f.Type), "the end of attempt "+strconv.Itoa(c.attempt)) // no process died in between
		}
		c.attempt, c.begun = f.Attempt, f
	} else {
		c.outcome(f)
	}
	if c.differs || c.known {
		return
	}
	c.differs = true
	switch {
	case f.Version != c.asked.Version:
		c.tell(f, "version", f.Version, c.asked.Version)
	case f.Hash != c.asked.Hash, c.request(f) != nil:
		c.requestDiffers(f)
	case f.Hash == "" && f.Reason != c.asked.Reason: // no request could be made
		c.tell(f, "reason", f.Reason, c.asked.Reason)
	case f.Key != c.asked.Key && c.asked.Key != "" && (f.Key != "" || f.ID == ""): // a person's word needs none
		c.tell(f, "key", f.Key, c.asked.Key)
	default:
		c.differs = false
	}
}

// request returns the request that is on record with an entry, nil if none is, or
// it is the one that the code asks for.
func (c *call) request(f *fact) []byte {
	recorded := []byte(f.Request)
	if f.Type == plan.EntryIntent && len(recorded) == 0 {
		recorded = c.x.t.in.Data
	}
	if f.Type == plan.EntryOutcome || len(recorded) == 0 || bytes.Equal(recorded, c.asked.Request) {
		return nil
	}
	return recorded
}

// requestDiffers tells of a request in the fields that differ, or by its hash if it
// is not on record.
func (c *call) requestDiffers(f *fact) {
	s := c.x.s
	masks := s.v.masks.of(s.fxName(), "request")
	switch recorded := c.request(f); {
	case c.asked.Hash == "":
		c.tell(f, "request", s.text(orData(recorded, f.Hash)), c.asked.Reason)
	case f.Hash == "":
		c.tell(f, "request", f.Reason, s.text(c.asked.Request))
	case recorded == nil && masks != nil:
		s.Masked++
	case recorded == nil:
		c.tell(f, "hash", f.Hash, c.asked.Hash+" of "+s.text(c.asked.Request))
	default:
		fields := s.paths("request", recorded, c.asked.Request, masks)
		if len(fields) == 0 {
			s.Masked++
			return
		}
		if sum := sha256.Sum256(recorded); f.Hash == c.asked.Hash && hex.EncodeToString(sum[:]) != f.Hash {
			fields = append(fields, Field{"hash", f.Hash, hex.EncodeToString(sum[:]) + " of the recorded request"})
		}
		c.x.tell(Changed, f, fields...)
	}
}

func orData(data []byte, hash string) []byte {
	if len(data) == 0 {
		return []byte(hash)
	}
	return data
}

// outcome checks that an outcome follows from an attempt.
func (c *call) outcome(f *fact) {
	if f.By != "" || f.ID != "" || f.Outcome == plan.OutcomeRejected || f.Attempt == 0 { // an ID is that of a person's word
		c.begun = nil
		return
	}
	if c.effect != nil && c.effect.Safety == plan.Idempotent {
		if want := c.attempt + 1; f.Attempt != want {
			c.tell(f, "attempt", strconv.Itoa(f.Attempt), strconv.Itoa(want))
		}
		c.attempt = f.Attempt
		return
	}
	if c.begun == nil || f.Attempt != c.attempt {
		c.tell(f, "attempt", "the end of attempt "+strconv.Itoa(f.Attempt), "none that began")
	}
	c.begun = nil
}

func (s *stage) effect(name string) *plan.Effect {
	for _, e := range s.does.Effects() {
		if e.Name == name {
			return e
		}
	}
	return nil
}

// compareEnd compares what the code records with the end of an input.
func (x *execution) compareEnd() {
	s, t := x.s, x.t
	var end *fact
	for i := range t.facts {
		f := &t.facts[i]
		if end != nil {
			x.tell(Inconsistent, f, Field{"type", word(f.Type), "nothing behind the end"})
		}
		if f.Type == plan.EntryCompleted {
			end = f
		}
	}
	for i := range x.result.Entries {
		e := &x.result.Entries[i]
		switch {
		case e.Type != plan.EntryCompleted || end == nil:
			x.quiet = false
			x.told = false
			_ = x.wants(e)
		case s.v.replaying:
			x.endAgain(end, e)
		case end.Reason != e.Reason:
			x.tell(Changed, end, Field{"reason", end.Reason, e.Reason})
		case end.Emitted != e.Emitted:
			x.tell(Changed, end, Field{"emitted", strconv.Itoa(end.Emitted), strconv.Itoa(e.Emitted)})
		}
	}
}
