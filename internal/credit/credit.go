// Package credit says when a writer may append: the backpressure ledger of a
// journal, pure.
//
// A [Port] knows how far its writer has appended and how far each reader has
// consumed; what an edge uses of its [Window] is the difference, so credit cannot
// leak. A writer may append while every edge that counts uses less than its
// window; one transition may thus overshoot. The slowest reader governs. Control
// never asks.
//
// Credit bounds memory, not order: the records are on disk. An edge whose reader
// declines its input, or is far behind, is deferred: it neither counts nor keeps
// batches in memory, its reader reads the log later, and counts again once it has
// read up to within one window of the head.
//
// [WaitsFor] says whom a stage waits for in the end.
//
// A Port has no lock; whoever owns it guards it. None of its methods allocates.
package credit

import "fmt"

// The window of an edge that is given none.
const (
	DefaultRecords = 8192
	DefaultBytes   = 8 << 20
)

// Window limits what an edge may hold, or says what it holds. As a limit, zero
// means the default.
type Window struct {
	Records uint64
	Bytes   uint64
}

// OrDefault returns the window with its default for what is zero.
func (w Window) OrDefault() Window {
	if w.Records == 0 {
		w.Records = DefaultRecords
	}
	if w.Bytes == 0 {
		w.Bytes = DefaultBytes
	}
	return w
}

// Edge is one reader of a port, as it begins.
type Edge struct {
	Reader   string // the stage, with its input if it reads the port more than once
	Window   Window
	Consumed uint64 // last sequence that the reader has consumed
	Declined bool   // the reader declines the input for now
}

// Port is the ledger of one journal and its readers. Edges go by their index in
// what NewPort was given.
type Port struct {
	head  cursor
	edges []edge
	waits bool // the writer asked and may not append yet
}

// cursor is a place in a journal: the sequence reached and the sizes of the
// records that were appended up to it, from wherever the port began to count.
type cursor struct{ seq, bytes uint64 }

type edge struct {
	Edge
	consumed cursor
	deferred bool
}

// NewPort returns the ledger of a journal whose writer is at head. A reader that
// declines, or has not consumed up to the head, begins deferred: the records
// between are in the log. A reader beyond the head is an error.
func NewPort(head uint64, edges ...Edge) (*Port, error) {
	p := &Port{head: cursor{seq: head}, edges: make([]edge, len(edges))}
	for i, e := range edges {
		if e.Consumed > head {
			return nil, fmt.Errorf("credit: %s has consumed up to %d, the journal ends at %d", e.Reader, e.Consumed, head)
		}
		e.Window = e.Window.OrDefault()
		p.edges[i] = edge{Edge: e, consumed: cursor{seq: e.Consumed}, deferred: e.Declined || e.Consumed < head}
	}
	return p, nil
}

// Append moves the head after a transition of that many records with that many
// encoded bytes. It asks nobody: what Ask allowed may overshoot, and control is
// never held.
func (p *Port) Append(records, bytes uint64) {
	p.head.seq += records
	p.head.bytes += bytes
}

// Head returns the last sequence appended.
func (p *Port) Head() uint64 { return p.head.seq }

// Consumed returns the last sequence that the reader of an edge has consumed.
func (p *Port) Consumed(i int) uint64 { return p.edges[i].consumed.seq }

// Deferred reports whether an edge neither counts nor keeps batches.
func (p *Port) Deferred(i int) bool { return p.edges[i].deferred }

// Declined reports whether the reader of an edge declines its input.
func (p *Port) Declined(i int) bool { return p.edges[i].Declined }

// Pending reports whether there is input for the reader of an edge, which it does
// not decline.
func (p *Port) Pending(i int) bool {
	e := &p.edges[i]
	return !e.Declined && e.consumed.seq < p.head.seq
}

// Used returns what an edge uses of its window: nothing while it is deferred.
func (p *Port) Used(i int) Window {
	e := &p.edges[i]
	if e.deferred {
		return Window{}
	}
	return Window{Records: p.head.seq - e.consumed.seq, Bytes: p.head.bytes - e.consumed.bytes}
}

func (p *Port) full(i int) bool {
	u, w := p.Used(i), p.edges[i].Window
	return u.Records >= w.Records || u.Bytes >= w.Bytes
}

// holds reports whether an edge uses so much that a writer who waits is not woken
// yet: more than half, so that it does not wake for every record.
func (p *Port) holds(i int) bool {
	u, w := p.Used(i), p.edges[i].Window
	return u.Records > w.Records/2 || u.Bytes > w.Bytes/2
}

// Ask reports whether the writer may append a transition, of any size. If it may
// not it waits from now on, until the reader whose Consume or Decline
// reports it wakes it; it may ask again before.
func (p *Port) Ask() bool {
	p.waits = false
	for i := range p.edges {
		p.waits = p.waits || p.full(i)
	}
	return !p.waits
}

// Blocking returns the edge that holds a writer who waits, and whether there is
// one: of those that hold it, the one whose reader is farthest behind.
func (p *Port) Blocking() (int, bool) {
	slowest := -1
	for i := range p.edges {
		if p.waits && p.holds(i) && (slowest < 0 || p.edges[i].consumed.seq < p.edges[slowest].consumed.seq) {
			slowest = i
		}
	}
	return slowest, slowest >= 0
}

// Consume says that the reader of an edge has consumed up to a sequence, and how
// many of the bytes appended that was; bytes that it read from the log are none.
// It reports whether to wake the writer. A sequence that goes back or beyond the
// head is a broken invariant of the caller: Consume panics.
func (p *Port) Consume(i int, to, bytes uint64) (wake bool) {
	e := &p.edges[i]
	if to < e.consumed.seq || to > p.head.seq {
		panic(fmt.Sprintf("credit: %s moves its cursor from %d to %d, the journal ends at %d", e.Reader, e.consumed.seq, to, p.head.seq))
	}
	e.consumed.seq = to
	// Sizes are advice: whatever the reader counted, it holds nothing when it is at
	// the head, and never less than nothing.
	e.consumed.bytes += min(bytes, p.head.bytes-e.consumed.bytes)
	if to == p.head.seq {
		e.consumed.bytes = p.head.bytes
	}
	return p.wake()
}

// Decline says that the reader declines the input of an edge for now, or for
// good. The edge is deferred. It reports whether to wake the writer.
func (p *Port) Decline(i int) (wake bool) {
	e := &p.edges[i]
	e.Declined, e.deferred = true, true
	return p.wake()
}

// Accept says that the reader takes the input of an edge again, and has read up to
// a sequence. A deferred edge that has read up to within one window of the head
// counts from now on, and its batches are kept: the result. Otherwise the reader
// reads on in the log and calls Accept again.
func (p *Port) Accept(i int, read uint64) bool {
	e := &p.edges[i]
	e.Declined = false
	if e.deferred && read <= p.head.seq && p.head.seq-read <= e.Window.Records {
		e.deferred, e.consumed.bytes = false, p.head.bytes
	}
	return !e.deferred
}

func (p *Port) wake() bool {
	if !p.waits {
		return false
	}
	if _, held := p.Blocking(); held {
		return false
	}
	p.waits = false
	return true
}
