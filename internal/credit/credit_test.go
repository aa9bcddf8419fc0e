package credit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/weirflow/weir/internal/credit"
	"pgregory.net/rapid"
)

// A port against the plainest model: lists of sizes and two flags per edge.
func TestPortModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type reader struct {
			at                  int
			window              credit.Window
			cycle, off, decline bool
		}
		var sizes []uint64
		for range rapid.IntRange(0, 5).Draw(t, "before") {
			sizes = append(sizes, rapid.Uint64Range(0, 4).Draw(t, "size"))
		}
		sum := func(n int) (b uint64) {
			for _, s := range sizes[:n] {
				b += s
			}
			return b
		}
		cursor := func(n int) credit.Cursor { return credit.Cursor{Seq: uint64(n), Bytes: sum(n)} }
		var readers []*reader
		var edges []credit.Edge
		full := func(r *reader) bool {
			return uint64(len(sizes)-r.at) >= r.window.Records || sum(len(sizes))-sum(r.at) >= r.window.Bytes
		}
		for range rapid.IntRange(0, 3).Draw(t, "readers") {
			r := &reader{
				at:     rapid.IntRange(0, len(sizes)).Draw(t, "at"),
				window: credit.Window{Records: rapid.Uint64Range(1, 4).Draw(t, "records"), Bytes: rapid.Uint64Range(1, 9).Draw(t, "bytes")},
				cycle:  rapid.IntRange(0, 4).Draw(t, "cycle") == 0,
			}
			r.off = !r.cycle && full(r)
			readers = append(readers, r)
			edges = append(edges, credit.Edge{Window: r.window, Consumed: cursor(r.at), Cycle: r.cycle})
		}
		p, err := credit.NewPort(cursor(len(sizes)), edges...)
		if err != nil {
			t.Fatal(err)
		}
		can := func() bool {
			for _, r := range readers {
				if !r.cycle && !r.off && full(r) {
					return false
				}
			}
			return true
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			could := can()
			wake, checked := false, false
			op := rapid.IntRange(0, 4).Draw(t, "op")
			if len(readers) == 0 {
				op = 0
			}
			i := 0
			if op > 0 {
				i = rapid.IntRange(0, len(readers)-1).Draw(t, "reader")
			}
			switch op {
			case 0:
				var bytes uint64
				n := rapid.IntRange(0, 5).Draw(t, "append")
				for range n {
					s := rapid.Uint64Range(0, 4).Draw(t, "size")
					sizes = append(sizes, s)
					bytes += s
				}
				p.Append(uint64(n), bytes)
			case 1, 2:
				r := readers[i]
				r.at = rapid.IntRange(r.at, len(sizes)).Draw(t, "to")
				if r.off && !r.decline && !full(r) {
					r.off = false
				}
				wake, err = p.Consume(i, cursor(r.at))
				if err != nil {
					t.Fatal(err)
				}
				checked = true
			case 3:
				r := readers[i]
				r.decline, r.off = true, !r.cycle
				wake, checked = p.Decline(i), true
			case 4:
				r := readers[i]
				r.decline = false
				r.off = r.off && full(r)
				p.Accept(i)
			}
			if p.CanAppend() != can() || credit.CanAppend(p, p) != can() {
				t.Fatalf("CanAppend() = %v, want %v", p.CanAppend(), can())
			}
			if checked && wake != (!could && can()) {
				t.Fatalf("wake = %v, could %v, can %v", wake, could, can())
			}
			keep := len(sizes)
			slowest := -1
			for i, r := range readers {
				want := credit.Enforced
				switch {
				case r.cycle:
					want = credit.Tracked
				case r.off:
					want = credit.Deferred
				}
				if p.Mode(i) != want || p.Consumed(i) != cursor(r.at) {
					t.Fatalf("edge %d: mode %v at %v, want %v at %v", i, p.Mode(i), p.Consumed(i), want, cursor(r.at))
				}
				if !r.off {
					keep = min(keep, r.at)
				}
				if want == credit.Enforced && full(r) && (slowest < 0 || r.at < readers[slowest].at) {
					slowest = i
				}
			}
			if at, ok := p.Blocking(); ok != (slowest >= 0) || ok && at != slowest {
				t.Fatalf("Blocking() = %v, %v, want %v", at, ok, slowest)
			}
			if p.KeepFrom() != uint64(keep+1) || p.Head() != cursor(len(sizes)) {
				t.Fatalf("KeepFrom() = %d, want %d; Head() = %v", p.KeepFrom(), keep+1, p.Head())
			}
		}
		// Credit cannot leak: whoever consumed everything holds nothing.
		for i, r := range readers {
			p.Accept(i)
			if _, err := p.Consume(i, cursor(len(sizes))); err != nil {
				t.Fatal(err)
			}
			r.at = len(sizes)
			if p.Used(i) != (credit.Window{}) {
				t.Fatalf("Used() = %v after consuming everything", p.Used(i))
			}
		}
		if !p.CanAppend() {
			t.Fatal("no credit though everything was consumed")
		}
	})
}

