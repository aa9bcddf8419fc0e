package supervise

import "github.com/weirflow/weir/internal/fsm"

// PipelineTable is the type of the pipeline's transition table.
type PipelineTable = fsm.Table[PipelineState, Event, PipelineFacts, Action]

var pipelineTable = buildPipelineTable()

// Pipelines returns the table that every [Pipeline] steps over.
func Pipelines() *PipelineTable { return pipelineTable }

type pipelineBuilder = fsm.Builder[PipelineState, Event, PipelineFacts, Action]

func buildPipelineTable() *PipelineTable {
	b := fsm.New[PipelineState, Event, PipelineFacts, Action](
		PipelineCreated, all(PipelineFailed), PipelineEvents())
	pipelineCreated(b)
	pipelineMaterializing(b)
	pipelineMaterialized(b)
	pipelineRunning(b)
	pipelineSourceCompleted(b)
	pipelineDraining(b)
	pipelineAbortRequested(b)
	pipelineDrained(b)
	pipelineFailed(b)
	t, err := b.Build()
	if err != nil {
		panic("supervise: pipeline: " + err.Error())
	}
	return t
}

// The guards.
func stopping(f PipelineFacts) bool       { return f.Stopping }
func cancelled(f PipelineFacts) bool      { return f.Cancelled }
func first(f PipelineFacts) bool          { return f.First }
func sooner(f PipelineFacts) bool         { return f.Sooner }
func gating(f PipelineFacts) bool         { return f.Gating }
func manual(f PipelineFacts) bool         { return f.Manual }
func manualAndReady(f PipelineFacts) bool { return f.Manual && f.AllRunning && !f.Stopping }
func allRunning(f PipelineFacts) bool     { return f.AllRunning }
func pausing(f PipelineFacts) bool        { return f.Pausing }
func recorded(f PipelineFacts) bool       { return f.Writing || f.Closing }
func closing(f PipelineFacts) bool        { return f.Closing }
func writing(f PipelineFacts) bool        { return f.Writing }
func unrecordable(f PipelineFacts) bool   { return f.Poisoned || !f.Epoch }
func written(f PipelineFacts) bool        { return f.Written }

// Reasons that several states share.
const (
	notDerived  = "follows from what is known only in later states"
	noStages    = "no stage has been started"
	noEpoch     = "no terminal record can have been written and nothing torn down before a terminal state"
	begun       = "the run was materialized once"
	tooLate     = "materialization has ended"
	noReminder  = "nobody waits for Run"
	notDraining = "the run does not drain"
	noDeadline  = "no stop waits for this deadline"
	keepStop    = "a stop or cancel is under way, and repeating a stop does not extend its deadline"
	notReading  = "the sources do not read"
	beingCut    = "the run is being cut short already"
	outcome     = "the outcome is decided"
)

var (
	endStates   = []Event{TerminalWritten, TornDown}
	materialize = []Event{EpochEntered, MaterializationComplete, MaterializationCut}
	stageEvents = []Event{StageRuns, SourceReady, StageCompleted, StageBroke, StageCut, ContractPassed, ContractFailed}
	derived     = []Event{AllStagesRunning, SourcesReady, SourcesCompleted, BeginDrain, AllStagesCompleted, AllStagesEnded}
)

func pipelineCreated(b *pipelineBuilder) {
	const s = PipelineCreated
	b.On(s, Materialize).Go(PipelineMaterializing,
		do(RecordTransition, OpenLog, Recover, BuildStages, CheckTopology, Preflight)...)
	b.On(s, Stop).Go(PipelineDrained)
	b.On(s, Cancel, Error).Go(PipelineFailed)
	b.On(s, Run, Pause, Unpause).Ignore("the run has not been materialized; say so again when it waits or runs")
	b.On(s, materialize...).Refuse("nothing was asked to materialize")
	b.On(s, stageEvents...).Refuse(noStages)
	b.On(s, PauseSettled).Refuse(noStages)
	b.On(s, LogPoisoned).Refuse("no log is open")
	b.On(s, endStates...).Refuse(noEpoch)
	b.On(s, StopDeadline).Ignore(noDeadline)
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
	b.On(s, derived...).Ignore(notDerived)
}

