package journaltest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir/journal"
)

// A tester is what testing.TB and rapid.T have in common and is needed here.
type tester interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
	Cleanup(func())
}

// A bench is one log on one store with what it should hold.
type bench struct {
	tester
	store Store
	log   journal.Log
	*author
}

// newBench opens a new log. At the end of the test it is given up, so that the
// goroutines of the log end.
func newBench(t tester, f Factory) *bench {
	t.Helper()
	b := &bench{tester: t, store: f(), author: newAuthor(1)}
	b.open()
	t.Cleanup(b.end)
	return b
}

func (b *bench) open() {
	b.Helper()
	log, err := b.store.Open()
	if err != nil {
		b.Fatalf("Open: %v", err)
	}
	b.log = log
}

func (b *bench) end() {
	b.store.Space()
	b.store.Release()
	_ = b.log.Close() // the test may have closed or poisoned it
}

// epoch is the number of the present owner's epoch.
func (b *bench) epoch() uint64 {
	b.Helper()
	epochs := b.log.Manifest().Epochs
	if len(epochs) == 0 {
		b.Fatal("Manifest: no epochs, want one for each owner so far")
	}
	return epochs[len(epochs)-1].Number
}

// put appends a transition and returns its last LSN.
func (b *bench) put(s shape) journal.LSN {
	b.Helper()
	if s.stage == "" {
		s.stage = "orders"
	}
	d := b.draft(s)
	lsn, err := b.log.Append(b.Context(), journal.Normal, d.frames...)
	if err != nil {
		b.Fatalf("Append: %v", err)
	}
	for _, f := range d.frames { // the log keeps copies
		for i := range f.Body {
			f.Body[i] = 0xA5
		}
	}
	b.placed(d, b.epoch())
	if want := journal.LSN(len(b.author.log)); lsn != want {
		b.Fatalf("Append = %d, want %d", lsn, want)
	}
	if head := b.log.Head(); head != lsn {
		b.Fatalf("Head = %d after Append = %d", head, lsn)
	}
	return lsn
}

// snapshot stores a snapshot and appends a checkpoint that names it.
func (b *bench) snapshot(name string, size int) {
	b.Helper()
	data := b.data(name, size)
	if err := b.log.WriteSnapshot(name, data); err != nil {
		b.Fatalf("WriteSnapshot(%q): %v", name, err)
	}
	b.put(shape{parts: 1, check: name, sum: sha256.Sum256(data)})
}

// data is the content of the snapshot of that name.
func (b *bench) data(name string, size int) []byte {
	return bytes.Repeat([]byte(name+"."), size/(len(name)+1)+1)[:size]
}

func (b *bench) await(lsn journal.LSN) {
	b.Helper()
	if err := b.log.Await(b.Context(), lsn); err != nil {
		b.Fatalf("Await(%d): %v", lsn, err)
	}
	if d := b.log.Durable(); d < lsn {
		b.Fatalf("Durable = %d after Await(%d)", d, lsn)
	}
}

func (b *bench) reader(from journal.LSN) journal.Reader {
	b.Helper()
	r, err := b.log.Read(from)
	if err != nil {
		b.Fatalf("Read(%d): %v", from, err)
	}
	return r
}

// holds reads the whole log and compares it with what was placed.
func (b *bench) holds() {
	b.Helper()
	if err := compare(b.log, b.author.log); err != nil {
		b.Fatal(err)
	}
}

// survived reads a log that was reopened after its owner died, checks that it
// holds what was placed, cut after a transition and not before durable, and
// goes on from there.
func (b *bench) survived(durable journal.LSN) {
	b.Helper()
	n, err := survivors(b.log, b.author.log, durable)
	if err != nil {
		b.Fatal(err)
	}
	b.cut(n)
	b.holds()
}

// survivors returns how much of what was placed a log holds: all or a prefix
// that ends after a transition, not before durable.
func survivors(log journal.Log, was []placed, durable journal.LSN) (int, error) {
	got, err := readAll(log, 0)
	if err != nil {
		return 0, err
	}
	n := len(got)
	switch {
	case n > len(was):
		return 0, fmt.Errorf("the log holds %d frames, more than the %d that were placed", n, len(was))
	case journal.LSN(n) < durable:
		return 0, fmt.Errorf("the log holds %d frames, and %d were durable", n, durable)
	case n > 0 && was[n-1].more:
		return 0, fmt.Errorf("the log ends at %d, inside of a transition", n)
	}
	for i, e := range got {
		if err := same(e, i, was[i]); err != nil {
			return 0, err
		}
	}
	if h, d := log.Head(), log.Durable(); h != journal.LSN(n) || d != h {
		return 0, fmt.Errorf("head %d, durable %d; want both %d, for what was found is durable", h, d, n)
	}
	return n, nil
}

// compare reads a log from its beginning and compares it with what was placed.
func compare(log journal.Log, want []placed) error {
	got, err := readAll(log, 0)
	if err != nil {
		return err
	}
	if head := log.Head(); head != journal.LSN(len(want)) {
		return fmt.Errorf("the log has head %d, want %d", head, len(want))
	}
	if len(got) != len(want) {
		return fmt.Errorf("the log holds %d frames, want %d", len(got), len(want))
	}
	for i, e := range got {
		if err := same(e, i, want[i]); err != nil {
			return err
		}
	}
	return nil
}

// same compares an entry with what was placed as number i, from 0.
func same(e journal.Entry, i int, want placed) error {
	if e.LSN != journal.LSN(i+1) || e.Epoch != want.epoch || e.More != want.more {
		return fmt.Errorf("frame %d has LSN %d, epoch %d, more %t; want LSN %d, epoch %d, more %t",
			i+1, e.LSN, e.Epoch, e.More, i+1, want.epoch, want.more)
	}
	if string(e.Body) != want.body {
		return fmt.Errorf("the body of frame %d (%d bytes) is not what was appended (%d bytes)",
			i+1, len(e.Body), len(want.body))
	}
	return nil
}

// readAll returns the entries at and after from, with bodies of their own.
func readAll(log journal.Log, from journal.LSN) (all []journal.Entry, err error) {
	r, err := log.Read(from)
	if err != nil {
		return nil, fmt.Errorf("read from %d: %w", from, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return rest(r)
}

// rest returns what a reader gives until it says that there is no more.
func rest(r journal.Reader) ([]journal.Entry, error) {
	var all []journal.Entry
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("next after %d frames: %w", len(all), err)
		}
		e.Body = bytes.Clone(e.Body)
		all = append(all, e)
	}
}
