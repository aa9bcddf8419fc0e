package contract_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/wire"
)

var edge = contract.Subject{Upstream: "orders.out", Reader: "validate"}

// What a writer wrote and a reader consumed, and where the two part: the model
// is the lists themselves.
func TestTransportModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		written := rapid.SliceOfN(rapid.Uint32Range(0, 3), 0, 40).Draw(t, "written")
		var frames []int // ends
		for at := 0; at < len(written); {
			at = min(len(written), at+rapid.IntRange(1, 8).Draw(t, "frame"))
			frames = append(frames, at)
		}
		// What the reader gets: the same, or with one record altered.
		got := append([]uint32(nil), written...)
		bad := -1
		if len(got) > 0 && rapid.Bool().Draw(t, "fault") {
			bad = rapid.IntRange(0, len(got)-1).Draw(t, "where")
			got[bad] += 1 + rapid.Uint32Range(0, 5).Draw(t, "by")
		}
		var w contract.Ledger
		r := contract.NewReader(edge, contract.Ledger{})
		at, frameStart := 0, 0
		for _, end := range frames {
			for i := frameStart; i < end; i++ {
				if !w.Add(uint64(i+1), written[i]) {
					t.Fatal("the writer's ledger refuses its own record")
				}
			}
			for at < end {
				if !r.Behind(w) {
					t.Fatal("Behind() = false before the frame was consumed")
				}
				n := rapid.IntRange(1, end-at).Draw(t, "batch")
				r.Consume(uint64(at+1), got[at:at+n])
				at += n
			}
			v := r.FrameEnd(w)
			wantFail := bad >= 0 && bad < end
			if (v.State == contract.Fail) != wantFail {
				t.Fatalf("FrameEnd(%d) = %+v with the fault at %d", end, v, bad+1)
			}
			if wantFail {
				if v.Violation.From > uint64(bad+1) || v.Violation.To < uint64(bad+1) ||
					v.Violation.From != uint64(frameStart+1) || v.Violation.To != uint64(end) {
					t.Fatalf("violation %+v does not enclose the fault at %d by its frame", v.Violation, bad+1)
				}
				if seq, ok := contract.Part(uint64(frameStart+1), written[frameStart:end], got[frameStart:end]); !ok || seq != uint64(bad+1) {
					t.Fatalf("Part() = %d, %v, want %d", seq, ok, bad+1)
				}
				if again := r.Consume(uint64(at+1), []uint32{0}); again != v {
					t.Fatal("a verdict changed after the violation")
				}
				return
			}
			frameStart = end
		}
		if v := r.End(w); v.State != contract.Pass || v.Evidence.Writer != v.Evidence.Reader || v.Err() != nil {
			t.Fatalf("End() = %+v, want a pass", v)
		}
		if w.Count != uint64(len(written)) || w.Last != uint64(len(written)) {
			t.Fatalf("ledger %+v of %d records", w, len(written))
		}
	})
}

func TestAddRunIsRepeatedAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		crcs := rapid.SliceOf(rapid.Uint32()).Draw(t, "crcs")
		cut := rapid.IntRange(0, len(crcs)).Draw(t, "cut")
		var one, runs contract.Ledger
		for i, c := range crcs {
			one.Add(uint64(i+1), c)
		}
		if !runs.AddRun(1, crcs[:cut]) || !runs.AddRun(uint64(cut+1), crcs[cut:]) || one != runs {
			t.Fatalf("AddRun: %+v, Add: %+v", runs, one)
		}
		var d wire.Digest
		for i, c := range crcs {
			d = d.Add(uint64(i+1), c)
		}
		if one.Digest != d {
			t.Fatalf("digest %x, want %x", one.Digest, d)
		}
	})
}

func TestAddRunDoesNotAllocate(t *testing.T) {
	crcs := make([]uint32, 256)
	r := contract.NewReader(edge, contract.Ledger{})
	next := uint64(1)
	if n := testing.AllocsPerRun(100, func() {
		r.Consume(next, crcs)
		next += 256
	}); n != 0 {
		t.Errorf("Consume allocates %v times, want 0", n)
	}
}

