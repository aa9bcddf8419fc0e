package journal

import (
	"time"

	"github.com/weirflow/weir/internal/wire"
)

// Parse decodes the body of one frame into t, replacing what t held. Records,
// changes and data share memory with body. It never panics and takes no more
// memory than body justifies; the records and changes inside are only checked
// when they are read.
func Parse(body []byte, t *Transition) error {
	p := parser{in: wire.NewReader(body)}
	*t = Transition{}
	p.names = make([]string, 0, min(p.in.Len(), 8))
	for range p.in.Count("names", 1) {
		p.names = append(p.names, p.in.String("name", MaxForeign))
	}
	t.Stage = p.name("stage")
	t.Number = p.in.Uvarint("frame number")
	t.Code = p.in.String("code version", MaxName)
	t.Time = time.Unix(0, p.in.Varint("time")).UTC()
	at := p.in.Offset()
	sec := p.in.Uvarint("sections")
	if sec&^secAll != 0 {
		p.in.Fail(at, "known sections", "others")
	}
	if sec&secConsumed != 0 {
		p.consumed(t)
	}
	if sec&secPosition != 0 {
		t.Position = p.position()
	}
	if sec&secOutputs != 0 {
		p.outputs(t)
	}
	if sec&secState != 0 {
		for range p.in.Count("tables", 3) {
			t.State = append(t.State, State{
				Table: p.name("table"), Count: p.small("changes"), Changes: p.in.Bytes("changes", MaxBytes),
			})
		}
	}
	if sec&secOpen != 0 {
		p.open(t)
	}
	if sec&secTimers != 0 {
		for range p.in.Count("timers", 4) {
			t.Timers = append(t.Timers, Timer{
				ID: p.in.String("timer id", MaxKey), Key: p.in.Bytes("timer key", MaxKey),
				At: p.in.Varint("timer time"), Reason: p.in.String("timer reason", MaxName),
			})
		}
	}
	if sec&secEnds != 0 {
		t.Ends = p.ends(false)
	}
	if sec&secMarks != 0 {
		for range p.in.Count("watermarks", 3) {
			t.Marks = append(t.Marks, Watermark{
				Port: p.name("port"), After: p.in.Uvarint("after"), Time: p.in.Varint("watermark"),
			})
		}
	}
	if sec&secCheck != 0 {
		p.check(t)
	}
	if sec&secOrigin != 0 {
		at := p.in.Offset()
		if copy(t.Origin[:], p.in.Raw("origin", len(t.Origin))); p.in.Err() == nil && t.Origin == (ID{}) {
			p.in.Fail(at, "the id of an epoch", "zeros")
		}
	}
	return p.in.Done()
}

type parser struct {
	in    wire.Reader
	names []string
}

func (p *parser) name(what string) string {
	at := p.in.Offset()
	i := p.in.Uvarint(what)
	if p.in.Err() != nil {
		return ""
	}
	if i >= uint64(len(p.names)) {
		p.in.Fail(at, "the index of a name", "one beyond them")
		return ""
	}
	return p.names[i]
}

// small reads a count of things that are bounded by a length elsewhere.
func (p *parser) small(what string) int {
	at := p.in.Offset()
	n := p.in.Uvarint(what)
	if n > MaxBytes {
		p.in.Fail(at, "a count below 2²⁶", "a greater one")
		return 0
	}
	return int(n)
}

func (p *parser) end(zero bool) EndKind {
	at := p.in.Offset()
	k := EndKind(p.in.Byte("end kind"))
	if k > Poison || (k == 0 && !zero) {
		p.in.Fail(at, "an end kind", "another value")
	}
	return k
}

