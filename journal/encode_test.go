package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

var (
	name  = rapid.StringMatching(`[a-z][a-z0-9_/.]{0,20}`)
	blob  = rapid.SliceOfN(rapid.Byte(), 0, 40)
	seq   = rapid.Uint64Range(1, 1<<40)
	nanos = rapid.Int64()
	kind  = rapid.SampledFrom([]journal.EndKind{journal.Natural, journal.Truncated, journal.Poison})
)

func drawConsumed(t *rapid.T) journal.Consumed {
	c := journal.Consumed{Kind: journal.Kind(rapid.IntRange(1, 7).Draw(t, "kind"))}
	switch c.Kind {
	case journal.Run:
		c.Journal, c.From = name.Draw(t, "journal"), seq.Draw(t, "from")
		c.To = c.From + rapid.Uint64Range(0, 1000).Draw(t, "length")
	case journal.Mark:
		c.Journal, c.From, c.Time = name.Draw(t, "journal"), seq.Draw(t, "from"), nanos.Draw(t, "time")
	case journal.Ended:
		c.Journal, c.End = name.Draw(t, "journal"), kind.Draw(t, "end")
	case journal.TimerDue, journal.Signalled, journal.Decided:
		c.ID = rapid.String().Draw(t, "id")
	case journal.Resumed: // says nothing more
	}
	return c
}

