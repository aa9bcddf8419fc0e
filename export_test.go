package weir

import (
	"fmt"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// Plan builds d with its defaults, for tests that drive handlers themselves.
func (d *Definition) Plan() (*plan.Flow, error) {
	f, err := d.wire(nil)
	if err != nil {
		return nil, err
	}
	return f.plan, nil
}

// RecordSettings and RestoreSettings show how settings go into a manifest and
// come back.
func RecordSettings(cfg any, sources map[string]string) ([]journal.Setting, error) {
	cfg, err := absolute(cfg)
	if err != nil {
		return nil, err
	}
	return recordSettings(cfg, sources)
}

func RestoreSettings(cfg any, recorded []journal.Setting, sources map[string]string) (any, []string, error) {
	cfg, drifts, err := restoreSettings(cfg, recorded, sources)
	var text []string
	for _, d := range drifts {
		text = append(text, fmt.Sprint(d.attrs()))
	}
	return cfg, text, err
}
