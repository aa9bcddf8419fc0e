package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An edge is one stage reading one port. The writer pushes the batches that it
// computed, or decoded; the reader takes them. When the reader is far behind, as
// the one side of a join is until the other has ended, nothing more is kept for
// it and it reads the log.
type edge struct {
	open    func() (Log, func() error, error)
	epochs  map[uint64]journal.ID
	journal string // "stage.port"
	from    *stage
	port    *plan.Port
	spec    *plan.Input
	input   int  // index among the reader's inputs
	foreign bool // the recorded flow has no such edge

	mu    sync.Mutex // guards the next four; never held in a wait
	queue []*plan.Batch
	bytes int
	lost  bool   // something was pushed and not kept
	last  uint64 // sequence pushed last

	wake chan struct{} // of one: told when something is pushed

	// The reader's.
	held   held
	cursor uint64                    // replay: the last sequence consumed
	saw    journal.EndKind           // the end that it consumed; zero if none
	trans  *journal.TransitionReader // of the log; nil unless it is read
	done   func() error              // closes what trans reads
}

// held is the batch in the reader's hands.
type held struct {
	raw   *plan.Batch // as the port had it; without Values it could not be decoded
	batch *plan.Batch // as the handler wants it
}

// keep is how many bytes an edge keeps for its reader.
const keep = 8 << 20

// push gives the reader a batch.
func (e *edge) push(b *plan.Batch) {
	e.mu.Lock()
	e.last = b.Last()
	if e.lost = e.lost || e.bytes > 0 && e.bytes+len(b.Raw) > keep; !e.lost {
		e.queue = append(e.queue, b)
		e.bytes += len(b.Raw)
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// take returns the batch that holds record seq, which was or will be pushed.
func (e *edge) take(ctx context.Context, seq uint64) (*held, error) {
	for {
		if h := &e.held; h.raw != nil && h.raw.First <= seq && seq <= h.raw.Last() {
			return h, nil
		}
		b, read, wait := e.next(seq)
		switch {
		case b != nil:
			e.adopt(b)
		case read:
			if err := e.readLog(seq); err != nil {
				return nil, err
			}
		case wait:
			e.close() // the reader is up with the writer again
			select {
			case <-e.wake:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

// next returns the next batch that is kept, or whether to read the log for seq or
// to wait for the writer.
func (e *edge) next(seq uint64) (b *plan.Batch, read, wait bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) > 0 {
		b = e.queue[0]
		e.queue[0], e.queue = nil, e.queue[1:]
		e.bytes -= len(b.Raw)
		return b, false, false
	}
	if e.last < seq {
		e.lost = false
		return nil, false, true
	}
	return nil, true, false
}

// adopt makes b the batch in hand.
func (e *edge) adopt(b *plan.Batch) { e.held = held{raw: b, batch: e.expected(b)} }

// expected makes of a batch of the port what the handler expects.
func (e *edge) expected(raw *plan.Batch) *plan.Batch {
	b := raw
	if raw.Values == nil {
		return raw
	}
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

// readLog takes the next batch with seq from the log. It begins where it ended
// last if seq comes behind that.
func (e *edge) readLog(seq uint64) error {
	if e.trans != nil && e.held.raw != nil && e.held.raw.First > seq {
		e.close()
	}
	if e.trans == nil {
		if err := e.openLog(seq); err != nil {
			return fmt.Errorf("read the log for %s:%d: %w", e.journal, seq, err)
		}
	}
	var p journal.Placed
	for {
		if err := e.trans.Next(&p); errors.Is(err, io.EOF) {
			return fmt.Errorf("the log ends before %s:%d, which was written", e.journal, seq)
		} else if err != nil {
			return fmt.Errorf("read the log for %s: %w", e.journal, err)
		}
		if p.Stage != e.from.name {
			continue
		}
		for i := range p.Outputs {
			o := &p.Outputs[i]
			if o.Port == e.port.Name && o.First <= seq && seq < o.First+uint64(o.Count) {
				b, _ := decode(e.port, e.journal, o, &p, e.epochs)
				e.adopt(b)
				return nil
			}
		}
	}
}

func (e *edge) openLog(seq uint64) error {
	log, done, err := e.open()
	if err != nil {
		return err
	}
	from, err := log.Find(e.journal, seq)
	if err == nil {
		var in journal.Reader
		if in, err = log.Read(from); err == nil {
			e.trans, e.done = journal.Transitions(cloning{in}), done
			return nil
		}
	}
	return errors.Join(err, done())
}

// skip drops what is kept up to seq.
func (e *edge) skip(seq uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && e.queue[0].Last() <= seq {
		e.bytes -= len(e.queue[0].Raw)
		e.queue[0], e.queue = nil, e.queue[1:]
	}
}

func (e *edge) close() {
	if e.trans != nil {
		_ = errors.Join(e.trans.Close(), e.done()) // it was only read
		e.trans, e.done = nil, nil
	}
}

// decode makes the batch that readers get of a recorded output. One that cannot
// be decoded has no Values.
func decode(p *plan.Port, name string, o *journal.Output, at *journal.Placed, epochs map[uint64]journal.ID) (*plan.Batch, error) {
	b, err := p.Decoder.Decode(name, o, o.First, at.Epoch)
	if err == nil && (b == nil || b.N != o.Count) {
		err = fmt.Errorf("%s: %d records from %d on, of which fewer can be read", name, o.Count, o.First)
	}
	if err != nil {
		b = &plan.Batch{Type: o.Type, First: o.First, N: o.Count, Digest: o.Digest}
	}
	place(b, name, at, epochs)
	return b, err
}

// place says where in the log a batch is.
func place(b *plan.Batch, name string, at *journal.Placed, epochs map[uint64]journal.ID) {
	b.Journal, b.LSN, b.Epoch, b.Recorded = name, at.Last, at.Author(epochs[at.Epoch]), at.Time.UnixNano()
}
