// Package plan is the type-erased flow: the root package builds it from typed
// stages, the engine executes it. It is the one place where types are erased,
// by closures and generic structs behind small interfaces that the engine calls
// once for a batch, never once for a record.
//
// A [Flow] has [Node]s (stages). A node has [Port]s, each with a [Writer] that
// encodes what the stage emits, and [Input]s, each reading one port of another
// node. What the node does is in exactly one of its fields Source, Handler,
// Sink and Performer.
//
// One Flow is built for one epoch of one run and used by nobody else; all of a
// node's code runs in that stage's goroutine unless an interface says otherwise.
package plan

import (
	"reflect"
	"time"

	"github.com/weirflow/weir/topology"
)

// A Flow is what the engine runs.
type Flow struct {
	Name      string
	Nodes     []*Node // in the order of their declaration
	Graph     *topology.Graph
	Resources []Resource
	Masks     map[string][]string // what verify does not compare: by journal, or "stage#table", paths into the payload
}

// A Resource is shared by the stages of one run and closed when it ends.
type Resource interface {
	Name() string
	Close() error // does nothing if it was never opened
}

// A PortRef names a port: an index into Flow.Nodes and one into Node.Ports, or
// DeadPort.
type PortRef struct{ Node, Port int }

// DeadPort is the index of a node's dead letters.
const DeadPort = -1

// PortFailed is the port of what a stage that acts on the world finally failed on.
const PortFailed = "failed"

// A Node is one stage.
type Node struct {
	Name   string // with groups, "group/stage"
	Kind   string // source, map, filter, … as shown to people
	Caller string // file:line of the call that made it

	Inputs []*Input
	Ports  []*Port // data ports
	Dead   *Port   // dead letters; nil only where nothing can fail

	Source     Source    // reads the world
	Handler    Handler   // computes
	Sink       Sink      // delivers
	Performer  Performer // acts on the world
	Performing Performing

	Tables []Table // what the handler remembers, in a fixed order
	Kept   Table   // the one of them that the graph tells the type of; nil if it tells of none

	OnError  OnError
	Guards   Guards
	Flush    time.Duration // sinks: how long a delivery may wait for more; zero means until nothing more is at hand
	Turn     *Turn         // shared by handler, writers and tables of this node
	Warnings []string      // shown at the start of a run
}

// A Turn is what the present call of a handler belongs to. The engine sets Base
// before each call, the handler Item before each record.
type Turn struct {
	Base int // items that the open transition consumed before this call
	Item int // index, among the transition's consumed items, of the present one; -1 in emissions at the end and in sources

	Err error // why a value of the present item could not be written; set by writers, taken by the handler

	// From is what is written while Item is -1 follows from: an input in open work,
	// and what is recorded of it. Set by the engine.
	From []Origin
}

// A Role says how a stage reads an input.
type Role uint8

// The roles.
const (
	Stream     Role = iota // record by record
	TableAtEnd             // to its natural end before any Stream input is read
)

// An Input is an edge: one stage reading one port.
type Input struct {
	From PortRef
	Role Role
	View string // how it is read, for people: "", "key", "records", …

	// Adapt gives the batch that the handler expects from the port's, without
	// changing the port's. Nil means as it is.
	Adapt func(*Batch) *Batch
}

// A Port is one output of a stage.
type Port struct {
	Name    string
	Type    string       // payload type name, as recorded
	Go      reflect.Type // payload type
	Mode    Mode
	Writer  Writer
	Decoder Decoder
}

// A Mode says how values of a type may be given to several readers.
type Mode uint8

// The modes.
const (
	Share  Mode = iota // as they are
	Copied             // each reader gets a copy of its own (Decoder.Private)
)

// OnError says what a failed input means; every field is set.
type OnError struct {
	Error  Action
	Panic  Action
	Budget Budget
}

// An Action is an answer to a failed input.
type Action uint8

// The actions.
const (
	DeadLetter Action = iota + 1
	Fail
)

// A Budget fails the stage when too many inputs were given up.
type Budget struct {
	InARow int
	Share  float64 // of the last Over inputs
	Over   int
}
