package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"testing/synctest"

	"github.com/weirflow/weir/journal"
)

func testClose(b *bench) {
	b.fill(20)
	if err := b.log.Close(); err != nil {
		b.Fatalf("Close: %v", err)
	}
	if err := b.log.Close(); err != nil {
		b.Errorf("Close again: %v", err)
	}
	if _, err := b.log.Append(b.Context(), journal.Urgent, b.draft(shape{stage: "ship", parts: 1}).frames...); !errors.Is(err, journal.ErrClosed) {
		b.Errorf("Append to a closed log: %v, want ErrClosed", err)
	}
	if err := b.log.Await(b.Context(), b.log.Head()+1); !errors.Is(err, journal.ErrClosed) {
		b.Errorf("Await on a closed log: %v, want ErrClosed", err)
	}
	b.store.Crash() // Close has made it all durable
	b.open()
	b.holds()
}

func testCloseTells(b *bench) {
	b.fill(3)
	future, _ := b.awaits(b.Context(), b.log.Head()+1000)
	b.store.Fill()
	blocked := b.flood(b.Context(), 32<<10, 64<<20)
	b.store.Space()
	closed, _ := soon(b.log.Close)
	if err := <-closed; err != nil {
		b.Errorf("Close: %v", err)
	}
	if err := <-future; !errors.Is(err, journal.ErrClosed) {
		b.Errorf("Await = %v, want ErrClosed", err)
	}
	if err := <-blocked; err != nil && !errors.Is(err, journal.ErrClosed) { // there may have been room before
		b.Errorf("Append = %v, want ErrClosed", err)
	}
}

func testOneOwner(b *bench) {
	b.fill(3)
	for range 3 {
		if other, err := b.store.Open(); !errors.Is(err, journal.ErrInUse) {
			if err == nil {
				_ = other.Close() // the failure is reported below
			}
			b.Fatalf("Open beside an owner: %v, want ErrInUse", err)
		}
	}
	b.put(shape{parts: 1})
	b.holds()
	b.reopen()
	b.holds()
}

// Each owner enters an epoch of its own; LSNs go on without a gap.
func testEpochs(b *bench) {
	const owners = 6
	var firsts []journal.LSN
	for i := range owners {
		if i > 0 {
			b.reopen()
		}
		firsts = append(firsts, b.log.Head()+1)
		b.fill(i) // the first owner leaves nothing
		b.holds()
		m := b.log.Manifest()
		if len(m.Epochs) != i+1 {
			b.Fatalf("owner %d finds %d epochs", i+1, len(m.Epochs))
		}
		seen := map[journal.ID]bool{{}: true}
		for n, e := range m.Epochs {
			if e.Number != uint64(n+1) || e.First != firsts[n] || e.Cut != 0 || seen[e.ID] {
				b.Errorf("epoch %d of owner %d is %+v, want first %d and an id of its own", n+1, i+1, e, firsts[n])
			}
			seen[e.ID] = true
		}
		if m.Run == "" || m.Format != journal.FormatVersion {
			b.Errorf("the manifest of owner %d says run %q, format %d", i+1, m.Run, m.Format)
		}
	}
}

func testKill(b *bench)  { testDeaths(b, b.store.Kill) }
func testCrash(b *bench) { testDeaths(b, b.store.Crash) }

// However an owner ends, the next finds what was durable, and nothing half.
func testDeaths(b *bench, die func()) {
	for range 8 {
		b.fill(5 + b.rng.IntN(20))
		durable := b.log.Durable()
		if b.rng.IntN(2) == 0 {
			durable = b.log.Head()
			b.await(durable)
			b.fill(b.rng.IntN(10))
		}
		waits, _ := b.awaits(b.Context(), b.log.Head()+1000)
		synctest.Wait()
		durable = max(durable, b.log.Durable())
		die()
		if _, err := b.log.Append(b.Context(), journal.Normal, b.draft(shape{stage: "ship", parts: 1}).frames...); err == nil {
			if err := b.log.Await(b.Context(), b.log.Head()); err == nil {
				b.Fatal("an owner that is dead made a frame durable")
			}
		}
		_ = b.log.Close() // the owner is dead, this only ends its goroutines
		if err := <-waits; err == nil {
			b.Error("Await = nil for what was never placed")
		}
		b.open()
		b.survived(durable)
	}
}

func testTails(b *bench) {
	b.snapshot("orders-1", 100)
	b.fill(20)
	b.snapshot("orders-2", 100)
	b.put(shape{stage: "sink", parts: 3})
	b.fill(5)
	for range 3 {
		b.reopen()
		if err := tails(b.log, b.author.log); err != nil {
			b.Error(err)
		}
		b.put(shape{stage: "late", parts: 1})
	}
}

// tails checks Tails against what the log held when it was opened.
func tails(log journal.Log, held []placed) error {
	want := map[string]journal.Tail{}
	for i, p := range held {
		t := want[p.stage]
		t.Last = journal.LSN(i + 1)
		if p.check != "" {
			t.Checkpoint = t.Last
		}
		want[p.stage] = t
	}
	if got := log.Tails(); !maps.Equal(got, want) {
		return fmt.Errorf("the log has tails %+v, want %+v", got, want)
	}
	return nil
}

func testSnapshots(b *bench) {
	sizes := map[string]int{"orders-1": 3000, "orders-2": 0, "orders-3": 2 << 20, "orders-4": 70}
	names := []string{"orders-1", "orders-2", "orders-3", "orders-4"}
	reads := func(name string) {
		b.Helper()
		got, err := b.log.ReadSnapshot(name)
		if err != nil {
			b.Errorf("ReadSnapshot(%s): %v", name, err)
		} else if !bytes.Equal(got, b.data(name, sizes[name])) {
			b.Errorf("ReadSnapshot(%s) gives %d bytes that are not those written", name, len(got))
		}
	}
	for i, name := range names {
		b.snapshot(name, sizes[name])
		reads(name)
		loose := fmt.Sprintf("ship-%d", i)
		data := []byte("nobody names this")
		if err := b.log.WriteSnapshot(loose, data); err != nil {
			b.Fatalf("WriteSnapshot: %v", err)
		}
		clear(data) // the log keeps a copy
		if got, err := b.log.ReadSnapshot(loose); err != nil || string(got) != "nobody names this" {
			b.Errorf("ReadSnapshot(%s) = %q, %v", loose, got, err)
		}
		b.reopen()
		reads(name)
		if _, err := b.log.ReadSnapshot(loose); err == nil {
			b.Errorf("snapshot %s, which no checkpoint names, is there after Open", loose)
		}
		b.holds()
	}
	if _, err := b.log.ReadSnapshot("never-1"); err == nil {
		b.Error("ReadSnapshot of what was never written: no error")
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	_ = b.log.Await(ctx, b.log.Head()) // whatever it says, a snapshot is durable on return
	b.await(b.log.Head())
	b.store.Crash()
	_ = b.log.Close() // the owner is dead
	b.open()
	reads(names[len(names)-1])
}
