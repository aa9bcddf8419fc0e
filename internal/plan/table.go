package plan

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A TypedTable is the Table of a stage that keeps an S for each K. It is used
// by the goroutine of its stage.
//
// A handler calls Open (or Put or Delete) at most once for an item, changes what
// it was given, and then Close, or Undo when the item failed.
type TypedTable[K comparable, S any] struct {
	name string
	keys *payload.KeyType[K]
	typ  *payload.Type[S]
	turn *Turn
	past Past // what its state was in earlier epochs

	rows    map[K]*row[K, S]
	live    int
	sorted  []K            // the keys of rows, some of them removed since; nil if rows were added
	changes []change[K, S] // since the last Commit, in order of first touch

	now struct { // the item under way
		row   *row[K, S]
		fresh bool // it is the first since the last Commit to touch the row
		value S    // what it was before the item, in mode Share
		live  bool
	}
	scratch []byte // one encoded value
	out     []byte // the sealed changes
}

var _ Table = (*TypedTable[int, int])(nil)

type row[K comparable, S any] struct {
	key   K
	text  string // encoded key
	value S
	live  bool        // false for a deleted row whose deletion is not committed
	at    journal.LSN // of the last committed change
	open  int         // index in changes plus one; zero if there is none
}

// A change is what an open transition does to a row, and how to take it back.
type change[K comparable, S any] struct {
	row   *row[K, S]
	live  bool   // whether the row existed before
	value S      // what it was, unless the mode is Decode
	data  []byte // what it was, encoded, in mode Decode
	items []int  // that touched it
	from  Origin // the accepted input that did, if it was no item
}

// NewTable returns an empty table of a node with that turn.
func NewTable[K comparable, S any](name string, keys *payload.KeyType[K], typ *payload.Type[S], turn *Turn) *TypedTable[K, S] {
	return &TypedTable[K, S]{name: name, keys: keys, typ: typ, turn: turn, rows: map[K]*row[K, S]{}}
}

// Remember says what the state was in earlier epochs; see Rememberer.
func (t *TypedTable[K, S]) Remember(past Past) { t.past = past }

// Name returns the table's name.
func (t *TypedTable[K, S]) Name() string { return t.name }

// Len returns the number of keys.
func (t *TypedTable[K, S]) Len() int { return t.live }

// Open returns the state of k for the present item to change, as start makes it
// if there is none, and the encoded key. The pointer is valid until Close or
// Undo. An error is a key that cannot be written.
func (t *TypedTable[K, S]) Open(k K, start func(K) S) (*S, string, error) {
	r, err := t.touch(k)
	if err != nil {
		return nil, "", err
	}
	if !r.live {
		r.value = start(k)
		r.live = true
		t.live++
	}
	return &r.value, r.text, nil
}

// Put sets the state of k. It keeps nothing that v refers to.
func (t *TypedTable[K, S]) Put(k K, v S) error {
	r, err := t.touch(k)
	if err != nil {
		return err
	}
	if !r.live {
		r.live = true
		t.live++
	}
	r.value = v
	t.typ.Normalize(&r.value)
	return nil
}

// Delete removes k; nothing happens if it is not there.
func (t *TypedTable[K, S]) Delete(k K) error {
	if r, ok := t.rows[k]; !ok || !r.live {
		return nil
	}
	_, err := t.touch(k)
	t.Drop()
	return err
}

// Drop removes the row that the present item opened.
func (t *TypedTable[K, S]) Drop() {
	if r := t.now.row; r != nil && r.live {
		var zero S
		r.value, r.live = zero, false
		t.live--
	}
}

// Close ends the present item's change.
func (t *TypedTable[K, S]) Close() {
	if r := t.now.row; r != nil {
		if r.live && t.typ.Mode == payload.Share {
			t.typ.Normalize(&r.value)
		}
		t.now.row = nil
	}
}

// Undo takes the present item's change back. It reports dirty if it cannot: then
// the row holds a part of it until Revert.
func (t *TypedTable[K, S]) Undo() (dirty bool) {
	r := t.now.row
	if r == nil {
		return false
	}
	t.now.row = nil
	c := &t.changes[r.open-1]
	if t.now.fresh {
		t.restore(c)
		*c = change[K, S]{items: c.items[:0]}
		t.changes = t.changes[:len(t.changes)-1]
		return false
	}
	if n := len(c.items) - 1; c.items[n] == t.turn.Item {
		c.items = c.items[:n]
	}
	if t.typ.Mode != payload.Share {
		return true
	}
	t.set(r, t.now.value, t.now.live)
	return false
}