func TestTransportViolations(t *testing.T) {
	crcs := []uint32{7, 8, 9}
	ledger := func(n int) (l contract.Ledger) {
		l.AddRun(1, crcs[:n])
		return l
	}
	for _, tc := range []struct {
		name string
		do   func(*contract.Reader) contract.Verdict
		want string
	}{
		{"a record is lost", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs[:1])
			return r.Consume(3, crcs[2:])
		}, "transport contract of orders.out → validate: next sequence: expected 2, found 3 at sequence 2"},
		{"a record comes twice", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs[:2])
			return r.Consume(2, crcs[1:])
		}, "transport contract of orders.out → validate: next sequence: expected 3, found 2 at sequence 2"},
		{"the end is missing", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs[:2])
			return r.End(ledger(3))
		}, "transport contract of orders.out → validate: last sequence: expected 3, found 2 at sequence 3"},
		{"more than was written", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs)
			return r.End(ledger(2))
		}, "transport contract of orders.out → validate: last sequence: expected 2, found 3 at sequence 3"},
		{"altered", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs[:2])
			r.FrameEnd(ledger(2))
			r.Consume(3, []uint32{0})
			return r.FrameEnd(ledger(3))
		}, fmt.Sprintf("transport contract of orders.out → validate: digest: expected %016x, found %016x at sequence 3",
			uint64(ledger(3).Digest), uint64(ledger(2).Digest.Add(3, 0)))},
		{"count", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs)
			l := ledger(3)
			l.Count = 2
			return r.FrameEnd(l)
		}, "transport contract of orders.out → validate: count: expected 2, found 3 between sequence 1 and 3"},
		{"after the end", func(r *contract.Reader) contract.Verdict {
			r.Consume(1, crcs[:2])
			r.End(ledger(2))
			return r.Consume(3, crcs[2:])
		}, "transport contract of orders.out → validate: records after the end: expected 2, found 3 at sequence 3"},
	} {
		v := tc.do(contract.NewReader(edge, contract.Ledger{}))
		var ve *contract.ViolationError
		if err := v.Err(); !errors.As(err, &ve) || err.Error() != tc.want {
			t.Errorf("%s:\n got %v\nwant %s", tc.name, err, tc.want)
		}
	}
}

// A reader that resumes, or begins later, goes on from a ledger.
func TestReaderStartsWithin(t *testing.T) {
	var w contract.Ledger
	w.AddRun(1, []uint32{1, 2, 3})
	r := contract.NewReader(edge, w)
	w.AddRun(4, []uint32{4, 5})
	r.Consume(4, []uint32{4, 5})
	if v := r.End(w); v.State != contract.Pass {
		t.Errorf("End() = %+v, want a pass", v)
	}
}

func TestSource(t *testing.T) {
	var w contract.Ledger
	w.AddRun(1, []uint32{1, 2, 3})
	if v := contract.Source(edge, 0, false, w); v.State != contract.Pass {
		t.Errorf("Source() without a declaration = %+v", v)
	}
	if v := contract.Source(edge, 3, true, w); v.State != contract.Pass {
		t.Errorf("Source(3 of 3) = %+v", v)
	}
	v := contract.Source(edge, 5, true, w)
	if want := "source contract of orders.out → validate: declared count: expected 5, found 3 at sequence 4"; v.State != contract.Fail || v.Err().Error() != want {
		t.Errorf("Source(5, 3 written) = %v, want %s", v.Err(), want)
	}
}

// Delivery against a map of what is open.
func TestDeliveryModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Uint64Range(0, 5).Draw(t, "start")
		d := contract.NewDelivery(edge, start)
		open := map[uint64]bool{}
		next := start + 1
		accepted, receipted := 0, 0
		for _, seq := range rapid.Permutation([]uint64{1, 2, 3, 4, 5}).Draw(t, "reopened") {
			if seq <= start && rapid.Bool().Draw(t, "reopen") {
				d.Reopen(seq)
				d.Reopen(seq)
				open[seq] = true
				accepted++
			}
		}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "accept") {
				from := next + rapid.Uint64Range(0, 2).Draw(t, "skip")
				to := from + rapid.Uint64Range(0, 4).Draw(t, "run")
				for s := from; s <= to; s++ {
					open[s] = true
					accepted++
				}
				next = to + 1
				if v := d.Accept(from, to); v.State != contract.Pending {
					t.Fatalf("Accept(%d, %d) = %+v", from, to, v)
				}
				continue
			}
			from := rapid.Uint64Range(0, next).Draw(t, "from")
			to := from + rapid.Uint64Range(0, 2).Draw(t, "to")
			ok := from > 0
			for s := from; s <= to; s++ {
				ok = ok && open[s]
			}
			v := d.Receipt(from, to)
			if !ok {
				if v.State != contract.Fail {
					t.Fatalf("Receipt(%d, %d) of what is not open = %+v", from, to, v)
				}
				if again := d.End(); again.State != contract.Fail {
					t.Fatal("a violation was forgotten")
				}
				return
			}
			if v.State != contract.Pending {
				t.Fatalf("Receipt(%d, %d) = %+v, open %v", from, to, v, open)
			}
			for s := from; s <= to; s++ {
				delete(open, s)
				receipted++
			}
		}
		if d.Open() != uint64(len(open)) {
			t.Fatalf("Open() = %d, want %d", d.Open(), len(open))
		}
		v := d.End()
		if (v.State == contract.Pass) != (len(open) == 0) || v.Evidence.Writer.Count != uint64(accepted) || v.Evidence.Reader.Count != uint64(receipted) {
			t.Fatalf("End() = %+v with %d open, %d accepted, %d receipted", v, len(open), accepted, receipted)
		}
		if v.State == contract.Fail && (!open[v.Violation.From] || !open[v.Violation.To]) {
			t.Fatalf("violation %+v names what is not open: %v", v.Violation, open)
		}
	})
}

