package engine_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/engine"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/inbox"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// A desk is the inbox of a run whose log is in memory.
type desk struct {
	t    *testing.T
	disk *vfs.Memory
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, disk: vfs.NewMemory()}
	if err := errors.Join(vfs.EnsureDir(d.disk, "/run", 0o700), vfs.WriteFileAtomic(d.disk, "/run/manifest.json", []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return d
}

// opened has the run take what is handed in, through fsys.
func (d *desk) opened(fsys vfs.FS) func(*engine.Config) {
	d.t.Helper()
	box, err := inbox.Open(fsys, "/run")
	if err != nil {
		d.t.Fatal(err)
	}
	return func(c *engine.Config) { c.Inbox = box }
}

// put hands in a decision about an input of the stage act, and returns its id.
func (d *desk) put(stage string, input event.RecordID, verdict string) string {
	d.t.Helper()
	id, err := inbox.Put(d.disk, "/run", inbox.Message{
		At: time.Now(), By: "ann", Decision: &inbox.Decision{Stage: stage, Input: input, Verdict: verdict, Reason: "asked the bank"},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return id
}

// left returns the ids of the messages that are still there.
func (d *desk) left() (ids []string) {
	d.t.Helper()
	messages, strays, _, err := inbox.At(d.disk, "/run").Scan(func(string) bool { return false })
	if err != nil || len(strays) > 0 {
		d.t.Fatal(err, strays)
	}
	for _, m := range messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// noticed lets the clock of a disk without news go on.
func noticed() {
	time.Sleep(2 * vfs.LookEvery)
	synctest.Wait()
}

// entries returns the entries of a type that the stage act has recorded.
func entries(t *testing.T, log *memory.Log, typ string) (all []plan.Entry) {
	t.Helper()
	in, err := log.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	var p journal.Placed
	for trs := journal.Transitions(in); trs.Next(&p) == nil; {
		for i := range p.Outputs {
			if o := &p.Outputs[i]; p.Stage == "act" && o.Port == journal.PortFx && o.Type == typ {
				rs, rec := journal.NewRecords(o), journal.Record{}
				for _, ok := rs.Next(&rec); ok; _, ok = rs.Next(&rec) {
					e, err := plan.ParseEntry(typ, slices.Clone(rec.Payload))
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// refusals returns the reasons of what was refused, by the id of the message.
func refusals(t *testing.T, log *memory.Log) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, text := range records(t, log, evidence.Pipeline, journal.PortSys) {
		if no, err := evidence.Parse[evidence.Refused]([]byte(text)); err == nil && no.ID != "" {
			all[no.ID] = no.Reason
		}
	}
	return all
}

// A decision from another process reaches its input while the run goes on, and
// others are not held up.
func TestDecisionsWhileTheRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log, d := newService(), &world{}, newLog(memory.Options{}), newDesk(t)
		s.answer = doubtful(3)
		r := start(t, acting(s, w, 12, concurrency(2)), log, d.opened(d.disk))
		synctest.Wait()
		if got := values(t, log, "act", "out"); len(got) != 11 {
			t.Errorf("outputs %v while one is in doubt, want the other 11", got)
		}
		id := d.put("act", r.InDoubt()[0].Input, "done")
		wait(t, r, evidence.Completed)
		said := entries(t, log, plan.EntryDecision)
		if len(said) != 1 || said[0].ID != id || said[0].By != "ann" || said[0].Outcome != "done" || said[0].Reason != "asked the bank" {
			t.Errorf("decisions on record: %+v", said)
		}
		if got := values(t, log, "act", "out"); got[11] != 103 || s.called(3) > 1 {
			t.Errorf("outputs %v, calls %d", got, s.called(3))
		}
		if left := d.left(); len(left) > 0 {
			t.Errorf("left in the inbox: %v", left)
		}
	})
}

// A decision that comes while no process has the run is taken at resume.
func TestDecisionsWhileNobodyHasTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log, d := newService(), &world{}, newLog(memory.Options{}), newDesk(t)
		s.answer = doubtful(3)
		r := start(t, acting(s, w, 12), log, d.opened(d.disk))
		synctest.Wait()
		doubt := r.InDoubt()[0]
		log.Kill()
		wait(t, r, evidence.Interrupted)
		d.put("act", doubt.Input, "done")
		log = reopen(t, log)
		wait(t, start(t, acting(s, w, 12), log, d.opened(d.disk)), evidence.Completed)
		if got := values(t, log, "act", "out"); got[11] != 103 || s.called(3) > 1 {
			t.Errorf("outputs %v, calls %d", got, s.called(3))
		}
		if left, no := d.left(), refusals(t, log); len(left) > 0 || len(no) > 0 {
			t.Errorf("left in the inbox: %v, refused: %v", left, no)
		}
	})
}

// What a stage is told at once reaches what an earlier epoch left open.
func TestDecisionBeforeTheStageIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log := newService(), &world{}, newLog(memory.Options{})
		s.answer = doubtful(3)
		r := start(t, acting(s, w, 12), log)
		synctest.Wait()
		doubt := r.InDoubt()[0]
		log.Kill()
		wait(t, r, evidence.Interrupted)
		log = reopen(t, log)
		r = start(t, acting(s, w, 12), log)
		decide(t, r, doubt, "d1", nil) // at once
		wait(t, r, evidence.Completed)
	})
}

