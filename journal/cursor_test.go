package journal_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// records builds an output of n records of size bytes each.
func records(port string, first uint64, n, size int) journal.Output {
	o := journal.Output{Port: port, Type: "blob", First: first}
	item := -1
	for range n {
		r := journal.Record{Payload: bytes.Repeat([]byte{byte(o.Count)}, size)}
		o.Records, item = journal.AppendRecord(o.Records, item, &r)
		o.Count++
	}
	return o
}

// add appends one transition and returns how many frames it took.
func add(t *testing.T, log journal.Log, tr journal.Transition) int {
	t.Helper()
	var enc journal.Encoder
	frames, err := enc.Encode(&tr)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	if _, err := log.Append(t.Context(), journal.Normal, frames...); err != nil {
		t.Fatalf("Append: %v", err)
	}
	return len(frames)
}

func TestTransitionsJoinsParts(t *testing.T) {
	log := memory.New(journal.Manifest{Run: "r", Flow: "f"}, memory.Options{})
	defer log.Close()
	add(t, log, journal.Transition{Stage: "a", Number: 1, Outputs: []journal.Output{records("out", 1, 3, 10)}})
	parts := add(t, log, journal.Transition{Stage: "b", Number: 1, Outputs: []journal.Output{records("out", 1, 5000, 400)}})
	add(t, log, journal.Transition{Stage: "a", Number: 2, Outputs: []journal.Output{records("out", 4, 2, 10)}})
	if parts < 3 {
		t.Fatalf("the large transition has %d parts, want several", parts)
	}

	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	r := journal.Transitions(in)
	defer r.Close()
	type seen struct {
		Stage       string
		First, Last journal.LSN
		Records     int
	}
	var got []seen
	var p journal.Placed
	for err = r.Next(&p); err == nil; err = r.Next(&p) {
		s := seen{Stage: p.Stage, First: p.First, Last: p.Last}
		for i := range p.Outputs {
			rs := journal.NewRecords(&p.Outputs[i])
			var rec journal.Record
			for _, ok := rs.Next(&rec); ok; _, ok = rs.Next(&rec) {
				s.Records++
			}
			if rs.Err() != nil {
				t.Fatalf("records of %s: %v", p.Stage, rs.Err())
			}
		}
		got = append(got, s)
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("Next = %v, want io.EOF", err)
	}
	end := journal.LSN(1 + parts)
	want := []seen{{"a", 1, 1, 3}, {"b", 2, end, 5000}, {"a", end + 1, end + 1, 2}}
	if !slices.Equal(got, want) {
		t.Errorf("Transitions = %v, want %v", got, want)
	}

	for lsn := journal.LSN(1); lsn <= end+1; lsn++ {
		p, err := journal.TransitionAt(log, lsn)
		if err != nil {
			t.Fatalf("TransitionAt(%d): %v", lsn, err)
		}
		if p.First > lsn || p.Last < lsn {
			t.Errorf("TransitionAt(%d) = frames %d to %d", lsn, p.First, p.Last)
		}
	}
	if _, err := journal.TransitionAt(log, end+2); !errors.Is(err, io.EOF) {
		t.Errorf("TransitionAt beyond the head = %v, want io.EOF", err)
	}
}

// frames is a Reader over given entries; it says io.EOF once before each.
type frames struct {
	entries []journal.Entry
	told    bool
}

func (f *frames) Next() (journal.Entry, error) {
	if f.told = !f.told; f.told || len(f.entries) == 0 {
		return journal.Entry{}, io.EOF
	}
	e := f.entries[0]
	f.entries = f.entries[1:]
	return e, nil
}

func (f *frames) Close() error { return nil }

func body(t *testing.T, tr journal.Transition) []byte {
	t.Helper()
	var enc journal.Encoder
	fs, err := enc.Encode(&tr)
	if err != nil || len(fs) != 1 {
		t.Fatalf("Encode = %d frames, %v", len(fs), err)
	}
	return fs[0].Body
}

func TestTransitionsWaitsInsideOfOne(t *testing.T) {
	r := journal.Transitions(&frames{entries: []journal.Entry{
		{LSN: 7, Epoch: 2, More: true, Body: body(t, journal.Transition{Stage: "a", Number: 3, Outputs: []journal.Output{records("x", 1, 1, 1)}})},
		{LSN: 8, Epoch: 2, Body: body(t, journal.Transition{Stage: "a", Number: 4, Outputs: []journal.Output{records("x", 2, 1, 1)}})},
	}})
	var p journal.Placed
	for range 2 {
		if err := r.Next(&p); !errors.Is(err, io.EOF) {
			t.Fatalf("Next = %v, want io.EOF", err)
		}
	}
	if err := r.Next(&p); err != nil {
		t.Fatalf("Next: %v", err)
	}
	if p.First != 7 || p.Last != 8 || p.Epoch != 2 || p.Number != 3 || len(p.Outputs) != 2 {
		t.Errorf("Next = %+v", p)
	}
}

func TestTransitionsRefusesForeignParts(t *testing.T) {
	first := journal.Entry{LSN: 7, Epoch: 2, More: true, Body: body(t, journal.Transition{Stage: "a", Number: 3})}
	for name, e := range map[string]journal.Entry{
		"stage":  {LSN: 8, Epoch: 2, Body: body(t, journal.Transition{Stage: "b", Number: 4})},
		"number": {LSN: 8, Epoch: 2, Body: body(t, journal.Transition{Stage: "a", Number: 5})},
		"epoch":  {LSN: 8, Epoch: 3, Body: body(t, journal.Transition{Stage: "a", Number: 4})},
		"lsn":    {LSN: 9, Epoch: 2, Body: body(t, journal.Transition{Stage: "a", Number: 4})},
		"body":   {LSN: 8, Epoch: 2, Body: []byte{0xff}},
	} {
		r := journal.Transitions(&frames{entries: []journal.Entry{first, e}})
		var p journal.Placed
		err := io.EOF
		for errors.Is(err, io.EOF) {
			err = r.Next(&p)
		}
		var at *journal.FrameError
		if !errors.As(err, &at) || at.LSN != e.LSN {
			t.Errorf("%s: Next = %v, want a FrameError at %d", name, err, e.LSN)
		}
	}
}
