package supervise

import (
	"time"
)

// Mode is how a run is to be ended before its inputs end.
type Mode uint8

// The modes, weakest first.
const (
	NoIntent   Mode = iota
	StopMode        // sources end, what is in flight finishes
	CancelMode      // cut short
)

func (m Mode) String() string { return name(m, "none", "stop", "cancel") }

// StopTimeout is the reason of a cancel that an expired stop deadline caused.
const StopTimeout = "stop_timeout"

// Intent is what has been asked for by stop and cancel. The zero value asks
// for nothing. The rules: the first reason wins, except that [StopTimeout]
// overrides it; a stop after a cancel is ignored; repeating a stop does not
// extend the deadline, it may bring it forward; a cancel makes the deadline
// void.
type Intent struct {
	Mode     Mode
	Reason   string
	Deadline time.Time // when a stop becomes a cancel; zero means never
}

// Stop returns the intent after a stop. A zero deadline means none.
func (i Intent) Stop(reason string, deadline time.Time) Intent {
	switch {
	case i.Mode == CancelMode:
	case i.Mode == NoIntent:
		i = Intent{Mode: StopMode, Reason: reason, Deadline: deadline}
	case !deadline.IsZero() && (i.Deadline.IsZero() || deadline.Before(i.Deadline)):
		i.Deadline = deadline
	}
	return i
}

// Cancel returns the intent after a cancel.
func (i Intent) Cancel(reason string) Intent {
	if i.Mode == CancelMode {
		return i
	}
	if i.Mode == StopMode {
		reason = i.Reason
	}
	return Intent{Mode: CancelMode, Reason: reason}
}

// Expire returns the intent after the deadline of a stop has passed. Without a
// stop that has a deadline nothing changes.
func (i Intent) Expire() Intent {
	if i.Mode != StopMode || i.Deadline.IsZero() {
		return i
	}
	return Intent{Mode: CancelMode, Reason: StopTimeout}
}

// Status is how an epoch of a run or of a stage ended.
type Status uint8

// The statuses. Interrupted is never written: it is the status of an epoch
// without a terminal record.
const (
	NoStatus Status = iota
	Completed
	Stopped
	Cancelled
	Failure
	Interrupted
)

func (s Status) String() string {
	return name(s, "none", "completed", "stopped", "cancelled", "failed", "interrupted")
}

// Ending is the kind of an EOF. The worst of a stage's inputs is the kind of
// the stage's own.
type Ending uint8

// The kinds, best first.
const (
	NotEnded  Ending = iota
	Natural          // there is no more: ends the journal for good
	Truncated        // a stop: ends the epoch
	Poison           // a failure upstream: ends the epoch
)

func (e Ending) String() string { return name(e, "not ended", "natural", "truncated", "poison") }

// Final reports whether the ending says that there is no more. Only such an
// ending releases a join that reads its table to the end, triggers AtEnd,
// end-of-input emissions and final renames, and ends a journal for good.
func (e Ending) Final() bool { return e == Natural }

// Worse returns the worse of the two endings.
func (e Ending) Worse(other Ending) Ending { return max(e, other) }

// Merge returns the ending of a stage from those of its inputs: the worst, or
// NotEnded while one of them has not ended. Without inputs it is NotEnded.
func Merge(inputs ...Ending) Ending {
	worst := NotEnded
	for _, e := range inputs {
		if e == NotEnded {
			return NotEnded
		}
		worst = worst.Worse(e)
	}
	return worst
}
