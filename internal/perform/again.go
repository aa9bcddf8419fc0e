package perform

import (
	"slices"

	"github.com/weirflow/weir/internal/plan"
)

// MayHaveHappened returns the step of a call that may have happened, by what is on
// record about an input; ok is false if all of them are known not to have.
func MayHaveHappened(history []plan.Entry) (step string, ok bool) {
	for i := range history {
		e := &history[i]
		switch e.Type {
		case plan.EntryIntent, plan.EntryAttempt, plan.EntryOutcome:
		default:
			continue
		}
		if k := fold(e.Step, history); k.mayHaveHappened() {
			return e.Step, true
		}
	}
	return "", false
}

func (k *known) mayHaveHappened() bool {
	if f := k.final; f != nil {
		return f.Outcome == plan.OutcomeDone || f.Outcome == plan.OutcomeUnknown || f.Outcome == plan.OutcomeFallback && k.doubt
	}
	return k.open || k.doubt || k.unknown()
}

// counted returns the entries of a step that count for another run: what the input
// was put aside for does only where a person said then that the record before it
// counts no more, and that a result could not be read does not.
func counted(step string, history []plan.Entry) (past []plan.Entry) {
	result := 0 // entries up to the newest result
	for i := range history {
		e := &history[i]
		if e.Step != step || e.Type == plan.EntryParked && !overruled(e, history[i+1:]) {
			continue
		}
		past = append(past, *e)
		if e.Type == plan.EntryOutcome && e.Outcome == plan.OutcomeDone {
			if e.Kind == "" {
				result = len(past)
			} else if result > 0 { // it was given up
				past = past[:result]
			}
		}
	}
	return past
}

// overruled reports whether the next decision after what an input was put aside for
// makes the record before it count no more.
func overruled(parked *plan.Entry, then []plan.Entry) bool {
	i := slices.IndexFunc(then, func(e plan.Entry) bool { return e.Step == parked.Step && e.Type == plan.EntryDecision })
	return parked.Outcome == plan.ParkedDiverged && i >= 0 && then[i].Outcome == DecideContinue
}

// Again returns what the record of the call of a step that came to nothing is for an
// execution that makes it again, in another run: history is all that is on record
// about the input, data what was accepted, decided says who wants it again.
//
// Of a call that is known not to have happened nothing counts, and it is made anew.
// One whose result is on record is not made again. Any other goes on from its
// record: with the recorded request and key if the effect has one, and if it is at
// most once, not before somebody is asked.
func Again(step string, history []plan.Entry, data []byte, s plan.Safety, decided plan.Entry) []plan.Entry {
	decided.Type, decided.Step, decided.Outcome = plan.EntryDecision, step, DecideRetry
	k := fold(step, history)
	if !k.mayHaveHappened() {
		return []plan.Entry{decided}
	}
	past := counted(step, history)
	done, asked := false, false
	for i := range past {
		e := &past[i]
		e.Emitted = 0
		switch e.Type {
		case plan.EntryIntent, plan.EntryAttempt:
			if !asked && len(e.Request) == 0 { // it was what was accepted
				e.Request = data
			}
			asked = true
		case plan.EntryOutcome:
			done = e.Final && e.Outcome == plan.OutcomeDone
			e.Final = done
		}
	}
	if done || s == plan.AtMostOnce {
		return past
	}
	return append(past, decided)
}