// What nobody can act upon is refused on record, and changes nothing.
func TestRefusedDecisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, log, d := newService(), &world{}, newLog(memory.Options{}), newDesk(t)
		s.answer = doubtful(3)
		r := start(t, acting(s, w, 12), log, d.opened(d.disk))
		synctest.Wait()
		doubt := r.InDoubt()[0].Input
		other := doubt
		other.Seq = 4
		want := map[string]string{
			d.put("act", other, "done"):     "no such input",
			d.put("out", doubt, "done"):     "no such input",
			d.put("nothing", doubt, "done"): "no such input",
		}
		sig, err := inbox.Put(d.disk, "/run", inbox.Message{At: time.Now(), Signal: &inbox.Signal{Name: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		want[sig] = "no stage of this run that is still at work takes signals"
		noticed()
		if len(r.InDoubt()) != 1 {
			t.Error("the input in doubt was decided about")
		}
		check := func(when string) {
			t.Helper()
			got := refusals(t, log)
			for id, reason := range want {
				if !strings.Contains(got[id], reason) {
					t.Errorf("%s: message %s: %q, want %q", when, id, got[id], reason)
				}
			}
			if left := d.left(); len(got) != len(want) || len(left) > 0 {
				t.Errorf("%s: %d refused, want %d; left %v", when, len(got), len(want), left)
			}
		}
		check("beside an input in doubt")
		d.put("act", doubt, "done")
		want[d.put("act", doubt, "retry")] = "does not wait"
		wait(t, r, evidence.Completed)
		if said := entries(t, log, plan.EntryDecision); len(said) != 1 {
			t.Errorf("decisions on record: %+v", said)
		}
	})
}

