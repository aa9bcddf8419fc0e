package engine

import (
	"errors"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// The names of contracts, as the pipeline waits for them.
func transportGate(e *edge) string   { return "transport " + e.name }
func sourceGate(s *stage) string     { return "source " + s.name }
func deliveryGate(s *stage) string   { return "delivery " + s.name }
func accountingGate(s *stage) string { return "accounting " + s.name }

// judge records a verdict with the next transition. The pipeline is told of a
// failure at once, of a pass when its record is placed. It reports whether the
// stage may go on.
func (s *stage) judge(gate string, v contract.Verdict, final, gates bool, reason string) bool {
	c := evidence.Contract{
		Contract: string(v.Kind), From: v.Subject.Upstream, To: v.Subject.Reader,
		Passed: v.State != contract.Fail, Gates: gates, Final: final, Reason: reason,
		Writer: sideOf(v.Evidence.Writer), Reader: sideOf(v.Evidence.Reader), Parts: v.Violation.From,
	}
	err := v.Err()
	if err != nil {
		c.Reason = err.Error()
	}
	say(&s.author, &s.sys, evidence.TypeContract, c)
	if fn := s.run.c.Observer.Contract; fn != nil {
		fn(c)
	}
	if err == nil {
		s.passed = append(s.passed, gate)
		return true
	}
	s.run.tell(supervise.PipelineInput{Event: supervise.ContractFailed, Name: gate, Err: err})
	s.stuck = s.stuck || gates
	return !gates
}

func sideOf(l contract.Ledger) evidence.Side {
	return evidence.Side{Count: l.Count, Last: l.Last, Digest: uint64(l.Digest)}
}

// judgeUnread lets the contracts of edges pass that the stage will not read to
// their end in this epoch.
func (s *stage) judgeUnread() {
	for _, e := range s.inputs {
		if e.saw == 0 {
			s.judge(transportGate(e), e.present(), false, true, "the reader ended before the writer did")
		}
	}
}

// authorEOF places the ends of the stage's ports and tells their readers. What
// was open is dropped.
func (s *stage) authorEOF(as supervise.Ending) error {
	if err := s.drop(); err != nil {
		s.run.log.Error("undo at the end of a stage", attr("stage", s.name), attr("error", err.Error()))
	}
	kind := journal.EndKind(as)
	if s.rules.State() == supervise.StageDrained {
		s.judgeUnread()
		if err := s.flushSaid(); err != nil {
			return err
		}
		s.checkpointAtEnd(kind)
	}
	for _, y := range s.tallies() {
		s.t.Ends = append(s.t.Ends, journal.End{Port: y.port, Kind: kind, Count: y.count, Digest: y.digest})
	}
	if err := s.commit(journal.Urgent); err != nil {
		return err
	}
	s.publishEnds(kind)
	s.raise(supervise.StageInput{Event: supervise.EOFAuthored})
	return nil
}

func (s *stage) publishEnds(kind journal.EndKind) {
	for _, p := range s.ports {
		p.finish(ending{kind: kind, count: p.count, digest: p.digest})
	}
}

// writeTerminal places the stage's last record. The run's own, which follows it
// in the log, is waited for until it is durable, and so this one need not be.
func (s *stage) writeTerminal(status supervise.Status) error {
	t := evidence.Terminal{
		Status: status.String(), Took: time.Since(s.run.started),
		In: s.in.Load(), Out: s.out.Load(), Dead: s.dead.Load(),
	}
	if err := s.rules.Failure(); err != nil {
		t.Stage, t.Reason, t.Kind = s.name, err.Error(), string(event.KindOf(err))
	} else if s.rules.Ending() == supervise.Poison {
		t.Reason = "a stage upstream failed"
	}
	say(&s.author, &s.sys, evidence.TypeTerminal, t)
	if err := s.commit(journal.Urgent); err != nil {
		return err
	}
	s.raise(supervise.StageInput{Event: supervise.TerminalWritten})
	return nil
}

// reportEnd tells the pipeline how the stage ended.
func (s *stage) reportEnd() {
	in := supervise.PipelineInput{Event: supervise.StageCompleted, Name: s.name}
	switch s.rules.Status() {
	case supervise.Completed, supervise.Stopped:
	case supervise.Cancelled:
		in.Event = supervise.StageCut
	default:
		in.Event, in.Err = supervise.StageBroke, s.rules.Failure()
		if in.Err == nil {
			in.Err = errors.New("the log takes no more")
		}
	}
	s.told = true
	s.run.tell(in)
}

// flushSaid places what was said, so that what waits for it goes on.
func (s *stage) flushSaid() error {
	if len(s.said) == 0 {
		return nil
	}
	return s.commit(journal.Urgent)
}