func TestDeliveryRefusesGoingBack(t *testing.T) {
	d := contract.NewDelivery(edge, 4)
	if v := d.Accept(4, 5); v.State != contract.Fail || v.Violation.Expected != 5 || v.Violation.Found != 4 {
		t.Errorf("Accept(4, 5) after 4 = %+v", v)
	}
	if v := d.Accept(5, 5); v.State != contract.Fail {
		t.Error("the violation was forgotten")
	}
	if v := d.Receipt(5, 5); v.State != contract.Fail {
		t.Error("the violation was forgotten by a receipt")
	}
}

func TestAccounting(t *testing.T) {
	stage := contract.Subject{Reader: "totals"}
	if v := (contract.Accounting{Inputs: 10, Applied: 7, Dead: 2, Late: 1}).Check(stage, 10); v.State != contract.Pass {
		t.Errorf("Check() = %+v, want a pass", v)
	}
	v := contract.Accounting{Inputs: 10, Applied: 7, Dead: 2}.Check(stage, 10)
	if want := "accounting contract of totals: inputs accounted for: expected 10, found 9 between sequence 1 and 10"; v.Err() == nil || v.Err().Error() != want {
		t.Errorf("Check() = %v, want %s", v.Err(), want)
	}
}

func TestCycle(t *testing.T) {
	limits := contract.CycleLimits{Depth: 10, Growth: 5, Signals: 3}
	for _, tc := range []struct {
		c    contract.Cycle
		want string
	}{
		{contract.Cycle{}, ""},
		{contract.Cycle{Entered: 2, Inner: 10, Signals: 7, Depth: 10}, ""},
		{contract.Cycle{Entered: 2, Inner: 10, Depth: 11, At: 4}, "depth"},
		{contract.Cycle{Entered: 2, Inner: 12}, "growth"},
		{contract.Cycle{Entered: 2, Inner: 8, Signals: 7}, "signals for each record"},
	} {
		v := tc.c.Check(edge, limits)
		if v.Violation.What != tc.want || (v.State == contract.Fail) != (tc.want != "") {
			t.Errorf("%+v.Check() = %+v, want %q", tc.c, v, tc.want)
		}
		if v := tc.c.Check(edge, contract.CycleLimits{}); v.State != contract.Pass {
			t.Errorf("without limits %+v fails: %+v", tc.c, v)
		}
	}
}

func TestLiveness(t *testing.T) {
	t0 := time.Unix(1000, 0)
	for _, tc := range []struct {
		pending bool
		waited  time.Duration
		want    contract.Health
	}{
		{false, time.Hour, contract.Idle},
		{true, 0, contract.Healthy},
		{true, -time.Hour, contract.Healthy},
		{true, 2 * time.Minute, contract.Healthy},
		{true, 2*time.Minute + 1, contract.Suspect},
		{true, 4 * time.Minute, contract.Suspect},
		{true, 4*time.Minute + 1, contract.Stalled},
	} {
		now := t0.Add(tc.waited)
		if got := contract.Liveness(tc.pending, t0, now, 0); got != tc.want {
			t.Errorf("Liveness(%v, %v) = %v, want %v", tc.pending, tc.waited, got, tc.want)
		}
		// The timer is armed for exactly the moment of the next change.
		d := contract.NextLook(tc.pending, t0, now, 0)
		last := tc.want == contract.Idle || tc.want == contract.Stalled
		if last != (d == 0) {
			t.Errorf("NextLook(%v, %v) = %v", tc.pending, tc.waited, d)
		}
		if d > 0 && tc.waited >= 0 {
			before, after := contract.Liveness(true, t0, now.Add(d-1), 0), contract.Liveness(true, t0, now.Add(d), 0)
			if before != tc.want || after == tc.want {
				t.Errorf("after %v: %v just before the timer, %v at it", tc.waited, before, after)
			}
		}
	}
}
