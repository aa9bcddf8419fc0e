package history_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/history"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/sample"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

const run = "01JZ0000000000000000000000"

// begun is a log whose first epoch died.
func begun(t *testing.T, w *sample.Writer) *memory.Log {
	t.Helper()
	log := memory.New(sample.Manifest(run), memory.Options{Build: "b1"})
	if err := w.Begin(log); err != nil {
		t.Fatal(err)
	}
	log.Kill()
	next, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// completed is the log of the whole run, opened once more.
func completed(t *testing.T) *memory.Log {
	t.Helper()
	w := sample.New()
	log := begun(t, w)
	if err := w.Finish(log); err != nil {
		t.Fatal(err)
	}
	return log
}

// at is a view of a log as if it had been opened now.
type at struct {
	*memory.Log
	tails map[string]journal.Tail
}

func (a at) Tails() map[string]journal.Tail { return a.tails }

func view(t *testing.T, log *memory.Log) *history.Run {
	t.Helper()
	tails := map[string]journal.Tail{}
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ts := journal.Transitions(in)
	var p journal.Placed
	for ts.Next(&p) == nil {
		tail := tails[p.Stage]
		tail.Last = p.Last
		if p.Check != nil {
			tail.Checkpoint = p.Last
		}
		tails[p.Stage] = tail
	}
	r, err := history.Of(at{log, tails})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ref(t *testing.T, text string) event.Ref {
	t.Helper()
	r, err := event.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSummary(t *testing.T) {
	s, err := view(t, completed(t)).Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != evidence.Completed || s.In != 6 || s.Out != 5 || s.Dead != 2 || s.Flow != "payments" {
		t.Errorf("Summary = %s, in %d, out %d, dead %d of %s; want completed, 6, 5, 2 of payments", s.Name, s.In, s.Out, s.Dead, s.Flow)
	}
	var epochs, stages, edges []string
	for _, e := range s.Epochs {
		epochs = append(epochs, fmt.Sprintf("%d %s from %d", e.Number, e.Status, e.First))
	}
	for _, st := range s.Stages {
		line := fmt.Sprintf("%s %s in %d dead %d", st.Name, st.State, st.In, st.Dead)
		for _, p := range st.Ports {
			line += fmt.Sprintf(" %s %d", p.Name, p.Count)
		}
		stages = append(stages, line)
	}
	for _, e := range s.Edges {
		edges = append(edges, fmt.Sprintf("%s→%s %d/%d %v", e.From, e.To, e.Read, e.Written, e.Verdict != nil && e.Verdict.Passed && e.Verdict.Final))
	}
	if diff := cmp.Diff([]string{"1 interrupted from 1", "2 completed from 15"}, epochs); diff != "" {
		t.Errorf("epochs (-want +got):\n%s", diff)
	}
	want := []string{
		"orders drained in 0 dead 0 out 6",
		"validate drained in 6 dead 1 rejected 1 valid 4",
		"totals drained in 4 dead 0 out 6",
		"ship drained in 6 dead 1 receipts 3",
	}
	if diff := cmp.Diff(want, stages); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	want = []string{"orders.out→validate 6/6 true", "validate.valid→totals 4/4 true", "totals.out→ship 6/6 true"}
	if diff := cmp.Diff(want, edges); diff != "" {
		t.Errorf("edges (-want +got):\n%s", diff)
	}
}

func TestStatus(t *testing.T) {
	w := sample.New()
	log := begun(t, w)
	if s, err := view(t, log).Status(); err != nil || s.Name != history.Running || s.Epoch != 2 {
		t.Errorf("Status of a run in use = %+v, %v; want running in epoch 2", s, err)
	}
	if err := w.Finish(log); err != nil {
		t.Fatal(err)
	}
	if s, err := view(t, log).Status(); err != nil || !s.Finished() {
		t.Errorf("Status at the end = %+v, %v; want completed", s, err)
	}
}

func TestRecords(t *testing.T) {
	r := view(t, completed(t))
	for _, c := range []struct {
		name string
		rng  history.Range
		want string
	}{
		{"orders", history.Range{}, "1 2 3 4 5 6"},
		{"orders.out", history.Range{From: 3, To: 4}, "3 4"},
		{"orders", history.Range{From: 3, Limit: 1}, "3"},
		{"orders", history.Range{Last: 2}, "5 6"},
		{"orders", history.Range{From: 7}, ""},
		{"validate.dead", history.Range{}, "1"},
		{"ship", history.Range{}, "1 2 3"},
		{"ship.fx", history.Range{}, ""},
	} {
		var got []string
		for rec, err := range r.Records(t.Context(), c.name, c.rng) {
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got = append(got, strconv.FormatUint(rec.Ref.Seq, 10))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("Records(%s, %+v) = %s, want %s", c.name, c.rng, g, c.want)
		}
	}
	for rec, err := range r.Records(t.Context(), "orders", history.Range{From: 2, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		if string(rec.Payload) != `{"id":"o-2","customer":"ann","cents":200}` || rec.Type != "order" || rec.Epoch != 1 || !rec.Durable || rec.Time.Minute() != 2 {
			t.Errorf("orders:2 = %+v", rec)
		}
		if want := "orders.out:2@"; !strings.HasPrefix(rec.ID.String(), want) {
			t.Errorf("ID = %s, want %s…", rec.ID, want)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	r := view(t, completed(t))
	for _, c := range []struct{ name, want string }{
		{"nobody", "there is orders, validate, totals, ship"},
		{"orders.nothing", "there is orders.out"},
		{"validate", "several ports, say which; there is validate.rejected, validate.valid"},
		{"orders.out:7", "there is orders.out:1 to 6"},
		{"ship.fx:1", "there is nothing in ship.fx"},
	} {
		var err error
		if strings.Contains(c.name, ":") {
			_, err = r.Why(t.Context(), ref(t, c.name), history.Limits{})
		} else {
			_, err = r.Journal(c.name)
		}
		var gone *history.NotFoundError
		if !errors.As(err, &gone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
	}
}

// A record that is rare is found by leaps, not by reading everything between.
func TestRecordsLeaps(t *testing.T) {
	log := memory.New(journal.Manifest{Run: run, Flow: "f"}, memory.Options{})
	var enc journal.Encoder
	put := func(stage string, number, first uint64) {
		o := journal.Output{Port: "out", Type: "t", First: first, Count: 1}
		o.Records, _ = journal.AppendRecord(nil, -1, &journal.Record{Payload: []byte("1")})
		frames, err := enc.Encode(&journal.Transition{Stage: stage, Number: number, Outputs: []journal.Output{o}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Append(t.Context(), journal.Normal, frames...); err != nil {
			t.Fatal(err)
		}
	}
	rare := uint64(0)
	for i := range uint64(20000) {
		put("busy", i+1, i+1)
		if i%5000 == 0 {
			rare++
			put("rare", rare, rare)
		}
	}
	counting := &counter{at: at{log, map[string]journal.Tail{"rare": {Last: log.Head(), Checkpoint: 0}}}}
	r, err := history.Of(counting)
	if err != nil {
		t.Fatal(err)
	}
	counting.n = 0
	n := 0
	for _, err := range r.Records(t.Context(), "rare", history.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	counting.n -= int(log.Head()) // what finding out how many there are took
	if n != int(rare) || counting.n > 4*600 {
		t.Errorf("read %d records in %d frames, want %d in few", n, counting.n, rare)
	}
}

// counter counts the frames that are read.
type counter struct {
	at
	n int
}

func (c *counter) Read(from journal.LSN) (journal.Reader, error) {
	r, err := c.at.Read(from)
	return &counted{r, c}, err
}

type counted struct {
	journal.Reader
	c *counter
}

func (c *counted) Next() (journal.Entry, error) {
	e, err := c.Reader.Next()
	if err == nil {
		c.c.n++
	}
	return e, err
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := sample.New()
		log := begun(t, w)
		r, err := history.Of(log)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan uint64)
		done := make(chan error, 1) // how following ended
		go func() {
			defer close(got)
			for rec, err := range r.Records(ctx, "ship", history.Range{Follow: true}) {
				if err != nil {
					done <- err
					return
				}
				got <- rec.Ref.Seq
			}
			done <- nil
		}()
		if first := <-got; first != 1 {
			t.Errorf("first %d, want 1", first)
		}
		synctest.Wait() // it has nothing more
		if err := w.Finish(log); err != nil {
			t.Fatal(err)
		}
		if a, b := <-got, <-got; a != 2 || b != 3 {
			t.Errorf("followed %d, %d, want 2, 3", a, b)
		}
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v, want canceled", err)
		}
	})
}

func TestCheckOfAWholeRun(t *testing.T) {
	rep, err := view(t, completed(t)).Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Problems) > 0 || rep.Frames != 23 || rep.Snapshots != 1 {
		t.Errorf("Check = %+v, want no problems in 23 frames and one snapshot", rep)
	}
}

func TestCheckFindsDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(*journal.Transition)
		want   string
	}{
		{"a payload", func(tr *journal.Transition) {
			if tr.Stage == "orders" && tr.Position != nil {
				tr.Outputs[0].Records = bytes.Replace(tr.Outputs[0].Records, []byte("100}"), []byte("900}"), 1)
			}
		}, "orders.out:3: the digest is"},
		{"a cause", func(tr *journal.Transition) {
			if tr.Stage == "validate" && tr.Consumed != nil {
				tr.Consumed[0].To = 4
			}
		}, "validate.valid:4: it follows from item 5 of 4"},
		{"a number", func(tr *journal.Transition) {
			if tr.Stage == "ship" && tr.Number == 2 {
				tr.Number = 3
			}
		}, "it is frame 3 of the stage, after 1"},
		{"a snapshot", func(tr *journal.Transition) {
			if tr.Check != nil {
				tr.Check.Sum[0]++
			}
		}, "its SHA-256 differs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := completed(t)
			log := memory.New(whole.Manifest(), memory.Options{})
			in, err := whole.Read(0)
			if err != nil {
				t.Fatal(err)
			}
			ts := journal.Transitions(in)
			var enc journal.Encoder
			var p journal.Placed
			for ts.Next(&p) == nil {
				if p.Check != nil {
					data, err := whole.ReadSnapshot(p.Check.Snapshot)
					if err != nil {
						t.Fatal(err)
					}
					if err := log.WriteSnapshot(p.Check.Snapshot, data); err != nil {
						t.Fatal(err)
					}
				}
				tr := p.Transition
				for i := range tr.Outputs {
					tr.Outputs[i].Records = bytes.Clone(tr.Outputs[i].Records)
				}
				c.damage(&tr)
				frames, err := enc.Encode(&tr)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := log.Append(t.Context(), journal.Normal, frames...); err != nil {
					t.Fatal(err)
				}
			}
			rep, err := view(t, log).Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Problems) == 0 || !strings.Contains(rep.Problems[0].String(), c.want) {
				t.Errorf("Check = %v, want %q first", rep.Problems, c.want)
			}
		})
	}
}

func TestExport(t *testing.T) {
	var b bytes.Buffer
	if err := view(t, completed(t)).Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	type line struct {
		Run    *journal.Manifest
		Record struct {
			Ref     string
			Payload json.RawMessage
		}
		Causes []string
	}
	var got []line
	for dec := json.NewDecoder(&b); dec.More(); {
		var l line
		if err := dec.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	if got[0].Run == nil || got[0].Run.Run != run {
		t.Errorf("the first line is %+v, want the manifest", got[0])
	}
	found := false
	for _, l := range got {
		if l.Record.Ref == "validate.dead:1" {
			found = true
			if diff := cmp.Diff([]string{"orders.out:5"}, l.Causes); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
		}
	}
	if !found {
		t.Error("the dead letter was not exported")
	}
}

// What the pipeline said last of an edge's progress, in the newest epoch, is shown.
func TestSummarySaysWhatStalls(t *testing.T) {
	w := sample.New()
	log := begun(t, w)
	for _, step := range []struct {
		passed bool
		want   string
	}{{false, "stalled: ship"}, {true, ""}, {false, "stalled: ship"}} {
		c := evidence.Contract{Contract: "liveness", From: "totals.out", To: "ship", Passed: step.passed, Reason: step.want}
		if err := w.Judged(log, c); err != nil {
			t.Fatal(err)
		}
		stalled(t, log, step.want)
	}
	log.Kill()
	next, err := log.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	stalled(t, next, "")
}

func stalled(t *testing.T, log *memory.Log, want string) {
	t.Helper()
	s, err := view(t, log).Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := false
	for _, e := range s.Edges {
		if e.From == "totals.out" && e.To == "ship" {
			seen = true
			if e.Stalled != want {
				t.Errorf("stalled %q, want %q", e.Stalled, want)
			}
		} else if e.Stalled != "" {
			t.Errorf("%s → %s stalled: %s", e.From, e.To, e.Stalled)
		}
	}
	if !seen {
		t.Error("no such edge")
	}
}
