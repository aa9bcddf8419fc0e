package engine

import (
	"time"

	"github.com/weirflow/weir/internal/contract"
	"github.com/weirflow/weir/internal/supervise"
	"github.com/weirflow/weir/journal"
)

// Progress is where a run is, at about one moment.
type Progress struct {
	Status  string // starting, waiting, running, paused, ending, waiting for decisions, ended
	Durable journal.LSN
	Stages  []StageProgress
	Edges   []EdgeProgress
}

// StageProgress is where a stage is.
type StageProgress struct {
	Name     string
	State    string
	In       uint64        // consumed, of a source read; this epoch
	Out      uint64        // records on its data ports, of a sink delivered; whole run
	Dead     uint64        // dead letters, whole run
	Open     uint64        // accepted and not finished
	InDoubt  uint64        // of them, waiting for a decision
	InFlight uint64        // appended for it and not consumed
	Lag      time.Duration // since its last transition while something is in flight
}

// EdgeProgress is where an edge is.
type EdgeProgress struct {
	Journal, Reader string
	Appended        uint64
	Consumed        uint64
	Used            uint64 // records of credit
	UsedBytes       int64
	Deferred        bool   // read from the log, without credit
	Health          string // healthy, idle, suspect, stalled
}

// Snapshot says where the run is. It is cheap and may be called at any time.
func (r *Run) Snapshot() Progress {
	r.mu.Lock()
	p := Progress{Status: r.status, Durable: journal.LSN(r.durable.Load())}
	r.mu.Unlock()
	now := time.Now()
	for _, s := range r.stages {
		sp := StageProgress{
			Name: s.name, State: supervise.StageState(s.state.Load()).String(),
			In: s.in.Load(), Out: s.out.Load(), Dead: s.dead.Load(), Open: uint64(s.open.Load()),
		}
		if d := s.doubts.Load(); d != nil {
			sp.InDoubt = uint64(len(*d))
		}
		if s.patient.Load() && p.Status == statusEnding {
			p.Status = statusDeciding
		}
		if s.ended {
			sp.State = supervise.StageDrained.String()
		}
		for _, e := range s.inputs {
			if at := e.standing(); at.pending {
				sp.InFlight += at.appended - at.consumed
			}
		}
		if sp.InFlight > 0 {
			sp.Lag = now.Sub(time.Unix(0, s.lastPlace.Load()))
		}
		p.Stages = append(p.Stages, sp)
	}
	for _, e := range r.edges {
		at := e.standing()
		p.Edges = append(p.Edges, EdgeProgress{
			Journal: e.journal, Reader: e.to.name, Appended: at.appended, Consumed: at.consumed,
			Used: at.used.Records, UsedBytes: int64(at.used.Bytes), Deferred: at.deferred,
			Health: r.health(e, at.pending, now).String(),
		})
	}
	return p
}

// health classifies an edge.
func (r *Run) health(e *edge, pending bool, now time.Time) contract.Health {
	return contract.Liveness(pending, r.since(e), now, r.c.Stall)
}

// since is when the reader of an edge last placed something, at the earliest when
// the run began.
func (r *Run) since(e *edge) time.Time {
	if at := e.to.lastPlace.Load(); at > 0 {
		return time.Unix(0, at)
	}
	return r.started
}