// Get returns the state of k, for the caller alone.
func (t *TypedTable[K, S]) Get(k K) (v S, ok bool) {
	r, ok := t.rows[k]
	if !ok || !r.live {
		return v, false
	}
	return t.copy(&r.value), true
}

// Peek returns the state of k, not to be changed or kept; nil if there is none.
func (t *TypedTable[K, S]) Peek(k K) *S {
	if r, ok := t.rows[k]; ok && r.live {
		return &r.value
	}
	return nil
}

// Ascend yields the keys and their encodings in ascending order, from the first
// one after the encoded key after (nil means all), until yield returns false.
// yield may change the state of the key it was given.
func (t *TypedTable[K, S]) Ascend(after []byte, yield func(k K, text string) bool) error {
	if t.sorted == nil {
		t.sorted = slices.SortedFunc(maps.Keys(t.rows), t.keys.Compare)
	}
	first := 0
	if after != nil {
		k, err := t.keys.Parse(string(after))
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		at, found := slices.BinarySearchFunc(t.sorted, k, t.keys.Compare)
		if first = at; found {
			first++
		}
	}
	for _, k := range t.sorted[first:] {
		if r := t.rows[k]; r != nil && r.live && !yield(k, r.text) {
			return nil
		}
	}
	return nil
}

// touch finds or adds the row of k and notes how to take the present item's
// change back.
func (t *TypedTable[K, S]) touch(k K) (*row[K, S], error) {
	r, ok := t.rows[k]
	if !ok {
		text, err := t.keys.Append(nil, k)
		if err != nil {
			return nil, err
		}
		r = &row[K, S]{key: k, text: string(text)}
		t.rows[k], t.sorted = r, nil
	}
	t.now.row, t.now.fresh = r, r.open == 0
	if !t.now.fresh {
		if t.typ.Mode == payload.Share {
			t.now.value, t.now.live = r.value, r.live
		}
		c := &t.changes[r.open-1]
		if n := len(c.items); t.turn.Item >= 0 && (n == 0 || c.items[n-1] != t.turn.Item) {
			c.items = append(c.items, t.turn.Item)
		}
		return r, nil
	}
	var items []int
	if n := len(t.changes); n < cap(t.changes) {
		items = t.changes[:n+1][n].items[:0] // of an earlier transition
	}
	c := change[K, S]{row: r, live: r.live, items: items}
	if r.live {
		if err := t.save(&c); err != nil {
			t.now.row = nil
			return nil, err
		}
	}
	if t.turn.Item >= 0 {
		c.items = append(c.items, t.turn.Item)
	} else if len(t.turn.From) > 0 {
		c.from = t.turn.From[0]
	}
	t.changes = append(t.changes, c)
	r.open = len(t.changes)
	return r, nil
}

func (t *TypedTable[K, S]) save(c *change[K, S]) (err error) {
	switch t.typ.Mode {
	case payload.Share:
		c.value = c.row.value
	case payload.Clone:
		t.typ.CloneTo(&c.value, &c.row.value)
	default:
		c.data, err = t.typ.Append(nil, &c.row.value)
	}
	return err
}

func (t *TypedTable[K, S]) copy(v *S) S {
	switch t.typ.Mode {
	case payload.Share:
		return *v
	case payload.Clone:
		return t.typ.Clone(v)
	case payload.Decode:
	}
	var err error
	if t.scratch, err = t.typ.Append(t.scratch[:0], v); err == nil {
		var c S
		if err = t.typ.DecodeInto(t.scratch, &c); err == nil {
			return c
		}
	}
	panic(fmt.Sprintf("weir: a row of table %s was read once and cannot be copied: %v", t.name, err))
}

// restore puts a row back to what it was at the last Commit.
func (t *TypedTable[K, S]) restore(c *change[K, S]) {
	r := c.row
	r.open = 0
	v := c.value
	if c.live && t.typ.Mode == payload.Decode {
		if err := t.typ.DecodeInto(c.data, &v); err != nil {
			panic(fmt.Sprintf("weir: a row of table %s was read once and cannot be read again: %v", t.name, err))
		}
	}
	t.set(r, v, c.live)
	if !c.live {
		delete(t.rows, r.key)
	}
}

func (t *TypedTable[K, S]) set(r *row[K, S], v S, live bool) {
	switch {
	case live && !r.live:
		t.live++
	case !live && r.live:
		t.live--
	}
	r.value, r.live = v, live
}

// Changed is how many keys changed since the last Commit.
func (t *TypedTable[K, S]) Changed() int { return len(t.changes) }

