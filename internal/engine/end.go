package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

// A violation is where the two sides of an edge part.
type violation struct {
	at             uint64 // sequence
	reason         string
	writer, reader evidence.Side
	told           bool
}

func side(count, digest uint64) evidence.Side {
	return evidence.Side{Count: count, Last: count, Digest: digest}
}

// A ContractError is a contract that does not hold.
type ContractError struct {
	Contract string // transport, source
	From, To string
	Parts    uint64 // sequence where the two sides part; zero if that says nothing
	Reason   string
}

func (e *ContractError) Error() string {
	where := e.To
	if e.From != "" {
		where = e.From + "→" + e.To
	}
	if e.Parts > 0 {
		return fmt.Sprintf("%s contract of %s: at sequence %d: %s", e.Contract, where, e.Parts, e.Reason)
	}
	return fmt.Sprintf("%s contract of %s: %s", e.Contract, where, e.Reason)
}

// The names of contracts, as the pipeline waits for them.
func transportContract(e *edge) string  { return "transport " + e.name }
func sourceContract(s *stage) string    { return "source " + s.name }
func deliveryContract(s *stage) string  { return "delivery " + s.name }

// report tells that an edge's ledgers part, and records both sides.
func (s *stage) report(e *edge) {
	v := e.violation
	v.told = true
	s.judge(transportContract(e), evidence.Contract{
		Contract: "transport", From: e.journal, To: s.name, Gates: true,
		Writer: v.writer, Reader: v.reader, Parts: v.at, Reason: v.reason,
	})
}

// judge records a contract's verdict with the next transition and tells the
// pipeline. The pipeline is told at once if it failed, else when the verdict is
// placed.
func (s *stage) judge(name string, c evidence.Contract) {
	say(&s.author, &s.sys, evidence.TypeContract, c)
	if fn := s.run.c.Observer.Contract; fn != nil {
		fn(c)
	}
	if !c.Passed {
		s.run.tell(signal{event: contractFailed, name: name, err: &ContractError{
			Contract: c.Contract, From: c.From, To: c.To, Parts: c.Parts, Reason: c.Reason,
		}})
		return
	}
	s.passed = append(s.passed, name)
}

// judgeInputs records the final verdict on each edge that the stage read. It
// reports whether all that gate hold.
func (s *stage) judgeInputs() bool {
	holds := true
	for _, e := range s.inputs {
		e.mu.Lock()
		end := e.end
		e.mu.Unlock()
		c := evidence.Contract{
			Contract: "transport", From: e.journal, To: s.name, Gates: true, Final: e.saw != 0, Passed: true,
			Writer: side(end.count, end.digest),
			Reader: evidence.Side{Count: e.ledger.count, Last: e.ledger.last, Digest: e.ledger.digest},
		}
		switch {
		case e.violation != nil:
			holds = false
			continue // told when it was found
		case e.saw == 0:
			c.Reason = "the reader ended before the writer did"
		case !e.ledger.based && e.ledger.last == end.count:
		case e.ledger.count != end.count || e.ledger.digest != end.digest:
			c.Passed, c.Parts = false, min(e.ledger.last, end.count)+1
			c.Reason = fmt.Sprintf("the writer appended %d records, the reader consumed %d", end.count, e.ledger.count)
			if e.ledger.count == end.count {
				c.Reason = "the reader's digest is not the writer's"
			}
			holds = false
		}
		s.judge(transportContract(e), c)
	}
	return holds
}

// end writes the stage's last transition: the ends of its ports, the verdicts on
// its inputs, its terminal record. What was open is dropped.
func (s *stage) end(kind journal.EndKind) error {
	if err := s.drop(); err != nil {
		s.run.log.Error("undo at the end of a stage", attr("stage", s.name), attr("error", err.Error()))
	}
	normal := s.failure == nil && !s.cancels
	if normal && !s.judgeInputs() {
		s.stuck = true // the pipeline was told; it will cancel
		return s.commit(journal.Urgent)
	}
	if normal {
		s.checkpointAtEnd(kind)
	}
	to, why := drained, "Ended"
	terminal := evidence.Terminal{
		Status: evidence.Completed, Took: time.Since(s.run.started),
		In: s.in.Load(), Out: s.out.Load(), Dead: s.dead.Load(),
	}
	switch {
	case s.failure != nil:
		to, why = failed, "Failure"
		terminal.Status, terminal.Stage, terminal.Reason = evidence.Failed, s.name, s.failure.Error()
		terminal.Kind = string(kindOf(s.failure))
	case s.cancels:
		to, why = failed, "Cancel"
		terminal.Status = evidence.Cancelled
	case kind != journal.Natural:
		terminal.Status, terminal.Reason = evidence.Stopped, kindReason(kind)
	}
	s.move(to, why)
	say(&s.author, &s.sys, evidence.TypeTerminal, terminal)
	for _, p := range s.ports {
		s.t.Ends = append(s.t.Ends, journal.End{Port: p.Name, Kind: kind, Count: p.count, Digest: p.digest})
	}
	if err := s.commitLast(); err != nil {
		return err
	}
	s.over = true
	s.publishEnds(kind)
	for _, e := range s.inputs {
		e.shut()
	}
	s.tellEnd()
	return nil
}

// commitLast places the last transition even when the stage's context is done:
// the log has room for it in reserve.
func (s *stage) commitLast() error {
	ctx := s.ctx
	s.ctx = context.WithoutCancel(ctx)
	defer func() { s.ctx = ctx }()
	return s.commit(journal.Urgent)
}

func (s *stage) publishEnds(kind journal.EndKind) {
	for _, p := range s.ports {
		for _, e := range p.edges {
			e.finish(ending{kind: kind, count: p.count, digest: p.digest})
		}
	}
}

func (s *stage) tellEnd() {
	for _, name := range s.passed {
		s.run.tell(signal{event: contractPassed, name: name})
	}
	switch {
	case s.failure != nil:
		if errors.Is(s.failure, journal.ErrPoisoned) {
			s.run.tell(signal{event: logPoisoned, err: s.failure})
		}
		s.run.tell(signal{event: stageFailed, name: s.name, err: s.failure})
	case s.cancels:
		s.run.tell(signal{event: stageCancelled, name: s.name})
	default:
		s.run.tell(signal{event: stageCompleted, name: s.name})
	}
}

func kindReason(kind journal.EndKind) string {
	if kind == journal.Poison {
		return "a stage upstream failed"
	}
	return "stopped"
}

// kindOf returns the kind of a failure, unknown if nobody said.
func kindOf(err error) event.Kind { return event.KindOf(err) }
