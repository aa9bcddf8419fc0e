package credit_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/credit"
)

// A port against the plainest model: a list of sizes, and what each reader did.
func TestPortModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type reader struct {
			at, from      int // consumed; sizes count from here on
			window        credit.Window
			off, declines bool
		}
		var sizes []uint64
		before := rapid.IntRange(0, 5).Draw(t, "before")
		for range before {
			sizes = append(sizes, 0)
		}
		used := func(r *reader) (w credit.Window) {
			if r.off {
				return w
			}
			for i := r.at; i < len(sizes); i++ {
				w.Records++
				if i >= r.from {
					w.Bytes += sizes[i]
				}
			}
			return w
		}
		var readers []*reader
		var edges []credit.Edge
		for range rapid.IntRange(0, 3).Draw(t, "readers") {
			r := &reader{
				at:       rapid.IntRange(0, len(sizes)).Draw(t, "at"),
				window:   credit.Window{Records: rapid.Uint64Range(1, 4).Draw(t, "records"), Bytes: rapid.Uint64Range(1, 9).Draw(t, "bytes")},
				declines: rapid.IntRange(0, 3).Draw(t, "declines") == 0,
			}
			r.off = r.declines || r.at < len(sizes)
			readers = append(readers, r)
			edges = append(edges, credit.Edge{Window: r.window, Consumed: uint64(r.at), Declined: r.declines})
		}
		p, err := credit.NewPort(uint64(before), edges...)
		if err != nil {
			t.Fatal(err)
		}
		waits := false
		full := func(r *reader) bool {
			u := used(r)
			return u.Records >= r.window.Records || u.Bytes >= r.window.Bytes
		}
		holds := func(r *reader) bool {
			u := used(r)
			return 2*u.Records > r.window.Records || 2*u.Bytes > r.window.Bytes
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			wake, checked := false, false
			op := rapid.IntRange(0, 5).Draw(t, "op")
			if len(readers) == 0 {
				op %= 2
			}
			var r *reader
			i := 0
			if op > 1 {
				i = rapid.IntRange(0, len(readers)-1).Draw(t, "reader")
				r = readers[i]
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
			case 1:
				waits = slices.ContainsFunc(readers, full)
				if p.Ask() == waits {
					t.Fatalf("Ask() = %v", waits)
				}
			case 2, 3:
				to := rapid.IntRange(r.at, len(sizes)).Draw(t, "to")
				var bytes uint64
				for k := r.at; k < to; k++ {
					if k >= r.from && !r.off {
						bytes += sizes[k]
					}
				}
				r.at = to
				wake, checked = p.Consume(i, uint64(to), bytes), true
			case 4:
				r.declines, r.off = true, true
				wake, checked = p.Decline(i), true
			case 5:
				read := rapid.IntRange(r.at, len(sizes)).Draw(t, "read")
				r.declines = false
				if r.off && uint64(len(sizes)-read) <= r.window.Records {
					r.off, r.from = false, len(sizes)
				}
				if p.Accept(i, uint64(read)) == r.off {
					t.Fatalf("Accept(%d, %d) = %v", i, read, r.off)
				}
			}
			if want := waits && !slices.ContainsFunc(readers, holds); checked && wake != want {
				t.Fatalf("wake = %v, want %v", wake, want)
			}
			waits = waits && !wake
			slowest := -1
			for i, r := range readers {
				if p.Used(i) != used(r) || p.Consumed(i) != uint64(r.at) || p.Deferred(i) != r.off ||
					p.Declined(i) != r.declines || p.Pending(i) != (!r.declines && r.at < len(sizes)) {
					t.Fatalf("edge %d uses %v at %d, deferred %v, declined %v; want %v, %+v", i, p.Used(i), p.Consumed(i), p.Deferred(i), p.Declined(i), used(r), *r)
				}
				if waits && holds(r) && (slowest < 0 || r.at < readers[slowest].at) {
					slowest = i
				}
			}
			if at, ok := p.Blocking(); ok != (slowest >= 0) || ok && at != slowest {
				t.Fatalf("Blocking() = %v, %v, want %v", at, ok, slowest)
			}
			if p.Head() != uint64(len(sizes)) {
				t.Fatalf("Head() = %d, want %d", p.Head(), len(sizes))
			}
		}
		// Credit cannot leak: whoever consumed everything holds nothing.
		for i := range readers {
			p.Accept(i, p.Head())
			p.Consume(i, p.Head(), 0)
			if p.Used(i) != (credit.Window{}) {
				t.Fatalf("Used() = %v after consuming everything", p.Used(i))
			}
		}
		if !p.Ask() {
			t.Fatal("no credit though everything was consumed")
		}
	})
}

