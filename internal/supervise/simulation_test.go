package supervise_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirflow/weir/internal/supervise"
)

// A pipeline whose engine answers every action, in any order and with any
// command, failure or timer between: it always ends, writes exactly one
// terminal record if an epoch was entered and the log lives, and starts no
// source after a stop.
func TestPipelineAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stages := []supervise.Member{{Name: "src", Source: true}, {Name: "map"}, {Name: "out"}}
		gates := []supervise.Gate{{Name: "src>map", Source: "src"}, {Name: "map>out"}, {Name: "declared", Source: "src", Warn: true}}
		p, err := supervise.NewPipeline(supervise.PipelineConfig{Stages: stages, Gates: gates, Manual: rapid.Bool().Draw(t, "manual")})
		if err != nil {
			t.Fatal(err)
		}
		sim := &pipelineSim{t: t, p: p, ended: map[string]bool{}, sent: map[string]bool{}}
		sim.push(supervise.PipelineInput{Event: supervise.Materialize})
		boom := errors.New("boom")
		disturb := []supervise.PipelineInput{
			{Event: supervise.Stop, Reason: "user"},
			{Event: supervise.Stop, Reason: "again", Deadline: time.Unix(100, 0)},
			{Event: supervise.Cancel, Reason: "user"},
			{Event: supervise.Pause},
			{Event: supervise.Unpause},
			{Event: supervise.StopDeadline},
			{Event: supervise.ReminderDue},
			{Event: supervise.SnapshotDue},
			{Event: supervise.DrainSlow},
			{Event: supervise.Error, Err: boom},
			{Event: supervise.LogPoisoned, Err: boom},
			{Event: supervise.ContractFailed, Name: "declared", Err: boom},
			{Event: supervise.ContractFailed, Name: "map>out", Err: boom},
		}
		for n := 0; !sim.finished; n++ {
			if n > 500 {
				t.Fatalf("no end: state %v, barrier %v, queue %v", p.State(), p.Barrier(), sim.queue)
			}
			if n < 60 && rapid.IntRange(0, 9).Draw(t, "disturb") == 0 {
				in := rapid.SampledFrom(disturb).Draw(t, "what")
				if in.Event == supervise.LogPoisoned && p.State() == supervise.PipelineCreated ||
					in.Event == supervise.ContractFailed && !sim.started || in.Event == supervise.ContractFailed && p.State().Terminal() {
					continue // the engine cannot say so yet, or any more
				}
				sim.step(in)
				continue
			}
			if len(sim.queue) == 0 {
				sim.step(supervise.PipelineInput{Event: supervise.Run}) // a person
				if len(sim.queue) == 0 && !sim.finished {
					t.Fatalf("stuck: state %v, barrier %v", p.State(), p.Barrier())
				}
				continue
			}
			i := rapid.IntRange(0, len(sim.queue)-1).Draw(t, "next")
			in := sim.queue[i]
			sim.queue = slices.Delete(sim.queue, i, i+1)
			sim.step(in)
		}
		status := p.Status()
		want := 0
		if sim.epoch && status != supervise.Interrupted {
			want = 1
		}
		if status == supervise.Interrupted && sim.terminals == 1 {
			want = 1 // ordered, and the log broke before it was durable
		}
		if sim.terminals != want || want == 1 && status != supervise.Interrupted && sim.status != status {
			t.Fatalf("%d terminal records (%v), want %d (%v)", sim.terminals, sim.status, want, status)
		}
		if (status == supervise.Failure || status == supervise.Interrupted) != (p.Failure() != nil) {
			t.Fatalf("status %v with failure %v", status, p.Failure())
		}
		if status == supervise.Completed && (p.Intent().Mode != supervise.NoIntent || p.Barrier().Missing != nil || p.Barrier().Pending != nil) {
			t.Fatalf("completed with intent %v, barrier %v", p.Intent(), p.Barrier())
		}
		if status == supervise.Cancelled && p.Intent().Mode != supervise.CancelMode {
			t.Fatalf("cancelled with intent %v", p.Intent())
		}
	})
}

type pipelineSim struct {
	t         *rapid.T
	p         *supervise.Pipeline
	queue     []supervise.PipelineInput
	ended     map[string]bool
	sent      map[string]bool
	epoch     bool
	started   bool
	stopped   bool
	finished  bool
	terminals int
	status    supervise.Status
}

func (s *pipelineSim) push(in ...supervise.PipelineInput) { s.queue = append(s.queue, in...) }

