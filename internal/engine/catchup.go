package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/journal"
)

// A catchup reads the journal of an edge from the log: because its reader
// declined it so far, or because an epoch began with the reader behind.
type catchup struct {
	in     journal.Reader            // nil until it is needed
	placed *journal.TransitionReader // over in
	upTo   uint64                    // the edge is live again, its queue begins behind this; not before joins
	joins  bool
}

// catchUp reads the log until there is a batch, and rejoins the writer once the
// reader is within one window of it.
func (e *edge) catchUp(at mark) error {
	c := e.behind
	if !c.joins {
		e.port.mu.Lock()
		c.joins, c.upTo = e.port.credit.Accept(e.at, e.tail), e.port.credit.Head()
		e.port.mu.Unlock()
	}
	if c.joins && e.tail >= c.upTo {
		return e.rejoin(at)
	}
	if c.in == nil {
		if err := e.openLog(); err != nil {
			return err
		}
	}
	for at.batch >= len(e.local) {
		if err := e.nextTransition(); err != nil {
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
	e.behind.placed = journal.Transitions(e.behind.in)
	return nil
}

// nextTransition reads one transition and takes from it what is of this journal.
func (e *edge) nextTransition() error {
	var p journal.Placed
	if err := e.behind.placed.Next(&p); errors.Is(err, io.EOF) {
		return fmt.Errorf("the log ends before %s:%d, which was placed", e.journal, e.tail+1)
	} else if err != nil {
		return fmt.Errorf("read the log for %s: %w", e.name, err)
	}
	if p.Stage != e.from.name {
		return nil
	}
	for i := range p.Outputs {
		o := &p.Outputs[i]
		if o.Port != e.port.Name || o.First+uint64(o.Count) <= e.tail+1 {
			continue
		}
		o.Records = bytes.Clone(o.Records) // the reader reuses its memory, the batch may keep this
		b, err := e.port.Decoder.Decode(e.journal, o, e.tail+1, p.Epoch)
		if err != nil {
			return fmt.Errorf("frame %d: decode %s from sequence %d: %w", p.Last, e.journal, o.First, err)
		}
		if b == nil || b.N == 0 {
			continue
		}
		b.Journal, b.LSN, b.Epoch, b.Recorded = e.journal, p.Last, e.to.run.epochID(p.Epoch), p.Time.UnixNano()
		e.local = append(e.local, held{raw: b})
		if err := e.adopt(&e.local[len(e.local)-1]); err != nil {
			return err
		}
	}
	return nil
}
