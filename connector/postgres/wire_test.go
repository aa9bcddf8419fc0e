package postgres_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A wire is a socket in front of a server's, on which things happen to what
// clients say.
type wire struct {
	t      testing.TB
	dir    string // of its socket
	server string
	late   chan struct{} // the test closes it

	mu    sync.Mutex
	heard func(said string) fate // nil means pass; asked for each query
	conns map[net.Conn]bool
	group sync.WaitGroup
}

// A fate is what becomes of a message and of its connection.
type fate int

const (
	pass      fate = iota
	cutBefore      // the server does not get it, and the connection is gone
	cutAfter       // the server gets it and answers, and the client does not hear; of a simple query
	cutLate        // as cutAfter, and the server gets it when late is closed
)

// newWire listens in a folder of its own.
func newWire(t testing.TB, server string) *wire {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-wire-") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, dir: dir, server: filepath.Join(server, ".s.PGSQL.5432"), conns: map[net.Conn]bool{}, late: make(chan struct{})}
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	w.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.group.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cutAll()
		w.group.Wait()
		os.RemoveAll(dir)
	})
	return w
}

// on says what happens from now on.
func (w *wire) on(heard func(said string) fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = heard
}

// cutAll ends every connection.
func (w *wire) cutAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		c.Close()
	}
}

func (w *wire) keep(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = true
}

// serve passes a client's messages on, and the server's answers back.
func (w *wire) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", w.server)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer server.Close()
	w.keep(client)
	w.keep(server)
	answers := make(chan struct{})
	deaf := make(chan struct{}) // closed when the client is to hear no more
	w.group.Go(func() {
		defer close(answers)
		defer client.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := server.Read(buf)
			select {
			case <-deaf:
				return // it has answered
			default:
			}
			if n > 0 {
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for first := true; ; first = false {
		said, whole, err := message(client, first)
		if err != nil {
			return
		}
		w.mu.Lock()
		heard := w.heard
		w.mu.Unlock()
		what := pass
		if heard != nil && said != "" {
			what = heard(said)
		}
		if what == cutBefore {
			return
		}
		if what == cutAfter || what == cutLate {
			close(deaf)
		}
		if what == cutLate {
			client.Close()
			<-w.late
		}
		if _, err := server.Write(whole); err != nil {
			return
		}
		if what == cutAfter || what == cutLate {
			<-answers
			return
		}
	}
}

// message reads one message of the protocol, and what it says if it is a query or a
// statement to be prepared.
func message(r io.Reader, first bool) (said string, whole []byte, err error) {
	head := make([]byte, 5)
	if first { // has no type
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return "", nil, err
	}
	n := binary.BigEndian.Uint32(head[len(head)-4:])
	if n < 4 || n > 64<<20 {
		return "", nil, errors.New("no message")
	}
	whole = make([]byte, len(head)+int(n)-4)
	copy(whole, head)
	if _, err := io.ReadFull(r, whole[len(head):]); err != nil {
		return "", nil, err
	}
	if first {
		return "", whole, nil
	}
	switch body := string(whole[5:]); head[0] {
	case 'Q':
		said = strings.TrimSuffix(body, "\x00")
	case 'P': // its name, then the statement
		_, rest, _ := strings.Cut(body, "\x00")
		said, _, _ = strings.Cut(rest, "\x00")
	}
	return said, whole, nil
}

// nth returns what happens to the n-th message that begins so, and what to ask
// whether it has.
func nth(n int, prefix string, what fate) (heard func(string) fate, happened func() bool) {
	var seen atomic.Int64
	return func(said string) fate {
		if strings.HasPrefix(said, prefix) && seen.Add(1) == int64(n) {
			return what
		}
		return pass
	}, func() bool { return seen.Load() >= int64(n) }
}
