package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

var run = journal.Manifest{Format: journal.FormatVersion, Run: "01JZ0000000000000000000000", Flow: "payments"}

func frame(stage, body string) journal.Frame { return journal.Frame{Stage: stage, Body: []byte(body)} }

func put(t *testing.T, l *memory.Log, frames ...journal.Frame) journal.LSN {
	t.Helper()
	lsn, err := l.Append(t.Context(), journal.Normal, frames...)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return lsn
}

func bodies(t *testing.T, l *memory.Log) []string {
	t.Helper()
	r, err := l.Read(0)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	var all []string
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("Next: %v", err)
		}
		all = append(all, string(e.Body))
	}
}

func reopen(t *testing.T, l *memory.Log) *memory.Log {
	t.Helper()
	next, err := l.Reopen()
	if err != nil {
		t.Fatalf("Reopen: %v", err)
	}
	return next
}

func TestManualHoldsDurabilityBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New(run, memory.Options{Manual: true})
		var seen []journal.LSN
		stop := l.Watch(func(durable journal.LSN, err error) { seen = append(seen, durable) })
		defer stop()
		put(t, l, frame("orders", "a"))
		lsn := put(t, l, frame("orders", "b"), frame("orders", "c"))
		done := make(chan error, 1) // the one result of the waiter below
		go func() { done <- l.Await(t.Context(), lsn) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Await returned %v before Sync", err)
		default:
		}
		if l.Durable() != 0 || l.Head() != 3 || l.Wanted() != 3 {
			t.Fatalf("durable %d, head %d, wanted %d; want 0, 3, 3", l.Durable(), l.Head(), l.Wanted())
		}
		l.Sync()
		if err := <-done; err != nil {
			t.Fatalf("Await after Sync: %v", err)
		}
		if !slices.Equal(seen, []journal.LSN{3}) {
			t.Errorf("watched %v, want [3]", seen)
		}
	})
}

func TestHowAnOwnerEnds(t *testing.T) {
	end := errors.New("no such device")
	for _, c := range []struct {
		name string
		end  func(*memory.Log)
		want []string
		cut  int64
	}{
		{"close", func(l *memory.Log) { _ = l.Close() }, []string{"a", "b", "c"}, 0},
		{"kill", (*memory.Log).Kill, []string{"a", "b", "c"}, 0},
		{"poison", func(l *memory.Log) { l.Poison(end) }, []string{"a", "b", "c"}, 0},
		{"crash", (*memory.Log).Crash, []string{"a"}, 2},
		{"kill then crash", func(l *memory.Log) { l.Kill(); l.Crash() }, []string{"a"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := memory.New(run, memory.Options{Manual: true, Build: "v1"})
			put(t, l, frame("orders", "a"))
			l.Sync()
			put(t, l, frame("orders", "b"), frame("orders", "c"))
			if _, err := l.Reopen(); !errors.Is(err, journal.ErrInUse) {
				t.Fatalf("Reopen of a log in use: %v, want ErrInUse", err)
			}
			c.end(l)
			next := reopen(t, l)
			if got := bodies(t, next); !slices.Equal(got, c.want) {
				t.Errorf("survived %v, want %v", got, c.want)
			}
			epochs, first := next.Manifest().Epochs, journal.LSN(len(c.want)+1)
			if len(epochs) != 2 {
				t.Fatalf("manifest lists %+v, want two epochs", epochs)
			}
			e := epochs[1]
			if e.Number != 2 || e.First != first || e.Cut != c.cut || e.ID == epochs[0].ID || e.Build != "v1" {
				t.Errorf("epoch %+v, want number 2, first %d, cut %d, an id of its own", e, first, c.cut)
			}
			if got := l.Manifest().Epochs; len(got) != 1 {
				t.Errorf("the owner before lists %+v, want its own epoch", got)
			}
			if next.Durable() != first-1 {
				t.Errorf("durable %d, want %d", next.Durable(), first-1)
			}
			if lsn := put(t, next, frame("orders", "d")); lsn != first {
				t.Errorf("next frame has LSN %d, want %d", lsn, first)
			}
			if _, err := l.Append(t.Context(), journal.Urgent, frame("orders", "x")); err == nil {
				t.Error("the owner before still appends")
			}
			if l.Durable() > 3 || len(bodies(t, next)) != len(c.want)+1 {
				t.Error("owners see each other")
			}
		})
	}
}

