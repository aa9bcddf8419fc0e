package journaltest

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/weirflow/weir/journal"
)

// fill places a varied log of about n transitions.
func (b *bench) fill(n int) {
	b.Helper()
	for i := range n {
		b.put(shape{
			stage: []string{"orders", "validate", "ship"}[b.rng.IntN(3)],
			parts: 1 + b.rng.IntN(3)*(i%2), bytes: b.rng.IntN(600),
		})
	}
}

func testReadFrom(b *bench) {
	b.fill(60)
	for range 2 { // as placed, and as found by the next owner
		for from := range len(b.author.log) + 3 {
			if err := readsFrom(b.log, b.author.log, from); err != nil {
				b.Error(err)
			}
		}
		b.reopen()
	}
}

// readsFrom checks what a reader from an LSN gives.
func readsFrom(log journal.Log, want []placed, from int) error {
	first := max(from-1, 0) // index of the first frame to be given
	for first > 0 && first < len(want) && want[first-1].more {
		first++
	}
	got, err := readAll(log, journal.LSN(from))
	if err != nil {
		return err
	}
	if n := max(len(want)-first, 0); len(got) != n {
		return fmt.Errorf("a reader from %d gives %d frames, want %d", from, len(got), n)
	}
	for i, e := range got {
		if err := same(e, first+i, want[first+i]); err != nil {
			return fmt.Errorf("a reader from %d: %w", from, err)
		}
	}
	return nil
}

// reopen gives the log to a next owner after a close.
func (b *bench) reopen() {
	b.Helper()
	if err := b.log.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	b.open()
}

// A reader at the end goes on with what was placed since.
func testReaderGoesOn(b *bench) {
	r := b.reader(0)
	seen := 0
	for round := range 20 {
		b.fill(round % 4)
		got, err := rest(r)
		if err != nil {
			b.Fatal(err)
		}
		for _, e := range got {
			if seen == len(b.author.log) {
				b.Fatalf("round %d: frame %d was never placed", round, e.LSN)
			}
			if err := same(e, seen, b.author.log[seen]); err != nil {
				b.Fatalf("round %d: %v", round, err)
			}
			seen++
		}
		if seen != len(b.author.log) {
			b.Fatalf("round %d: %d frames seen of %d", round, seen, len(b.author.log))
		}
	}
	ahead := b.reader(b.log.Head() + 1)
	if _, err := ahead.Next(); !errors.Is(err, io.EOF) {
		b.Fatalf("Next after the head: %v, want io.EOF", err)
	}
	lsn := b.put(shape{parts: 1})
	if e, err := ahead.Next(); err != nil || e.LSN != lsn {
		b.Fatalf("Next = %d, %v; want %d", e.LSN, err, lsn)
	}
	for _, r := range []journal.Reader{r, ahead} {
		if err := r.Close(); err != nil {
			b.Errorf("Close of a reader: %v", err)
		}
	}
}

// Readers that run beside the appends see each frame once, in order, and never
// one without those that belong to it.
func testConcurrentReaders(b *bench) {
	const readers, total = 4, 300
	news := make([]chan struct{}, readers) // the writer tells; holds one that was not looked at; never closed
	seen, fails := make([]int, readers), make([]error, readers)
	done := make(chan struct{}) // closed by the writer at its end
	var wg sync.WaitGroup
	for i := range readers {
		news[i] = make(chan struct{}, 1)
		r := b.reader(0)
		wg.Go(func() {
			seen[i], fails[i] = followLog(r, news[i], done)
			_ = r.Close() // what it gave has been looked at
		})
	}
	for range total {
		b.put(shape{parts: 1 + b.rng.IntN(4), bytes: b.rng.IntN(2000)})
		for _, c := range news {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
	close(done)
	wg.Wait()
	for i := range readers {
		if fails[i] != nil {
			b.Errorf("reader %d: %v", i, fails[i])
		} else if seen[i] != len(b.author.log) {
			b.Errorf("reader %d saw %d frames, want %d", i, seen[i], len(b.author.log))
		}
	}
	b.holds()
}

// followLog reads until done, each time that there is news, checks what it can
// without knowing what was appended, and returns how many frames it saw.
func followLog(r journal.Reader, news, done <-chan struct{}) (seen int, err error) {
	ended := false
	for {
		got, err := rest(r)
		if err != nil {
			return seen, err
		}
		for _, e := range got {
			var t journal.Transition
			if err := journal.Parse(e.Body, &t); err != nil {
				return seen, fmt.Errorf("frame %d: %w", e.LSN, err)
			}
			seen++
			if e.LSN != journal.LSN(seen) || t.Number != uint64(seen) {
				return seen, fmt.Errorf("LSN %d, frame %d of the stage, where %d was due", e.LSN, t.Number, seen)
			}
		}
		if n := len(got); n > 0 && got[n-1].More {
			return seen, fmt.Errorf("a reader stops at %d, inside of a transition", got[n-1].LSN)
		}
		if ended {
			return seen, nil
		}
		select {
		case <-news:
		case <-done:
			ended = true // once more, for what came last
		}
	}
}

// A reader that begins where Find says meets the record.
func testFind(b *bench) {
	b.fill(80)
	for range 2 {
		if err := finds(b.log, b.author.log, 0, 1); err != nil {
			b.Error(err)
		}
		b.reopen()
	}
}

// finds checks Find for the records of frames from, from+step …
func finds(log journal.Log, want []placed, from, step int) error {
	for i := from; i < len(want); i += step {
		p := want[i]
		if p.count == 0 {
			continue
		}
		for _, seq := range []uint64{p.first, p.first + uint64(p.count) - 1} {
			name := p.stage + ".out"
			at, err := log.Find(name, seq)
			if err != nil {
				return fmt.Errorf("Find(%s, %d): %w", name, seq, err)
			}
			if at > journal.LSN(i+1) {
				return fmt.Errorf("Find(%s, %d) = %d, behind frame %d which holds it", name, seq, at, i+1)
			}
			got, err := readAll(log, at)
			if err != nil {
				return err
			}
			if len(got) == 0 || got[0].LSN > journal.LSN(i+1) {
				return fmt.Errorf("a reader from Find(%s, %d) = %d does not meet frame %d which holds it", name, seq, at, i+1)
			}
		}
	}
	return nil
}
