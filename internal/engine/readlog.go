//go:build !weir_mutation_norecovery

package engine

import (
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// readLog reads where every stage stands. It is in a file of its own so that a
// test can build a program without it, and see that other tests notice.
func readLog(log journal.Log, tables map[string][]recovery.Table) (*recovery.State, error) {
	return recovery.Read(log, tables)
}