func drawRecord(t *rapid.T) journal.Record {
	r := journal.Record{
		Items:   rapid.SliceOfN(rapid.IntRange(0, 50), 0, 3).Draw(t, "items"),
		FromKey: rapid.Bool().Draw(t, "from key"), Blob: rapid.Bool().Draw(t, "blob"),
		Payload: blob.Draw(t, "payload"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "refs") {
		r.Refs = append(r.Refs, journal.Ref{Journal: rapid.IntRange(0, 3).Draw(t, "ref"), Seq: seq.Draw(t, "seq")})
	}
	if rapid.Bool().Draw(t, "keyed") {
		r.Key = blob.Draw(t, "key")
	}
	if r.HasTime = rapid.Bool().Draw(t, "timed"); r.HasTime {
		r.Time = nanos.Draw(t, "time")
	}
	return r
}

// drawOutput draws an output whose digest fits its records.
func drawOutput(t *rapid.T, n int) (journal.Output, []journal.Record) {
	o := journal.Output{
		Port: name.Draw(t, "port"), Type: name.Draw(t, "type"), First: seq.Draw(t, "first"), Count: n,
		Journals: rapid.SliceOfN(name, 0, 3).Draw(t, "journals"),
	}
	sum, last := wire.Digest(rapid.Uint64().Draw(t, "before")), -1
	var rs []journal.Record
	for i := range n {
		r := drawRecord(t)
		o.Records, last = journal.AppendRecord(o.Records, last, &r)
		sum = sum.Add(o.First+uint64(i), wire.Checksum(r.Payload))
		rs = append(rs, r)
	}
	o.Digest = uint64(sum)
	return o, rs
}

func drawState(t *rapid.T, n int) (journal.State, []journal.Change) {
	s := journal.State{Table: name.Draw(t, "table"), Count: n}
	var cs []journal.Change
	for range n {
		c := journal.Change{Key: blob.Draw(t, "key"), Previous: journal.LSN(seq.Draw(t, "previous"))}
		if c.Deleted = rapid.Bool().Draw(t, "deleted"); !c.Deleted {
			c.Value = blob.Draw(t, "value")
		}
		last := 0
		for range rapid.IntRange(0, 4).Draw(t, "causes") {
			last += rapid.IntRange(0, 9).Draw(t, "step")
			c.Items = append(c.Items, last)
		}
		if rapid.Bool().Draw(t, "of an input") {
			c.Journal, c.Seq = "in."+name.Draw(t, "input"), seq.Draw(t, "seq")
		}
		s.Changes = journal.AppendChange(s.Changes, &c)
		cs = append(cs, c)
	}
	return s, cs
}

func drawEnds(t *rapid.T, worst journal.EndKind) (ends []journal.End) {
	for range rapid.IntRange(0, 2).Draw(t, "ends") {
		ends = append(ends, journal.End{
			Port: name.Draw(t, "port"), Kind: max(worst, kind.Draw(t, "kind")), Count: seq.Draw(t, "count"), Digest: rapid.Uint64().Draw(t, "digest"),
		})
	}
	return ends
}

func drawTransition(t *rapid.T) *journal.Transition {
	tr := &journal.Transition{
		Stage: name.Draw(t, "stage"), Number: seq.Draw(t, "number"), Code: rapid.StringN(0, 20, 80).Draw(t, "code"),
		Time:     time.Unix(0, nanos.Draw(t, "time")).UTC(),
		Consumed: rapid.SliceOfN(rapid.Custom(drawConsumed), 0, 5).Draw(t, "consumed"),
		Ends:     drawEnds(t, journal.Natural),
	}
	if rapid.Bool().Draw(t, "replayed") {
		tr.Origin = journal.ID{15: rapid.ByteMin(1).Draw(t, "origin")}
	}
	if rapid.Bool().Draw(t, "positioned") {
		tr.Position = &journal.Position{Value: rapid.String().Draw(t, "position"), Part: rapid.String().Draw(t, "part")}
	}
	for range rapid.IntRange(0, 3).Draw(t, "outputs") {
		o, _ := drawOutput(t, rapid.IntRange(1, 5).Draw(t, "records"))
		tr.Outputs = append(tr.Outputs, o)
	}
	for range rapid.IntRange(0, 2).Draw(t, "tables") {
		s, _ := drawState(t, rapid.IntRange(1, 5).Draw(t, "changes"))
		tr.State = append(tr.State, s)
	}
	for range rapid.IntRange(0, 2).Draw(t, "open") {
		w := journal.OpenWork{Op: journal.OpenOp(rapid.IntRange(1, 3).Draw(t, "op")), ID: seq.Draw(t, "id"), Data: blob.Draw(t, "data")}
		if w.Op == journal.OpenAdd {
			w.Epoch, w.Journal, w.Seq = journal.ID{1, 2, 3}, name.Draw(t, "journal"), seq.Draw(t, "seq")
		}
		tr.Open = append(tr.Open, w)
	}
	for range rapid.IntRange(0, 2).Draw(t, "timers") {
		tr.Timers = append(tr.Timers, journal.Timer{ID: "t", Key: blob.Draw(t, "key"), At: nanos.Draw(t, "at"), Reason: "idle"})
	}
	for range rapid.IntRange(0, 2).Draw(t, "marks") {
		tr.Marks = append(tr.Marks, journal.Watermark{Port: name.Draw(t, "port"), After: seq.Draw(t, "after"), Time: nanos.Draw(t, "time")})
	}
	if rapid.Bool().Draw(t, "checkpoint") {
		tr.Check = &journal.Checkpoint{
			Cursors: []journal.Cursor{{Journal: "a.out", Seq: seq.Draw(t, "cursor")}, {Journal: "b.out", Seq: 1, End: journal.Natural}},
			Ports:   drawEnds(t, 0), Position: tr.Position, Snapshot: "s.snap", Sum: [32]byte{9}, At: 3, Redo: 4, Watermark: -5,
		}
	}
	return tr
}

func TestEveryTransitionSurvivesItsFrame(t *testing.T) {
	var enc journal.Encoder
	rapid.Check(t, func(t *rapid.T) {
		want := drawTransition(t)
		frames, err := enc.Encode(want)
		if err != nil || len(frames) != 1 {
			t.Fatalf("Encode() = %d frames, %v, want one", len(frames), err)
		}
		var got journal.Transition
		if err := journal.Parse(frames[0].Body, &got); err != nil {
			t.Fatalf("Parse() = %v", err)
		}
		if diff := cmp.Diff(want, &got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("Parse(Encode(t)) differs (-want +got):\n%s", diff)
		}
	})
}

func TestRecordsAndChangesSurvive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, want := drawOutput(t, rapid.IntRange(1, 20).Draw(t, "records"))
		rs := journal.NewRecords(&o)
		for i := range want {
			var got journal.Record
			s, ok := rs.Next(&got)
			if !ok || s != o.First+uint64(i) {
				t.Fatalf("Next() = %d, %t, %v, want sequence %d", s, ok, rs.Err(), o.First+uint64(i))
			}
			if diff := cmp.Diff(want[i], got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("record %d differs:\n%s", i, diff)
			}
		}
		if err := rs.Err(); err != nil {
			t.Fatal(err)
		}
		st, changes := drawState(t, rapid.IntRange(1, 20).Draw(t, "changes"))
		cs := journal.NewChanges(&st)
		for i := range changes {
			var got journal.Change
			if !cs.Next(&got) {
				t.Fatalf("change %d: %v", i, cs.Err())
			}
			if diff := cmp.Diff(changes[i], got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("change %d differs:\n%s", i, diff)
			}
		}
		if cs.Next(new(journal.Change)) || cs.Err() != nil {
			t.Fatalf("more changes than were written, or %v", cs.Err())
		}
	})
}

