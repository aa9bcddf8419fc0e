package supervise

import (
	"slices"

	"github.com/weirflow/weir/internal/fsm"
)

// StageTable is the type of a stage's transition table.
type StageTable = fsm.Table[StageState, Event, StageFacts, Action]

var stageTable = buildStageTable()

// Stages returns the table that every [Stage] steps over.
func Stages() *StageTable { return stageTable }

type stageBuilder = fsm.Builder[StageState, Event, StageFacts, Action]

func buildStageTable() *StageTable {
	b := fsm.New[StageState, Event, StageFacts, Action](StageCreated, all(StageFailed), StageEvents())
	stageCreated(b)
	stageInitialized(b)
	stageWaitingToStart(b)
	stageHydrating(b)
	stageRunning(b)
	stageDraining(b)
	stageDrained(b)
	stageFailed(b)
	t, err := b.Build()
	if err != nil {
		panic("supervise: stage: " + err.Error())
	}
	return t
}

// The guards.
func source(f StageFacts) bool         { return f.Source }
func notClosing(f StageFacts) bool     { return !f.Closing }
func cleaned(f StageFacts) bool        { return f.Cleaned }
func idle(f StageFacts) bool           { return f.Idle }
func again(f StageFacts) bool          { return !f.First }
func poisonCleaned(f StageFacts) bool  { return f.Poisoned && f.Cleaned }
func poisonClosing(f StageFacts) bool  { return f.Poisoned && f.Closing }
func poisonRuns(f StageFacts) bool     { return f.Poisoned && !f.Idle }
func stoppedSource(f StageFacts) bool  { return f.Source && f.Stopping }
func stageFirst(f StageFacts) bool     { return f.First }
func firstSource(f StageFacts) bool    { return f.First && f.Source }
func hydrates(f StageFacts) bool       { return f.Hydrates }
func pausedSource(f StageFacts) bool   { return f.Source && f.Paused }
func tableNatural(f StageFacts) bool   { return f.Table == Natural }
func naturalEnd(f StageFacts) bool     { return f.Ending == Natural }
func naturalDone(f StageFacts) bool    { return f.Ending == Natural && !f.OpenWork }
func naturalStopped(f StageFacts) bool { return f.Ending == Natural && f.Stopping }
func truncated(f StageFacts) bool      { return f.Ending == Truncated }
func poison(f StageFacts) bool         { return f.Ending == Poison }
func logPoisoned(f StageFacts) bool    { return f.Poisoned }
func stageCancelled(f StageFacts) bool { return f.Cancelled }
func stageClosing(f StageFacts) bool   { return f.Closing }
func stageWritten(f StageFacts) bool   { return f.Written }

// Reasons that several states share.
const (
	initialised  = "the stage was initialised once"
	onlySources  = "only sources are started and paused"
	notStarted   = "the stage does not read yet"
	notEnding    = "the stage has not ended"
	noWork       = "nothing was asked to drain"
	noDerivedEnd = "noticed again when it reads"
	keepStopping = "the stage stops already"
	drainsNow    = "the stage reads no more"
)

// stageAlive holds what is the same in all states but the terminal ones.
func stageAlive(b *stageBuilder, s StageState) {
	b.On(s, Cancel, Error, Panic).Go(StageFailed, do(RecordTransition, CancelWork)...)
	b.On(s, LogPoisoned).Go(StageFailed, do(CancelWork)...)
	b.On(s, WorkEnded, EOFAuthored, CleanedUp, TerminalWritten).Refuse(notEnding)
	if s != StageCreated && s != StageDraining {
		b.On(s, Init).Refuse(initialised)
	}
	if s != StageDraining {
		b.On(s, DrainComplete, OutputDone).Refuse(noWork)
	}
}

// stageEarly holds what is the same before the stage reads.
func stageEarly(b *stageBuilder, s StageState) {
	stageAlive(b, s)
	b.On(s, Stop).When("the first, and it is a source", firstSource).Go(StageDraining, do(RecordTransition, Drain)...)
	b.On(s, Stop).When("the first", stageFirst).Stay(do(StopWaiting)...)
	b.On(s, Stop).Ignore(keepStopping)
	b.On(s, Pause, Unpause).When("it is a source", source).Stay()
	b.On(s, Pause, Unpause).Ignore(onlySources)
	b.On(s, TableEnded, InputsEnded).Ignore(noDerivedEnd)
}

