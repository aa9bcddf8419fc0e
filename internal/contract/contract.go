// Package contract checks that every edge delivered. It is pure: ledgers are
// values, verdicts carry their evidence, nothing reads a clock.
//
// Both sides of an edge keep a [Ledger] of one journal, computed independently:
// the writer while it encodes, the reader while it consumes. A [Reader]
// compares its ledger with the writer's at every end of a frame of the writer
// and at EOF. [Delivery] watches that every input that a sink accepted gets a
// terminal receipt, [Accounting] that a stage accounts for every input,
// [Cycle] that a loop does not run away; [Liveness] tells a slow edge from an
// idle one.
package contract

import (
	"fmt"

	"github.com/weirflow/weir/internal/wire"
)

// Kind names a contract.
type Kind string

// The contracts.
const (
	Transport  Kind = "transport"  // every edge: counts, last sequence and digest agree
	Declared   Kind = "source"     // source edges: a declared count was met
	Delivered  Kind = "delivery"   // sinks: every accepted record has a terminal receipt
	Accounts   Kind = "accounting" // stateful stages: inputs = applied + dead-lettered + late
	Divergence Kind = "divergence" // edges in a cycle: depth and growth within limits
	Live       Kind = "liveness"   // every edge: pending input makes progress
)

// State is what a verdict says.
type State uint8

// The states of a verdict.
const (
	Pending State = iota // not decided yet
	Pass
	Fail
)

func (s State) String() string {
	switch s {
	case Pending:
		return "pending"
	case Pass:
		return "pass"
	case Fail:
		return "fail"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// Subject is what a contract is about: a reader of a journal of an upstream.
// For a contract on a stage Upstream is empty.
type Subject struct {
	Upstream string // the journal, as in orders.out
	Reader   string // the stage
}

func (s Subject) String() string {
	if s.Upstream == "" {
		return s.Reader
	}
	return s.Upstream + " → " + s.Reader
}

// Verdict is a contract's state with its evidence. Verdicts are comparable:
// evidence is to be recorded when the verdict is not equal to the one before.
type Verdict struct {
	Kind      Kind
	Subject   Subject
	State     State
	Evidence  Evidence
	Violation Violation // if State is Fail
}

// Evidence is the numbers that a verdict rests on.
type Evidence struct {
	Writer Ledger // of the upstream, or what was expected
	Reader Ledger // of the reader, or what was found
}

// Violation says what is wrong: the two numbers and the sequence from which
// they part.
type Violation struct {
	What     string // "count", "digest", …
	Expected uint64
	Found    uint64
	From     uint64 // first sequence at which the sides may part
	To       uint64 // last such; equal to From when it is known exactly; zero if there is no bound
}

// Err returns the violation as a [*ViolationError], or nil if the verdict is not a
// failure.
func (v Verdict) Err() error {
	if v.State != Fail {
		return nil
	}
	return &ViolationError{v}
}

// ViolationError is a failed verdict as an error.
type ViolationError struct{ Verdict Verdict }

func (e *ViolationError) Error() string {
	v, s := e.Verdict.Violation, e.Verdict.Subject
	at := ""
	switch {
	case v.From == 0:
	case v.From == v.To:
		at = fmt.Sprintf(" at sequence %d", v.From)
	case v.To == 0:
		at = fmt.Sprintf(" from sequence %d", v.From)
	default:
		at = fmt.Sprintf(" between sequence %d and %d", v.From, v.To)
	}
	format := "%s contract of %s: %s: expected %d, found %d%s"
	if v.What == "digest" {
		format = "%s contract of %s: %s: expected %016x, found %016x%s"
	}
	return fmt.Sprintf(format, e.Verdict.Kind, s, v.What, v.Expected, v.Found, at)
}

// Ledger sums up a journal from its first record to Last. The zero value is
// the ledger of an empty journal. Ledgers are comparable.
type Ledger struct {
	Count  uint64
	Last   uint64
	Digest wire.Digest
}

// Add records one record and reports whether it is the next one. Otherwise the
// ledger is unchanged.
func (l *Ledger) Add(seq uint64, crc uint32) bool {
	if seq != l.Last+1 {
		return false
	}
	l.Count++
	l.Last = seq
	l.Digest = l.Digest.Add(seq, crc)
	return true
}

// AddRun records the records from, from+1, … with the given checksums and
// reports whether the run is the next one. Otherwise the ledger is unchanged.
// It is what a batch costs; it allocates nothing.
func (l *Ledger) AddRun(from uint64, crcs []uint32) bool {
	if len(crcs) == 0 {
		return true
	}
	if from != l.Last+1 {
		return false
	}
	d := l.Digest
	for i, crc := range crcs {
		d = d.Add(from+uint64(i), crc)
	}
	l.Count += uint64(len(crcs))
	l.Last = from + uint64(len(crcs)) - 1
	l.Digest = d
	return true
}
