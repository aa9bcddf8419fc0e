package segment_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

const dir = "/data/payments/01JZ0000000000000000000000"

var run = journal.Manifest{Run: "01JZ0000000000000000000000", Flow: "payments", Fingerprint: "f1"}

// A stage writes transitions as an engine does.
type stage struct {
	name   string
	enc    journal.Encoder
	number uint64
	seq    uint64
	digest wire.Digest
}

// next encodes a transition with one record for each payload, in parts frames.
func (s *stage) next(t testing.TB, parts int, check *journal.Checkpoint, payloads ...string) []journal.Frame {
	t.Helper()
	var frames []journal.Frame
	for part := range parts {
		s.number++
		tr := &journal.Transition{Stage: s.name, Number: s.number, Time: time.Unix(0, 0), Consumed: []journal.Consumed{{Kind: journal.Resumed}}}
		if part == parts-1 {
			tr.Check = check
		}
		out := journal.Output{Port: "out", Type: "T", First: s.seq + 1}
		last := -1
		for _, p := range payloads {
			s.seq++
			out.Count++
			out.Records, last = journal.AppendRecord(out.Records, last, &journal.Record{Items: []int{0}, Payload: []byte(p)})
			s.digest = s.digest.Add(s.seq, wire.Checksum([]byte(p)))
		}
		out.Digest = uint64(s.digest)
		if out.Count > 0 {
			tr.Outputs = []journal.Output{out}
		}
		fs, err := s.enc.Encode(tr)
		if err != nil {
			t.Fatalf("Encode: %v", err)
		}
		for _, f := range fs {
			f.Body = append([]byte(nil), f.Body...)
			f.Spans = append([]journal.Span(nil), f.Spans...)
			frames = append(frames, f)
		}
	}
	return frames
}

func create(t testing.TB, fsys vfs.FS, o segment.Options) *segment.Log {
	t.Helper()
	l, err := segment.Create(fsys, dir, run, o)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return l
}

func open(t testing.TB, fsys vfs.FS, o segment.Options) (*segment.Log, segment.Report) {
	t.Helper()
	l, r, err := segment.Open(fsys, dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l, r
}

func put(t testing.TB, l *segment.Log, frames ...journal.Frame) journal.LSN {
	t.Helper()
	lsn, err := l.Append(t.Context(), journal.Normal, frames...)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return lsn
}

func durable(t testing.TB, l *segment.Log) {
	t.Helper()
	if err := l.Await(t.Context(), l.Head()); err != nil {
		t.Fatalf("Await: %v", err)
	}
}

func closeLog(t testing.TB, l *segment.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// read returns all bodies from an LSN on, and checks that LSNs are contiguous.
func read(t testing.TB, l journal.Log, from journal.LSN) []string {
	t.Helper()
	r, err := l.Read(from)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	defer r.Close()
	var all []string
	last := journal.LSN(0)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("Next after LSN %d: %v", last, err)
		}
		if last != 0 && e.LSN != last+1 {
			t.Fatalf("LSN %d follows %d", e.LSN, last)
		}
		last = e.LSN
		all = append(all, string(e.Body))
	}
}

func TestAppendReadReopen(t *testing.T) {
	for _, size := range []int64{0, 4096, 256 << 10} {
		for _, mode := range []journal.SyncMode{journal.Group, journal.Always, journal.Interval, journal.None} {
			t.Run(fmt.Sprintf("size=%d/mode=%d", size, mode), func(t *testing.T) {
				fsys := vfs.NewMemory()
				o := segment.Options{SegmentSize: size, Sync: journal.Sync{Mode: mode, Every: time.Millisecond}}
				l := create(t, fsys, o)
				s := &stage{name: "orders"}
				var want []string
				for epoch := range 4 {
					for i := range 100 {
						frames := s.next(t, 1+i%3, nil, fmt.Sprintf("%d-%d", epoch, i), string(make([]byte, i*7)))
						put(t, l, frames...)
						for _, f := range frames {
							want = append(want, string(f.Body))
						}
					}
					durable(t, l)
					check := func(when string) {
						t.Helper()
						got := read(t, l, 0)
						if len(got) != len(want) {
							t.Fatalf("%s: %d frames, want %d", when, len(got), len(want))
						}
						for i := range got {
							if got[i] != want[i] {
								t.Fatalf("%s: frame %d differs", when, i+1)
							}
						}
					}
					check("before close")
					if epoch%2 == 0 {
						closeLog(t, l)
						l, _ = open(t, fsys, o)
					} else {
						fsys = fsys.Kill()
						_ = l.Close()
						var report segment.Report
						l, report = open(t, fsys, o)
						if report.Cut != 0 {
							t.Fatalf("cut %d bytes after a kill", report.Cut)
						}
					}
					check("after reopen")
					if got := l.Manifest().Epochs; len(got) != epoch+2 {
						t.Fatalf("%d epochs, want %d", len(got), epoch+2)
					}
				}
				closeLog(t, l)
			})
		}
	}
}
