package journaltest

import (
	"context"
	"errors"
	"testing/synctest"

	"github.com/weirflow/weir/journal"
)

// flood appends Normal transitions until one has to wait, and returns where the
// result of that will be.
func (b *bench) flood(ctx context.Context, bytes, limit int) <-chan error {
	b.Helper()
	for n := 0; n < limit; n += bytes {
		d := b.draft(shape{stage: "orders", parts: 1, bytes: bytes})
		result, settled := soon(func() error {
			_, err := b.log.Append(ctx, journal.Normal, d.frames...)
			return err
		})
		if !settled() {
			return result
		}
		if err := <-result; err != nil {
			b.Fatalf("Append after %d bytes: %v", n, err)
		}
		b.placed(d, b.epoch())
	}
	b.Fatalf("no Append had to wait within %d bytes", limit)
	return nil
}

// pressed checks what holds while Normal appends wait: Urgent ones do not, who
// gives up leaves nothing, and the others go on when there is room again.
func (b *bench) pressed(bytes, limit int, room func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	gone := b.flood(ctx, bytes, limit)
	urgent := b.draft(shape{stage: "ship", parts: 2, bytes: 200})
	result, settled := soon(func() error {
		_, err := b.log.Append(b.Context(), journal.Urgent, urgent.frames...)
		return err
	})
	if !settled() {
		b.Fatal("an Urgent Append waits for room")
	}
	if err := <-result; err != nil {
		b.Fatalf("Urgent: %v", err)
	}
	b.placed(urgent, b.epoch())
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		b.Fatalf("an Append that gave up: %v, want context.Canceled", err)
	}
	b.holds()
	late := b.draft(shape{stage: "orders", parts: 2, bytes: bytes / 4})
	result, settled = soon(func() error {
		_, err := b.log.Append(b.Context(), journal.Normal, late.frames...)
		return err
	})
	if settled() {
		b.Fatalf("Append = %v where another had to wait", <-result)
	}
	room()
	if err := <-result; err != nil {
		b.Fatalf("Append with room again: %v", err)
	}
	b.placed(late, b.epoch())
	b.holds()
	b.await(b.log.Head())
}

func testDiskFull(b *bench) {
	b.fill(5)
	b.store.Fill()
	b.pressed(32<<10, 64<<20, func() {
		synctest.Wait()
		if b.log.Stats().Paused == nil {
			b.Error("Stats.Paused is nil while Append waits for space")
		}
		b.store.Space()
	})
	synctest.Wait()
	if err := b.log.Stats().Paused; err != nil {
		b.Errorf("Stats.Paused = %v with space again", err)
	}
	b.reopen()
	b.holds()
}

func testRoom(b *bench) {
	b.fill(5)
	b.store.Hold()
	b.pressed(journal.PartBytes-64<<10, 128<<20, b.store.Release)
	b.reopen()
	b.holds()
}