// A file that cannot be removed, or comes back after a loss of power, is known by
// its id: while its input is open, and when that is finished.
func TestDecisionsAreTakenOnce(t *testing.T) {
	for _, verdict := range []string{"retry", "done"} {
		t.Run(verdict, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w, log, d := newService(), &world{}, newLog(memory.Options{}), newDesk(t)
				s.answer = doubtful(3)
				flow := func() *build {
					return acting(s, w, 12, func(p *performer) {
						p.execute = func(p *performer, x plan.Execution, v int64) plan.Result {
							if e := last(x.History(), plan.EntryDecision); e != nil && e.Outcome == "retry" {
								return plan.Result{State: plan.Parked, Err: errors.New("again")}
							}
							return p.act(x, v)
						}
					})
				}
				stuck := vfs.NewFaults(d.disk, func(op vfs.Op) vfs.Fault {
					if op.Kind == vfs.KindRemove {
						return vfs.Fault{Err: syscall.EACCES}
					}
					return vfs.Fault{}
				})
				// Another input stays in doubt, so the run goes on.
				s.answer = doubtful(3, 5)
				r := start(t, flow(), log, d.opened(stuck))
				synctest.Wait()
				id := d.put("act", r.InDoubt()[0].Input, verdict)
				noticed()
				if said := entries(t, log, plan.EntryDecision); len(said) != 1 || !slices.Equal(d.left(), []string{id}) {
					t.Fatalf("decisions %+v, left %v", said, d.left())
				}
				log.Kill()
				wait(t, r, evidence.Interrupted)
				log = reopen(t, log)
				r = start(t, flow(), log, d.opened(d.disk))
				noticed()
				if said := entries(t, log, plan.EntryDecision); len(said) != 1 {
					t.Errorf("decisions after a restart: %+v", said)
				}
				if left, no := d.left(), refusals(t, log); len(left) > 0 || len(no) > 0 {
					t.Errorf("after a restart: left %v, refused %v", left, no)
				}
				if err := r.Stop(context.Background()); err != nil {
					t.Fatal(err)
				}
				wait(t, r, evidence.Stopped)
			})
		})
	}
}

// The process dies at every transition: the decision takes effect once, and its
// file goes.
func TestDecisionsSurviveDeathEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := 0, 0 // deaths before and after the decision was handed in
		for at := journal.LSN(1); at < 60; at++ {
			s, w, d := newService(), &world{}, newDesk(t)
			s.answer = doubtful(3)
			fatal := at
			log := newLog(memory.Options{Fault: func(next journal.LSN) error {
				if next == fatal {
					return errDied
				}
				return nil
			}})
			r := start(t, acting(s, w, 5), log, d.opened(d.disk))
			ids := map[uint64]string{} // of decisions, by input
			for looks := 0; ; looks++ {
				synctest.Wait()
				for _, doubt := range r.InDoubt() {
					if ids[doubt.Input.Seq] == "" { // what was under way at the death is in doubt as well
						ids[doubt.Input.Seq] = d.put("act", doubt.Input, "done")
					}
				}
				select {
				case <-r.Done():
				case <-time.After(vfs.LookEvery):
					if looks > 100 {
						t.Fatalf("death at %d: the run hangs: %+v in doubt %v, left %v, refused %v, decided %v of %v", at, r.Snapshot(), r.InDoubt(), d.left(), refusals(t, log), entries(t, log, plan.EntryDecision), ids)
					}
					continue
				}
				if res, _ := r.Wait(); res.Status == evidence.Completed {
					break
				}
				if len(ids) == 0 {
					before++
				} else {
					after++
				}
				fatal = 0
				log = reopen(t, log)
				r = start(t, acting(s, w, 5), log, d.opened(d.disk))
			}
			said := entries(t, log, plan.EntryDecision)
			for _, e := range said {
				if !slices.Contains(slices.Collect(maps.Values(ids)), e.ID) {
					t.Fatalf("death at %d: a decision nobody has made: %+v", at, e)
				}
			}
			if len(said) != len(ids) {
				t.Fatalf("death at %d: %d decisions, handed in %v", at, len(said), ids)
			}
			got := slices.Sorted(slices.Values(values(t, log, "act", "out")))
			if !slices.Equal(got, plus100(upTo(5))) || s.called(3) > 1 {
				t.Fatalf("death at %d: outputs %v, calls %d", at, got, s.called(3))
			}
			if no := refusals(t, log); len(no) > 0 {
				t.Fatalf("death at %d: refused %v", at, no)
			}
		}
		if before < 10 || after < 3 {
			t.Errorf("died %d times before the decision was handed in and %d times after", before, after)
		}
	})
}