func (p *parser) consumed(t *Transition) {
	n := p.in.Count("consumed", 1)
	t.Consumed = make([]Consumed, 0, min(n, p.in.Len()))
	for range n {
		at := p.in.Offset()
		c := Consumed{Kind: Kind(p.in.Byte("consumed kind"))}
		switch c.Kind {
		case Run:
			c.Journal = p.name("journal")
			c.From = p.in.Uvarint("from")
			c.To = c.From + p.in.Uvarint("length")
			if c.From == 0 || c.To < c.From {
				p.in.Fail(at, "a run of sequences from 1", "another")
			}
		case Mark:
			c.Journal = p.name("journal")
			c.From = p.in.Uvarint("after")
			c.Time = p.in.Varint("watermark")
		case Ended:
			c.Journal = p.name("journal")
			c.End = p.end(false)
		case TimerDue, Signalled, Decided:
			c.ID = p.in.String("id", MaxKey)
		case Resumed:
		default:
			p.in.Fail(at, "a kind of consumed item", "another value")
		}
		if p.in.Err() != nil {
			return
		}
		t.Consumed = append(t.Consumed, c)
	}
}

func (p *parser) position() *Position {
	return &Position{Value: p.in.String("position", MaxKey), Part: p.in.String("part", MaxKey)}
}

func (p *parser) outputs(t *Transition) {
	n := p.in.Count("outputs", 13)
	t.Outputs = make([]Output, 0, n)
	for range n {
		o := Output{Port: p.name("port"), Type: p.name("type")}
		at := p.in.Offset()
		o.First = p.in.Uvarint("first sequence")
		o.Count = p.small("records")
		if o.First == 0 || o.First+uint64(o.Count) < o.First {
			p.in.Fail(at, "sequences from 1", "others")
		}
		for range p.in.Count("journals", 1) {
			o.Journals = append(o.Journals, p.name("journal"))
		}
		o.Digest = p.in.Uint64("digest")
		o.Records = p.in.Bytes("records", MaxBytes)
		if p.in.Err() != nil {
			return
		}
		t.Outputs = append(t.Outputs, o)
	}
}

func (p *parser) open(t *Transition) {
	for range p.in.Count("open work", 3) {
		at := p.in.Offset()
		w := OpenWork{Op: OpenOp(p.in.Byte("open work change")), ID: p.in.Uvarint("open work id")}
		switch w.Op {
		case OpenAdd:
			copy(w.Epoch[:], p.in.Raw("epoch", len(w.Epoch)))
			w.Journal = p.name("journal")
			w.Seq = p.in.Uvarint("sequence")
		case OpenUpdate, OpenClose:
		default:
			p.in.Fail(at, "a change of open work", "another value")
		}
		w.Data = p.in.Bytes("open work data", MaxBytes)
		if p.in.Err() != nil {
			return
		}
		t.Open = append(t.Open, w)
	}
}

func (p *parser) ends(zero bool) []End {
	n := p.in.Count("ends", 11)
	ends := make([]End, 0, n)
	for range n {
		ends = append(ends, End{
			Port: p.name("port"), Kind: p.end(zero), Count: p.in.Uvarint("count"), Digest: p.in.Uint64("digest"),
		})
	}
	return ends
}

func (p *parser) check(t *Transition) {
	c := &Checkpoint{}
	for range p.in.Count("cursors", 3) {
		c.Cursors = append(c.Cursors, Cursor{
			Journal: p.name("journal"), Seq: p.in.Uvarint("cursor"), End: p.end(true),
		})
	}
	c.Ports = p.ends(true)
	if p.in.Bool("has position") {
		c.Position = p.position()
	}
	c.Snapshot = p.in.String("snapshot name", 2*MaxName)
	copy(c.Sum[:], p.in.Raw("snapshot sum", len(c.Sum)))
	c.At = LSN(p.in.Uvarint("snapshot position"))
	c.Redo = LSN(p.in.Uvarint("redo point"))
	c.Watermark = p.in.Varint("watermark")
	t.Check = c
}

// Join adds the next part of the same transition to t.
func (t *Transition) Join(next *Transition) {
	t.Consumed = append(t.Consumed, next.Consumed...)
	if next.Position != nil {
		t.Position = next.Position
	}
	t.Outputs = append(t.Outputs, next.Outputs...)
	t.State = append(t.State, next.State...)
	t.Open = append(t.Open, next.Open...)
	t.Timers = append(t.Timers, next.Timers...)
	t.Ends = append(t.Ends, next.Ends...)
	t.Marks = append(t.Marks, next.Marks...)
	if next.Check != nil {
		t.Check = next.Check
	}
}
