package engine_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal/memory"
)

// An input that cannot be accepted, and an output that cannot be written, are dead
// letters.
func TestDeadLettersOfAPerformer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		res := wait(t, start(t, acting(s, w, 6, concurrency(2), func(p *performer) {
			p.accept = func(v int64) *plan.Failure {
				if v == 2 {
					return domain(errRefused)
				}
				return nil
			}
			p.execute = func(p *performer, x plan.Execution, v int64) plan.Result {
				res := p.act(x, v)
				if v == 4 {
					res.Emit = func() { p.out.emit(1); p.out.emit(-5000) }
				}
				return res
			}
		}), log), evidence.Completed)
		if got := values(t, log, "act", "dead"); !slices.Equal(got, []int64{2, 4}) || res.Dead != 2 {
			t.Errorf("dead letters %v, %d", got, res.Dead)
		}
		if got := values(t, log, "act", "out"); !slices.Equal(got, []int64{101, 103, 105, 106}) {
			t.Errorf("outputs %v", got)
		}
	})
}

// Open work is bounded: what waits stays with the writer.
func TestOpenWorkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		open := make(chan struct{})
		s.answer = func(_ context.Context, v int64) error {
			if v == 1 {
				<-open
			}
			return nil
		}
		r := start(t, acting(s, w, 100, concurrency(2), func(p *performer) { p.node.Performing.MaxOpen = 10 }), log,
			func(c *engine.Config) { c.Window.Records = 20 })
		synctest.Wait()
		if n := len(s.inOrder()); n != 10 {
			t.Errorf("%d calls while the first hangs, want 10", n)
		}
		if n := len(values(t, log, "numbers", "out")); n > 10+20+7 {
			t.Errorf("the source has written %d", n)
		}
		close(open)
		wait(t, r, evidence.Completed)
		if got := values(t, log, "act", "out"); !slices.Equal(got, plus100(upTo(100))) {
			t.Errorf("outputs %v", got)
		}
	})
}

// What is too large for the log is a dead letter if it is an output, and fails the
// stage, which says where, if it is a record: what happened must not be lost.
func TestTooLargeToPerform(t *testing.T) {
	if testing.Short() {
		t.Skip("values of tens of MiB")
	}
	huge := bytes.Repeat([]byte("0"), 65<<20)
	for _, tc := range []struct {
		name   string
		result func(p *performer, x plan.Execution, res *plan.Result)
		want   string
	}{
		{"output", func(p *performer, _ plan.Execution, res *plan.Result) {
			res.Emit = func() { p.out.emit(1); p.out.pad(huge) }
		}, ""},
		{"outcome", func(_ *performer, _ plan.Execution, res *plan.Result) {
			res.Entries[0].Result = huge
		}, "numbers.out:3: too_large: what is to be recorded of it"},
		{"record", func(_ *performer, x plan.Execution, res *plan.Result) {
			if x.Record(nil, plan.Entry{Type: plan.EntryIntent, Request: huge}) != nil {
				*res = plan.Result{State: plan.Interrupted}
			}
		}, "numbers.out:3: too_large: what is to be recorded of it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, log := newService(), &world{}, newLog(memory.Options{})
				r := start(t, acting(s, w, 6, concurrency(2), func(p *performer) {
					p.execute = func(p *performer, x plan.Execution, v int64) plan.Result {
						res := p.act(x, v)
						if v == 3 {
							tc.result(p, x, &res)
						}
						return res
					}
				}), log)
				if tc.want != "" {
					if res := wait(t, r, evidence.Failed); !strings.Contains(res.Reason, tc.want) || !strings.Contains(res.Reason, "too large") {
						t.Errorf("reason %q", res.Reason)
					}
					return
				}
				wait(t, r, evidence.Completed)
				if got := values(t, log, "act", "dead"); !slices.Equal(got, []int64{3}) {
					t.Errorf("dead letters %v", got)
				}
				if got := values(t, log, "act", "out"); !slices.Equal(got, []int64{101, 102, 104, 105, 106}) {
					t.Errorf("outputs %v", got)
				}
			})
		})
	}
}

// An input that cannot be accepted because it is too large is a dead letter
// without its payload.
func TestTooLargeToAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		b := acting(s, w, 6, concurrency(2))
		p := b.flow.Nodes[1].Performer.(*performer)
		b.flow.Nodes[1].Performer = &bloated{performer: p, huge: append(bytes.Repeat([]byte("0"), 64<<20), '3')}
		wait(t, start(t, b, log), evidence.Completed)
		if got := values(t, log, "act", "dead"); !slices.Equal(got, []int64{-1}) {
			t.Errorf("dead letters %v", got)
		}
		if got := values(t, log, "act", "out"); !slices.Equal(got, []int64{101, 102, 104, 105, 106}) {
			t.Errorf("outputs %v", got)
		}
	})
}

// bloated accepts a three in very many digits.
type bloated struct {
	*performer
	huge []byte
}

func (p *bloated) Accept(b *plan.Batch, i int, in *plan.Accepted) *plan.Failure {
	if b.Values.([]int64)[i] == 3 {
		in.Data = p.huge
		return nil
	}
	return p.performer.Accept(b, i, in)
}

func (p *bloated) Bury(in *plan.Accepted, _ *plan.Failure) {
	if len(in.Data) > 0 {
		panic("it has its data")
	}
	p.dead.emit(-1)
}

// A reader that takes nothing holds outputs up, and not the record of outcomes.
func TestReaderFullHoldsEmissionsNotOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		open := make(chan struct{})
		b := acting(s, w, 30, concurrency(1)) // with more, the first may come last, and what waited for it leaves in one transition
		b.flow.Nodes[2].Sink.(*sink).refuse = func(context.Context, int, []int64) error {
			<-open
			return nil
		}
		r := start(t, b, log, func(c *engine.Config) { c.Window.Records, c.Batch = 2, 2 })
		synctest.Wait()
		out, known := len(values(t, log, "act", "out")), len(outcomes(t, log))
		if out >= known || out > 6 || known < 10 {
			t.Errorf("%d outputs and %d outcomes while the reader takes nothing", out, known)
		}
		stopped := make(chan error)
		go func() { stopped <- r.Stop(t.Context()) }()
		synctest.Wait()
		close(open)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if res, _ := r.Wait(); res.Open != 0 { // a stop waits for outputs
			t.Errorf("%+v", res)
		}
		if got := values(t, log, "act", "out"); !slices.Equal(got, plus100(upTo(30))[:len(got)]) || len(got) < known {
			t.Errorf("outputs %v", got)
		}
	})
}