func pipelineMaterializing(b *pipelineBuilder) {
	const s = PipelineMaterializing
	b.On(s, EpochEntered).Stay()
	b.On(s, MaterializationComplete, MaterializationCut).When("cancelled", cancelled).Go(PipelineFailed, do(RecordTransition)...)
	b.On(s, MaterializationComplete, MaterializationCut).When("a stop was asked for", stopping).Go(PipelineDrained, do(RecordTransition)...)
	b.On(s, MaterializationComplete).Go(PipelineMaterialized, do(RecordTransition, StartStages)...)
	b.On(s, MaterializationCut).Refuse("nobody asked to cut materialization short")
	b.On(s, Stop).When("the first", first).Stay(do(CutMaterialization, ArmStopDeadline)...)
	b.On(s, Stop).When("with an earlier deadline", sooner).Stay(do(ArmStopDeadline)...)
	b.On(s, Stop).Ignore(keepStop)
	b.On(s, Cancel).When("the first", first).Stay(do(CutMaterialization)...)
	b.On(s, Cancel).Ignore(beingCut)
	b.On(s, StopDeadline).When("of a stop that is under way", cancelled).Stay()
	b.On(s, StopDeadline).Ignore(noDeadline)
	b.On(s, Error).Go(PipelineFailed, do(RecordTransition, CutMaterialization)...)
	b.On(s, LogPoisoned).Go(PipelineFailed, do(CutMaterialization)...)
	b.On(s, Materialize).Refuse(begun)
	b.On(s, Run, Pause, Unpause).Ignore("while materializing only stop and cancel are heard; say so again when it waits or runs")
	b.On(s, stageEvents...).Refuse(noStages)
	b.On(s, PauseSettled).Refuse(noStages)
	b.On(s, endStates...).Refuse(noEpoch)
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
	b.On(s, derived...).Ignore(notDerived)
}

// pipelineAlive holds what is the same in the states in which stages run and
// nothing has failed. stop is what a first stop does.
func pipelineAlive(b *pipelineBuilder, s PipelineState) {
	b.On(s, Materialize).Refuse(begun)
	b.On(s, materialize...).Refuse(tooLate)
	b.On(s, Stop).When("the first", first).Stay(do(StopStages, ArmStopDeadline)...)
	b.On(s, Stop).When("with an earlier deadline", sooner).Stay(do(ArmStopDeadline)...)
	b.On(s, Stop).Ignore(keepStop)
	b.On(s, Cancel).Go(PipelineFailed, do(RecordTransition, CancelStages)...)
	b.On(s, StopDeadline).When("of a stop that is under way", cancelled).Go(PipelineFailed, do(RecordTransition, CancelStages)...)
	b.On(s, StopDeadline).Ignore(noDeadline)
	b.On(s, StageBroke, StageCut).Go(PipelineFailed, do(RecordStageFailure, RecordTransition, CancelStages)...)
	b.On(s, Error).Go(PipelineFailed, do(RecordTransition, CancelStages)...)
	b.On(s, LogPoisoned).Go(PipelineFailed, do(CancelStages)...)
	b.On(s, ContractPassed).Stay(do(RecordEvidence)...)
	b.On(s, ContractFailed).When("it gates", gating).Go(PipelineAbortRequested, do(RecordViolation, RecordTransition, CancelStages)...)
	b.On(s, ContractFailed).Stay(do(RecordEvidence)...)
	b.On(s, StageRuns).Stay()
	b.On(s, endStates...).Refuse(noEpoch)
	b.On(s, AllStagesEnded).Ignore("the stages ended because they completed")
}

