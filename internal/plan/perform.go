package plan

import (
	"context"
	"reflect"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
)

// A Performer is the work of a stage that acts on the world: each input is
// accepted into the stage's open work and then executed, many at once. An
// execution whose process ended is executed again and given its [Entry]s.
type Performer interface {
	// Accept sets what open work remembers about record i of b: the Data, which is
	// all that Execute needs of it and may share memory with b, and the Key that
	// orders inputs: those with the same non-empty key are executed one after the
	// other. With a failure the input is buried, and Data is what Bury needs.
	// Stage's goroutine.
	Accept(b *Batch, i int, in *Accepted) *Failure

	// Key returns the key of what Accept returned; for recovery. Data that the code
	// cannot read any more is an [UnreadableError]: the execution of it will say so.
	// Stage's goroutine.
	Key(data []byte) (string, error)

	// Execute acts. It runs in a goroutine of its own, and again from the
	// beginning whenever it had not finished; it panics if user code does.
	Execute(x Execution) Result

	// Bury writes an input to the node's dead letters, as caused by it. Its data is
	// empty if that is too large for one transition. Stage's goroutine, with
	// Turn.Item -1 and Turn.From set, as in all that an execution emits.
	Bury(in *Accepted, f *Failure)

	// Effects are the effects that may be performed, by name, in the order of
	// their declaration.
	Effects() []*Effect
}

// An UnreadableError says that the code cannot read what an earlier process accepted.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string {
	return "what an earlier process accepted cannot be read by this code: " + e.Err.Error()
}
func (e *UnreadableError) Unwrap() error { return e.Err }

// A Restorer is a Performer that goes on from what its earlier executions were
// like, such as how often a service failed of late. Restore is called once,
// before anything is executed, with the newest entries that are on record, of all
// inputs, oldest first. Stage's goroutine.
type Restorer interface {
	Restore(latest []Entry)
}

// A Renewer is a Performer that reads what was accepted in an earlier epoch, when
// its inputs were of another type; see Rememberer, which it is.
type Renewer interface {
	// Renew returns what Accept returned in an epoch as Accept would return it now.
	Renew(data []byte, epoch uint64) ([]byte, error)
}

// Performing tunes a Performer's stage.
type Performing struct {
	Concurrency int  // executions at once, at least 1
	Unordered   bool // outputs leave as executions finish, not in the order of inputs
	Hold        bool // an input in doubt stops the stage instead of being parked
	MaxOpen     int  // accepted and unfinished inputs, at least 1
	Chained     bool // an input begins only when the outputs of the one before of its key have left

	Signals *SignalTable // one of the node's tables, where signals wait; nil in a stage that takes none

	// Past returns what an execution of a copy has in its history when it begins. It
	// is asked as long as nothing is on record about the input, and what it returns is
	// recorded first. It is called by several goroutines. Nil means nothing.
	Past func(ctx context.Context, in *Accepted) ([]Entry, error)
}

// Accepted is one input in open work.
type Accepted struct {
	ID    uint64         // order of acceptance within the stage
	Input event.RecordID // never used for two records
	Run   string         // id of the root run
	Stage string

	Original Original // what Input is a copy of, if it is one

	Key   string // that orders inputs
	Data  []byte // what is remembered
	Value any    // what decoding Data gives, if Accept set it; nobody changes it

	// Resumed: it was accepted by an earlier process, which may have executed it.
	Resumed bool
}

// EmptyKey is the Key of an input that is ordered by a key whose text is empty: no
// text is no key.
const EmptyKey = "\x00"

// KeyText is the encoded key of the input.
func (in *Accepted) KeyText() string { return strings.TrimPrefix(in.Key, EmptyKey) }

// Identity returns what the outside knows the input as: keys are made of it.
func (in *Accepted) Identity() Original {
	if in.Original.Run != "" {
		return in.Original
	}
	return Original{Run: in.Run, ID: in.Input}
}

