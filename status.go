package weir

import (
	"fmt"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal"
)

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
