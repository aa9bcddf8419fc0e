package segment_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

func view(t testing.TB, fsys vfs.FS) *segment.View {
	t.Helper()
	v, err := segment.OpenView(fsys, dir)
	if err != nil {
		t.Fatalf("OpenView: %v", err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// rest returns what a reader gives until io.EOF, as LSNs and bodies.
func rest(t testing.TB, r journal.Reader) (lsns []journal.LSN, bodies []string) {
	t.Helper()
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lsns, bodies
		}
		if err != nil {
			t.Fatalf("Next after %d frames: %v", len(lsns), err)
		}
		lsns, bodies = append(lsns, e.LSN), append(bodies, string(e.Body))
	}
}

func TestViewOfRunInProgress(t *testing.T) {
	for _, size := range []int64{4 << 10, 256 << 10} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			fsys := vfs.NewMemory()
			o := segment.Options{SegmentSize: size}
			l := create(t, fsys, o)
			v := view(t, fsys)
			if _, held, err := v.Owner(); !held || err != nil {
				t.Errorf("Owner: held %v, %v; want held", held, err)
			}
			if v.Head() != 0 || len(v.Tails()) != 0 {
				t.Errorf("head %d, tails %v of an empty log", v.Head(), v.Tails())
			}
			all, err := v.Read(0)
			if err != nil {
				t.Fatalf("Read: %v", err)
			}
			s := &stage{name: "orders"}
			var want []string
			var got []string
			for i := range 200 {
				check := (*journal.Checkpoint)(nil)
				if i%50 == 7 {
					check = &journal.Checkpoint{}
				}
				frames := s.next(t, 1+i%3, check, strconv.Itoa(i), string(make([]byte, i)))
				put(t, l, frames...)
				for _, f := range frames {
					want = append(want, string(f.Body))
				}
				if i%20 == 19 {
					durable(t, l)
					_, bodies := rest(t, all)
					got = append(got, bodies...)
					if !slices.Equal(got, want) {
						t.Fatalf("after %d transitions the reader has %d frames, want %d", i+1, len(got), len(want))
					}
					if v.Head() != l.Head() || v.Durable() != l.Head() {
						t.Fatalf("head %d, durable %d, want %d", v.Head(), v.Durable(), l.Head())
					}
				}
			}
			for _, w := range []*segment.View{v, view(t, fsys)} {
				if a, b := w.Tails()["orders"], (journal.Tail{Last: l.Head(), Checkpoint: w.Tails()["orders"].Checkpoint}); a != b || a.Checkpoint == 0 {
					t.Errorf("tails %v, want last %d", w.Tails(), l.Head())
				}
				if w.Stats().Segments != l.Stats().Segments || w.Stats().Bytes != l.Stats().Bytes {
					t.Errorf("stats %+v, want those of the log %+v", w.Stats(), l.Stats())
				}
				for seq := uint64(1); seq <= s.seq; seq += 7 {
					a, err := w.Find("orders.out", seq)
					if err != nil {
						t.Fatal(err)
					}
					b, err := l.Find("orders.out", seq)
					if err != nil {
						t.Fatal(err)
					}
					if a != b {
						t.Errorf("Find(%d) = %d, the log's owner says %d", seq, a, b)
					}
					r, err := w.Read(a)
					if err != nil {
						t.Fatal(err)
					}
					e, err := r.Next()
					if err != nil || e.LSN != a {
						t.Fatalf("Read(%d) begins at %d, %v", a, e.LSN, err)
					}
					r.Close()
				}
			}
			closeLog(t, l)
			w := view(t, fsys)
			if _, held, err := w.Owner(); held || err != nil {
				t.Errorf("Owner after Close: %v, %v", held, err)
			}
			if w.Head() != journal.LSN(len(want)) || w.Durable() != w.Head() {
				t.Errorf("after Close head %d, durable %d, want %d", w.Head(), w.Durable(), len(want))
			}
		})
	}
}

// A process owns a run until it is killed; the disk stays.
type process struct {
	*segment.Log
	faults *vfs.Faults
}

func begin(t testing.TB, disk vfs.FS, o segment.Options) process {
	t.Helper()
	faults := vfs.NewFaults(disk, nil)
	l, err := opener(o)(faults)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return process{l.(*segment.Log), faults}
}

// kill ends the process.
func (p process) kill() {
	p.faults.Stop()
	_ = p.Close() // ends its goroutines and gives up the lock
}

