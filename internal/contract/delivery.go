package contract

import (
	"cmp"
	"slices"
)

// Delivery is the delivery contract of a sink on one input: every accepted
// data record gets a terminal receipt, once. What is open is kept as ranges.
type Delivery struct {
	subject   Subject
	accepted  uint64
	receipted uint64
	last      uint64 // last accepted sequence
	open      []span // sorted, with a gap between any two
	violated  Violation
}

type span struct{ from, to uint64 }

// NewDelivery returns the contract for a sink that has nothing open and
// accepted the inputs up to and including last.
func NewDelivery(subject Subject, last uint64) *Delivery {
	return &Delivery{subject: subject, last: last}
}

// Reopen takes an input that was accepted in an earlier epoch and has no
// receipt. It is called before the first Accept.
func (d *Delivery) Reopen(seq uint64) {
	at, open := d.find(seq)
	if open || seq == 0 {
		return
	}
	d.open = slices.Insert(d.open, at, span{seq, seq})
	if at+1 < len(d.open) && d.open[at+1].from == seq+1 {
		d.open[at].to = d.open[at+1].to
		d.open = slices.Delete(d.open, at+1, at+2)
	}
	if at > 0 && d.open[at-1].to+1 == seq {
		d.open[at-1].to = d.open[at].to
		d.open = slices.Delete(d.open, at, at+1)
	}
	d.accepted++
	d.last = max(d.last, seq)
}

// Accept records that the inputs from … to were accepted. Sequences that are
// not data may be left out between calls, so a run may begin anywhere after
// the last accepted sequence.
func (d *Delivery) Accept(from, to uint64) Verdict {
	switch {
	case d.violated != (Violation{}):
	case from == 0 || to < from || from <= d.last:
		d.violated = Violation{What: "accepted sequence", Expected: d.last + 1, Found: from, From: from, To: from}
	default:
		d.accepted += to - from + 1
		d.last = to
		if n := len(d.open); n > 0 && d.open[n-1].to+1 == from {
			d.open[n-1].to = to
		} else {
			d.open = append(d.open, span{from, to})
		}
	}
	return d.Verdict(false)
}

// Receipt records a terminal receipt for the inputs from … to, whatever it
// says: success, failed or partial. A receipt for what is not open violates
// the contract: it was never accepted, or delivered twice.
func (d *Delivery) Receipt(from, to uint64) Verdict {
	if d.violated != (Violation{}) {
		return d.Verdict(false)
	}
	at, open := d.find(from)
	switch {
	case from == 0 || to < from || !open:
		d.violated = Violation{What: "receipt for an input that is not open", Expected: d.oldest(), Found: from, From: from, To: from}
	case d.open[at].to < to:
		over := d.open[at].to + 1
		d.violated = Violation{What: "receipt for an input that is not open", Expected: d.oldest(), Found: over, From: over, To: over}
	default:
		d.receipted += to - from + 1
		s := d.open[at]
		var rest []span
		if s.from < from {
			rest = append(rest, span{s.from, from - 1})
		}
		if to < s.to {
			rest = append(rest, span{to + 1, s.to})
		}
		d.open = slices.Replace(d.open, at, at+1, rest...)
	}
	return d.Verdict(false)
}

// find returns the index of the range that holds seq, or where it would be.
func (d *Delivery) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(d.open, seq, func(s span, seq uint64) int {
		if s.from <= seq && seq <= s.to {
			return 0
		}
		return cmp.Compare(s.from, seq)
	})
}

func (d *Delivery) oldest() uint64 {
	if len(d.open) == 0 {
		return 0
	}
	return d.open[0].from
}

// Open returns how many accepted inputs have no receipt.
func (d *Delivery) Open() uint64 { return d.accepted - d.receipted }

// End decides the contract: it fails if an accepted input has no receipt.
func (d *Delivery) End() Verdict { return d.Verdict(true) }

// Verdict returns the state of the contract. At the end nothing may be open;
// before, open inputs are pending.
func (d *Delivery) Verdict(atEnd bool) Verdict {
	v := Verdict{Kind: Delivered, Subject: d.subject, Evidence: Evidence{
		Writer: Ledger{Count: d.accepted, Last: d.last}, Reader: Ledger{Count: d.receipted},
	}}
	switch {
	case d.violated != (Violation{}):
		v.State, v.Violation = Fail, d.violated
	case atEnd && len(d.open) > 0:
		v.State = Fail
		v.Violation = Violation{
			What: "accepted inputs without a receipt", Expected: d.accepted, Found: d.receipted,
			From: d.open[0].from, To: d.open[0].to,
		}
	case atEnd:
		v.State = Pass
	}
	return v
}

// Accounting counts what became of the inputs of a stage.
type Accounting struct {
	Inputs  uint64
	Applied uint64
	Dead    uint64
	Late    uint64
}

// Check decides the accounting contract: inputs = applied + dead-lettered +
// late. It holds after every transition; last is the last input consumed.
func (a Accounting) Check(subject Subject, last uint64) Verdict {
	found := a.Applied + a.Dead + a.Late
	v := Verdict{Kind: Accounts, Subject: subject, State: Pass, Evidence: Evidence{
		Writer: Ledger{Count: a.Inputs, Last: last}, Reader: Ledger{Count: found},
	}}
	if found != a.Inputs {
		v.State = Fail
		v.Violation = Violation{What: "inputs accounted for", Expected: a.Inputs, Found: found, To: last}
		if last > 0 {
			v.Violation.From = 1
		}
	}
	return v
}
