package engine

import "sync"

// A mailbox is how a supervisor's goroutine is told things: by anyone, without
// waiting, in order. Its owner sleeps on wake, which others poke; a poke without
// a message says "look again".
type mailbox[M any] struct {
	mu    sync.Mutex // guards items and shut; never held in a wait
	items []M
	shut  bool          // nobody will read what is posted
	taken []M           // out of items, the owner's
	at    int           // of taken: read up to here, the owner's
	wake  chan struct{} // anyone sends without waiting, the owner receives, nobody closes; capacity 1 because one look sees everything
}

func newMailbox[M any]() mailbox[M] {
	return mailbox[M]{wake: make(chan struct{}, 1)}
}

// post leaves a message and wakes the owner. It reports false if the owner has
// closed the mailbox.
func (m *mailbox[M]) post(msg M) bool {
	m.mu.Lock()
	if m.shut {
		m.mu.Unlock()
		return false
	}
	m.items = append(m.items, msg)
	m.mu.Unlock()
	m.poke()
	return true
}

// close has the mailbox take no more. The owner, who calls it, reads what is left.
func (m *mailbox[M]) close() {
	m.mu.Lock()
	m.shut = true
	m.mu.Unlock()
}

// poke wakes the owner, which will look at everything that it waits for.
func (m *mailbox[M]) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// next takes the oldest message; ok is false if there is none.
func (m *mailbox[M]) next() (msg M, ok bool) {
	if m.at == len(m.taken) {
		clear(m.taken)
		m.at = 0
		m.mu.Lock()
		m.taken, m.items = m.items, m.taken[:0]
		m.mu.Unlock()
		if len(m.taken) == 0 {
			return msg, false
		}
	}
	m.at++
	return m.taken[m.at-1], true
}
