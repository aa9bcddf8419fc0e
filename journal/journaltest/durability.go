package journaltest

import (
	"context"
	"errors"
	"sync"
	"testing/synctest"

	"github.com/weirflow/weir/journal"
)

var errBroken = errors.New("the disk is broken")

// soon runs f on a goroutine of its own and returns where its result will be,
// and whether it is there already when everyone waits.
func soon(f func() error) (result <-chan error, settled func() bool) {
	c := make(chan error, 1) // one result, so that f's goroutine always ends
	go func() { c <- f() }()
	return c, func() bool {
		synctest.Wait()
		return len(c) > 0
	}
}

func (b *bench) awaits(ctx context.Context, lsn journal.LSN) (<-chan error, func() bool) {
	return soon(func() error { return b.log.Await(ctx, lsn) })
}

// Readers of the process see at once what is placed; it is durable later.
func testVisible(b *bench) {
	first := b.put(shape{parts: 1})
	b.await(first)
	b.store.Hold()
	lsn := b.put(shape{parts: 3})
	b.holds()
	synctest.Wait()
	if d := b.log.Durable(); d != first {
		b.Errorf("Durable = %d while no sync ends, want %d", d, first)
	}
	b.store.Release()
	b.await(lsn)
}

// Want is enough to have something made durable.
func testWant(b *bench) {
	durable := make(chan journal.LSN, 64) // the log tells, never closed; more than can come
	stop := b.log.Watch(func(d journal.LSN, err error) { durable <- d })
	defer stop()
	for range 5 {
		lsn := b.put(shape{parts: 2})
		b.log.Want(lsn)
		for d := journal.LSN(0); d < lsn; {
			d = <-durable
		}
		if d := b.log.Durable(); d < lsn {
			b.Errorf("Durable = %d after Watch told of %d", d, lsn)
		}
	}
}

func testAwait(b *bench) {
	b.store.Hold()
	lsn := b.put(shape{parts: 1})
	result, settled := b.awaits(b.Context(), lsn)
	if settled() {
		b.Fatalf("Await = %v while no sync ends", <-result)
	}
	b.store.Release()
	if err := <-result; err != nil {
		b.Fatalf("Await: %v", err)
	}
	if err := b.log.Await(b.Context(), lsn); err != nil {
		b.Errorf("Await of what is durable: %v", err)
	}
	var wg sync.WaitGroup
	for range 20 {
		lsn := b.put(shape{parts: 1})
		for range 3 {
			wg.Go(func() {
				if err := b.log.Await(b.Context(), lsn); err != nil {
					b.Errorf("Await(%d): %v", lsn, err)
				} else if d := b.log.Durable(); d < lsn {
					b.Errorf("Durable = %d after Await(%d)", d, lsn)
				}
			})
		}
	}
	wg.Wait()
}

// Whoever awaits an LSN that no frame has yet is told when one has it.
func testAwaitFuture(b *bench) {
	b.await(b.put(shape{parts: 1}))
	result, settled := b.awaits(b.Context(), 3)
	if settled() {
		b.Fatalf("Await(3) = %v, and 1 frame is placed", <-result)
	}
	b.put(shape{parts: 2})
	if err := <-result; err != nil {
		b.Fatalf("Await: %v", err)
	}
}

func testAwaitCancelled(b *bench) {
	b.store.Hold()
	lsn := b.put(shape{parts: 1})
	ctx, cancel := context.WithCancel(b.Context())
	result, settled := b.awaits(ctx, lsn)
	other, _ := b.awaits(b.Context(), lsn)
	if settled() {
		b.Fatalf("Await = %v while no sync ends", <-result)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		b.Errorf("Await = %v, want context.Canceled", err)
	}
	b.store.Release()
	if err := <-other; err != nil {
		b.Errorf("another Await: %v", err)
	}
}

// A sighting is one call of a function given to Watch.
type sighting struct {
	durable journal.LSN
	err     error
}

// watch notes what a watcher is told.
type watch struct {
	mu   sync.Mutex // guards seen
	seen []sighting
}

func (w *watch) tell(d journal.LSN, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, sighting{d, err})
}

