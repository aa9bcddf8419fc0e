package weir

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// status says how the last epoch of a run ended, or that it has an owner now. It
// takes no ownership: to look at a run must not begin an epoch of it.
func (s *store) status(run string) (status Status, err error) {
	view, err := segment.OpenView(s.fsys, filepath.Join(s.runs, run))
	if err != nil {
		return "", fmt.Errorf("look at run %s: %w", run, err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	if _, owned, err := view.Owner(); owned || err != nil {
		return Running, err // to open it will say who owns it
	}
	return statusOf(view)
}

// A viewer is a log that is only read.
type viewer interface {
	Manifest() journal.Manifest
	Tails() map[string]journal.Tail
	Read(from journal.LSN) (journal.Reader, error)
}

// statusOf is what a log says of its run when nobody owns it: how its last epoch
// ended.
func statusOf(log viewer) (Status, error) {
	m := log.Manifest()
	tail, ok := log.Tails()[evidence.Pipeline]
	if !ok || len(m.Epochs) == 0 {
		return Interrupted, nil
	}
	last, err := journal.TransitionAt(log, tail.Last)
	if err != nil {
		return "", fmt.Errorf("status of run %s: %w", m.Run, err)
	}
	if last.Epoch != m.Epochs[len(m.Epochs)-1].Number {
		return Interrupted, nil
	}
	for i := range last.Outputs {
		o := &last.Outputs[i]
		if o.Port != journal.PortSys || o.Type != evidence.TypeTerminal {
			continue
		}
		var rec journal.Record
		if _, ok := journal.NewRecords(o).Next(&rec); !ok {
			continue
		}
		t, err := evidence.Parse[evidence.Terminal](rec.Payload)
		if err != nil {
			return "", fmt.Errorf("status of run %s: %w", m.Run, err)
		}
		return Status(t.Status), nil
	}
	return Interrupted, nil
}
