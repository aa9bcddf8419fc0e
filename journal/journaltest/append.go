package journaltest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/weirflow/weir/journal"
)

func testEmpty(b *bench) {
	if h, d := b.log.Head(), b.log.Durable(); h != 0 || d != 0 {
		b.Errorf("head %d, durable %d; want 0, 0", h, d)
	}
	b.holds()
	if tails := b.log.Tails(); len(tails) != 0 {
		b.Errorf("Tails = %v, want none", tails)
	}
	if e := b.log.Manifest().Epochs; len(e) != 1 || e[0].Number != 1 || e[0].First != 1 || e[0].ID == (journal.ID{}) {
		b.Errorf("epochs %+v, want one, number 1, first 1, with an id", e)
	}
	if err := b.log.Await(b.Context(), 0); err != nil {
		b.Errorf("Await(0): %v", err)
	}
}

func testOrder(b *bench) {
	for i := range 200 {
		b.put(shape{stage: []string{"orders", "validate", "ship"}[i%3], parts: 1, bytes: i * i})
	}
	b.holds()
	if s := b.log.Stats(); s.Bytes <= 0 || s.Paused != nil {
		b.Errorf("Stats = %+v, want bytes and no pause", s)
	}
}

// Appends of several stages at once are each in one piece and in the order in
// which the stage made them.
func testConcurrentAppends(b *bench) {
	const stages, each = 6, 60
	authors := make([]*author, stages)
	ends := make([]map[journal.LSN]bool, stages)
	var wg sync.WaitGroup
	for i := range authors {
		authors[i], ends[i] = newAuthor(uint64(i)), map[journal.LSN]bool{}
		wg.Go(func() {
			a := authors[i]
			for n := range each {
				d := a.draft(shape{stage: fmt.Sprintf("stage%d", i), parts: 1 + n%3, bytes: 100})
				lsn, err := b.log.Append(b.Context(), journal.Normal, d.frames...)
				if err != nil {
					b.Errorf("Append: %v", err)
					return
				}
				a.placed(d, 1)
				ends[i][lsn] = true
			}
		})
	}
	wg.Wait()
	got, err := readAll(b.log, 0)
	if err != nil {
		b.Fatal(err)
	}
	next := make([]int, stages) // frames of each stage seen so far
	open := -1                  // the stage whose transition is not at its end
	for i, e := range got {
		var t journal.Transition
		if err := journal.Parse(e.Body, &t); err != nil {
			b.Fatalf("frame %d: %v", i+1, err)
		}
		var s int
		if _, err := fmt.Sscanf(t.Stage, "stage%d", &s); err != nil {
			b.Fatalf("frame %d is of stage %q", i+1, t.Stage)
		}
		if open >= 0 && open != s {
			b.Fatalf("frame %d of stage %d stands inside a transition of stage %d", i+1, s, open)
		}
		if next[s] >= len(authors[s].log) {
			b.Fatalf("frame %d is one too many of stage %d", i+1, s)
		}
		want := authors[s].log[next[s]]
		if err := same(e, i, want); err != nil {
			b.Fatal(err)
		}
		next[s]++
		if open = s; !e.More {
			open = -1
			if !ends[s][e.LSN] {
				b.Errorf("the transition that ends at %d was told another LSN", e.LSN)
			}
		}
	}
	for s, n := range next {
		if n != len(authors[s].log) {
			b.Errorf("stage %d has %d frames, want %d", s, n, len(authors[s].log))
		}
	}
}

func testWhole(b *bench) {
	b.put(shape{parts: 1})
	b.put(shape{parts: 5, bytes: 300})
	b.put(shape{stage: "ship", parts: 2, bytes: 3000})
	b.holds()
	for from, want := range []journal.LSN{1, 1, 2, 7, 7, 7, 7, 7, 0, 0} { // the transition that begins at or after from
		got, err := readAll(b.log, journal.LSN(from))
		if err != nil {
			b.Fatal(err)
		}
		switch {
		case want == 0 && len(got) > 0:
			b.Errorf("Read(%d) begins at %d, want nothing", from, got[0].LSN)
		case want > 0 && (len(got) == 0 || got[0].LSN != want):
			b.Errorf("Read(%d) gives %d frames, want the first to be %d", from, len(got), want)
		}
	}
}

// A transition of several megabytes is written in parts as Encode makes them.
func testLarge(b *bench) {
	b.put(shape{parts: 1, bytes: 100})
	lsn := b.put(shape{parts: 4, bytes: journal.PartBytes - 8<<10})
	b.put(shape{stage: "ship", parts: 1, bytes: 100})
	b.await(lsn)
	b.holds()
}

// An Append whose context is done leaves nothing, or has placed everything.
func testCancelledAppend(b *bench) {
	b.put(shape{parts: 1})
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	d := b.draft(shape{stage: "orders", parts: 2})
	switch lsn, err := b.log.Append(ctx, journal.Normal, d.frames...); {
	case err == nil && lsn == 3:
		b.placed(d, b.epoch())
	case err == nil:
		b.Errorf("Append = %d, want 3", lsn)
	case !errors.Is(err, context.Canceled):
		b.Errorf("Append: %v, want context.Canceled", err)
	}
	b.holds()
	b.put(shape{parts: 1})
	b.holds()
}
