package engine

import (
	"slices"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// An edge is one stage reading one port. The writer's goroutine pushes batches,
// the reader's takes them; what they share belongs to the outlet, behind its mutex.
//
// An edge is live while the writer leaves batches in its queue. Otherwise it is
// deferred: its reader declines it, or is far behind. Then nothing is queued,
// nothing counts against the writer's credit, and the reader reads the log
// (catchup.go).
type edge struct {
	journal string // "stage.port"
	name    string // "stage.port→reader", unique in the run
	from    *stage
	to      *stage
	port    *outlet
	at      int // index among the readers of port
	spec    *plan.Input
	input   int // index among the reader's inputs

	queue []*plan.Batch // guarded by port.mu
	fed   bool          // the batch that was pushed last is queued; the writer's

	reader // the reader's goroutine only
}

// A reader is the side of an edge that belongs to the reader's goroutine.
type reader struct {
	local []held // taken from the queue or the log, not consumed yet, in order
	done  mark   // what is consumed: records before it in local
	work  mark   // as done, with the open transition
	ahead mark   // of a sink: what is out for delivery or delivered
	tail  uint64 // sequence of the last record in local or consumed

	cursor  uint64           // last sequence consumed
	account *contract.Reader // of what was taken in hand; nil until the digest before it is known
	verdict contract.Verdict // at the end that is consumed
	saw     journal.EndKind  // the end that is consumed; zero if none
	sees    journal.EndKind  // the end that the open transition consumes
	behind  *catchup         // not nil while the log is read
}

// held is a batch in the reader's hands.
type held struct {
	raw   *plan.Batch // as the port had it
	batch *plan.Batch // as the handler wants it
	bytes uint64      // what it counts for credit
}

// A mark is a place in reader.local.
type mark struct{ batch, record int }

// shut says that the reader reads no more in this epoch: the writer goes on
// without it.
func (e *edge) shut() {
	e.local, e.done, e.work = nil, mark{}, mark{}
	e.behind.close()
	o := e.port
	o.mu.Lock()
	e.queue = nil
	wake := o.credit.Decline(e.at)
	o.mu.Unlock()
	if wake {
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
	e.port.mu.Lock()
	queue := e.queue
	for _, b := range queue {
		e.local = append(e.local, held{raw: b, bytes: uint64(len(b.Raw))})
	}
	clear(queue)
	e.queue = queue[:0]
	e.port.mu.Unlock()
	for i := had; i < len(e.local); i++ {
		if err := e.adopt(&e.local[i]); err != nil {
			return err
		}
	}
	return nil
}

// adopt checks that a batch is the next one and makes of it what the handler
// expects.
func (e *edge) adopt(h *held) error {
	if err := e.accountFor(h.raw); err != nil {
		return err
	}
	h.batch = e.expected(h.raw)
	e.tail = h.raw.Last()
	return nil
}

// expected makes of a batch of the port what the handler expects. If the values
// are the handler's own it may change them, so what was handed over once is made
// again to be handed over again; see fresh.
func (e *edge) expected(raw *plan.Batch) *plan.Batch {
	b := raw
	if e.port.Mode == plan.Copied {
		b = e.port.Decoder.Private(raw)
	}
	if e.spec.Adapt != nil {
		b = e.spec.Adapt(b)
	}
	return b
}

// fresh returns b, which was made of raw, as it was before user code had it.
func (e *edge) fresh(b, raw *plan.Batch) *plan.Batch {
	if e.port.Mode == plan.Share {
		return b
	}
	return e.expected(raw)
}

// freshOne is fresh for record i alone; at is where it is in the batch.
func (e *edge) freshOne(b, raw *plan.Batch, i int) (one *plan.Batch, at int) {
	if e.port.Mode == plan.Share {
		return b, i
	}
	return e.expected(raw.One(i)), 0
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
func (e *edge) undo() {
	for i := range min(e.work.batch+1, len(e.local)) {
		h := &e.local[i]
		h.batch = e.fresh(h.batch, h.raw)
	}
	e.work = e.done
}

// rewind makes a piece that was taken for a sink and not delivered the next to be
// taken. Nothing was consumed meanwhile.
func (e *edge) rewind(p piece) {
	at := slices.IndexFunc(e.local, func(h held) bool { return h.raw == p.raw })
	h := &e.local[at]
	h.batch = e.fresh(h.batch, h.raw)
	e.ahead = mark{batch: at, record: p.from}
}

// settle makes everything before work consumed: the transition was placed.
func (e *edge) settle() {
	if e.done == e.work {
		return
	}
	var bytes uint64
	for i := range e.work.batch {
		bytes += e.local[i].bytes
		e.cursor = e.local[i].raw.Last()
	}
	if e.work.record > 0 {
		e.cursor = e.local[e.work.batch].raw.First + uint64(e.work.record) - 1
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
	e.consume(bytes)
}

// consume gives the writer credit back for everything up to the cursor.
func (e *edge) consume(bytes uint64) {
	if e.port.consume(e.at, e.cursor, bytes) {
		e.from.mail.poke()
	}
}

// accountFor adds a batch to the reader's side of the contract and compares the two
// sides, before anything is done with it.
func (e *edge) accountFor(b *plan.Batch) error {
	if e.account == nil {
		e.account = contract.NewReader(e.subject(), e.before(b))
	}
	v := e.account.Consume(b.First, b.CRCs)
	if v.State != contract.Fail {
		v = e.account.FrameEnd(contract.Ledger{Count: b.Last(), Last: b.Last(), Digest: wire.Digest(b.Digest)})
	}
	return v.Err()
}

// before is what the reader has consumed when b is the first batch that it reads
// in this epoch. Its digest is the writer's before b, because it is not on
// record; so the first frame is compared with itself and all that follow with the
// writer.
func (e *edge) before(b *plan.Batch) contract.Ledger {
	l := contract.Ledger{Count: e.cursor, Last: e.cursor, Digest: wire.Digest(b.Digest)}
	if e.cursor == 0 {
		l.Digest = 0
		return l
	}
	for k, crc := range b.CRCs {
		l.Digest -= wire.Digest(0).Add(b.First+uint64(k), crc)
	}
	return l
}

func (e *edge) subject() contract.Subject {
	return contract.Subject{Upstream: e.journal, Reader: e.to.name}
}

// present is what can be said of the edge now.
func (e *edge) present() contract.Verdict {
	if e.account == nil {
		at := contract.Ledger{Count: e.cursor, Last: e.cursor}
		return contract.NewReader(e.subject(), at).Verdict()
	}
	return e.account.Verdict()
}

// judge compares with the writer's totals.
func (e *edge) judge(end ending) contract.Verdict {
	w := contract.Ledger{Count: end.count, Last: end.count, Digest: wire.Digest(end.digest)}
	if e.account == nil { // nothing was read in this epoch: the digest is the writer's
		at := contract.Ledger{Count: e.cursor, Last: e.cursor}
		if e.cursor == end.count && e.cursor > 0 {
			at = w
		}
		e.account = contract.NewReader(e.subject(), at)
	}
	return e.account.End(w)
}

// ended returns the end of the journal once every record before it is at hand
// or consumed and work is behind them.
func (e *edge) ended() (ending, bool) {
	if e.saw != 0 || e.behind != nil || e.work.batch < len(e.local) {
		return ending{}, false
	}
	e.port.mu.Lock()
	end, rest := e.port.end, len(e.queue)
	e.port.mu.Unlock()
	return end, end.kind != 0 && rest == 0
}