func (s *pipelineSim) step(in supervise.PipelineInput) {
	s.stopped = s.stopped || in.Event == supervise.Stop && !s.p.State().Terminal()
	if in.Event == supervise.StageCompleted || in.Event == supervise.StageCut {
		if s.ended[in.Name] {
			return
		}
		s.ended[in.Name] = true
	} else if s.ended[in.Name] {
		return // a supervisor that ended says nothing
	}
	st := s.p.Step(in)
	if st.Err != nil {
		s.t.Fatalf("Step(%v): %v", in.Event, st.Err)
	}
	s.perform(st)
	for due, ok := s.p.Due(); ok; due, ok = s.p.Due() {
		st := s.p.Step(due)
		if st.Err != nil {
			s.t.Fatalf("Step(%v): %v", due.Event, st.Err)
		}
		s.perform(st)
	}
}

func (s *pipelineSim) once(in supervise.PipelineInput) {
	key := fmt.Sprint(in.Event, in.Name)
	if !s.sent[key] {
		s.sent[key] = true
		s.push(in)
	}
}

// complete has a stage end by itself, after its contracts.
func (s *pipelineSim) complete(stage string) {
	switch stage {
	case "src":
		s.once(supervise.PipelineInput{Event: supervise.ContractPassed, Name: "src>map"})
	case "map":
		s.once(supervise.PipelineInput{Event: supervise.ContractPassed, Name: "map>out"})
	}
	s.once(supervise.PipelineInput{Event: supervise.StageCompleted, Name: stage})
}

func (s *pipelineSim) perform(st supervise.PipelineStep) {
	for _, a := range st.Actions {
		if s.finished {
			s.t.Fatalf("action %v after Finish", a)
		}
		switch a.Do {
		case supervise.Recover:
			s.epoch = true
			st := s.p.Step(supervise.PipelineInput{Event: supervise.EpochEntered})
			if st.Err != nil {
				s.t.Fatal(st.Err)
			}
		case supervise.Preflight:
			s.push(supervise.PipelineInput{Event: supervise.MaterializationComplete})
		case supervise.CutMaterialization:
			if len(s.queue) > 0 && s.queue[0].Event == supervise.MaterializationComplete {
				s.queue[0].Event = supervise.MaterializationCut
			}
		case supervise.StartStages:
			s.started = true
			s.once(supervise.PipelineInput{Event: supervise.StageRuns, Name: "map"})
			s.once(supervise.PipelineInput{Event: supervise.StageRuns, Name: "out"})
		case supervise.PrepareSources:
			s.once(supervise.PipelineInput{Event: supervise.SourceReady, Name: "src"})
		case supervise.StartSources:
			if s.stopped {
				s.t.Fatal("sources started after a stop")
			}
			for _, stage := range []string{"src", "map", "out"} {
				s.complete(stage)
			}
		case supervise.StopStages:
			for _, stage := range []string{"src", "map", "out"} {
				s.complete(stage)
			}
		case supervise.CancelStages:
			if !s.started {
				s.t.Fatal("stages cancelled before they were started")
			}
			for _, stage := range []string{"src", "map", "out"} {
				s.once(supervise.PipelineInput{Event: supervise.StageCut, Name: stage})
			}
		case supervise.PauseSources:
			s.push(supervise.PipelineInput{Event: supervise.PauseSettled})
		case supervise.WriteTerminal:
			s.terminals++
			s.status = a.Status
			s.push(supervise.PipelineInput{Event: supervise.TerminalWritten})
		case supervise.Teardown:
			if s.started && !s.p.Barrier().AllEnded {
				s.t.Fatal("torn down while a stage runs")
			}
			s.push(supervise.PipelineInput{Event: supervise.TornDown})
		case supervise.Finish:
			s.finished = true
		}
	}
}

