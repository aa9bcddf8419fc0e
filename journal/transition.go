package journal

import "time"

// An LSN numbers the frames of a run from 1, without gaps. Zero means none.
type LSN uint64

// The reserved ports. Every stage has them; they are journals like any other
// but carry no flow data.
const (
	PortDead = "dead" // inputs that the stage gave up on
	PortFx   = "fx"   // what effects and decisions recorded
	PortSys  = "sys"  // lifecycle and contract evidence
)

// A Transition is what one stage did to itself and to the world of the log, all
// or nothing.
type Transition struct {
	Stage  string
	Number uint64    // of its first frame among the frames of the stage, from 1, contiguous
	Code   string    // code version; empty means the build of the epoch
	Time   time.Time // wall clock; UTC
	Origin ID        // in a replay: the epoch that authored what is replayed; zero means that this one does

	Consumed []Consumed  // everything the stage reacted to, in that order
	Position *Position   // sources: where to continue after this transition
	Outputs  []Output    // by port, reserved ports included; several of one port follow each other
	State    []State     // by table; several of one table follow each other
	Open     []OpenWork  // changes of the stage's open work
	Timers   []Timer     // timers set and cancelled
	Ends     []End       // ports that ended
	Marks    []Watermark // watermarks authored
	Check    *Checkpoint // what recovery may start from
}

// A Kind tells the forms of Consumed apart.
type Kind uint8

// What a stage can react to.
const (
	Run       Kind = iota + 1 // records From to To of Journal
	Mark                      // a watermark of Journal, after sequence From, with value Time
	Ended                     // the end of Journal, of kind End
	TimerDue                  // the timer ID
	Signalled                 // the signal ID
	Decided                   // the decision ID
	Resumed                   // the beginning of an epoch
)

// FromInbox is before the ID of a signal or a decision that came as a message in the
// run's inbox, where the stage took it.
const FromInbox = "inbox/"

// Consumed is one thing, or one run of records, that a stage reacted to.
type Consumed struct {
	Kind     Kind
	Journal  string  // Run, Mark, Ended: "stage.port"
	From, To uint64  // Run: first and last sequence, inclusive; Mark: From
	End      EndKind // Ended
	Time     int64   // Mark: event time in nanoseconds since 1970
	ID       string  // TimerDue, Signalled, Decided
}

// Items returns how many causes c counts for: the length of a run, else one.
func (c Consumed) Items() uint64 {
	if c.Kind == Run {
		return c.To - c.From + 1
	}
	return 1
}

// EndKind says why a journal ended. The greater wins where several meet.
type EndKind uint8

// Only a natural end says that there is no more; the others end the epoch.
const (
	Natural   EndKind = iota + 1 // the input itself ended
	Truncated                    // a stop cut it short
	Poison                       // a failure upstream
)

// A Position is where a source continues.
type Position struct {
	Value string // opaque to Weir
	Part  string // the partition it belongs to, empty if there is one
}

// An Output is what a transition appended to one port.
type Output struct {
	Port     string
	Type     string   // payload type name of every record here
	First    uint64   // sequence of the first record
	Count    int      // how many records
	Journals []string // what Ref.Journal in Records counts in; those of other runs as Foreign.Text
	Records  []byte   // the records, as AppendRecord wrote them; read with NewRecords
	Digest   uint64   // digest of the whole journal after the last of them
}

// State is what a transition changed in one table of its stage.
type State struct {
	Table   string
	Count   int
	Changes []byte // as AppendChange wrote them; read with NewChanges
}

// OpenOp says how open work changes.
type OpenOp uint8

// The changes of open work.
const (
	OpenAdd    OpenOp = iota + 1 // an input was accepted: Data is the input
	OpenUpdate                   // Data is one more record about it
	OpenClose                    // it is finished and forgotten
)

// OpenWork is one change of a stage's table of accepted, unfinished inputs.
type OpenWork struct {
	Op      OpenOp
	ID      uint64 // order of acceptance within the stage, from 1
	Epoch   ID     // OpenAdd: who authored the input's frame
	Journal string // OpenAdd: the input's journal
	Seq     uint64 // OpenAdd: its sequence there
	Data    []byte
}

// A Timer is set, moved or cancelled.
type Timer struct {
	ID     string
	Key    []byte
	At     int64 // nanoseconds since 1970; zero cancels
	Reason string
}

// An End closes a port, with the totals its readers compare with.
type End struct {
	Port   string
	Kind   EndKind
	Count  uint64 // records in the journal
	Digest uint64
}

// A Watermark promises that no later record of Port is older than Time.
type Watermark struct {
	Port  string
	After uint64 // sequence it follows
	Time  int64  // nanoseconds since 1970
}

// A Checkpoint is all that a stage needs to start from, of fixed size but for
// the number of its inputs and ports; its tables are in the snapshot it names.
type Checkpoint struct {
	Cursors   []Cursor // consumed up to, one for each input journal
	Ports     []End    // count and digest of each port; Kind zero while open
	Position  *Position
	Snapshot  string   // name; empty if the stage has no state
	Sum       [32]byte // SHA-256 of the snapshot
	At        LSN      // the snapshot holds all changes up to here
	Redo      LSN      // first frame with a state, timer or open-work change after it; zero if none
	Watermark int64
}

// A Cursor is how far a stage has consumed a journal.
type Cursor struct {
	Journal string
	Seq     uint64
	End     EndKind // the end it saw; zero if none
}
