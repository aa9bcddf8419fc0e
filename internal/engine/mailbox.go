package engine

import "sync"

// A mailbox is how a supervisor's goroutine is told things: by anyone, without
// waiting, in order. Its owner sleeps on wake, which others poke; a poke without
// a message says "look again".
type mailbox[M any] struct {
	mu    sync.Mutex // guards items; never held in a wait
	items []M
	spare []M           // what the owner drained last; the owner's
	wake  chan struct{} // anyone sends without waiting, the owner receives, nobody closes; capacity 1 because one look sees everything
}

func newMailbox[M any]() mailbox[M] {
	return mailbox[M]{wake: make(chan struct{}, 1)}
}

// post leaves a message and wakes the owner.
func (m *mailbox[M]) post(msg M) {
	m.mu.Lock()
	m.items = append(m.items, msg)
	m.mu.Unlock()
	m.poke()
}

// poke wakes the owner, which will look at everything that it waits for.
func (m *mailbox[M]) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// drain returns what was posted; it is valid until the next call.
func (m *mailbox[M]) drain() []M {
	m.mu.Lock()
	items := m.items
	clear(m.spare)
	m.items = m.spare[:0]
	m.mu.Unlock()
	m.spare = items
	return items
}