// A large transition comes back whole from its parts, each within the limits.
func TestPartsJoinToTheTransition(t *testing.T) {
	const n = 10_000
	o := journal.Output{Port: "out", Type: "T", First: 7, Count: n, Journals: []string{"rows.out"}}
	sum, last := wire.Digest(99), -1
	var want [][]byte
	for i := range n {
		r := journal.Record{Items: []int{i / 3}, Refs: []journal.Ref{{Seq: uint64(i + 1)}}, Payload: fmt.Appendf(nil, "%0200d", i)}
		o.Records, last = journal.AppendRecord(o.Records, last, &r)
		sum = sum.Add(o.First+uint64(i), wire.Checksum(r.Payload))
		want = append(want, r.Payload)
	}
	o.Digest = uint64(sum)
	st := journal.State{Table: "rows", Count: 5000}
	for i := range st.Count {
		st.Changes = journal.AppendChange(st.Changes, &journal.Change{Key: fmt.Append(nil, i), Value: []byte("v"), Items: []int{i}})
	}
	tr := &journal.Transition{
		Stage: "s", Number: 5, Consumed: []journal.Consumed{{Kind: journal.Run, Journal: "a.out", From: 1, To: 4000}},
		Outputs: []journal.Output{o}, State: []journal.State{st}, Ends: []journal.End{{Port: "out", Kind: journal.Natural, Count: n + 6, Digest: o.Digest}},
	}
	var enc journal.Encoder
	frames, err := enc.Encode(tr)
	if err != nil || len(frames) < 4 {
		t.Fatalf("Encode() = %d frames, %v, want several", len(frames), err)
	}
	var whole journal.Transition
	for i, f := range frames {
		if len(f.Body) > journal.PartBytes+4096 {
			t.Errorf("part %d has %d bytes, want at most about %d", i, len(f.Body), journal.PartBytes)
		}
		var part journal.Transition
		if err := journal.Parse(f.Body, &part); err != nil {
			t.Fatal(err)
		}
		if part.Number != tr.Number+uint64(i) {
			t.Errorf("part %d has number %d, want %d", i, part.Number, tr.Number+uint64(i))
		}
		whole.Join(&part)
	}
	next, i := o.First, 0
	var final uint64
	for j := range whole.Outputs {
		out := &whole.Outputs[j]
		if out.First != next {
			t.Fatalf("piece begins at %d, want %d", out.First, next)
		}
		rs := journal.NewRecords(out)
		var r journal.Record
		for {
			_, ok := rs.Next(&r)
			if !ok {
				break
			}
			if !bytes.Equal(r.Payload, want[i]) || r.Items[0] != i/3 || r.Refs[0].Seq != uint64(i+1) {
				t.Fatalf("record %d = %+v", i, r)
			}
			i++
		}
		if rs.Err() != nil {
			t.Fatal(rs.Err())
		}
		next, final = out.First+uint64(out.Count), out.Digest
	}
	if i != n || final != o.Digest {
		t.Errorf("%d records with digest %x, want %d with %x", i, final, n, o.Digest)
	}
	if len(whole.Ends) != 1 || len(whole.Consumed) != 1 {
		t.Errorf("ends %v, consumed %v, want one of each", whole.Ends, whole.Consumed)
	}
}

