package supervise

import (
	"fmt"
	"slices"
)

// Event is the kind of an event of a pipeline or a stage.
type Event uint8

// Events of both machines.
const (
	Stop            Event = iota + 1 // Reason, Deadline
	Cancel                           // Reason
	Pause                            // sources stop reading
	Unpause                          // sources read again
	Error                            // Err: an action failed, a control channel closed early, a protocol error, a handler's error that fails the stage
	LogPoisoned                      // Err: the log takes no more; the epoch ends without a terminal record
	TerminalWritten                  // the terminal record is durable

	// Commands and reports to a pipeline.

	Materialize             // begin
	Run                     // start the sources of a manual startup
	EpochEntered            // recovery is done and the epoch is in the manifest: a terminal record is owed from here on
	MaterializationComplete // Finished: stages finished in earlier epochs; Passed: contracts that passed there
	MaterializationCut      // materialization ended early, as CutMaterialization asked
	StageRuns               // Name: the stage runs; a source only then reads
	SourceReady             // Name: the source is ready to start
	StageCompleted          // Name: the stage's EOFs and terminal record are on the log
	StageBroke              // Name, Err: the stage failed and nothing of it runs
	StageCut                // Name: the stage was cancelled and nothing of it runs
	ContractPassed          // Name
	ContractFailed          // Name, Err: the violation with its upstream
	PauseSettled            // what was in flight when the sources paused has completed
	TornDown                // everything is closed

	// Timers of a pipeline.

	StopDeadline // the timer of ArmStopDeadline
	ReminderDue  // the timer of ArmReminder
	SnapshotDue  // the timer of ArmSnapshot
	DrainSlow    // the timer of ArmDrainWarning

	// What follows from what a pipeline knows: from Pipeline.Due.

	AllStagesRunning   // every stage but the sources
	SourcesReady       // every source is ready
	SourcesCompleted   // every source completed and its contracts passed
	BeginDrain         // the sources' end is on record
	AllStagesCompleted // and every gating contract passed
	AllStagesEnded     // no supervisor of a stage runs

	// Commands and reports to a stage.

	Init          // begin
	Ready         // state is restored, resources and positions are open
	Start         // sources: read
	EndOfInput    // Input, Ending; of a source: its reader has no more
	DrainComplete // OpenWork: what was accepted is finished, or waits where nobody waits for it
	OutputDone    // what a natural end finishes outside is finished
	Panic         // Err: with the stack
	WorkEnded     // nothing of a failed stage runs any more
	EOFAuthored   // the stage's own EOFs are on the log
	CleanedUp     // Err: recorded with the terminal record, not fatal

	// What follows from what a stage knows: from Stage.Due.

	TableEnded  // every input that is read to its end first has ended
	InputsEnded // every input has ended
)

var eventNames = []string{
	"none", "Stop", "Cancel", "Pause", "Unpause", "Error", "LogPoisoned", "TerminalWritten",
	"Materialize", "Run", "EpochEntered", "MaterializationComplete", "MaterializationCut", "StageRuns", "SourceReady",
	"StageCompleted", "StageBroke", "StageCut", "ContractPassed", "ContractFailed", "PauseSettled", "TornDown",
	"StopDeadline", "ReminderDue", "SnapshotDue", "DrainSlow",
	"AllStagesRunning", "SourcesReady", "SourcesCompleted", "BeginDrain", "AllStagesCompleted", "AllStagesEnded",
	"Init", "Ready", "Start", "EndOfInput", "DrainComplete", "OutputDone", "Panic", "WorkEnded", "EOFAuthored", "CleanedUp",
	"TableEnded", "InputsEnded",
}

func (e Event) String() string { return name(e, eventNames...) }

// PipelineEvents returns the events of a pipeline's table, in its order.
func PipelineEvents() []Event { return events(Stop, AllStagesEnded) }

// StageEvents returns the events of a stage's table, in its order.
func StageEvents() []Event {
	return append(events(Stop, TerminalWritten), events(Init, InputsEnded)...)
}

func events(from, to Event) []Event {
	var out []Event
	for e := from; e <= to; e++ {
		out = append(out, e)
	}
	return slices.Clip(out)
}

// Do is what an action does. None waits for a stage. Where a state's contract
// depends on the answer, it comes as the event after the arrow.
type Do uint8