func stageCreated(b *stageBuilder) {
	const s = StageCreated
	stageEarly(b, s)
	b.On(s, Init).Go(StageInitialized, do(RecordTransition, OpenResources, RestoreState)...)
	b.On(s, Ready, Start).Refuse("the stage has not been initialised")
	b.On(s, EndOfInput).Refuse(notStarted)
}

func stageInitialized(b *stageBuilder) {
	const s = StageInitialized
	stageEarly(b, s)
	b.On(s, Ready).When("it is a source", source).Go(StageWaitingToStart, do(RecordTransition, ReportReady)...)
	b.On(s, Ready).When("it reads a side to its end first", hydrates).Go(StageHydrating, do(RecordTransition, ReportRunning, BeginHydration)...)
	b.On(s, Ready).Go(StageRunning, do(RecordTransition, ReportRunning, BeginReading)...)
	b.On(s, Start).Refuse("the stage is not ready")
	b.On(s, EndOfInput).Stay() // found on the log when the stage was restored
}

func stageWaitingToStart(b *stageBuilder) {
	const s = StageWaitingToStart
	stageEarly(b, s)
	b.On(s, Start).When("paused", pausedSource).Go(StageRunning, do(RecordTransition, ReportRunning)...)
	b.On(s, Start).Go(StageRunning, do(RecordTransition, ReportRunning, BeginReading)...)
	b.On(s, Ready).Refuse("the source is ready")
	b.On(s, EndOfInput).Refuse("the source does not read yet")
}

func stageHydrating(b *stageBuilder) {
	const s = StageHydrating
	stageAlive(b, s)
	b.On(s, TableEnded).When("naturally", tableNatural).Go(StageRunning, do(RecordTransition, EndHydration, BeginReading)...)
	b.On(s, TableEnded).Go(StageDraining, do(RecordTransition, Drain)...)
	b.On(s, EndOfInput).Stay()
	b.On(s, InputsEnded).Ignore("the side that is read first decides")
	b.On(s, Stop).When("the first", stageFirst).Stay(do(StopWaiting)...)
	b.On(s, Stop).Ignore(keepStopping)
	b.On(s, Ready).Refuse("the stage is ready")
	b.On(s, Start, Pause, Unpause).Ignore(onlySources)
}

func stageRunning(b *stageBuilder) {
	const s = StageRunning
	stageAlive(b, s)
	b.On(s, EndOfInput).Stay()
	b.On(s, InputsEnded).When("naturally", naturalEnd).Go(StageDraining, do(RecordTransition, EmitAtEnd, Drain)...)
	b.On(s, InputsEnded).Go(StageDraining, do(RecordTransition, Drain)...)
	b.On(s, TableEnded).Ignore("the side that was read first has been read")
	b.On(s, Stop).When("the first, and it is a source", firstSource).Go(StageDraining, do(RecordTransition, EndReading, Drain)...)
	b.On(s, Stop).When("the first", stageFirst).Stay(do(StopWaiting)...)
	b.On(s, Stop).Ignore(keepStopping)
	b.On(s, Pause).When("a source that reads", firstSource).Stay(do(PauseReading)...)
	b.On(s, Pause).Ignore("it is paused, or no source")
	b.On(s, Unpause).When("a paused source", firstSource).Stay(do(ResumeReading)...)
	b.On(s, Unpause).Ignore("it is not paused")
	b.On(s, Ready).Refuse("the stage is ready")
	b.On(s, Start).Refuse("the stage runs")
}

func stageDraining(b *stageBuilder) {
	const s = StageDraining
	stageAlive(b, s)
	b.On(s, DrainComplete).When("a natural end and nothing open", naturalDone).Stay(do(FinishOutput)...)
	b.On(s, DrainComplete).When("a natural end, work left open by a stop", naturalStopped).Go(StageDrained,
		slices.Concat(do(RecordTransition), eof(Truncated))...)
	b.On(s, DrainComplete).When("a truncated end", truncated).Go(StageDrained, slices.Concat(do(RecordTransition), eof(Truncated))...)
	b.On(s, DrainComplete).When("a poison end", poison).Go(StageDrained, slices.Concat(do(RecordTransition), eof(Poison))...)
	b.On(s, DrainComplete).Refuse("a natural end waits for its open work")
	b.On(s, OutputDone).When("a natural end and nothing open", naturalDone).Go(StageDrained, slices.Concat(do(RecordTransition), eof(Natural))...)
	b.On(s, OutputDone).Refuse("only a natural end finishes output")
	b.On(s, Stop).When("the first", stageFirst).Stay(do(StopWaiting)...)
	b.On(s, Stop).Ignore(keepStopping)
	b.On(s, EndOfInput).Ignore(drainsNow)
	b.On(s, TableEnded, InputsEnded).Ignore(drainsNow)
	b.On(s, Pause, Unpause).Ignore(drainsNow)
	b.On(s, Init, Ready, Start).When("a source that was stopped", stoppedSource).Ignore(keepStopping)
	b.On(s, Init, Ready, Start).Refuse("the stage drains")
}

