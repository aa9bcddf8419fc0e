package weir

import "github.com/weirflow/weir/internal/plan"

// Plan builds d with its defaults, for tests that drive handlers themselves.
func (d *Definition) Plan() (*plan.Flow, error) {
	f, err := d.wire(nil)
	if err != nil {
		return nil, err
	}
	return f.plan, nil
}
