package engine_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

var manifest = journal.Manifest{Format: journal.FormatVersion, Run: "01JZ0000000000000000000000", Flow: "numbers"}

func newLog(o memory.Options) *memory.Log { return memory.New(manifest, o) }

// start starts a flow over log, recovering what the log holds.
func start(t *testing.T, b *build, log *memory.Log, change ...func(*engine.Config)) *engine.Run {
	t.Helper()
	c := engine.Config{Flow: b.flow, Log: log}
	if log.Head() > 0 {
		state, err := engine.Recover(b.flow, log)
		if err != nil {
			t.Fatalf("Recover: %v", err)
		}
		c.State = state
	}
	for _, fn := range change {
		fn(&c)
	}
	r, err := engine.Start(context.Background(), c)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	return r
}

// wait returns how the run ended; it must be as want says.
func wait(t *testing.T, r *engine.Run, want string) engine.Result {
	t.Helper()
	res, err := r.Wait()
	if res.Status != want {
		t.Fatalf("run ended %s: %s (error %v), want %s", res.Status, res.Reason, err, want)
	}
	return res
}

// records returns the payloads of a journal, from the log.
func records(t *testing.T, log *memory.Log, stage, port string) []string {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var p journal.Placed
	for trs := journal.Transitions(in); ; {
		if err := trs.Next(&p); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		for i := range p.Outputs {
			if p.Stage != stage || p.Outputs[i].Port != port {
				continue
			}
			var rec journal.Record
			rs := journal.NewRecords(&p.Outputs[i])
			for {
				if _, ok := rs.Next(&rec); !ok {
					break
				}
				out = append(out, string(rec.Payload))
			}
			if rs.Err() != nil {
				t.Fatal(rs.Err())
			}
		}
	}
}

func terminals(t *testing.T, log *memory.Log) []evidence.Terminal {
	t.Helper()
	var out []evidence.Terminal
	for _, r := range records(t, log, evidence.Pipeline, journal.PortSys) {
		if e, err := evidence.Parse[evidence.Terminal]([]byte(r)); err == nil && e.Status != "" {
			out = append(out, e)
		}
	}
	return out
}

func TestChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 5, 3000} {
			b, w, log := newBuild(), &world{}, newLog(memory.Options{})
			b.source("numbers", 7, upTo(n)...)
			b.handle("inc", add(1), "numbers")
			b.handle("twice", func(h *handler, _ int, v int64) error {
				h.ports[0].emit(2 * v)
				return nil
			}, "inc")
			b.sink("out", w, "twice")
			res := wait(t, start(t, b, log), evidence.Completed)
			want := make([]int64, 0, n)
			for _, v := range upTo(n) {
				want = append(want, 2*(v+1))
			}
			if !slices.Equal(w.values(), want) {
				t.Errorf("%d records: delivered %v", n, w.values())
			}
			if res.In != uint64(n) || res.Out != uint64(n) || res.Dead != 0 {
				t.Errorf("%d records: result %+v", n, res)
			}
			if got := terminals(t, log); len(got) != 1 || got[0].Status != evidence.Completed || got[0].In != uint64(n) {
				t.Errorf("%d records: terminal records %+v", n, got)
			}
			if got := records(t, log, "twice", "out"); len(got) != n || (n > 0 && got[n-1] != strconv.Itoa(2*(n+1))) {
				t.Errorf("%d records: %d in the log", n, len(got))
			}
			if w.closed != 1 {
				t.Errorf("sink closed %d times", w.closed)
			}
		}
	})
}

// narrow lets few records be in flight.
func narrow(c *engine.Config) { c.Window.Records, c.Batch = 5, 5 }