func TestDefaults(t *testing.T) {
	p, err := credit.NewPort(0, credit.Edge{Reader: "r"})
	if err != nil {
		t.Fatal(err)
	}
	p.Append(8191, 100)
	if !p.Ask() {
		t.Error("no credit at 8,191 records")
	}
	p.Append(1, 0)
	if p.Ask() {
		t.Error("credit at 8,192 records")
	}
	if p.Consume(0, 4095, 1) {
		t.Error("woken with more than half of the window used")
	}
	if !p.Consume(0, 4096, 1) || p.Consume(0, 4097, 1) {
		t.Error("not woken, or twice, with half of the window used")
	}
	p.Append(0, 8<<20)
	if p.Ask() {
		t.Error("credit beyond 8 MiB")
	}
}

func TestCursorsThatCannotBe(t *testing.T) {
	if _, err := credit.NewPort(3, credit.Edge{Reader: "r", Consumed: 4}); err == nil {
		t.Error("NewPort() with a reader beyond the head succeeded")
	}
	p, err := credit.NewPort(2, credit.Edge{Reader: "r", Consumed: 2})
	if err != nil {
		t.Fatal(err)
	}
	p.Append(1, 3)
	for _, seq := range []uint64{1, 4} {
		func() {
			defer func() {
				if recover() == nil || p.Consumed(0) != 2 {
					t.Errorf("Consume(%d) did not panic, cursor %v", seq, p.Consumed(0))
				}
			}()
			p.Consume(0, seq, 0)
		}()
	}
	// Sizes that do not add up hold nobody.
	if p.Consume(0, 3, 1); p.Used(0) != (credit.Window{}) {
		t.Errorf("at the head: Used() = %v", p.Used(0))
	}
	p.Append(2, 10)
	if p.Consume(0, 4, 1<<60); p.Used(0).Bytes > 10 {
		t.Errorf("beyond the head in bytes: Used() = %v", p.Used(0))
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
		{"nobody", "a", nil, "a, which waits for nobody"},
		{
			"a slow sink", "src",
			[]credit.Wait{w("src", "map", credit.ForCredit), w("map", "sink", credit.ForCredit)},
			"src waits for credit of src-map from map waits for credit of map-sink from sink, which waits for nobody",
		},
		{
			"the nearest", "join",
			[]credit.Wait{w("join", "left", credit.ForInput), w("join", "right", credit.ForInput), w("left", "src", credit.ForInput)},
			"join waits for input of join-right from right, which waits for nobody",
		},
		{
			"a circle", "a",
			[]credit.Wait{w("a", "b", credit.ForCredit), w("b", "c", credit.ForInput), w("c", "b", credit.ForCredit)},
			"a waits for credit of a-b from b waits for input of b-c from c waits for credit of c-b from b, which is in this chain",
		},
		{
			"a way out of a circle", "a",
			[]credit.Wait{w("a", "b", credit.ForInput), w("b", "a", credit.ForCredit), w("b", "d", credit.ForCredit)},
			"a waits for input of a-b from b waits for credit of b-d from d, which waits for nobody",
		},
	} {
		chain := credit.WaitsFor(tc.stage, tc.waits)
		if diff := cmp.Diff(tc.want, chain.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		if got := chain.Stages(); got[0] != tc.stage || len(got) > 1 && !strings.HasSuffix(tc.want, "in this chain") && got[len(got)-1] != chain.End {
			t.Errorf("%s: stages %q", tc.name, got)
		}
	}
}