// stageEnd holds what is the same in the terminal states.
func stageEnd(b *stageBuilder, s StageState) {
	b.On(s, CleanedUp).When("nobody asked for it", notClosing).Refuse("no cleanup was ordered")
	b.On(s, TerminalWritten).When("the log took no more since", logPoisoned).Ignore("the stage ends without a terminal record")
	b.On(s, TerminalWritten).When("it was ordered", cleaned).Stay(do(ReportEnd, Finish)...)
	b.On(s, TerminalWritten).Refuse("no terminal record was ordered")
	b.On(s, EOFAuthored).When("the log took no more since", logPoisoned).Ignore("the stage ends without a terminal record")
	b.On(s, EOFAuthored).Stay(do(Cleanup)...)
	b.On(s, Stop, Cancel, Pause, Unpause, EndOfInput, TableEnded, InputsEnded).Ignore("the stage has ended")
	b.On(s, Init, Ready, Start).Ignore("the stage has ended; it crossed with the command to end")
}

func stageDrained(b *stageBuilder) {
	const s = StageDrained
	stageEnd(b, s)
	b.On(s, CleanedUp).When("a natural end", naturalEnd).Stay(record(Completed)...)
	b.On(s, CleanedUp).Stay(record(Stopped)...)
	b.On(s, Error, Panic).Ignore("all work is done and the EOF is ordered; only the log can still refuse")
	b.On(s, LogPoisoned).When("the terminal record is durable", stageWritten).Ignore("nothing more is to be written")
	b.On(s, LogPoisoned).Go(StageFailed, do(CancelWork)...)
	b.On(s, DrainComplete, OutputDone, WorkEnded).Ignore("the stage has drained")
}

func stageFailed(b *stageBuilder) {
	const s = StageFailed
	stageEnd(b, s)
	b.On(s, WorkEnded).When("the log takes no more, and all is clean", poisonCleaned).Stay(do(ReportEnd, Finish)...)
	b.On(s, WorkEnded).When("the log takes no more, and the cleanup is under way", poisonClosing).Stay()
	b.On(s, WorkEnded).When("the log takes no more", logPoisoned).Stay(do(Cleanup)...)
	b.On(s, WorkEnded).When("cancelled", stageCancelled).Stay(eof(Truncated)...)
	b.On(s, WorkEnded).Stay(eof(Poison)...)
	b.On(s, CleanedUp).When("the log takes no more, and something still runs", poisonRuns).Stay()
	b.On(s, CleanedUp).When("the log takes no more", logPoisoned).Stay(do(ReportEnd, Finish)...)
	b.On(s, CleanedUp).When("cancelled", stageCancelled).Stay(record(Cancelled)...)
	b.On(s, CleanedUp).Stay(record(Failure)...)
	b.On(s, Error, Panic).Ignore("the stage has failed; the first failure is the one on record")
	b.On(s, DrainComplete, OutputDone).Ignore("the stage fails; WorkEnded says when nothing of it runs")
	b.On(s, LogPoisoned).When("known, or the terminal record is durable", again).Ignore("nothing more is to be written")
	b.On(s, LogPoisoned).When("all is clean", cleaned).Stay(do(ReportEnd, Finish)...)
	b.On(s, LogPoisoned).When("the cleanup is under way", stageClosing).Stay()
	b.On(s, LogPoisoned).When("nothing runs any more", idle).Stay(do(Cleanup)...)
	b.On(s, LogPoisoned).Stay()
}

func eof(e Ending) []Action { return []Action{{Do: AuthorEOF, Ending: e}} }