func pipelineMaterialized(b *pipelineBuilder) {
	const s = PipelineMaterialized
	pipelineAlive(b, s)
	b.On(s, AllStagesRunning).When("a stop was asked for", stopping).Ignore("the sources will not be started")
	b.On(s, AllStagesRunning).When("startup is manual", manual).Stay(do(RemindToRun, ArmReminder)...)
	b.On(s, AllStagesRunning).Go(PipelineRunning, do(RecordTransition, PrepareSources)...)
	b.On(s, Run).When("a stop was asked for", stopping).Ignore("the sources will not be started")
	b.On(s, Run).When("every stage runs", allRunning).Go(PipelineRunning, do(RecordTransition, PrepareSources)...)
	b.On(s, Run).Stay()
	b.On(s, ReminderDue).When("it still waits for Run", manualAndReady).Stay(do(RemindToRun, ArmReminder)...)
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, StageCompleted).Stay()
	b.On(s, SourcesCompleted).When("a stop was asked for", stopping).Go(PipelineSourceCompleted, do(RecordTransition)...)
	b.On(s, SourcesCompleted).Ignore("sources that finished in an earlier epoch are noticed when the run runs")
	b.On(s, SourceReady).Refuse("no source was asked to get ready")
	b.On(s, SourcesReady).Ignore("sources start when the run runs")
	b.On(s, Pause, Unpause, PauseSettled).Ignore(notReading)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
	b.On(s, BeginDrain, AllStagesCompleted).Ignore(notDerived)
}

func pipelineRunning(b *pipelineBuilder) {
	const s = PipelineRunning
	pipelineAlive(b, s)
	b.On(s, SourceReady).Stay()
	b.On(s, SourcesReady).When("a stop was asked for", stopping).Ignore("the sources will not be started")
	b.On(s, SourcesReady).Stay(do(StartSources)...)
	b.On(s, StageCompleted).Stay()
	b.On(s, SourcesCompleted).Go(PipelineSourceCompleted, do(RecordTransition)...)
	b.On(s, Pause).When("not paused", first).Stay(do(PauseSources)...)
	b.On(s, Pause).Ignore("it pauses or stops already")
	b.On(s, PauseSettled).When("a pause was asked for", pausing).Stay(do(ReportPaused)...)
	b.On(s, PauseSettled).Ignore("the pause was taken back")
	b.On(s, Unpause).When("paused", first).Stay(do(UnpauseSources, ReportUnpaused)...)
	b.On(s, Unpause).Ignore("it is not paused")
	b.On(s, Run).Ignore("it runs")
	b.On(s, AllStagesRunning).Ignore("it was waited for before the run began to run")
	b.On(s, BeginDrain, AllStagesCompleted).Ignore("the sources complete first; noticed again when draining")
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
}

// pipelineAfterSources holds what is the same once the sources have ended.
func pipelineAfterSources(b *pipelineBuilder, s PipelineState) {
	pipelineAlive(b, s)
	b.On(s, SourceReady).Refuse("the sources have completed")
	b.On(s, Run).Ignore("the sources have ended")
	b.On(s, Pause, Unpause, PauseSettled).Ignore("the sources have ended; there is nothing to pause")
	b.On(s, AllStagesRunning, SourcesReady, SourcesCompleted).Ignore("known")
	b.On(s, ReminderDue).Ignore(noReminder)
}

func pipelineSourceCompleted(b *pipelineBuilder) {
	const s = PipelineSourceCompleted
	pipelineAfterSources(b, s)
	b.On(s, BeginDrain).Go(PipelineDraining, do(RecordTransition, ArmSnapshot, ArmDrainWarning)...)
	b.On(s, StageCompleted).Stay()
	b.On(s, AllStagesCompleted).Ignore("noticed again when draining")
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
}

func pipelineDraining(b *pipelineBuilder) {
	const s = PipelineDraining
	pipelineAfterSources(b, s)
	b.On(s, StageCompleted).Stay(do(ArmSnapshot)...)
	b.On(s, AllStagesCompleted).Go(PipelineDrained, do(RecordTransition)...)
	b.On(s, SnapshotDue).Stay(do(ReportBarrier)...)
	b.On(s, DrainSlow).Stay(do(WarnSlowDrain)...)
	b.On(s, BeginDrain).Ignore("it drains")
}

