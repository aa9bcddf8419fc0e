package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// A catchup reads the journal of an edge from the log: because its reader
// declined it so far, or because an epoch began with the reader behind.
type catchup struct {
	in      journal.Reader // nil until it is needed
	parts   []*plan.Batch  // of a transition that is not read to its last frame
	joining bool           // the edge is live again; read up to liveFrom
}

// deferred makes the edge one that its reader does not read for now: it takes no
// memory and no credit. Called before the writer runs.
func (e *edge) deferred() {
	e.live = false
	e.counts.Store(false)
	e.behind = &catchup{}
}

// follow begins to read a deferred edge.
func (e *edge) follow() {
	if e.behind == nil {
		e.deferred()
	}
}

// catchUp reads the log until there is a batch, and rejoins the writer once the
// reader is within one window of it.
func (e *edge) catchUp(at mark) error {
	c := e.behind
	if !c.joining {
		e.mu.Lock()
		if e.head-e.tail <= uint64(e.window.Records) {
			c.joining, e.live, e.liveFrom = true, true, e.head+1
			e.consumedBytes.Store(e.appendedBytes.Load())
			e.counts.Store(true)
		}
		e.mu.Unlock()
	}
	if c.joining && e.tail+1 >= e.liveFrom {
		return e.rejoin(at)
	}
	if c.in == nil {
		if err := e.openLog(); err != nil {
			return err
		}
	}
	for at.batch >= len(e.local) {
		if err := e.nextFrame(); err != nil {
			return err
		}
	}
	return nil
}

// rejoin goes on with the queue.
func (e *edge) rejoin(at mark) error {
	e.behind.close()
	e.behind = nil
	return e.fill(at)
}

func (c *catchup) close() {
	if c != nil && c.in != nil {
		_ = c.in.Close() // it was only read
		c.in = nil
	}
}

func (e *edge) openLog() error {
	log := e.to.run.c.Log
	from, err := log.Find(e.journal, e.tail+1)
	if err != nil {
		return fmt.Errorf("find %s:%d in the log: %w", e.journal, e.tail+1, err)
	}
	if e.behind.in, err = log.Read(from); err != nil {
		return fmt.Errorf("read the log from %d for %s: %w", from, e.name, err)
	}
	return nil
}

// nextFrame reads one frame and takes from it what is of this journal.
func (e *edge) nextFrame() error {
	c := e.behind
	entry, err := c.in.Next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("the log ends before %s:%d, which was placed", e.journal, e.tail+1)
	}
	if err != nil {
		return fmt.Errorf("read the log for %s: %w", e.name, err)
	}
	var t journal.Transition
	if err := journal.Parse(entry.Body, &t); err != nil {
		return fmt.Errorf("frame %d: %w", entry.LSN, err)
	}
	if t.Stage == e.from.name {
		// Batches keep what they are decoded from; the reader reuses its memory.
		if err := journal.Parse(bytes.Clone(entry.Body), &t); err != nil {
			return fmt.Errorf("frame %d: %w", entry.LSN, err)
		}
		for i := range t.Outputs {
			if t.Outputs[i].Port != e.port.Name {
				continue
			}
			b, err := e.decode(&t, &t.Outputs[i], entry)
			if err != nil {
				return err
			}
			if b != nil {
				c.parts = append(c.parts, b)
			}
		}
	}
	if entry.More {
		return nil
	}
	for _, b := range c.parts {
		b.LSN = entry.LSN
		e.local = append(e.local, held{raw: b})
		e.adopt(&e.local[len(e.local)-1])
	}
	clear(c.parts)
	c.parts = c.parts[:0]
	return nil
}

// decode makes the batch that readers got when the frame was placed.
func (e *edge) decode(t *journal.Transition, o *journal.Output, entry journal.Entry) (*plan.Batch, error) {
	next := e.tail + 1
	if n := len(e.behind.parts); n > 0 {
		next = e.behind.parts[n-1].Last() + 1
	}
	if o.First+uint64(o.Count) <= next {
		return nil, nil
	}
	b, err := e.port.Decoder.Decode(e.journal, o, next)
	if err != nil {
		return nil, fmt.Errorf("frame %d: decode %s from sequence %d: %w", entry.LSN, e.journal, o.First, err)
	}
	if b == nil || b.N == 0 {
		return nil, nil
	}
	b.Journal, b.Epoch, b.Recorded = e.journal, e.to.run.epochID(entry.Epoch), t.Time.UnixNano()
	return b, nil
}