func TestDefaults(t *testing.T) {
	p, err := credit.NewPort(credit.Cursor{}, credit.Edge{Reader: "r"})
	if err != nil {
		t.Fatal(err)
	}
	p.Append(8191, 100)
	if !p.CanAppend() {
		t.Error("no credit at 8,191 records")
	}
	p.Append(1, 0)
	if p.CanAppend() {
		t.Error("credit at 8,192 records")
	}
	if wake, err := p.Consume(0, credit.Cursor{Seq: 1, Bytes: 1}); err != nil || !wake {
		t.Errorf("Consume() = %v, %v, want a wake", wake, err)
	}
	p.Append(0, 8<<20)
	if p.CanAppend() {
		t.Error("credit beyond 8 MiB")
	}
}

func TestCursorsThatCannotBe(t *testing.T) {
	if _, err := credit.NewPort(credit.Cursor{Seq: 3}, credit.Edge{Reader: "r", Consumed: credit.Cursor{Seq: 4}}); err == nil {
		t.Error("NewPort() with a reader beyond the head succeeded")
	}
	p, err := credit.NewPort(credit.Cursor{Seq: 3, Bytes: 3}, credit.Edge{Reader: "r", Consumed: credit.Cursor{Seq: 2, Bytes: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 4} {
		if _, err := p.Consume(0, credit.Cursor{Seq: seq}); err == nil || p.Consumed(0).Seq != 2 {
			t.Errorf("Consume(%d) = %v, cursor %v", seq, err, p.Consumed(0))
		}
	}
	// Sizes that do not add up hold nobody.
	if _, err := p.Consume(0, credit.Cursor{Seq: 3, Bytes: 1}); err != nil || p.Used(0) != (credit.Window{}) {
		t.Errorf("at the head: Used() = %v, %v", p.Used(0), err)
	}
	p.Append(2, 10)
	if _, err := p.Consume(0, credit.Cursor{Seq: 4, Bytes: 1 << 60}); err != nil || p.Used(0).Bytes > 10 {
		t.Errorf("beyond the head in bytes: Used() = %v, %v", p.Used(0), err)
	}
}

func TestWaitsFor(t *testing.T) {
	w := func(stage, on string, why credit.Why) credit.Wait {
		return credit.Wait{Stage: stage, On: on, Edge: stage + "-" + on, Why: why}
	}
	for _, tc := range []struct {
		name  string
		stage string
		waits []credit.Wait
		want  string
	}{
		{"nobody", "a", nil, "a"},
		{"a slow sink", "src", []credit.Wait{w("src", "map", credit.ForCredit), w("map", "sink", credit.ForCredit)},
			"src waits for credit of src-map from map waits for credit of map-sink from sink, which waits for nobody"},
		{"the nearest", "join", []credit.Wait{w("join", "left", credit.ForInput), w("join", "right", credit.ForInput), w("left", "src", credit.ForInput)},
			"join waits for input of join-right from right, which waits for nobody"},
		{"a circle", "a", []credit.Wait{w("a", "b", credit.ForCredit), w("b", "c", credit.ForInput), w("c", "b", credit.ForCredit)},
			"a waits for credit of a-b from b waits for input of b-c from c waits for credit of c-b from b, which is in this chain"},
		{"a way out of a circle", "a", []credit.Wait{w("a", "b", credit.ForInput), w("b", "a", credit.ForCredit), w("b", "d", credit.ForCredit)},
			"a waits for input of a-b from b waits for credit of b-d from d, which waits for nobody"},
	} {
		if diff := cmp.Diff(tc.want, credit.WaitsFor(tc.stage, tc.waits).String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