// A stage whose engine answers every action, with any event between: it always
// ends, authors at most one EOF, cleans up once and writes one terminal record
// unless the log broke.
func TestStageAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := supervise.StageConfig{Source: rapid.Bool().Draw(t, "source"), Inputs: 2}
		if !config.Source && rapid.Bool().Draw(t, "hydrates") {
			config.Hydrate = []int{0}
		}
		s, err := supervise.NewStage(config)
		if err != nil {
			t.Fatal(err)
		}
		sim := &stageSim{t: t, s: s, config: config}
		boom := errors.New("boom")
		disturb := []supervise.StageInput{
			{Event: supervise.Stop},
			{Event: supervise.Cancel},
			{Event: supervise.Pause},
			{Event: supervise.Unpause},
			{Event: supervise.Error, Err: boom},
			{Event: supervise.Panic, Err: boom},
			{Event: supervise.LogPoisoned, Err: boom},
		}
		sim.push(supervise.StageInput{Event: supervise.Init})
		for n := 0; !sim.finished; n++ {
			if n > 300 {
				t.Fatalf("no end: state %v, queue %v", s.State(), sim.queue)
			}
			if n < 40 && rapid.IntRange(0, 9).Draw(t, "disturb") == 0 {
				sim.step(rapid.SampledFrom(disturb).Draw(t, "what"))
				continue
			}
			if len(sim.queue) == 0 {
				sim.step(supervise.StageInput{Event: supervise.Unpause})
				if len(sim.queue) == 0 && !sim.finished {
					t.Fatalf("stuck: state %v", s.State())
				}
				continue
			}
			i := rapid.IntRange(0, len(sim.queue)-1).Draw(t, "next")
			in := sim.queue[i]
			sim.queue = slices.Delete(sim.queue, i, i+1)
			sim.step(in)
		}
		status := s.Status()
		if status != supervise.Interrupted && (sim.eofs != 1 || sim.terminals != 1 || sim.status != status) {
			t.Fatalf("%d EOFs, %d terminal records %v, status %v", sim.eofs, sim.terminals, sim.status, status)
		}
		if sim.cleanups != 1 || sim.eofs > 1 || sim.terminals > 1 {
			t.Fatalf("%d cleanups, %d EOFs, %d terminal records", sim.cleanups, sim.eofs, sim.terminals)
		}
		if status == supervise.Completed && (sim.eof != supervise.Natural || sim.worst != supervise.Natural) {
			t.Fatalf("completed with EOF %v from inputs %v", sim.eof, sim.worst)
		}
		if sim.emitted && sim.worst != supervise.Natural {
			t.Fatalf("emitted at the end of inputs that ended %v", sim.worst)
		}
	})
}

type stageSim struct {
	t                         *rapid.T
	s                         *supervise.Stage
	config                    supervise.StageConfig
	queue                     []supervise.StageInput
	sentEnds                  bool
	stopWaiting               bool
	finished, emitted         bool
	eofs, terminals, cleanups int
	eof, worst                supervise.Ending
	status                    supervise.Status
}

func (s *stageSim) push(in ...supervise.StageInput) { s.queue = append(s.queue, in...) }

func (s *stageSim) step(in supervise.StageInput) {
	st := s.s.Step(in)
	if st.Err != nil {
		s.t.Fatalf("Step(%+v): %v", in, st.Err)
	}
	s.perform(st)
	for due, ok := s.s.Due(); ok; due, ok = s.s.Due() {
		st := s.s.Step(due)
		if st.Err != nil {
			s.t.Fatalf("Step(%v): %v", due.Event, st.Err)
		}
		s.perform(st)
	}
}

func (s *stageSim) end(inputs ...int) {
	for _, i := range inputs {
		e := supervise.Ending(rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(s.t, "ending"))
		s.worst = s.worst.Worse(e)
		s.push(supervise.StageInput{Event: supervise.EndOfInput, Input: i, Ending: e})
	}
}

func (s *stageSim) perform(st supervise.StageStep) {
	for _, a := range st.Actions {
		if s.finished {
			s.t.Fatalf("action %v after Finish", a)
		}
		switch a.Do {
		case supervise.RestoreState:
			s.push(supervise.StageInput{Event: supervise.Ready})
		case supervise.ReportReady:
			s.push(supervise.StageInput{Event: supervise.Start})
		case supervise.BeginHydration:
			s.end(0)
		case supervise.BeginReading, supervise.ResumeReading:
			switch {
			case s.sentEnds:
			case s.config.Source:
				s.worst = supervise.Natural
				s.push(supervise.StageInput{Event: supervise.EndOfInput, Ending: supervise.Natural})
			case s.config.Hydrate != nil:
				s.end(1)
			default:
				s.end(0, 1)
			}
			s.sentEnds = true
		case supervise.StopWaiting:
			s.stopWaiting = true
		case supervise.EmitAtEnd:
			s.emitted = true
		case supervise.Drain:
			s.push(supervise.StageInput{Event: supervise.DrainComplete, OpenWork: s.stopWaiting && rapid.Bool().Draw(s.t, "open work")})
		case supervise.FinishOutput:
			s.push(supervise.StageInput{Event: supervise.OutputDone})
		case supervise.CancelWork:
			s.push(supervise.StageInput{Event: supervise.WorkEnded})
		case supervise.AuthorEOF:
			s.eofs++
			s.eof = a.Ending
			s.push(supervise.StageInput{Event: supervise.EOFAuthored})
		case supervise.Cleanup:
			s.cleanups++
			s.push(supervise.StageInput{Event: supervise.CleanedUp})
		case supervise.WriteTerminal:
			s.terminals++
			s.status = a.Status
			s.push(supervise.StageInput{Event: supervise.TerminalWritten})
		case supervise.Finish:
			s.finished = true
		}
	}
}
