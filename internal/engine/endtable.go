package engine

import (
	"bytes"
	"errors"

	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/journal"
)

// endTableName is the reserved table in which a stage that emits at the end of
// its input keeps the last key that it emitted.
const endTableName = plan.EndTable

var endTableKey = []byte(plan.EndKey)

// An endTable is that table.
type endTable struct {
	now, committed []byte // the last key; nil before the first
	changed        bool
	placed         journal.LSN
}

var _ plan.Table = (*endTable)(nil)

func (t *endTable) last() []byte { return t.now }

func (t *endTable) set(key []byte) {
	t.now, t.changed = append([]byte{}, key...), true
}

func (t *endTable) Name() string { return endTableName }

func (t *endTable) Len() int {
	if t.committed == nil {
		return 0
	}
	return 1
}

func (t *endTable) Changed() int {
	if t.changed {
		return 1
	}
	return 0
}

func (t *endTable) Seal() (journal.State, error) {
	c := journal.Change{Key: endTableKey, Value: t.now, Previous: t.placed}
	return journal.State{Table: endTableName, Count: 1, Changes: journal.AppendChange(nil, &c)}, nil
}

func (t *endTable) Commit(lsn journal.LSN) { t.committed, t.placed, t.changed = t.now, lsn, false }

func (t *endTable) Revert() error {
	t.now, t.changed = t.committed, false
	return nil
}

func (t *endTable) Apply(c journal.Change, lsn journal.LSN, _ uint64) error {
	if !bytes.Equal(c.Key, endTableKey) || c.Deleted {
		return errors.New("the table .end holds one key, last")
	}
	t.now = append([]byte{}, c.Value...)
	t.committed, t.placed = t.now, lsn
	return nil
}

func (t *endTable) Snapshot(yield func(key, value []byte, at journal.LSN) error) error {
	if t.committed == nil {
		return nil
	}
	return yield(endTableKey, t.committed, t.placed)
}