// lose does to the file what a loss of power may do to what is not durable: all
// from some byte on is zero.
func lose(t testing.TB, disk vfs.FS, rng *rand.Rand) {
	t.Helper()
	told, err := vfs.ReadFile(disk, dir+"/log/durable", 64)
	if err != nil {
		t.Fatal(err)
	}
	number, off := binary.LittleEndian.Uint64(told[32:]), int64(binary.LittleEndian.Uint64(told[40:]))
	f, err := disk.OpenFile(fmt.Sprintf("%s/log/%010d.seg", dir, number), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if rng != nil {
		off += rng.Int64N(600)
	}
	if off >= size {
		return
	}
	if _, err := f.WriteAt(make([]byte, size-off), off); err != nil {
		t.Fatal(err)
	}
}

// What an owner wrote and did not sync is shown, and withdrawn when it is cut.
func TestViewWithdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		p := begin(t, disk, segment.Options{})
		s := &stage{name: "orders"}
		put(t, p.Log, s.next(t, 1, nil, "kept")...)
		durable(t, p.Log)
		before := *s
		put(t, p.Log, s.next(t, 2, nil, "lost")...)
		synctest.Wait() // written, and the sync is not due
		v := view(t, disk)
		if v.Head() != 3 || v.Durable() != 1 {
			t.Fatalf("head %d, durable %d, want 3 and 1", v.Head(), v.Durable())
		}
		all, err := v.Read(0)
		if err != nil {
			t.Fatal(err)
		}
		if lsns, _ := rest(t, all); len(lsns) != 3 {
			t.Fatalf("read %v, want 3 frames", lsns)
		}
		p.kill()
		lose(t, disk, nil)
		p = begin(t, disk, segment.Options{})
		if p.Head() != 1 {
			t.Fatalf("recovered up to %d, want 1", p.Head())
		}
		*s = before
		for _, text := range []string{"instead", "of", "it"} {
			put(t, p.Log, s.next(t, 1, nil, text)...)
		}
		durable(t, p.Log)
		if _, err := all.Next(); !errors.Is(err, segment.ErrWithdrawn) {
			t.Errorf("Next = %v, want ErrWithdrawn", err)
		}
		again, err := v.Read(2)
		if err != nil {
			t.Fatal(err)
		}
		if lsns, _ := rest(t, again); !slices.Equal(lsns, []journal.LSN{2, 3, 4}) || v.Durable() != 4 {
			t.Errorf("read %v again, durable %d", lsns, v.Durable())
		}
		closeLog(t, p.Log)
	})
}

// A follower gives each frame once, in order, whatever happens to the owners.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMemory()
		o := segment.Options{SegmentSize: 8 << 10}
		p := begin(t, disk, o)
		v := view(t, disk)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 1000) // what the follower was given, in order
		ended := make(chan error, 1)   // why it ended
		go func() {
			next := journal.LSN(1)
			for e, err := range v.Follow(ctx, 0) {
				if err != nil || e.LSN != next {
					ended <- fmt.Errorf("LSN %d, want %d: %w", e.LSN, next, err)
					return
				}
				next++
				got <- string(e.Body)
			}
		}()
		s := &stage{name: "orders"}
		var want []string
		rng := rand.New(rand.NewPCG(1, 1))
		for owner := range 12 {
			at := len(want)
			stages := []stage{*s}
			for i := range 20 {
				frames := s.next(t, 1+rng.IntN(3), nil, fmt.Sprint(owner, i), string(make([]byte, rng.IntN(500))))
				put(t, p.Log, frames...)
				for _, f := range frames {
					want = append(want, string(f.Body))
					stages = append(stages, *s)
				}
				if rng.IntN(8) == 0 {
					durable(t, p.Log)
					time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond) // of the bubble
				}
			}
			switch owner % 3 {
			case 0:
				closeLog(t, p.Log)
			case 1:
				synctest.Wait()
				p.kill()
			case 2:
				synctest.Wait()
				p.kill()
				lose(t, disk, rng)
			}
			p = begin(t, disk, o)
			head := int(p.Head())
			if head < at {
				t.Fatalf("owner %d: head %d, and %d frames were durable", owner, head, at)
			}
			want, *s = want[:head], stages[head-at]
		}
		closeLog(t, p.Log)
		for i, w := range want {
			select {
			case g := <-got:
				if g != w {
					t.Fatalf("frame %d differs", i+1)
				}
			case err := <-ended:
				t.Fatalf("after %d of %d frames: %v", i, len(want), err)
			}
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow ended with %v", err)
		}
		if len(got) != 0 {
			t.Errorf("%d frames too many", len(got))
		}
	})
}

// Woken by inotify, on a real disk.
func TestFollowOnDisk(t *testing.T) {
	at := t.TempDir() + "/run"
	l, err := segment.Create(vfs.OS, at, run, segment.Options{Sync: journal.Sync{Mode: journal.Interval, Every: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := segment.OpenView(vfs.OS, at)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	s := &stage{name: "orders"}
	next := journal.LSN(0)
	put(t, l, s.next(t, 1, nil, "0")...)
	for e, err := range v.Follow(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if next++; e.LSN != next {
			t.Fatalf("LSN %d, want %d", e.LSN, next)
		}
		if next == 100 {
			break
		}
		put(t, l, s.next(t, 1, nil, fmt.Sprint(next))...)
	}
	closeLog(t, l)
}

func TestOpenViewOfNothing(t *testing.T) {
	if _, err := segment.OpenView(vfs.NewMemory(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenView = %v, want fs.ErrNotExist", err)
	}
}
