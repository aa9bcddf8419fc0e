package engine

import (
	"sync"
	"sync/atomic"

	"github.com/weirflow/weir/internal/credit"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// An outlet is one port of a stage with its readers.
type outlet struct {
	*plan.Port
	tally
	journal string // "stage.port"
	edges   []*edge
	output  journal.Output // sealed in the open transition
	batch   *plan.Batch    // of output; nil if nothing was written
	written atomic.Uint64  // tally.count, for others

	mu     sync.Mutex   // guards the rest and the queues of edges; never held in a wait
	credit *credit.Port // of edges, in their order
	end    ending       // set by the writer after its last batch
}

// An ending is the writer's last word on a journal in this epoch.
type ending struct {
	kind   journal.EndKind // zero while open
	count  uint64
	digest uint64
}

// push gives the readers a batch that was placed.
func (o *outlet) push(b *plan.Batch) {
	o.mu.Lock()
	o.credit.Append(uint64(b.N), uint64(len(b.Raw)))
	for i, e := range o.edges {
		if e.fed = !o.credit.Deferred(i); !e.fed {
			continue
		}
		gets := b
		if tamper != nil {
			gets = tamper(e.name, b)
		}
		if gets != nil {
			e.queue = append(e.queue, gets)
		}
	}
	o.mu.Unlock()
	for _, e := range o.edges {
		if e.fed {
			e.to.mail.poke()
		}
	}
}

// tamper lets a test alter what passes from writer to reader.
var tamper func(edge string, b *plan.Batch) *plan.Batch

// finish tells the readers that no batch follows in this epoch.
func (o *outlet) finish(end ending) {
	o.mu.Lock()
	o.end = end
	o.mu.Unlock()
	for _, e := range o.edges {
		e.to.mail.poke()
	}
}

// full reports whether the writer has no credit; it is poked when it has some.
func (o *outlet) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.credit.Ask()
}

func (o *outlet) consume(i int, to, bytes uint64) (wake bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.credit.Consume(i, to, bytes)
}

// ending returns the writer's last word so far.
func (o *outlet) ending() ending {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

// open makes the ledger of the port, once its edges are known.
func (o *outlet) open(window credit.Window) (err error) {
	edges := make([]credit.Edge, len(o.edges))
	for i, e := range o.edges {
		waits := e.spec.Role != plan.TableAtEnd && e.to.hydratesFirst()
		edges[i] = credit.Edge{Reader: e.to.name, Window: window, Consumed: e.cursor, Declined: waits || e.to.ended}
	}
	if o.credit, err = credit.NewPort(o.count, edges...); err != nil {
		return err
	}
	for i, e := range o.edges {
		if o.credit.Deferred(i) {
			e.behind = &catchup{}
		}
	}
	return nil
}

// A standing is where an edge is at one moment.
type standing struct {
	appended, consumed uint64
	used               credit.Window
	pending            bool // there is input that the reader does not decline
	deferred, declined bool
}

func (e *edge) standing() standing {
	o := e.port
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.credit
	return standing{
		appended: c.Head(), consumed: c.Consumed(e.at),
		used: c.Used(e.at), pending: c.Pending(e.at), deferred: c.Deferred(e.at), declined: c.Declined(e.at),
	}
}

// blocking returns the edge that holds the writer up; nil if none does.
func (o *outlet) blocking() *edge {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i, ok := o.credit.Blocking(); ok {
		return o.edges[i]
	}
	return nil
}
