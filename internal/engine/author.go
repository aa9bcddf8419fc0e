package engine

import (
	"context"
	"slices"
	"time"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// An author is a supervisor's pen: it puts transitions of one name into the log,
// one after the other. Its owner's goroutine only.
type author struct {
	name   string
	number uint64 // frames written in the run
	last   journal.LSN

	t    journal.Transition // the open one
	enc  journal.Encoder
	sys  tally // what supervisors say
	said []saying
	ink  []byte // what said is written into, in the open transition; memory that is used again

	spoken int  // outputs of t that say what was said
	before bool // they come before the others, which may follow from them

	selfCheck bool // each transition is a checkpoint: nothing but sys is remembered
}

// A saying is evidence that waits for the next transition.
type saying struct {
	port    *tally
	typ     string
	payload []byte
	about   plan.Origin // the input that it is about; zero if it is about none
}

// A tally is what was written to one port so far.
type tally struct {
	port          string
	count, digest uint64
}

func newAuthor(name string, at *recovery.Stage) author {
	a := author{name: name, sys: tally{port: journal.PortSys}}
	if at != nil {
		a.number, a.last = at.Frames, at.Last
		a.sys.resume(at)
	}
	return a
}

func (y *tally) resume(at *recovery.Stage) {
	p := at.Ports[y.port]
	y.count, y.digest = p.Count, p.Digest
}

// say has evidence written with the next transition.
func say[E evidence.Moved | evidence.Terminal | evidence.Contract | evidence.Receipt | evidence.Trying | evidence.Refused](a *author, port *tally, typ string, e E) {
	a.said = append(a.said, saying{port: port, typ: typ, payload: evidence.Append(nil, e)})
}

// maxInk is how much memory an author keeps to write into again.
const maxInk = 1 << 20

// speak turns what was said into outputs of the open transition: one for what is
// of one type and comes one after the other.
func (a *author) speak() {
	rec, last := journal.Record{}, -1
	ink, at := a.ink[:0], 0
	var out *journal.Output
	end := func() {
		if out != nil {
			out.Records, at = ink[at:len(ink):len(ink)], len(ink)
		}
	}
	for i := range a.said {
		s := &a.said[i]
		y := s.port
		if out == nil || out.Port != y.port || out.Type != s.typ {
			end()
			a.t.Outputs = append(a.t.Outputs, journal.Output{Port: y.port, Type: s.typ, First: y.count + 1})
			a.spoken++
			out, last = &a.t.Outputs[len(a.t.Outputs)-1], -1
		}
		y.count++
		y.digest = uint64(wire.Digest(y.digest).Add(y.count, wire.Checksum(s.payload)))
		rec.Refs, rec.Payload = rec.Refs[:0], s.payload
		if s.about.Journal != "" {
			j := slices.Index(out.Journals, s.about.Journal)
			if j < 0 {
				j = len(out.Journals)
				out.Journals = append(out.Journals, s.about.Journal)
			}
			rec.Refs = append(rec.Refs, journal.Ref{Journal: j, Seq: s.about.Seq})
		}
		ink, last = journal.AppendRecord(ink, last, &rec)
		out.Count, out.Digest = out.Count+1, y.digest
	}
	end()
	if a.ink = ink; cap(ink) > maxInk {
		a.ink = nil
	}
	if a.before {
		rotate(a.t.Outputs, a.spoken)
	}
}

// rotate brings the last n outputs to the front.
func rotate(outputs []journal.Output, n int) {
	slices.Reverse(outputs)
	slices.Reverse(outputs[:n])
	slices.Reverse(outputs[n:])
}

// unspeak undoes speak: the transition was not placed.
func (a *author) unspeak() {
	if a.before {
		rotate(a.t.Outputs, len(a.t.Outputs)-a.spoken)
	}
	a.t.Outputs = a.t.Outputs[:len(a.t.Outputs)-a.spoken]
	a.spoken = 0
	for _, s := range slices.Backward(a.said) {
		y := s.port
		y.digest -= uint64(wire.Digest(0).Add(y.count, wire.Checksum(s.payload)))
		y.count--
	}
}

// reset begins a new transition, keeping memory.
func (a *author) reset() {
	t := &a.t
	clear(t.Outputs)
	clear(t.State)
	clear(t.Open)
	*t = journal.Transition{
		Consumed: t.Consumed[:0], Outputs: t.Outputs[:0], State: t.State[:0], Ends: t.Ends[:0], Open: t.Open[:0],
	}
}

// silence drops what was said: no log takes it.
func (a *author) silence() {
	clear(a.said)
	a.said = a.said[:0]
}

// place encodes the open transition with what was said and appends it. On error
// nothing was placed, and the transition and what was said stay as they were.
func (a *author) place(ctx context.Context, log journal.Log, u journal.Urgency, now time.Time) (lsn journal.LSN, size int, err error) {
	a.t.Stage, a.t.Number, a.t.Time = a.name, a.number+1, now
	a.speak()
	if a.selfCheck {
		a.t.Check = &journal.Checkpoint{
			Ports: []journal.End{{Port: a.sys.port, Count: a.sys.count, Digest: a.sys.digest}}, At: a.last,
		}
	}
	frames, err := a.enc.Encode(&a.t)
	if err == nil {
		lsn, err = log.Append(ctx, u, frames...)
	}
	if err != nil {
		a.unspeak()
		return 0, 0, err
	}
	for i := range frames {
		size += len(frames[i].Body)
	}
	a.silence()
	a.spoken = 0
	a.number += uint64(len(frames))
	a.last = lsn
	return lsn, size, nil
}
