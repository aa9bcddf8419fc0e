package engine

import (
	"context"
	"errors"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// A pipeline is the shell of a [supervise.Pipeline]: the supervisor of a run.
// Its fields belong to its goroutine.
type pipeline struct {
	run *Run
	author
	rules     *supervise.Pipeline
	events    []supervise.PipelineInput
	entered   bool // the epoch was: what is said can be written
	began     bool // the stages' goroutines did
	finished  bool
	wantPause bool   // Pause was asked for before the run ran
	stage     string // that broke first
	stalls    stalls

	timers       map[supervise.Event]time.Time
	alarm        *time.Timer
	lastSnapshot time.Time
}

// How long a drain may take before people are told, and how often they are
// reminded of things.
const (
	slowDrain     = time.Minute
	remindEvery   = 5 * time.Second
	snapshotEvery = time.Second
)

func (p *pipeline) init(r *Run) (err error) {
	p.run = r
	p.author = newAuthor(evidence.Pipeline, r.stateOf(evidence.Pipeline))
	p.selfCheck = true
	p.timers = map[supervise.Event]time.Time{}
	config := supervise.PipelineConfig{Manual: r.c.Manual}
	for _, s := range r.stages {
		config.Stages = append(config.Stages, supervise.Member{Name: s.name, Source: s.node.Source != nil})
		for _, e := range s.inputs {
			config.Gates = append(config.Gates, supervise.Gate{Name: transportGate(e)})
		}
		if s.node.Source != nil {
			config.Gates = append(config.Gates, supervise.Gate{
				Name: sourceGate(s), Source: s.name, Warn: r.c.SourceContract == WarnOnly,
			})
		}
		if s.node.Sink != nil {
			config.Gates = append(config.Gates, supervise.Gate{Name: deliveryGate(s)})
		}
		if s.accountable() {
			config.Gates = append(config.Gates, supervise.Gate{Name: accountingGate(s)})
		}
	}
	p.rules, err = supervise.NewPipeline(config)
	return err
}

// loop is the pipeline's goroutine.
func (p *pipeline) loop() {
	r := p.run
	for !p.finished {
		if len(p.events) > 0 {
			in := p.events[0]
			p.events = p.events[1:]
			p.step(in)
		} else if due, ok := p.rules.Due(); ok {
			p.step(due)
		} else if p.flush(); len(p.events) == 0 {
			if in, ok := r.mail.next(); ok {
				p.step(in)
			} else if !p.settled() {
				p.sleep()
			}
		}
	}
	if p.alarm != nil {
		p.alarm.Stop()
	}
	close(r.done)
}

func (p *pipeline) raise(in supervise.PipelineInput) { p.events = append(p.events, in) }

// settled raises PauseSettled once everything in flight has completed.
func (p *pipeline) settled() bool {
	r := p.run
	if !r.pausing.Load() || !r.quiet() {
		return false
	}
	r.pausing.Store(false)
	p.raise(supervise.PipelineInput{Event: supervise.PauseSettled})
	return true
}

// quiet reports whether every stage rests and no input is pending.
func (r *Run) quiet() bool {
	for _, s := range r.stages {
		if !s.ended && !s.resting.Load() && !supervise.StageState(s.state.Load()).Terminal() {
			return false
		}
	}
	for _, e := range r.edges {
		if e.standing().pending {
			return false
		}
	}
	return true
}

// sleep waits for a message or the next timer.
func (p *pipeline) sleep() {
	var next time.Time
	var which supervise.Event
	for event, at := range p.timers {
		if next.IsZero() || at.Before(next) || (at.Equal(next) && event < which) {
			next, which = at, event
		}
	}
	said := len(p.said)
	look := p.stalls.look(p.run, time.Now())
	if len(p.said) > said {
		return // to write it first
	}
	if !look.IsZero() && (next.IsZero() || look.Before(next)) {
		next, which = look, 0
	}
	var fires <-chan time.Time
	if !next.IsZero() {
		wait := max(0, time.Until(next))
		if p.alarm == nil {
			p.alarm = time.NewTimer(wait)
		} else {
			p.alarm.Reset(wait)
		}
		fires = p.alarm.C
	}
	select {
	case <-p.run.mail.wake:
	case <-fires:
		if which != 0 {
			delete(p.timers, which)
			p.raise(supervise.PipelineInput{Event: which})
		}
	}
	if p.alarm != nil {
		p.alarm.Stop()
	}
}

func (p *pipeline) step(in supervise.PipelineInput) {
	if in.Event == supervise.StageBroke && p.stage == "" {
		p.stage = in.Name
	}
	step := p.rules.Step(in)
	if step.Err != nil {
		p.run.log.Error("the pipeline did not expect this", attr("error", step.Err.Error()))
		if in.Event != supervise.Error {
			p.raise(supervise.PipelineInput{Event: supervise.Error, Err: step.Err})
		}
		return
	}
	p.pauseLater(in, step)
	for _, a := range step.Actions {
		if err := p.perform(a, in, step); err != nil {
			p.raise(p.failure(err))
			break
		}
	}
	p.showStatus()
}

// pauseLater keeps a pause that came too early until the run runs.
func (p *pipeline) pauseLater(in supervise.PipelineInput, step supervise.PipelineStep) {
	switch {
	case in.Event == supervise.Pause && step.Ignored && step.From < supervise.PipelineRunning:
		p.wantPause = true
	case in.Event == supervise.Unpause:
		p.wantPause = false
	case step.To == supervise.PipelineRunning && p.wantPause:
		p.wantPause = false
		p.raise(supervise.PipelineInput{Event: supervise.Pause})
	}
}

func (p *pipeline) showStatus() {
	if p.finished {
		return
	}
	status := statusRunning
	switch s := p.rules.State(); {
	case s.Terminal(), s == supervise.PipelineAbortRequested, p.rules.Intent().Mode != supervise.NoIntent, s > supervise.PipelineRunning:
		status = statusEnding
	case s < supervise.PipelineMaterialized:
		status = statusStarting
	case s == supervise.PipelineMaterialized:
		status = statusStarting
		if p.run.c.Manual {
			status = statusWaiting
		}
	case p.rules.Paused():
		status = statusPaused
	}
	p.run.setStatus(status)
}

// failure makes an event of an error of an action.
func (p *pipeline) failure(err error) supervise.PipelineInput {
	if errors.Is(err, journal.ErrPoisoned) || errors.Is(err, journal.ErrClosed) {
		return supervise.PipelineInput{Event: supervise.LogPoisoned, Err: err}
	}
	return supervise.PipelineInput{Event: supervise.Error, Err: err}
}

// flush places what was said.
func (p *pipeline) flush() {
	if !p.entered {
		return
	}
	refused := p.run.refusals.take()
	for _, no := range refused {
		say(&p.author, &p.sys, evidence.TypeRefused, no.Refused)
	}
	if len(p.said) == 0 {
		return
	}
	err := p.write()
	for _, no := range refused {
		no.told(p.last, err)
	}
	if err != nil {
		p.said = nil
		p.raise(p.failure(err))
	}
}

func (p *pipeline) write() error {
	_, size, err := p.place(context.Background(), p.run.c.Log, journal.Urgent, time.Now())
	if err != nil {
		return err
	}
	p.run.logged.Add(int64(size))
	p.reset()
	return nil
}

func (p *pipeline) perform(a supervise.Action, in supervise.PipelineInput, step supervise.PipelineStep) error {
	r := p.run
	switch a.Do {
	case supervise.RecordTransition:
		reason := in.Reason
		if in.Err != nil {
			reason = in.Err.Error()
		}
		p.recordMove(step, reason)
	case supervise.OpenLog, supervise.BuildStages, supervise.CutMaterialization: // done before the pipeline began
	case supervise.Recover:
		p.entered = true
		p.raise(supervise.PipelineInput{Event: supervise.EpochEntered})
	case supervise.CheckTopology:
		return r.agree()
	case supervise.Preflight:
		p.raise(r.materialized())
	case supervise.StartStages:
		if err := r.closeGone(); err != nil {
			return err
		}
		p.began = true
		r.startClerk()
		for _, s := range r.running() {
			go s.loop()
		}
	case supervise.PrepareSources:
		r.order(supervise.Init, true)
	case supervise.StartSources:
		r.order(supervise.Start, true)
	case supervise.PauseSources:
		r.order(supervise.Pause, true)
		r.pausing.Store(true)
	case supervise.UnpauseSources:
		r.pausing.Store(false)
		r.order(supervise.Unpause, true)
	case supervise.ReportPaused, supervise.ReportUnpaused: // showStatus says it
	case supervise.StopStages:
		r.order(supervise.Stop, false)
	case supervise.CancelStages:
		for _, s := range r.running() {
			s.cancel(errCancelled)
		}
		r.order(supervise.Cancel, false)
	case supervise.RecordEvidence: // the stage has recorded it with what it consumed
	case supervise.RecordViolation:
		p.recordViolation(in)
	case supervise.RecordStageFailure:
		p.recordMove(step, in.Name+": "+in.Err.Error())
		r.log.Error("stage failed", attr("stage", in.Name), attr("error", in.Err.Error()))
	case supervise.ReconcileMetrics:
		r.result = r.totals()
	case supervise.WriteTerminal:
		return p.writeTerminal(a.Status)
	case supervise.Teardown:
		p.teardown()
	case supervise.Finish:
		p.finish()
	default:
		p.arm(a.Do)
	}
	return nil
}

// arm deals with what has to do with timers and with telling people.
func (p *pipeline) arm(do supervise.Do) {
	r, now := p.run, time.Now()
	switch do {
	case supervise.ArmStopDeadline:
		delete(p.timers, supervise.StopDeadline)
		if at := p.rules.Intent().Deadline; !at.IsZero() {
			p.timers[supervise.StopDeadline] = at
		}
	case supervise.ArmReminder:
		p.timers[supervise.ReminderDue] = now.Add(remindEvery)
	case supervise.RemindToRun:
		r.log.Info("the run waits to be told to begin")
	case supervise.ArmSnapshot:
		if _, armed := p.timers[supervise.SnapshotDue]; !armed {
			p.timers[supervise.SnapshotDue] = now.Add(max(0, snapshotEvery-now.Sub(p.lastSnapshot)))
		}
	case supervise.ReportBarrier:
		p.lastSnapshot = now
		r.log.Debug("draining", attr("waits_for", p.rules.Barrier().String()))
	case supervise.ArmDrainWarning:
		p.timers[supervise.DrainSlow] = now.Add(slowDrain)
	case supervise.WarnSlowDrain:
		r.log.Warn("draining takes long", attr("waits_for", p.rules.Barrier().String()))
	}
}

func (p *pipeline) recordMove(step supervise.PipelineStep, reason string) {
	from, to, event := step.From.String(), step.To.String(), step.Event.String()
	say(&p.author, &p.sys, evidence.TypeMoved, evidence.Moved{From: from, To: to, Event: event, Reason: reason})
	if fn := p.run.c.Observer.Moved; fn != nil {
		fn(evidence.Pipeline, from, to, event)
	}
}

func (p *pipeline) recordViolation(in supervise.PipelineInput) {
	var v *contract.ViolationError
	if !errors.As(in.Err, &v) {
		return
	}
	say(&p.author, &p.sys, evidence.TypeContract, evidence.Contract{
		Contract: string(v.Verdict.Kind), From: v.Verdict.Subject.Upstream, To: v.Verdict.Subject.Reader, Gates: true, Final: true,
		Writer: sideOf(v.Verdict.Evidence.Writer), Reader: sideOf(v.Verdict.Evidence.Reader),
		Parts: v.Verdict.Violation.From, Reason: in.Err.Error(),
	})
	p.run.log.Error("contract violated", attr("error", in.Err.Error()))
}

// writeTerminal places the run's last record and waits until it is durable.
func (p *pipeline) writeTerminal(status supervise.Status) error {
	r := p.run
	res := &r.result
	res.Status = status.String()
	p.explain(res)
	p.stalls.end(r)
	say(&p.author, &p.sys, evidence.TypeTerminal, evidence.Terminal{
		Status: res.Status, Reason: res.Reason, Stage: res.Stage, Kind: res.Kind, Took: res.Took,
		In: res.In, Out: res.Out, Dead: res.Dead, Failed: res.Failed,
	})
	if err := p.write(); err != nil {
		p.said = nil
		return p.lost(err)
	}
	if err := r.c.Log.Await(context.Background(), p.last); err != nil {
		return p.lost(err)
	}
	p.raise(supervise.PipelineInput{Event: supervise.TerminalWritten})
	return nil
}

// lost makes of a failed terminal record what it is: the log takes no more.
func (p *pipeline) lost(err error) error {
	if errors.Is(err, journal.ErrPoisoned) || errors.Is(err, journal.ErrClosed) {
		return err
	}
	return errors.Join(journal.ErrPoisoned, err)
}

// explain says in a result why the run ended as it did.
func (p *pipeline) explain(res *Result) {
	if err := p.rules.Failure(); err != nil {
		res.Reason, res.Stage, res.Kind = err.Error(), p.stage, string(event.KindOf(err))
		return
	}
	res.Reason = p.rules.Intent().Reason
}

// teardown waits for everything that runs, and closes what the flow shares.
func (p *pipeline) teardown() {
	r := p.run
	for _, s := range r.stages {
		if p.began && !s.ended {
			<-s.done
		}
		s.cancel(nil)
	}
	r.stopClerk()
	for _, res := range r.c.Flow.Resources {
		if err := closeResource(res); err != nil {
			r.log.Warn("resource did not close", attr("resource", res.Name()), attr("error", err.Error()))
		}
	}
	r.leave()
	r.stopWatch()
	clear(p.timers)
	p.raise(supervise.PipelineInput{Event: supervise.TornDown})
}

func closeResource(res plan.Resource) error { return protect(res.Close) }

// finish settles the result.
func (p *pipeline) finish() {
	r := p.run
	res := r.totals()
	res.Status = p.rules.Status().String()
	p.explain(&res)
	var err error
	if s := p.rules.Status(); s == supervise.Failure || s == supervise.Interrupted {
		err = p.rules.Failure()
	}
	r.mu.Lock()
	r.result, r.err = res, err
	r.mu.Unlock()
	r.setStatus(statusEnded)
	p.finished = true
}

// running returns the stages that are not finished since an earlier epoch.
func (r *Run) running() []*stage {
	var out []*stage
	for _, s := range r.stages {
		if !s.ended {
			out = append(out, s)
		}
	}
	return out
}

// order sends a command to every stage that runs, or to the sources only.
func (r *Run) order(event supervise.Event, sources bool) {
	for _, s := range r.running() {
		if !sources || s.node.Source != nil {
			s.mail.post(message{kind: command, in: supervise.StageInput{Event: event}})
		}
	}
}

// agree checks that the topology and the supervisors have the same stages.
func (r *Run) agree() error {
	if r.c.Flow.Graph == nil {
		return nil
	}
	var topology, supervisors []string
	for s := range r.c.Flow.Graph.Stages() {
		topology = append(topology, s.Name)
	}
	for _, s := range r.stages {
		supervisors = append(supervisors, s.name)
	}
	return supervise.Agree(topology, supervisors)
}

// materialized says what earlier epochs have finished.
func (r *Run) materialized() supervise.PipelineInput {
	in := supervise.PipelineInput{Event: supervise.MaterializationComplete}
	for _, s := range r.stages {
		if !s.ended {
			continue
		}
		in.Finished = append(in.Finished, s.name)
		for _, e := range s.inputs {
			in.Passed = append(in.Passed, transportGate(e))
		}
		if s.node.Source != nil {
			in.Passed = append(in.Passed, sourceGate(s))
		}
		if s.node.Sink != nil {
			in.Passed = append(in.Passed, deliveryGate(s))
		}
		if s.accountable() {
			in.Passed = append(in.Passed, accountingGate(s))
		}
	}
	return in
}

// totals sums up the stages.
func (r *Run) totals() Result {
	res := Result{
		Took: time.Since(r.started), InDoubt: uint64(len(r.InDoubt())),
		In: r.c.Gone.In, Out: r.c.Gone.Out, Dead: r.c.Gone.Dead, Failed: r.c.Gone.Failed,
	}
	for _, s := range r.stages {
		switch {
		case s.node.Source != nil:
			res.In += s.out.Load()
		case s.node.Sink != nil:
			res.Out += s.out.Load()
		}
		res.Dead += s.dead.Load()
		res.Open += uint64(s.open.Load())
		if s.node.Performer == nil {
			continue
		}
		for _, p := range s.ports {
			if p.Name == plan.PortFailed {
				n := p.written.Load()
				res.Failed += n
				if len(p.edges) == 0 { // nobody would know
					res.Dead += n
				}
			}
		}
	}
	return res
}