// Seal writes the changes; see Table. What it returns is valid until Commit or
// Revert.
func (t *TypedTable[K, S]) Seal() (journal.State, error) {
	t.out = t.out[:0]
	for i := range t.changes {
		c := &t.changes[i]
		r := c.row
		jc := journal.Change{Key: []byte(r.text), Deleted: !r.live, Previous: r.at, Items: c.items, Journal: c.from.Journal, Seq: c.from.Seq}
		if r.live {
			if err := t.encode(r); err != nil {
				return journal.State{}, fmt.Errorf("the state of key %q cannot be recorded: %w", r.text, err)
			}
			jc.Value = t.scratch
		}
		t.out = journal.AppendChange(t.out, &jc)
	}
	return journal.State{Table: t.name, Count: len(t.changes), Changes: t.out}, nil
}

// encode writes a row to scratch and makes it what decoding gives.
func (t *TypedTable[K, S]) encode(r *row[K, S]) (err error) {
	t.typ.Normalize(&r.value)
	if t.scratch, err = t.typ.Append(t.scratch[:0], &r.value); err != nil {
		return err
	}
	if t.typ.Mode == payload.Decode {
		return t.typ.DecodeInto(t.scratch, &r.value)
	}
	return nil
}

// Commit accepts the changes.
func (t *TypedTable[K, S]) Commit(lsn journal.LSN) {
	for i := range t.changes {
		c := &t.changes[i]
		r := c.row
		r.at, r.open = lsn, 0
		if !r.live {
			delete(t.rows, r.key)
		}
		*c = change[K, S]{items: c.items[:0]}
	}
	t.changes = t.changes[:0]
}

// Revert undoes the changes since the last Commit.
func (t *TypedTable[K, S]) Revert() error {
	t.now.row = nil
	for i := len(t.changes) - 1; i >= 0; i-- {
		c := &t.changes[i]
		t.restore(c)
		*c = change[K, S]{items: c.items[:0]}
	}
	t.changes = t.changes[:0]
	return nil
}

// Apply sets what recovery read; see Table.
func (t *TypedTable[K, S]) Apply(c journal.Change, lsn journal.LSN, epoch uint64) error {
	text := string(c.Key)
	k, err := t.keys.Parse(text)
	if err != nil {
		return fmt.Errorf("table %s: %w", t.name, err)
	}
	r, ok := t.rows[k]
	if c.Deleted {
		if ok {
			t.live--
			delete(t.rows, k)
		}
		return nil
	}
	if !ok {
		r = &row[K, S]{key: k, text: text, live: true}
		t.live++
		t.rows[k], t.sorted = r, nil
	}
	r.at = lsn
	if err := t.read(c.Value, epoch, &r.value); err != nil {
		return fmt.Errorf("table %s, key %q: %w", t.name, text, err)
	}
	return nil
}

// read decodes what was written in an epoch.
func (t *TypedTable[K, S]) read(data []byte, epoch uint64, v *S) error {
	if was := t.past.At(epoch); was != nil {
		return t.typ.DecodeState(payload.Recorded{Name: was.Name, Schema: was.Schema}, data, v)
	}
	return t.typ.DecodeInto(data, v)
}

// Try reports why a value that was written in an epoch cannot be read; see
// Rememberer.
func (t *TypedTable[K, S]) Try(data []byte, epoch uint64) error {
	var v S
	return t.read(data, epoch, &v)
}

// Reads tells how state is read that was recorded as was; see Reader.
func (t *TypedTable[K, S]) Reads(was topology.Type) Reading {
	r := t.typ.Reads(payload.Recorded{Name: was.Name, Schema: was.Schema})
	switch {
	case hex.EncodeToString(t.typ.SchemaHash[:]) == was.Schema:
		return Same
	case r == payload.Upcast:
		return Upcast
	case t.typ.Widens(was.Shape):
		return Widened
	}
	return Unreadable
}

// Snapshot yields every entry; see Table.
func (t *TypedTable[K, S]) Snapshot(yield func(key, value []byte, at journal.LSN) error) error {
	rows := slices.SortedFunc(maps.Values(t.rows), func(a, b *row[K, S]) int { return strings.Compare(a.text, b.text) })
	for _, r := range rows {
		if !r.live {
			continue
		}
		if err := t.encode(r); err != nil {
			return fmt.Errorf("table %s, key %q: %w", t.name, r.text, err)
		}
		if err := yield([]byte(r.text), t.scratch, r.at); err != nil {
			return err
		}
	}
	return nil
}
