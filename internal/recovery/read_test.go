package recovery_test

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// output is n records of a port, from sequence first on.
func output(port string, first uint64, n int, digest uint64) journal.Output {
	o := journal.Output{Port: port, Type: "t", First: first, Count: n, Digest: digest}
	item := -1
	for range n {
		o.Records, item = journal.AppendRecord(o.Records, item, &journal.Record{Payload: []byte("x")})
	}
	return o
}

func outputs(o ...journal.Output) []journal.Output { return o }

func consumed(name string, from, to uint64) []journal.Consumed {
	return []journal.Consumed{{Kind: journal.Run, Journal: name, From: from, To: to}}
}

func evident[E evidence.Terminal | evidence.Trying](port, typ string, first uint64, e E) journal.Output {
	o := journal.Output{Port: port, Type: typ, First: first, Count: 1}
	o.Records, _ = journal.AppendRecord(nil, -1, &journal.Record{Payload: evidence.Append(nil, e)})
	return o
}

// opened is a log that holds the transitions and was opened again.
func opened(t *testing.T, snapshots map[string][]byte, transitions ...journal.Transition) *memory.Log {
	t.Helper()
	log := memory.New(journal.Manifest{Run: "r", Flow: "f"}, memory.Options{})
	for name, data := range snapshots {
		if err := log.WriteSnapshot(name, data); err != nil {
			t.Fatal(err)
		}
	}
	var enc journal.Encoder
	for i := range transitions {
		frames, err := enc.Encode(&transitions[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), journal.Normal, frames...); err != nil {
			t.Fatal(err)
		}
	}
	log.Kill()
	next, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestViolations(t *testing.T) {
	snap, err := recovery.AppendSnapshot(nil, &recovery.Stage{Name: "b"}, []*table(nil))
	if err != nil {
		t.Fatal(err)
	}
	three := journal.Transition{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 3, 9))}
	end := func(kind journal.EndKind, n, digest uint64) []journal.End {
		return []journal.End{{Port: "out", Kind: kind, Count: n, Digest: digest}}
	}
	for _, c := range []struct {
		name string
		log  []journal.Transition
		want recovery.Violation // but for the words
	}{
		{"a frame is missing", []journal.Transition{
			three, {Stage: "a", Number: 3},
		}, recovery.Violation{Stage: "a", LSN: 2}},
		{"the first frame is missing", []journal.Transition{
			{Stage: "a", Number: 2},
		}, recovery.Violation{Stage: "a", LSN: 1}},
		{"records are missing", []journal.Transition{
			three, {Stage: "a", Number: 2, Outputs: outputs(output("out", 5, 1, 0))},
		}, recovery.Violation{Stage: "a", Journal: "a.out", Seq: 4, LSN: 2}},
		{"records are there twice", []journal.Transition{
			three, {Stage: "a", Number: 2, Outputs: outputs(output("out", 3, 1, 0))},
		}, recovery.Violation{Stage: "a", Journal: "a.out", Seq: 4, LSN: 2}},
		{"inputs were skipped", []journal.Transition{
			three, {Stage: "b", Number: 1, Consumed: consumed("a.out", 2, 3)},
		}, recovery.Violation{Stage: "b", Journal: "a.out", Seq: 1, LSN: 2}},
		{"inputs were taken twice", []journal.Transition{
			three,
			{Stage: "b", Number: 1, Consumed: consumed("a.out", 1, 2)},
			{Stage: "b", Number: 2, Consumed: consumed("a.out", 2, 3)},
		}, recovery.Violation{Stage: "b", Journal: "a.out", Seq: 3, LSN: 3}},
		{"inputs were never written", []journal.Transition{
			three, {Stage: "b", Number: 1, Consumed: consumed("a.out", 1, 4)},
		}, recovery.Violation{Stage: "b", Journal: "a.out", Seq: 4, LSN: 2}},
		{"a journal has no writer", []journal.Transition{
			{Stage: "b", Number: 1, Consumed: consumed("nobody", 1, 1)},
		}, recovery.Violation{Stage: "b", Journal: "nobody", Seq: 1, LSN: 1}},
		{"an end was never written", []journal.Transition{
			three, {Stage: "b", Number: 1, Consumed: append(consumed("a.out", 1, 3), journal.Consumed{Kind: journal.Ended, Journal: "a.out", End: journal.Natural})},
		}, recovery.Violation{Stage: "b", Journal: "a.out", Seq: 4, LSN: 2}},
		{"something follows the end", []journal.Transition{
			{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 1, 9)), Ends: end(journal.Natural, 1, 9)},
			{Stage: "a", Number: 2, Outputs: outputs(output("out", 2, 1, 9))},
		}, recovery.Violation{Stage: "a", Journal: "a.out", Seq: 2, LSN: 2}},
		{"an end states another count", []journal.Transition{
			{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 1, 9)), Ends: end(journal.Truncated, 2, 9)},
		}, recovery.Violation{Stage: "a", Journal: "a.out", Seq: 1, LSN: 1}},
		{"an end states another digest", []journal.Transition{
			{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 1, 9)), Ends: end(journal.Truncated, 1, 8)},
		}, recovery.Violation{Stage: "a", Journal: "a.out", Seq: 1, LSN: 1}},
		{"work is closed that is not open", []journal.Transition{
			{Stage: "a", Number: 1, Open: []journal.OpenWork{{Op: journal.OpenClose, ID: 1}}},
		}, recovery.Violation{Stage: "a", LSN: 1}},
		{"work is accepted twice", []journal.Transition{
			{Stage: "a", Number: 1, Open: []journal.OpenWork{{Op: journal.OpenAdd, ID: 1, Journal: "x.out", Seq: 8}}},
			{Stage: "a", Number: 2, Open: []journal.OpenWork{{Op: journal.OpenAdd, ID: 1, Journal: "x.out", Seq: 9}}},
		}, recovery.Violation{Stage: "a", Journal: "x.out", Seq: 9, LSN: 2}},
		{"a snapshot is another", []journal.Transition{
			{Stage: "b", Number: 1, Check: &journal.Checkpoint{Snapshot: "s", Sum: sha256.Sum256([]byte("other"))}},
		}, recovery.Violation{Stage: "b", LSN: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := recovery.Read(opened(t, map[string][]byte{"s": snap}, c.log...), nil)
			var got *recovery.Violation
			if !errors.As(err, &got) {
				t.Fatalf("Read = %v, want a violation", err)
			}
			t.Log(got)
			if got.Expected == "" || got.Found == "" {
				t.Errorf("nothing said about what is wrong: %+v", got)
			}
			g := *got
			g.Expected, g.Found = "", ""
			if diff := cmp.Diff(c.want, g); diff != "" {
				t.Errorf("violation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherRefusals(t *testing.T) {
	state := journal.State{Table: "old", Count: 1, Changes: journal.AppendChange(nil, &journal.Change{Key: []byte("k"), Value: []byte("v")})}
	tables := map[string][]recovery.Table{"b": {newTable("new")}}
	for _, c := range []struct {
		name string
		log  journal.Transition
		want string
		is   error
	}{
		{"a snapshot is gone", journal.Transition{Stage: "b", Number: 1, Check: &journal.Checkpoint{Snapshot: "s"}}, "snapshot", fs.ErrNotExist},
		{"a table is gone", journal.Transition{Stage: "b", Number: 1, State: []journal.State{state}}, `table "old"`, nil},
	} {
		_, err := recovery.Read(opened(t, nil, c.log), tables)
		if err == nil || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
			t.Errorf("%s: Read = %v", c.name, err)
		}
	}
	// A stage that nobody asked about is read without its state.
	if _, err := recovery.Read(opened(t, nil, journal.Transition{Stage: "b", Number: 1, State: []journal.State{state}}), nil); err != nil {
		t.Errorf("Read without tables: %v", err)
	}
}

func TestTerminalsAndTrying(t *testing.T) {
	log := opened(
		t, nil,
		journal.Transition{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 3, 9))},
		journal.Transition{Stage: "b", Number: 1, Outputs: outputs(evident(journal.PortSys, evidence.TypeTrying, 1, evidence.Trying{Journal: "a.out", Seq: 1}))},
		journal.Transition{Stage: "b", Number: 2, Consumed: consumed("a.out", 1, 1)},
		journal.Transition{Stage: "b", Number: 3, Outputs: outputs(evident(journal.PortSys, evidence.TypeTrying, 2, evidence.Trying{Journal: "a.out", Seq: 2}))},
		journal.Transition{Stage: evidence.Pipeline, Number: 1, Outputs: outputs(evident(journal.PortSys, evidence.TypeTerminal, 1, evidence.Terminal{Status: evidence.Stopped}))},
	)
	s, err := recovery.Read(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []recovery.Trying{{Trying: evidence.Trying{Journal: "a.out", Seq: 2}, Epoch: 1}}
	if diff := cmp.Diff(want, s.Stages["b"].Trying); diff != "" {
		t.Errorf("trying (-want +got):\n%s", diff)
	}
	if got := s.Terminals[1].Status; len(s.Terminals) != 1 || got != evidence.Stopped {
		t.Errorf("terminals = %v, want one: stopped", s.Terminals)
	}
}

// A stage whose checkpoint sets the cursor of a journal that it never read
// begins there.
func TestCheckpointSetsTheBeginning(t *testing.T) {
	log := opened(
		t, nil,
		journal.Transition{Stage: "a", Number: 1, Outputs: outputs(output("out", 1, 9, 9))},
		journal.Transition{Stage: "b", Number: 1, Check: &journal.Checkpoint{Cursors: []journal.Cursor{{Journal: "a.out", Seq: 5}}}},
		journal.Transition{Stage: "b", Number: 2, Consumed: consumed("a.out", 6, 7)},
	)
	s, err := recovery.Read(log, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Stages["b"].Cursors["a.out"].Seq; got != 7 {
		t.Errorf("b stands at %d, want 7", got)
	}
}