// An owner that died while it awaited an LSN must not take the frame that the
// next owner placed there for its own.
func TestAwaitAcrossOwners(t *testing.T) {
	l := memory.New(run, memory.Options{Manual: true})
	lsn := put(t, l, frame("orders", "lost"))
	l.Crash()
	next := reopen(t, l)
	put(t, next, frame("orders", "another"))
	next.Sync()
	if err := l.Await(t.Context(), lsn); !errors.Is(err, journal.ErrPoisoned) {
		t.Errorf("Await = %v, want ErrPoisoned", err)
	}
}

func TestNormalWaitsForRoom(t *testing.T) {
	full := errors.New("no space left on device")
	for _, c := range []struct {
		name      string
		o         memory.Options
		fill, end func(*memory.Log)
	}{
		{
			"not durable",
			memory.Options{Manual: true, Room: 4},
			func(l *memory.Log) { put(t, l, frame("orders", "1234")) },
			(*memory.Log).Sync,
		},
		{
			"disk full",
			memory.Options{},
			func(l *memory.Log) { l.Pause(full) },
			func(l *memory.Log) { l.Pause(nil) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memory.New(run, c.o)
				c.fill(l)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				gone, kept := make(chan error, 1), make(chan error, 1) // one result each
				go func() {
					_, err := l.Append(ctx, journal.Normal, frame("orders", "gone"))
					gone <- err
				}()
				go func() {
					_, err := l.Append(t.Context(), journal.Normal, frame("orders", "kept"))
					kept <- err
				}()
				synctest.Wait()
				if _, err := l.Append(t.Context(), journal.Urgent, frame("orders", "urgent")); err != nil {
					t.Fatalf("Urgent: %v", err)
				}
				synctest.Wait()
				cancel()
				if err := <-gone; !errors.Is(err, context.Canceled) {
					t.Fatalf("cancelled Append = %v", err)
				}
				select {
				case err := <-kept:
					t.Fatalf("Append returned %v without room", err)
				default:
				}
				c.end(l)
				if err := <-kept; err != nil {
					t.Fatalf("Append with room: %v", err)
				}
				got := bodies(t, l)
				if n := len(got); n < 2 || got[n-1] != "kept" || got[n-2] != "urgent" || slices.Contains(got, "gone") {
					t.Errorf("log holds %q", got)
				}
			})
		})
	}
}

func TestFaultPoisons(t *testing.T) {
	broken := errors.New("input/output error")
	l := memory.New(run, memory.Options{Fault: func(next journal.LSN) error {
		if next == 2 {
			return broken
		}
		return nil
	}})
	var cause error
	l.Watch(func(_ journal.LSN, err error) { cause = err })
	put(t, l, frame("orders", "a"))
	_, err := l.Append(t.Context(), journal.Normal, frame("orders", "b"))
	if !errors.Is(err, journal.ErrPoisoned) || !errors.Is(err, broken) {
		t.Errorf("Append = %v, want ErrPoisoned with its cause", err)
	}
	if !errors.Is(cause, broken) {
		t.Errorf("watchers were told %v", cause)
	}
	if got := bodies(t, l); !slices.Equal(got, []string{"a"}) {
		t.Errorf("log holds %q, want a", got)
	}
}

func TestAppendRefusesWhatIsNoTransition(t *testing.T) {
	l := memory.New(run, memory.Options{})
	if _, err := l.Append(t.Context(), journal.Normal); err == nil {
		t.Error("no frames: no error")
	}
	if _, err := l.Append(t.Context(), journal.Normal, frame("a", "1"), frame("b", "2")); err == nil {
		t.Error("two stages: no error")
	}
	if l.Head() != 0 {
		t.Errorf("head %d, want 0", l.Head())
	}
}

func ExampleLog_Crash() {
	l := memory.New(journal.Manifest{Run: "01JZ0000000000000000000000"}, memory.Options{Manual: true})
	ctx := context.Background()
	_, _ = l.Append(ctx, journal.Normal, journal.Frame{Stage: "orders", Body: []byte("kept")})
	l.Sync()
	_, _ = l.Append(ctx, journal.Normal, journal.Frame{Stage: "orders", Body: []byte("lost")})
	l.Crash()
	next, err := l.Reopen()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(next.Manifest().Epochs), next.Head())
	// Output: 2 1
}
