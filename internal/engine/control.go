package engine

import (
	"context"
	"errors"
	"time"

	"github.com/weirflow/weir/internal/supervise"
)

// Stop ends the sources and lets everything in flight finish; when ctx ends, the
// run is cancelled instead, with the reason stop_timeout. It returns when the run
// has ended: nil, or ctx's error if it was cut short. Stop works in every state
// and is idempotent.
//
// Without a deadline it waits for what is in flight, however long that takes: for
// a sink that is tried again and again, and on a full disk for space.
func (r *Run) Stop(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	r.tell(supervise.PipelineInput{Event: supervise.Stop, Reason: "stop", Deadline: deadline})
	select {
	case <-r.done:
	case <-ctx.Done():
		r.tell(supervise.PipelineInput{Event: supervise.Stop, Reason: "stop", Deadline: time.Now()})
	}
	res, _ := r.Wait()
	if res.Reason != supervise.StopTimeout {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return context.DeadlineExceeded // the run's clock was ahead of ctx's
}

// Cancel ends the run as fast as is safe and returns when it has ended, with the
// error of Wait. It works in every state.
func (r *Run) Cancel() error {
	r.cancelFor("cancel")
	<-r.done
	_, err := r.Wait()
	return err
}

func (r *Run) cancelFor(reason string) {
	r.tell(supervise.PipelineInput{Event: supervise.Cancel, Reason: reason})
}

// ErrNotPausable says that a run that is ending cannot be paused.
var ErrNotPausable = errors.New("engine: the run is ending")

// Pause has the sources read no more and returns when what is in flight has
// completed, with ctx's error if that ends before; the run pauses all the same.
// Before the run runs, Pause waits for it.
func (r *Run) Pause(ctx context.Context) error {
	r.tell(supervise.PipelineInput{Event: supervise.Pause})
	for {
		r.mu.Lock()
		status, changed := r.status, r.changed
		r.mu.Unlock()
		switch status {
		case statusPaused:
			return nil
		case statusEnding:
			return ErrNotPausable
		}
		select {
		case <-changed:
		case <-r.done:
			return ErrNotPausable
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Unpause undoes Pause.
func (r *Run) Unpause() { r.tell(supervise.PipelineInput{Event: supervise.Unpause}) }

// Begin starts the sources of a run whose startup is manual.
func (r *Run) Begin() { r.tell(supervise.PipelineInput{Event: supervise.Run}) }

// Done is closed when the run has ended.
func (r *Run) Done() <-chan struct{} { return r.done }

// Wait returns when the run has ended and nothing of it runs. The error says why
// a run failed or was interrupted; it is nil for one that completed, was stopped
// or was cancelled.
func (r *Run) Wait() (Result, error) {
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result, r.err
}

// What people are told of a run.
const (
	statusStarting = "starting"
	statusWaiting  = "waiting" // for Begin
	statusRunning  = "running"
	statusPaused   = "paused"
	statusEnding   = "ending"
	statusEnded    = "ended"
	statusDeciding = "waiting for decisions"
)

func (r *Run) setStatus(status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != status {
		r.status = status
		close(r.changed)
		r.changed = make(chan struct{})
	}
}