func TestTooLarge(t *testing.T) {
	o := journal.Output{Port: "out", First: 1, Count: 1}
	o.Records, _ = journal.AppendRecord(nil, -1, &journal.Record{Payload: make([]byte, journal.MaxBytes)})
	var enc journal.Encoder
	if _, err := enc.Encode(&journal.Transition{Outputs: []journal.Output{o}}); !errors.Is(err, journal.ErrTooLarge) {
		t.Errorf("Encode(64 MiB record) = %v, want ErrTooLarge", err)
	}
}

func FuzzParse(f *testing.F) {
	var enc journal.Encoder
	o := journal.Output{Port: "out", Type: "T", First: 1, Count: 1}
	o.Records, _ = journal.AppendRecord(nil, -1, &journal.Record{Items: []int{0}, Payload: []byte(`{}`)})
	frames, err := enc.Encode(&journal.Transition{Stage: "s", Number: 1, Consumed: []journal.Consumed{{Kind: journal.Run, Journal: "a.out", From: 1, To: 2}}, Outputs: []journal.Output{o}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(frames[0].Body)
	f.Fuzz(func(t *testing.T, body []byte) {
		var tr journal.Transition
		if journal.Parse(body, &tr) != nil {
			return
		}
		for i := range tr.Outputs {
			rs := journal.NewRecords(&tr.Outputs[i])
			var r journal.Record
			for ok := true; ok; {
				_, ok = rs.Next(&r)
			}
		}
		for i := range tr.State {
			cs := journal.NewChanges(&tr.State[i])
			var c journal.Change
			for cs.Next(&c) {
			}
		}
	})
}

// Each part of a large transition says of each of its ports how the journal
// stands after it, whatever came before and whichever part a port begins in.
func TestPartsCarryRunningDigests(t *testing.T) {
	tr := &journal.Transition{Stage: "s", Number: 1}
	sums := map[string]wire.Digest{"a": 5, "b": 0, "c": 77} // before the transition
	for i, port := range []string{"a", "b", "c"} {
		o := journal.Output{Port: port, Type: "T", First: uint64(i + 1), Count: 3000}
		sum, last := sums[port], -1
		for k := range o.Count {
			r := journal.Record{Items: []int{0}, Payload: fmt.Appendf(nil, "%s %0300d", port, k)}
			o.Records, last = journal.AppendRecord(o.Records, last, &r)
			sum = sum.Add(o.First+uint64(k), wire.Checksum(r.Payload))
		}
		o.Digest = uint64(sum)
		tr.Outputs = append(tr.Outputs, o)
	}
	var enc journal.Encoder
	frames, err := enc.Encode(tr)
	if err != nil || len(frames) < 4 {
		t.Fatalf("Encode() = %d frames, %v, want several", len(frames), err)
	}
	records := 0
	for i := range frames {
		var part journal.Transition
		if err := journal.Parse(frames[i].Body, &part); err != nil {
			t.Fatal(err)
		}
		for k := range part.Outputs {
			o := &part.Outputs[k]
			rs := journal.NewRecords(o)
			var r journal.Record
			for {
				seq, ok := rs.Next(&r)
				if !ok {
					break
				}
				sums[o.Port] = sums[o.Port].Add(seq, wire.Checksum(r.Payload))
				records++
			}
			if err := rs.Err(); err != nil {
				t.Fatal(err)
			}
			if o.Digest != uint64(sums[o.Port]) {
				t.Errorf("part %d, port %s: digest %016x, want %016x", i, o.Port, o.Digest, uint64(sums[o.Port]))
			}
		}
	}
	if records != 9000 {
		t.Errorf("the parts hold %d records, want 9000", records)
	}
}
