package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// An Entry is one line of the ledger: something that happened to money or goods.
type Entry struct {
	Kind  string `json:"kind"`          // authorization, charge, refund, booking, cancellation, shipment
	Key   string `json:"key,omitempty"` // the idempotency key it came with
	Order string `json:"order"`
	Cents int64  `json:"cents,omitempty"`
	ID    string `json:"id"`
	OK    bool   `json:"ok"` // false: declined, nothing moved
}

// A Ledger is an append-only file of entries, one JSON object a line. What Append
// returned for stays, also if the machine loses power.
type Ledger struct {
	mu      sync.Mutex // guards the rest
	file    *os.File
	size    int64 // of whole lines
	entries []Entry
	byKey   map[string]Entry
	of      map[string][]Entry // by order
}

// OpenLedger opens the ledger in the file of that name, which it makes if there is
// none. A line that was cut short, by a kill while it was written, is removed: it
// was never answered for.
func OpenLedger(name string) (*Ledger, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &Ledger{file: f, byKey: map[string]Entry{}, of: map[string][]Entry{}}
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		var e Entry
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s, line %d: %w", name, len(l.entries)+1, err), f.Close())
		}
		l.enter(e)
		l.size += int64(len(line))
	}
	if err := f.Truncate(l.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

func (l *Ledger) enter(e Entry) {
	l.entries = append(l.entries, e)
	l.of[e.Order] = append(l.of[e.Order], e)
	if e.Key != "" {
		l.byKey[e.Kind+" "+e.Key] = e
	}
}

// Append gives e the next id and writes it, and returns once it is durable.
func (l *Ledger) Append(e Entry) (Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.ID = fmt.Sprintf("%s-%d", e.Kind, len(l.entries)+1)
	line, err := json.Marshal(e)
	if err != nil {
		return e, err
	}
	line = append(line, '\n')
	if _, err := l.file.WriteAt(line, l.size); err != nil {
		return e, err
	}
	if err := l.file.Sync(); err != nil {
		return e, err
	}
	l.size += int64(len(line))
	l.enter(e)
	return e, nil
}

// ByKey returns the entry of a kind that came with a key.
func (l *Ledger) ByKey(kind, key string) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.byKey[kind+" "+key]
	return e, ok
}

// Of returns what happened to an order, oldest first; to all of them if order is
// empty.
func (l *Ledger) Of(order string) []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if order == "" {
		return append([]Entry{}, l.entries...)
	}
	return append([]Entry{}, l.of[order]...)
}
