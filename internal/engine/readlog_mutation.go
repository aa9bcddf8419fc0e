//go:build weir_mutation_norecovery

package engine

import (
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// readLog is the mutation that forgets what the log says: every stage begins as
// if it had read nothing and knew nothing. Only the numbers that the log itself
// insists on go on.
func readLog(log journal.Log, _ map[string][]recovery.Table) (*recovery.State, error) {
	state, err := recovery.ReadInto(log, func(string, string) (recovery.Table, error) { return nil, nil })
	if err != nil {
		return nil, err
	}
	for name, s := range state.Stages {
		state.Stages[name] = &recovery.Stage{Name: s.Name, Frames: s.Frames, Ports: s.Ports, Last: s.Last}
	}
	return state, nil
}
