package engine

import (
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// An edge is one stage reading one port. The writer's goroutine pushes batches,
// the reader's takes them; what they share is behind mu or atomic.
//
// An edge is live while the writer leaves batches in its queue. Otherwise its
// reader declines them, or is far behind: then nothing is queued, nothing counts
// against the writer's credit, and the reader reads the log (catchup.go).
type edge struct {
	journal string // "stage.port"
	name    string // "stage.port→reader", unique in the run
	from    *stage
	to      *stage
	port    *plan.Port
	spec    *plan.Input
	input   int // index among the reader's inputs
	window  Window

	// Credit is derived: what was appended less what was consumed.
	appended      atomic.Uint64 // last sequence; the writer stores
	consumed      atomic.Uint64 // last sequence; the reader stores
	appendedBytes atomic.Int64
	consumedBytes atomic.Int64
	counts        atomic.Bool // the edge is live and its reader has not ended
	blocked       atomic.Bool // the writer waits for credit here

	mu       sync.Mutex // guards the next five; never held in a wait
	queue    []*plan.Batch
	live     bool
	liveFrom uint64 // first sequence that was or will be queued
	head     uint64 // last sequence placed
	end      ending // set by the writer after its last batch

	reader // the reader's goroutine only
}

// An ending is the writer's last word on a journal in this epoch.
type ending struct {
	kind   journal.EndKind // zero while open
	count  uint64
	digest uint64
}

// A reader is the side of an edge that belongs to the reader's goroutine.
type reader struct {
	local []held // taken from the queue or the log, not consumed yet, in order
	done  mark   // what is consumed: records before it in local
	work  mark   // as done, with the open transition
	ahead mark   // of a sink: what is out for delivery or delivered
	tail  uint64 // sequence of the last record in local or consumed

	ledger ledger          // of what is consumed
	saw    journal.EndKind // the end that is consumed; zero if none
	sees   journal.EndKind // the end that the open transition consumes
	behind *catchup        // not nil while the log is read

	violation *violation // set once, when the ledgers part
}

// held is a batch in the reader's hands.
type held struct {
	raw   *plan.Batch // as the port had it
	batch *plan.Batch // as the handler wants it
	bytes int64       // what it counts for credit
}

// A mark is a place in reader.local.
type mark struct{ batch, record int }

// push gives the reader a batch that was placed.
func (e *edge) push(b *plan.Batch) {
	if tamper != nil {
		if b = tamper(e.name, b); b == nil {
			return
		}
	}
	e.mu.Lock()
	e.head = b.Last()
	live := e.live
	if live {
		e.queue = append(e.queue, b)
	}
	e.mu.Unlock()
	e.appended.Store(b.Last())
	if live {
		e.appendedBytes.Add(int64(len(b.Raw)))
		e.to.mail.poke()
	}
}

// tamper lets a test alter what passes from writer to reader.
var tamper func(edge string, b *plan.Batch) *plan.Batch

// finish tells the reader that no batch follows in this epoch.
func (e *edge) finish(end ending) {
	e.mu.Lock()
	e.end = end
	e.mu.Unlock()
	e.to.mail.poke()
}

// used is how much of its credit the writer has used; zero where it needs none.
func (e *edge) used() (records uint64, bytes int64) {
	if !e.counts.Load() {
		return 0, 0
	}
	c, a := e.consumed.Load(), e.appended.Load()
	if a < c { // between two loads
		return 0, 0
	}
	return a - c, max(0, e.appendedBytes.Load()-e.consumedBytes.Load())
}

// full reports whether the writer has no credit, and has it woken when it gets
// some. Called by the writer.
func (e *edge) full() bool {
	if !e.over() {
		return false
	}
	e.blocked.Store(true)
	if e.over() {
		return true
	}
	e.blocked.Store(false)
	return false
}

func (e *edge) over() bool {
	records, bytes := e.used()
	return records >= uint64(e.window.Records) || bytes >= int64(e.window.Bytes)
}

// release wakes a writer without credit once half of it is back. Called by the
// reader after it consumed.
func (e *edge) release() {
	if !e.blocked.Load() {
		return
	}
	records, bytes := e.used()
	if 2*records > uint64(e.window.Records) || 2*bytes > int64(e.window.Bytes) {
		return
	}
	if e.blocked.Swap(false) {
		e.from.mail.poke()
	}
}

// shut says that the reader reads no more in this epoch: the writer goes on
// without it.
func (e *edge) shut() {
	e.mu.Lock()
	e.live, e.queue = false, nil
	e.mu.Unlock()
	e.counts.Store(false)
	e.local, e.done, e.work = nil, mark{}, mark{}
	e.behind.close()
	if e.blocked.Swap(false) {
		e.from.mail.poke()
	}
}

// fill makes local hold at least one record beyond at, if there is one.
func (e *edge) fill(at mark) error {
	if at.batch < len(e.local) {
		return nil
	}
	if e.behind != nil {
		return e.catchUp(at)
	}
	had := len(e.local)
	e.mu.Lock()
	queue := e.queue
	for _, b := range queue {
		e.local = append(e.local, held{raw: b, bytes: int64(len(b.Raw))})
	}
	clear(queue)
	e.queue = queue[:0]
	e.mu.Unlock()
	for i := had; i < len(e.local); i++ {
		e.adopt(&e.local[i])
	}
	return nil
}

// adopt makes of a batch what the handler expects.
func (e *edge) adopt(h *held) {
	h.batch = h.raw
	if e.port.Mode == plan.Copied {
		h.batch = e.port.Decoder.Private(h.raw)
	}
	if e.spec.Adapt != nil {
		h.batch = e.spec.Adapt(h.batch)
	}
	e.tail = h.raw.Last()
}

// peek returns the next batch and the record to begin with; ok is false if there
// is none at hand. The pointer is valid until local changes.
func (e *edge) peek() (h *held, from int, ok bool) {
	if e.work.batch >= len(e.local) {
		return nil, 0, false
	}
	return &e.local[e.work.batch], e.work.record, true
}

// step moves work over n records of the batch that peek returned.
func (e *edge) step(n int) {
	e.work.record += n
	if e.work.record >= e.local[e.work.batch].batch.N {
		e.work = mark{batch: e.work.batch + 1}
	}
}

// undo moves work back to what is consumed.
func (e *edge) undo() { e.work = e.done }

// settle makes everything before work consumed: the transition was placed. It
// compares the ledgers wherever the writer's frame ended.
func (e *edge) settle() {
	if e.done == e.work {
		return
	}
	var bytes int64
	for i := e.done.batch; i <= e.work.batch && i < len(e.local); i++ {
		h := &e.local[i]
		from, to := 0, h.raw.N
		if i == e.done.batch {
			from = e.done.record
		}
		if i == e.work.batch {
			to = e.work.record
		}
		if to > from {
			e.ledger.add(h.raw, from, to)
		}
		if to == h.raw.N {
			bytes += h.bytes
			if v := e.ledger.compare(h.raw); v != nil && e.violation == nil {
				e.violation = v
			}
		}
	}
	e.ahead.batch -= e.work.batch
	if e.ahead.batch < 0 || (e.ahead.batch == 0 && e.ahead.record < e.work.record) {
		e.ahead = mark{record: e.work.record}
	}
	rest := copy(e.local, e.local[e.work.batch:])
	clear(e.local[rest:])
	e.local = e.local[:rest]
	e.done = mark{record: e.work.record}
	e.work = e.done
	e.consumed.Store(e.ledger.last)
	if bytes > 0 {
		e.consumedBytes.Add(bytes)
	}
	e.release()
}

// ended returns the end of the journal once every record before it is at hand
// or consumed and work is behind them.
func (e *edge) ended() (ending, bool) {
	if e.saw != 0 || e.behind != nil || e.work.batch < len(e.local) {
		return ending{}, false
	}
	e.mu.Lock()
	end, rest := e.end, len(e.queue)
	e.mu.Unlock()
	return end, end.kind != 0 && rest == 0
}

// A ledger is a reader's own account of a journal.
type ledger struct {
	count, last, digest uint64
	based               bool // digest covers the journal from its beginning
	skipped             *violation
}

// add accounts for records from to to-1 of b.
func (l *ledger) add(b *plan.Batch, from, to int) {
	first := b.First + uint64(from)
	if first != l.last+1 && l.skipped == nil {
		l.skipped = &violation{at: min(first, l.last+1), reason: "records do not follow each other"}
	}
	if !l.based { // resumed: begin with what the writer had before the rest of this frame
		rest := wire.Digest(0)
		for i := from; i < b.N; i++ {
			rest = rest.Add(b.First+uint64(i), b.CRCs[i])
		}
		l.digest, l.based = b.Digest-uint64(rest), true
	}
	d := wire.Digest(l.digest)
	for i := from; i < to; i++ {
		d = d.Add(b.First+uint64(i), b.CRCs[i])
	}
	l.digest = uint64(d)
	l.count += uint64(to - from)
	l.last = b.First + uint64(to) - 1
}

// compare checks the ledger at the end of a frame of the writer.
func (l *ledger) compare(b *plan.Batch) *violation {
	switch {
	case l.skipped != nil:
		v := *l.skipped
		v.writer, v.reader = side(b.Last(), b.Digest), side(l.count, l.digest)
		return &v
	case l.count != b.Last() || l.digest != b.Digest:
		return &violation{
			at: b.First, reason: "the reader's digest is not the writer's",
			writer: side(b.Last(), b.Digest), reader: side(l.count, l.digest),
		}
	}
	return nil
}
