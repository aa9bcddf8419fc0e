package engine

import (
	"context"
	"sync"

	"github.com/weirflow/weir/journal"
)

// An acker tells a source which positions are durable, in order, from a
// goroutine of its own.
type acker struct {
	s      *stage
	ack    func(ctx context.Context, upTo string) error
	left   chan struct{} // closed by the goroutine
	wake   chan struct{} // the stage sends without waiting, nobody closes; capacity 1 because one look sees everything
	closed bool          // of the stage's goroutine

	mu    sync.Mutex // guards the rest; never held in a wait
	queue []placedAt
	last  bool // nothing follows what is queued
}

// placedAt is a position with the transition that recorded it.
type placedAt struct {
	lsn            journal.LSN
	position, part string
}

func newAcker(s *stage, ack func(context.Context, string) error) *acker {
	return &acker{s: s, ack: ack, left: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// add queues a position. One that no other part came between replaces the one
// before: to acknowledge the later is to acknowledge both.
func (a *acker) add(lsn journal.LSN, position, part string) {
	a.mu.Lock()
	a.queue = append(a.queue, placedAt{lsn, position, part})
	a.mu.Unlock()
	a.poke()
}

// close says that nothing more will be added.
func (a *acker) close() {
	a.closed = true
	a.mu.Lock()
	a.last = true
	a.mu.Unlock()
	a.poke()
}

func (a *acker) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// loop is the goroutine. It ends when the last position is acknowledged or the
// stage's context is done.
func (a *acker) loop() {
	defer close(a.left)
	defer a.s.mail.post(message{kind: acksEnded})
	ctx := a.s.ctx
	for {
		a.mu.Lock()
		queue, last := a.queue, a.last
		a.queue = nil
		a.mu.Unlock()
		if len(queue) == 0 {
			if last {
				return
			}
			select {
			case <-a.wake:
			case <-ctx.Done():
				return
			}
			continue
		}
		for i, p := range queue {
			if i+1 < len(queue) && queue[i+1].part == p.part && queue[i+1].lsn <= a.s.run.c.Log.Durable() {
				continue
			}
			if !a.acknowledge(ctx, p) {
				return
			}
		}
	}
}

// acknowledge tells the source about a position once that is durable, and reports
// whether it will be.
func (a *acker) acknowledge(ctx context.Context, p placedAt) bool {
	if a.s.run.c.Log.Await(ctx, p.lsn) != nil {
		return false
	}
	err := protect(func() error { return a.ack(ctx, p.position) })
	if err != nil && ctx.Err() == nil {
		a.s.run.log.WarnContext(ctx, "source did not take an acknowledgement", attr("stage", a.s.name), attr("error", err.Error()))
	}
	return true
}