// An Execution is one accepted input being acted on. Its methods are called by
// the goroutine of Execute, and return an error when the execution shall end
// (then Execute returns [Interrupted]).
type Execution interface {
	// Context ends when the stage is told to end at once.
	Context() context.Context

	// Waiting ends with Context, and when a stop waits only for what is under way: who
	// waits for a time before doing something more shall end.
	Waiting() context.Context
	Input() *Accepted

	// History is what was recorded about the input before this execution.
	History() []Entry

	// Asked is told what the code asks for at a step, as the entry that would be
	// recorded of it if nothing were; Took is how long a wait shall be. It comes
	// before anything else of the step, and what is on record of it wins. Asked is
	// for those who execute again to compare.
	Asked(e Entry) error

	// Record places entries in one transition and returns once it is placed. emit
	// may be nil; it writes to the node's ports, in the stage's goroutine, what
	// is committed together with them. After an error nothing was recorded.
	Record(emit func(), entries ...Entry) error

	// Durable returns once everything that was recorded for this input, its
	// acceptance, and what the stage placed before for its key is durable: only
	// then may anything leave the process.
	Durable() error

	// Now is the wall clock.
	Now() time.Time
}

// A Result is how an execution came back.
type Result struct {
	State ResultState

	// Entries are recorded; of Finished, Parked and Suspended. A parked input's
	// EntryParked is added by the engine.
	//
	// Emit writes to the node's ports, in the stage's goroutine: of Finished in the
	// transition that closes the open work, which may come after the one that
	// records Entries, of Suspended in that one. Either may be nil.
	Entries []Entry
	Emit    func()

	// Emissions and Closing tell of an execution that may emit before its end: one by
	// one all that it emitted, with what left with steps on record, and what its end
	// brings, nil if nothing. An execution that did not come to its end has
	// Emissions, too. They are for those who execute again to compare.
	Emissions []func()
	Closing   func()

	// Failed: why the stage fails; the input stays open.
	// Parked: what is not known.
	Err error

	// Suspended: what to wait for. The input is executed again when the first of
	// it happens, with the entry that says so in its history.
	Wake Wake
}

// A ResultState tells Results apart.
type ResultState uint8

// How executions come back.
const (
	Finished    ResultState = iota + 1
	Parked                  // waits for a decision of a person, without a slot
	Suspended               // waits for a time or a signal, without a slot
	Interrupted             // was told to end; goes on at resume
	Broken                  // the stage must fail: Err says why
)

// Wake is what a suspended execution waits for.
type Wake struct {
	Step   string    // that waits
	At     time.Time // zero means no time
	Signal string    // name of the signal; "" means none
	Key    string    // of the signal
}

// An Entry is one recorded fact about an accepted input: a record of the port
// fx, and an update of the open work. Its fields are in internal/evidence's
// words; absent ones are zero.
type Entry struct {
	Type string `json:"-"` // EntryIntent and so on: the payload type of the record

	Step       string        `json:"step,omitempty"`       // "" in a stage with one effect for each input
	Effect     string        `json:"effect,omitempty"`     // name
	Version    string        `json:"version,omitempty"`    // of the effect
	Key        string        `json:"key,omitempty"`        // sent to the service
	Attempt    int           `json:"attempt,omitempty"`    // from 1
	Request    Payload       `json:"request,omitempty"`    // intent: what is sent
	Hash       string        `json:"hash,omitempty"`       // of the request, hex SHA-256
	Outcome    string        `json:"outcome,omitempty"`    // Done, NotDone, Unknown, Rejected, Fallback; decision: the verdict; parked: what for
	Result     Payload       `json:"result,omitempty"`     // Done and Fallback, captures, signals
	Kind       event.Kind    `json:"kind,omitempty"`       // of a failure
	Reason     string        `json:"reason,omitempty"`     // of a failure, for people
	Final      bool          `json:"final,omitempty"`      // no attempt follows
	RetryAfter time.Duration `json:"retryAfter,omitempty"` // the service's wish, nanoseconds
	At         time.Time     `json:"at,omitzero"`          // wall clock
	Took       time.Duration `json:"took,omitempty"`       // of the attempt, nanoseconds
	By         string        `json:"by,omitempty"`         // decision: who; reconciled: "reconcile"
	ID         string        `json:"id,omitempty"`         // decision, signal: of the inbox file
	Emitted    int           `json:"emitted,omitempty"`    // records emitted in the same transition
}

// The types of Entry.
const (
	EntryIntent    = "weir.intent.v1"    // the request, before the first attempt
	EntryAttempt   = "weir.attempt.v1"   // an attempt is about to be made
	EntryOutcome   = "weir.outcome.v1"   // what became of an attempt, or of the call if Final
	EntryDecision  = "weir.decision.v1"  // what a person said about a parked input
	EntryParked    = "weir.parked.v1"    // the input was put aside: Outcome says what for, Reason why
	EntryCapture   = "weir.capture.v1"   // a captured value, or with a Kind the error of a capture that something followed from
	EntryWaiting   = "weir.waiting.v1"   // a step waits until At, or for a signal (Effect is its name)
	EntryWoken     = "weir.woken.v1"     // the time came, or the signal (Result is its payload)
	EntrySignal    = "weir.signal.v1"    // a signal came (Effect is its name): it waits for somebody who awaits it
	EntryDrift     = "weir.drift.v1"     // code and record differ and the recorded one was used
	EntryChange    = "weir.change.v1"    // a change this execution knows of
	EntryCompleted = "weir.completed.v1" // the execution came to its end
)