// Actions of both machines.
const (
	RecordTransition Do = iota + 1 // append from, to and event to the sys port; before EpochEntered: keep it until then
	WriteTerminal                  // append the terminal record with Status → TerminalWritten when durable; a failure is LogPoisoned
	Finish                         // the supervisor's goroutine ends; a run's waiters are told

	// Actions of a pipeline.

	OpenLog            //
	Recover            // → EpochEntered
	BuildStages        //
	CheckTopology      // Agree; a mismatch is an Error
	Preflight          // resources → MaterializationComplete
	CutMaterialization // end early what the five above still do → MaterializationCut, or as always; Teardown waits for it
	StartStages        // run every stage's supervisor and initialise those that are no source
	PrepareSources     // initialise the sources → SourceReady each
	StartSources       // start the sources and stamp the start of the run
	PauseSources       // → PauseSettled
	UnpauseSources     //
	ReportPaused       // the run's status is paused
	ReportUnpaused     //
	StopStages         // tell every stage to stop: sources end reading, the others wait for no decision, sleep or event
	CancelStages       // tell every stage that runs to end at once → StageCut, StageBroke or StageCompleted each
	RecordEvidence     // append the contract's evidence, if it changed
	RecordViolation    // append violation and upstream
	RecordStageFailure // append which stage failed and why
	ArmStopDeadline    // arm the timer for Intent.Deadline, if there is one, in place of the one armed before → StopDeadline
	ArmReminder        // → ReminderDue in 5 s
	RemindToRun        // say that the run waits for Run
	ArmSnapshot        // → SnapshotDue, a second after the last at the earliest; nothing if one is armed
	ReportBarrier      // report Pipeline.Barrier
	ArmDrainWarning    // → DrainSlow when a drain is unusually long
	WarnSlowDrain      // warn with Pipeline.Barrier
	ReconcileMetrics   // take the last metrics of the stages; cannot fail
	Teardown           // close resources and log, give up the lock, disarm timers → TornDown

	// Actions of a stage.

	OpenResources  //
	RestoreState   // → Ready
	ReportReady    // to the pipeline
	ReportRunning  // to the pipeline
	BeginHydration // read the inputs that are read to their end first; decline the others
	EndHydration   // accept the others
	BeginReading   // read inputs; sources: read
	PauseReading   // sources: after the batch in hand
	ResumeReading  //
	EndReading     // sources: append what was read, then read no more
	EmitAtEnd      // what a natural end triggers: AtEnd, windows, pending joins
	Drain          // finish what was accepted, flush sinks and write receipts → DrainComplete
	StopWaiting    // wait in Drain for calls in flight only, not for decisions, sleeps or events
	FinishOutput   // final renames → OutputDone
	AuthorEOF      // append the stage's EOF with Ending, count and digest on each port → EOFAuthored; a failure is LogPoisoned
	CancelWork     // end calls and handlers at once; commit what is whole → WorkEnded
	Cleanup        // close what the stage opened → CleanedUp
	ReportEnd      // to the pipeline: StageCompleted if completed or stopped, StageCut if cancelled, else StageBroke
)

var doNames = []string{
	"none", "RecordTransition", "WriteTerminal", "Finish",
	"OpenLog", "Recover", "BuildStages", "CheckTopology", "Preflight", "CutMaterialization", "StartStages",
	"PrepareSources", "StartSources", "PauseSources", "UnpauseSources", "ReportPaused", "ReportUnpaused", "StopStages",
	"CancelStages", "RecordEvidence", "RecordViolation", "RecordStageFailure", "ArmStopDeadline", "ArmReminder",
	"RemindToRun", "ArmSnapshot", "ReportBarrier", "ArmDrainWarning", "WarnSlowDrain", "ReconcileMetrics", "Teardown",
	"OpenResources", "RestoreState", "ReportReady", "ReportRunning", "BeginHydration", "EndHydration", "BeginReading",
	"PauseReading", "ResumeReading", "EndReading", "EmitAtEnd", "Drain", "StopWaiting", "FinishOutput", "AuthorEOF",
	"CancelWork", "Cleanup", "ReportEnd",
}

func (d Do) String() string { return name(d, doNames...) }

// Action is one action, with the status that WriteTerminal writes and the
// ending that AuthorEOF authors.
type Action struct {
	Do     Do
	Status Status
	Ending Ending
}

func (a Action) String() string {
	switch {
	case a.Status != NoStatus:
		return fmt.Sprintf("%v(%v)", a.Do, a.Status)
	case a.Ending != NotEnded:
		return fmt.Sprintf("%v(%v)", a.Do, a.Ending)
	}
	return a.Do.String()
}

// do makes actions without status and ending.
func do(what ...Do) []Action {
	out := make([]Action, len(what))
	for i, d := range what {
		out[i].Do = d
	}
	return out
}
