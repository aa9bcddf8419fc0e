package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// A stage that is not in the flow any more has frames all the same. Unless it left
// a checkpoint behind them, every recovery would read from there on, for ever. So
// the next owner places one in its name, once. Where another stage has its memory
// that waits for a checkpoint of that one: until then recovery needs the old one.

// unread is the failure of a record that an upcaster did not take.
func unread(err error) *plan.Failure { return &plan.Failure{Err: err, Kind: event.KindDecode} }

// nameAt returns what a stage was called when a record was written, by its LSN;
// nil if it was never called otherwise.
func (r *Run) nameAt(stage string) func(journal.LSN) string {
	if r.manifest.NameAt(stage, 0) == stage {
		return nil
	}
	return func(lsn journal.LSN) string {
		n := uint64(0)
		for i := range r.manifest.Epochs {
			if e := &r.manifest.Epochs[i]; e.First <= lsn {
				n = e.Number
			}
		}
		return r.manifest.NameAt(stage, n)
	}
}

// keptOf returns the data ports that a stage had in an earlier epoch and has not
// now: its checkpoints and ends speak of them, so that their journals go on where
// they were should they come again.
func keptOf(n *plan.Node, at *recovery.Stage) (kept []*tally) {
	if at == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(at.Ports)) {
		has := func(p *plan.Port) bool { return p.Name == name }
		if slices.ContainsFunc(n.Ports, has) || event.ReservedPort(name) || name == evidence.Receipts {
			continue
		}
		y := &tally{port: name}
		y.resume(at)
		kept = append(kept, y)
	}
	return kept
}

// gone returns the stages that are not in the flow any more, and have no checkpoint
// behind their last frame.
func (r *Run) gone() (names []string) {
	if r.c.State == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(r.c.State.Stages)) {
		at := r.c.State.Stages[name]
		in := func(s *stage) bool { return s.name == name }
		if name != evidence.Pipeline && !slices.ContainsFunc(r.stages, in) && (at.Last > at.Checked || at.Redo != 0) {
			names = append(names, name)
		}
	}
	return names
}

// inherit notes which stages have the memory of others in no checkpoint of their
// own.
func (r *Run) inherit() {
	for _, name := range r.gone() {
		if heir := r.heirOf(name); heir != nil {
			heir.heir = append(heir.heir, name)
			heir.check.due = true
		}
	}
}

// heirOf returns the stage that has the memory of one that is gone, until a
// checkpoint of it has it; nil if there is none, or none any more.
func (r *Run) heirOf(name string) *stage {
	pends := false
	for e := range r.manifest.Redefinitions() {
		for _, n := range e.Redefined.Renamed {
			if n.Was == name {
				name = n.Stage
				at := r.stateOf(name)
				pends = at == nil || at.Checked < e.First
				break
			}
		}
	}
	i := slices.IndexFunc(r.stages, func(s *stage) bool { return s.name == name })
	if i < 0 || !pends {
		return nil
	}
	return r.stages[i]
}

// closeGone places a checkpoint in the name of each stage that is gone and whose
// memory nobody needs.
func (r *Run) closeGone() error {
	for _, name := range r.gone() {
		if r.heirOf(name) == nil {
			if err := r.close(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleEstate does so for those whose memory is in the stage's own checkpoint now.
func (s *stage) settleEstate() error {
	names := s.heir
	s.heir = nil
	for _, name := range names {
		if err := s.run.close(name); err != nil {
			return err
		}
	}
	return nil
}

// close places the checkpoint of a stage that is gone: what it has written, and
// nothing else. If it cannot be written now recovery takes longer.
func (r *Run) close(name string) error {
	at := r.c.State.Stages[name]
	a := newAuthor(name, at)
	data, err := recovery.AppendSnapshot(nil, &recovery.Stage{Name: name, Receipted: at.Receipted}, []plan.Table(nil))
	if err != nil {
		return err
	}
	check := &journal.Checkpoint{Position: at.Position, At: at.Last, Watermark: at.Watermark}
	check.Snapshot, check.Sum = snapshotName(name, at.Last), sumOf(data)
	for _, port := range slices.Sorted(maps.Keys(at.Ports)) {
		p := at.Ports[port]
		check.Ports = append(check.Ports, journal.End{Port: port, Kind: p.End, Count: p.Count, Digest: p.Digest})
	}
	err = r.c.Log.WriteSnapshot(check.Snapshot, data)
	if err == nil {
		a.t.Check = check
		_, _, err = a.place(context.Background(), r.c.Log, journal.Urgent, time.Now())
	}
	if errors.Is(err, journal.ErrPoisoned) || errors.Is(err, journal.ErrClosed) {
		return fmt.Errorf("the checkpoint of stage %s, which is gone: %w", name, err)
	}
	if err != nil {
		r.log.Warn("no checkpoint of a stage that is gone; it is tried again at the next start", attr("stage", name), attr("error", err.Error()))
	}
	return nil
}
