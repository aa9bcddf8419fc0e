// Package credit says when a writer may append: the backpressure ledger of a
// journal, pure.
//
// A [Port] knows how far its writer has appended and how far each reader has
// consumed, both as cursors; what an edge uses of its [Window] is the
// difference, so credit cannot leak. A writer may append while every edge that
// counts uses less than its window; one transition may thus overshoot. The
// slowest reader governs. Control never asks.
//
// Credit bounds memory, not order: the records are on disk. An edge whose
// reader declines its input is deferred: it neither counts nor keeps batches
// in memory, is read from segments later, and counts again once its reader
// accepts input and is within one window of the head. Edges inside a cycle are
// tracked: they keep batches and do not count.
//
// A Port has no lock; whoever owns it guards it.
package credit

import "fmt"

// The window of an edge that is given none.
const (
	DefaultRecords = 8192
	DefaultBytes   = 8 << 20
)

// Window limits what an edge may hold. Zero means the default; a window is at
// least one record and one byte.
type Window struct {
	Records uint64
	Bytes   uint64
}

func (w Window) orDefault() Window {
	if w.Records == 0 {
		w.Records = DefaultRecords
	}
	if w.Bytes == 0 {
		w.Bytes = DefaultBytes
	}
	return w
}

// Cursor is a place in a journal: the sequence reached and the sum of the
// encoded sizes of the records up to it, from wherever the owner began to
// count.
type Cursor struct {
	Seq   uint64
	Bytes uint64
}

// Mode is how an edge takes part.
type Mode uint8

// The modes.
const (
	Enforced Mode = iota // counts
	Deferred             // does not count and keeps no batches
	Tracked              // in a cycle: does not count, keeps batches
)

func (m Mode) String() string {
	switch m {
	case Enforced:
		return "enforced"
	case Deferred:
		return "deferred"
	case Tracked:
		return "tracked"
	default:
		return fmt.Sprintf("mode(%d)", uint8(m))
	}
}

// Edge is one reader of a port.
type Edge struct {
	Reader   string // the stage, with its input if it reads the port more than once
	Window   Window
	Consumed Cursor // where the reader begins
	Cycle    bool   // the edge lies inside a cycle: it is tracked
}

// Port is the ledger of one journal and its readers.
type Port struct {
	head  Cursor
	edges []edge
}

type edge struct {
	Edge
	mode     Mode
	declines bool
}

// NewPort returns the ledger of a journal whose writer is at head. A reader
// that is one window or more behind begins deferred. A reader beyond the head
// is an error.
func NewPort(head Cursor, edges ...Edge) (*Port, error) {
	p := &Port{head: head, edges: make([]edge, len(edges))}
	for i, e := range edges {
		if e.Consumed.Seq > head.Seq {
			return nil, fmt.Errorf("credit: %s has consumed up to %d, the journal ends at %d", e.Reader, e.Consumed.Seq, head.Seq)
		}
		e.Window = e.Window.orDefault()
		p.edges[i] = edge{Edge: e}
		p.edges[i].Consumed.Bytes = min(e.Consumed.Bytes, head.Bytes)
		switch {
		case e.Cycle:
			p.edges[i].mode = Tracked
		case p.full(i):
			p.edges[i].mode = Deferred
		}
	}
	return p, nil
}

// Append moves the head after a transition of that many records with that
// many encoded bytes. It asks nobody: what CanAppend allowed may overshoot,
// and control is never held.
func (p *Port) Append(records, bytes uint64) {
	p.head.Seq += records
	p.head.Bytes += bytes
}

// Head returns how far the writer has appended.
func (p *Port) Head() Cursor { return p.head }

// Consumed returns how far the reader of the edge has consumed.
func (p *Port) Consumed(i int) Cursor { return p.edges[i].Consumed }

// Mode returns how the edge takes part now.
func (p *Port) Mode(i int) Mode { return p.edges[i].mode }

// Used returns what the edge holds: appended minus consumed.
func (p *Port) Used(i int) Window {
	c := p.edges[i].Consumed
	return Window{Records: p.head.Seq - c.Seq, Bytes: p.head.Bytes - c.Bytes}
}

func (p *Port) full(i int) bool {
	u, w := p.Used(i), p.edges[i].Window
	return u.Records >= w.Records || u.Bytes >= w.Bytes
}

// CanAppend reports whether the writer may append a transition, of any size.
func (p *Port) CanAppend() bool {
	_, blocked := p.Blocking()
	return !blocked
}

// CanAppend reports whether a stage may append a transition that writes to all
// these ports.
func CanAppend(ports ...*Port) bool {
	for _, p := range ports {
		if !p.CanAppend() {
			return false
		}
	}
	return true
}

// Blocking returns the edge that holds the writer and whether there is one:
// of those whose window is used up, the one whose reader is farthest behind.
func (p *Port) Blocking() (int, bool) {
	slowest := -1
	for i := range p.edges {
		if p.edges[i].mode == Enforced && p.full(i) &&
			(slowest < 0 || p.edges[i].Consumed.Seq < p.edges[slowest].Consumed.Seq) {
			slowest = i
		}
	}
	return slowest, slowest >= 0
}

// Consume moves the cursor of an edge's reader and reports whether the writer,
// if it waits, is to be woken: it had no credit on this port and has now. A
// cursor that goes back or beyond the head is an error and changes nothing.
func (p *Port) Consume(i int, to Cursor) (wake bool, err error) {
	e := &p.edges[i]
	if to.Seq < e.Consumed.Seq || to.Seq > p.head.Seq {
		return false, fmt.Errorf("credit: %s moves its cursor from %d to %d, the journal ends at %d", e.Reader, e.Consumed.Seq, to.Seq, p.head.Seq)
	}
	could := p.CanAppend()
	// Sizes are advice: whatever the reader counted, it holds nothing when it
	// is at the head, and never less than nothing.
	to.Bytes = min(max(to.Bytes, e.Consumed.Bytes), p.head.Bytes)
	if to.Seq == p.head.Seq {
		to.Bytes = p.head.Bytes
	}
	e.Consumed = to
	p.rejoin(i)
	return !could && p.CanAppend(), nil
}

// Decline says that the reader declines the input of this edge for now. The
// edge is deferred; the result is as that of Consume. A tracked edge stays
// tracked.
func (p *Port) Decline(i int) (wake bool) {
	could := p.CanAppend()
	e := &p.edges[i]
	e.declines = true
	if e.mode == Enforced {
		e.mode = Deferred
	}
	return !could && p.CanAppend()
}

// Accept says that the reader takes the input of this edge again. It counts
// from now on if the reader is within one window of the head, otherwise as
// soon as it is.
func (p *Port) Accept(i int) {
	p.edges[i].declines = false
	p.rejoin(i)
}

func (p *Port) rejoin(i int) {
	e := &p.edges[i]
	if e.mode == Deferred && !e.declines && !p.full(i) {
		e.mode = Enforced
	}
}

// KeepFrom returns the first sequence whose batch must stay in memory: the
// next one of the slowest reader that is not deferred. Without such a reader
// it is the next one of the writer.
func (p *Port) KeepFrom() uint64 {
	from := p.head.Seq
	for i := range p.edges {
		if p.edges[i].mode != Deferred {
			from = min(from, p.edges[i].Consumed.Seq)
		}
	}
	return from + 1
}
