// Package evidence is what the reserved ports of a run say: how the pipeline and
// its stages moved, what each contract found, what a sink delivered. The engine
// writes these records, recovery and history read them; they are JSON, so that a
// person can too.
//
// The pipeline itself is the stage named [Pipeline]; its sys port holds [Moved],
// [Contract] (violations that ended the run, and liveness, which it judges),
// [Refused] and, last in an epoch that did not end with the death of the process, [Terminal]. A
// stage's sys port holds [Moved], [Contract] and [Terminal]. A sink has one port
// more, named [Receipts], of [Receipt].
package evidence

import (
	"encoding/json"
	"fmt"
	"time"
)

// Names that belong to the engine.
const (
	Pipeline = "pipeline" // the stage name of the pipeline supervisor
	Receipts = "receipts" // the port of a sink's receipts
)

// Type names of the records, as in Output.Type.
const (
	TypeMoved    = "weir.moved.v1"
	TypeTerminal = "weir.terminal.v1"
	TypeContract = "weir.contract.v1"
	TypeReceipt  = "weir.receipt.v1"
	TypeTrying   = "weir.trying.v1"
	TypeRefused  = "weir.refused.v1"
)

// Moved says that a supervisor went from one state to another, and why.
type Moved struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Event  string `json:"event"`
	Reason string `json:"reason,omitempty"`
}

// The ways in which an epoch, or a stage in it, ends. Interrupted is what the
// absence of a Terminal record means.
const (
	Completed   = "completed"
	Stopped     = "stopped"
	Cancelled   = "cancelled"
	Failed      = "failed"
	Interrupted = "interrupted"
)

// Terminal is the last record of a supervisor in an epoch.
type Terminal struct {
	Status string        `json:"status"`
	Reason string        `json:"reason,omitempty"` // in words
	Stage  string        `json:"stage,omitempty"`  // the stage that failed first
	Kind   string        `json:"kind,omitempty"`   // of the failure
	Took   time.Duration `json:"took_ns"`          // this epoch
	In     uint64        `json:"in"`               // records of sources, whole run
	Out    uint64        `json:"out"`              // receipted deliveries, whole run
	Dead   uint64        `json:"dead"`             // dead letters, whole run
	Failed uint64        `json:"failed"`           // failures on second results, whole run
}

// Contract is what a check found on an edge or stage. It is written when the
// verdict changes and at the end.
type Contract struct {
	Contract string `json:"contract"` // transport, source, delivery, accounting, liveness
	From     string `json:"from,omitempty"`
	To       string `json:"to"`
	Passed   bool   `json:"passed"`
	Gates    bool   `json:"gates"` // the run cannot complete without it
	Final    bool   `json:"final"`
	Writer   Side   `json:"writer"`
	Reader   Side   `json:"reader"`
	Parts    uint64 `json:"parts,omitempty"` // sequence where the two part
	Reason   string `json:"reason,omitempty"`
}

// Side is one side of an edge.
type Side struct {
	Count  uint64 `json:"count"`
	Last   uint64 `json:"last"`
	Digest uint64 `json:"digest,string"`
}

// Receipt says what became of a run of a sink's inputs.
type Receipt struct {
	Status  string   `json:"status"` // success, failed, partial
	Journal string   `json:"journal,omitempty"`
	From    uint64   `json:"from,omitempty"`
	To      uint64   `json:"to,omitempty"`
	Failed  []uint64 `json:"failed,omitempty"` // sequences that became dead letters
	Source  string   `json:"source,omitempty"` // "sink" when the sink's own mark proved it
	Note    string   `json:"note,omitempty"`   // for the sink's next Open
	Phase   string   `json:"phase,omitempty"`  // finalizing, finalized
}

// Trying says that a handler is about to be called with one input, because the
// run died several times without progress.
type Trying struct {
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
}

// Refused says that a message which another process handed in was not acted upon.
// It is in the pipeline's sys port, and may be there twice.
type Refused struct {
	ID      string    `json:"id"` // of the message
	Stage   string    `json:"stage,omitempty"`
	Input   string    `json:"input,omitempty"` // record id of the input that a decision was about
	Step    string    `json:"step,omitempty"`
	Verdict string    `json:"verdict,omitempty"`
	Signal  string    `json:"signal,omitempty"` // name of a signal
	Key     string    `json:"key,omitempty"`    // of a signal
	By      string    `json:"by,omitempty"`
	At      time.Time `json:"at"` // when it was handed in
	Reason  string    `json:"reason"`
}

// Append appends the encoding of one of the types above.
func Append[E Moved | Terminal | Contract | Receipt | Trying | Refused](dst []byte, e E) []byte {
	b, err := json.Marshal(e)
	if err != nil { // the types above cannot fail
		panic(fmt.Sprintf("weir: evidence: %v", err))
	}
	return append(dst, b...)
}

// Parse decodes what Append wrote; unknown fields of a later release are ignored.
func Parse[E Moved | Terminal | Contract | Receipt | Trying | Refused](payload []byte) (e E, err error) {
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, fmt.Errorf("evidence: %w", err)
	}
	return e, nil
}