func pipelineAbortRequested(b *pipelineBuilder) {
	const s = PipelineAbortRequested
	b.On(s, AllStagesEnded).Go(PipelineFailed, do(RecordTransition)...)
	b.On(s, Error).Go(PipelineFailed, do(RecordTransition)...)
	b.On(s, LogPoisoned).Go(PipelineFailed)
	b.On(s, Materialize).Refuse(begun)
	b.On(s, materialize...).Refuse(tooLate)
	b.On(s, Run, Stop, Cancel, Pause, Unpause, StopDeadline).Ignore(beingCut)
	b.On(s, StageRuns, SourceReady, StageCompleted, StageCut).Stay()
	b.On(s, StageBroke).Stay(do(RecordStageFailure)...)
	b.On(s, ContractPassed, ContractFailed).Stay(do(RecordEvidence)...)
	b.On(s, PauseSettled).Ignore(beingCut)
	b.On(s, endStates...).Refuse(noEpoch)
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
	b.On(s, AllStagesRunning, SourcesReady, SourcesCompleted, BeginDrain, AllStagesCompleted).Ignore("a contract failed; what completes does not matter any more")
}

// pipelineEnd holds what is the same in the terminal states.
func pipelineEnd(b *pipelineBuilder, s PipelineState) {
	b.On(s, TerminalWritten).When("the log is given up", closing).Ignore("the run is being torn down")
	b.On(s, TerminalWritten).When("it was ordered", writing).Stay(do(Teardown)...)
	b.On(s, TerminalWritten).Refuse("no terminal record was ordered")
	b.On(s, TornDown).When("it was ordered", closing).Stay(do(Finish)...)
	b.On(s, TornDown).Refuse("no teardown was ordered")
	b.On(s, Materialize).Ignore("the run has ended")
	b.On(s, materialize...).Ignore("the run ended while it materialized; Teardown waits for that")
	b.On(s, Run, Stop, Cancel, Pause, Unpause, StopDeadline, PauseSettled).Ignore(outcome)
	b.On(s, ReminderDue).Ignore(noReminder)
	b.On(s, SnapshotDue, DrainSlow).Ignore(notDraining)
	b.On(s, AllStagesRunning, SourcesReady, SourcesCompleted, BeginDrain, AllStagesCompleted).Ignore(outcome)
}

func pipelineDrained(b *pipelineBuilder) {
	const s = PipelineDrained
	pipelineEnd(b, s)
	b.On(s, AllStagesEnded).When("no epoch was entered", unrecordable).Stay(do(Teardown)...)
	b.On(s, AllStagesEnded).When("a stop was asked for", stopping).Stay(terminal(Stopped)...)
	b.On(s, AllStagesEnded).Stay(terminal(Completed)...)
	b.On(s, LogPoisoned).When("the terminal record is durable", written).Ignore("nothing more is to be written")
	b.On(s, LogPoisoned).When("the run is being torn down", closing).Ignore("nothing more is to be written")
	b.On(s, LogPoisoned).Go(PipelineFailed)
	b.On(s, Error).Ignore("every stage has completed; the outcome is being recorded")
	b.On(s, StageRuns, SourceReady, StageCompleted, StageBroke, StageCut).Refuse("every stage has ended")
	b.On(s, ContractPassed, ContractFailed).Refuse("every gating contract has passed and the outcome is being recorded")
}

func pipelineFailed(b *pipelineBuilder) {
	const s = PipelineFailed
	pipelineEnd(b, s)
	b.On(s, AllStagesEnded).When("no epoch was entered or the log takes no more", unrecordable).Stay(do(Teardown)...)
	b.On(s, AllStagesEnded).When("cancelled", cancelled).Stay(terminal(Cancelled)...)
	b.On(s, AllStagesEnded).Stay(terminal(Failure)...)
	b.On(s, LogPoisoned).When("the run is being torn down", closing).Ignore("nothing more is to be written")
	b.On(s, LogPoisoned).When("the terminal record was ordered", writing).Stay(do(Teardown)...)
	b.On(s, LogPoisoned).Stay()
	b.On(s, Error).Ignore("the run has failed; the first failure is the one on record")
	b.On(s, StageRuns, SourceReady, StageCompleted, StageCut).Stay()
	b.On(s, StageBroke).Stay(do(RecordStageFailure)...)
	b.On(s, ContractPassed, ContractFailed).When("the outcome is being recorded", recorded).Ignore(outcome)
	b.On(s, ContractPassed, ContractFailed).Stay(do(RecordEvidence)...)
}

func terminal(s Status) []Action {
	return append(do(ReconcileMetrics), record(s)...)
}

func record(s Status) []Action { return []Action{{Do: WriteTerminal, Status: s}} }