// What Entry.Outcome says.
const (
	OutcomeDone     = "done"
	OutcomeNotDone  = "not done" // known not to have happened
	OutcomeUnknown  = "unknown"
	OutcomeRejected = "rejected" // by a policy, before it left: known not to have happened
	OutcomeFallback = "fallback" // OrElse answered
)

// What an input is parked for, in Entry.Outcome.
const (
	ParkedInDoubt    = "in doubt"   // it is not known whether a call happened
	ParkedDiverged   = "diverged"   // code and record do not fit
	ParkedUnreadable = "unreadable" // what is on record cannot be read by the code
	ParkedCrash      = "crash"      // the process died whenever it was executed
)

// What a decision about a parked input says, in Entry.Outcome.
const (
	DecideDone     = OutcomeDone    // it happened; Result is the service's answer
	DecideNotDone  = OutcomeNotDone // it did not happen, and cannot any more: it is called again
	DecideRetry    = "retry"        // in doubt: call again, whatever happened; else: execute again
	DecideFailed   = "failed"       // give it up; what is unknown stays so
	DecideContinue = "continue"     // where code and record diverge, go on as the code says
)

// Verdicts returns what can be decided about an input that is parked for that.
func Verdicts(parked string) []string {
	switch parked {
	case ParkedDiverged:
		return []string{DecideContinue, DecideRetry, DecideDone, DecideFailed}
	case ParkedUnreadable:
		return []string{DecideRetry, DecideDone, DecideFailed}
	case ParkedCrash:
		return []string{DecideRetry, DecideDone, DecideFailed}
	default:
		return []string{DecideDone, DecideNotDone, DecideRetry, DecideFailed}
	}
}

// MaxValue is how long a request, a result, a captured value or the payload of a
// signal may be, encoded, in bytes: it is recorded twice in one transition.
const MaxValue = 16 << 20

// A Safety says what repeating an effect means.
type Safety string

// The safety classes; see package effect.
const (
	Idempotent    Safety = "idempotent"
	Keyed         Safety = "keyed"
	KeyedByInput  Safety = "keyed by input"
	AtMostOnce    Safety = "at most once"
	AtLeastOnce   Safety = "at least once"
	Transactional Safety = "transactional"
)

// An Effect is an outside action without its types. Values are of the types that the
// functions' makers know; the functions may be called by several goroutines.
type Effect struct {
	Name    string
	Version string
	Safety  Safety
	In, Out reflect.Type // of the flow

	// Request makes the service's request from the flow's input, Answer the
	// flow's result from the service's. Both are pure.
	Request func(in any) (any, error)
	Answer  func(in, res any) (any, error)

	Key func(req any) string // Keyed only: the business key

	// Do makes one attempt. Of a Transactional it runs within the port's transaction.
	Do func(ctx context.Context, c Call, req any) (res any, err error)

	// Reconcile asks what became of a call; nil if nobody can be asked. Of a
	// Transactional it looks the key up. res is the service's.
	Reconcile func(ctx context.Context, c Call, req any) (res any, s CallState, err error)

	// Else answers for a final failure with the flow's result; nil if nothing does. Its answer is
	// encoded as AppendOut does.
	Else func(in any, err error) (any, error)

	AppendReq func(dst []byte, req any) ([]byte, error)
	DecodeReq func(data []byte) (any, error)
	AppendRes func(dst []byte, res any) ([]byte, error)
	DecodeRes func(data []byte) (any, error)
	Decoded   func(res any) (any, bool)                 // what decoding what AppendRes wrote gives; false, or a nil function, if that takes decoding
	AppendOut func(dst []byte, out any) ([]byte, error) // Else only
	DecodeOut func(data []byte) (any, error)            // Else only
}

// A Call identifies one logical call; see effect.Call.
type Call struct {
	Key     string
	Attempt int
}

// A CallState is what reconciliation found; see effect.State.
type CallState int

// The states of a call.
const (
	CallUnknown CallState = iota
	CallDone
	CallNotDone
)