func (w *watch) all() []sighting {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// A watcher is told of each advance, forwards, the last one included.
func testWatch(b *bench) {
	var w watch
	stop := b.log.Watch(w.tell)
	defer stop()
	for range 30 {
		if lsn := b.put(shape{parts: 1 + b.rng.IntN(3)}); b.rng.IntN(2) == 0 {
			b.await(lsn)
		}
	}
	b.await(b.log.Head())
	synctest.Wait()
	seen, last := w.all(), journal.LSN(0)
	for _, s := range seen {
		if s.err != nil || s.durable <= last {
			b.Fatalf("after %d a watcher was told %d, %v", last, s.durable, s.err)
		}
		last = s.durable
	}
	if last != b.log.Head() {
		b.Errorf("a watcher was last told %d, want %d", last, b.log.Head())
	}
}

func testWatchEnds(b *bench) {
	var ended, goes watch
	stop := b.log.Watch(ended.tell)
	defer b.log.Watch(goes.tell)()
	b.await(b.put(shape{parts: 1}))
	synctest.Wait()
	stop()
	stop() // again does nothing
	before := len(ended.all())
	b.await(b.put(shape{parts: 1}))
	synctest.Wait()
	if n := len(ended.all()); n != before {
		b.Errorf("a watcher was told %d times after its end", n-before)
	}
	if n := len(goes.all()); n < 2 {
		b.Errorf("the other watcher was told %d times, want 2", n)
	}
}

// poison makes the log fail while it makes a frame durable, and returns the LSN
// that is in doubt.
func (b *bench) poison() journal.LSN {
	b.Helper()
	b.store.Break(errBroken)
	d := b.draft(shape{stage: "orders", parts: 2})
	lsn, err := b.log.Append(b.Context(), journal.Normal, d.frames...)
	b.placed(d, b.epoch()) // or not; it may survive either way
	if err == nil {
		err = b.log.Await(b.Context(), lsn)
	}
	if !errors.Is(err, journal.ErrPoisoned) || !errors.Is(err, errBroken) {
		b.Fatalf("with a broken disk: %v, want ErrPoisoned and the cause", err)
	}
	return journal.LSN(len(b.author.log))
}

func testPoison(b *bench) {
	for range 3 {
		durable := b.put(shape{parts: 1})
		b.await(durable)
		doubt := b.poison()
		if _, err := b.log.Append(b.Context(), journal.Urgent, b.draft(shape{stage: "ship", parts: 1}).frames...); !errors.Is(err, journal.ErrPoisoned) {
			b.Errorf("Append to a poisoned log: %v, want ErrPoisoned", err)
		}
		if err := b.log.Await(b.Context(), doubt); !errors.Is(err, journal.ErrPoisoned) {
			b.Errorf("Await of what may be lost: %v, want ErrPoisoned", err)
		}
		if err := b.log.Await(b.Context(), durable); err != nil {
			b.Errorf("Await of what was durable before: %v", err)
		}
		_ = b.log.Close() // it may say again that it is poisoned
		b.open()
		b.survived(durable)
	}
	b.await(b.put(shape{parts: 1}))
	b.holds()
}

// Watchers and waiters learn that the log is poisoned, once, whoever comes late
// too.
func testPoisonTells(b *bench) {
	b.await(b.put(shape{parts: 1}))
	var w, late watch
	stop := b.log.Watch(w.tell)
	result, settled := b.awaits(b.Context(), 99)
	if settled() {
		b.Fatalf("Await(99) = %v", <-result)
	}
	b.poison()
	if err := <-result; !errors.Is(err, journal.ErrPoisoned) || !errors.Is(err, errBroken) {
		b.Errorf("Await = %v, want ErrPoisoned and the cause", err)
	}
	stopLate := b.log.Watch(late.tell)
	synctest.Wait()
	for name, seen := range map[string][]sighting{"a watcher": w.all(), "a late watcher": late.all()} {
		told := 0
		for _, s := range seen {
			if s.err == nil {
				continue
			}
			if told++; !errors.Is(s.err, journal.ErrPoisoned) || !errors.Is(s.err, errBroken) {
				b.Errorf("%s was told %v, want ErrPoisoned and the cause", name, s.err)
			}
		}
		if told != 1 {
			b.Errorf("%s was told %d times that the log is poisoned, want once", name, told)
		}
	}
	stop()
	stopLate()
}
