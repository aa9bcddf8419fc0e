package history

import (
	"bytes"

	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
)

// keyed remembers where the keys of a stage changed last.
type keyed struct{ tables map[string]*places }

// places is a table that keeps positions in place of values.
type places struct {
	name string
	last map[string]journal.LSN
}

func (t *places) Name() string { return t.name }

func (t *places) Apply(c journal.Change, at journal.LSN, _ uint64) error {
	t.last[string(c.Key)] = at
	return nil
}

// emitted returns the chain of the state entry from which p emitted a record,
// where p itself does not change it.
func (w *tracer) emitted(p *journal.Placed, key []byte, moment moment, depth int) ([]Cause, error) {
	k, err := w.load(p.Stage)
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(k.tables) {
		at, ok := k.tables[name].last[string(key)]
		if !ok {
			continue
		}
		at, err := w.before(p, name, key, at)
		if err != nil {
			return nil, err
		}
		if at == 0 {
			continue
		}
		if moment.shown { // the record says itself what it shows
			return nil, nil
		}
		c, left, err := w.changeAt(p.Stage, name, key, at, depth, 1)
		if err != nil {
			return nil, err
		}
		return []Cause{{Kind: CauseState, Change: c, Left: left, Value: unless(c != nil, text(key))}}, nil
	}
	return []Cause{{Kind: CauseState, Value: text(key), Left: "the key was deleted since, its changes are not indexed"}}, nil
}

// before follows a key's chain from the change at at back to the last one that
// came before p.
func (w *tracer) before(p *journal.Placed, table string, key []byte, at journal.LSN) (journal.LSN, error) {
	for at > p.Last {
		q, err := journal.TransitionAt(w.run.log, at)
		if err != nil {
			return 0, err
		}
		at = 0
		err = changesOf(q, func(name string, c *journal.Change) error {
			if name == table && bytes.Equal(c.Key, key) && c.Previous < q.First {
				at = c.Previous
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return at, nil
}

// load reads where the keys of a stage changed last.
func (w *tracer) load(stage string) (*keyed, error) {
	if k, ok := w.keys[stage]; ok {
		return k, nil
	}
	k := &keyed{tables: map[string]*places{}}
	_, err := w.run.recover(func(s, name string) (recovery.Table, error) {
		if s != stage {
			return nil, nil
		}
		t := &places{name: name, last: map[string]journal.LSN{}}
		k.tables[name] = t
		return t, nil
	})
	if err != nil {
		return nil, err
	}
	if w.keys == nil {
		w.keys = map[string]*keyed{}
	}
	w.keys[stage] = k
	return k, nil
}
