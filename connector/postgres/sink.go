package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/weirflow/weir"
)

// A Sink writes a row for each payload, once: rows and how far they go are
// committed together. Make one with [Insert], [Upsert] or [Copy], and a sink of a
// flow with weir.ExactlyOnce.
//
// T is a struct. Each exported field goes into the column of its tag, `db:"name"`,
// or else of its name in snake case; `db:"-"` leaves one out, and columns without
// a field get their default. What does not fit is told when the sink opens.
type Sink[T any] struct {
	db   *DB
	name string
	how  statement
	key  []string

	// DeliveryID names a column of type text for the id of each delivery, which is
	// never used for another. Empty means that there is none.
	DeliveryID string
}

var _ weir.TransactionalSink[struct{}] = (*Sink[struct{}])(nil)

// A statement is how rows are written.
type statement uint8

const (
	inserts statement = iota
	upserts
	copies
)

// Insert returns a Sink that inserts rows, one statement for each, all sent at once.
func Insert[T any](db *DB, table string) *Sink[T] {
	return &Sink[T]{db: db, name: table, how: inserts}
}

// Upsert returns a Sink that inserts rows, or replaces the other columns of the row
// that has the same key. The table must have a unique index of just the key's
// columns. Of several payloads with one key the last wins. A table of nothing but
// its key keeps the rows that it has.
func Upsert[T any](db *DB, table string, key ...string) *Sink[T] {
	return &Sink[T]{db: db, name: table, how: upserts, key: key}
}

// Copy returns a Sink that writes rows with COPY, which is faster than [Insert] and
// takes tables only: no views, unless a trigger stands for them, and no tables
// with row security.
func Copy[T any](db *DB, table string) *Sink[T] {
	return &Sink[T]{db: db, name: table, how: copies}
}

// OpenTx compares T with the table and takes ownership; see weir.TransactionalSink.
// It waits for the transaction of an earlier owner that is at its commit, at most
// twice Config.IdleTimeout: longer than the server lets such a one live.
func (s *Sink[T]) OpenTx(ctx context.Context, at weir.At) (weir.TxWriter[T], error) {
	w := &writer[T]{db: s.db, at: at}
	if err := s.open(ctx, w); err != nil {
		return nil, fmt.Errorf("table %s: %w", s.name, err)
	}
	return w, nil
}

func (s *Sink[T]) open(ctx context.Context, w *writer[T]) error {
	if s.db == nil {
		return errors.New("the sink has no database; make one with postgres.Open")
	}
	pool, err := s.db.Pool(ctx)
	if err != nil {
		return err
	}
	w.pool = pool
	if err := s.prepare(ctx, w); err != nil {
		return err
	}
	if err := s.db.create(ctx, pool, s.db.marks, marksDDL); err != nil {
		return err
	}
	w.mark, err = s.db.take(ctx, pool, w.at)
	return err
}

// prepare finds out how rows are written.
func (s *Sink[T]) prepare(ctx context.Context, w *writer[T]) error {
	t, err := parseTable(s.name)
	if err != nil {
		return err
	}
	fields, err := fieldsOf(reflect.TypeFor[T]())
	if err != nil {
		return err
	}
	tx, err := w.pool.BeginTx(ctx, s.db.begin(pgx.ReadCommitted, 0))
	if err != nil {
		return explain(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // it changed nothing
	there, err := t.inspect(ctx, tx)
	if err != nil {
		return err
	}
	wanted := fields
	if s.DeliveryID != "" {
		wanted = append(slices.Clip(fields), field{name: "DeliveryID of the sink", column: s.DeliveryID, typ: reflect.TypeFor[string]()})
	}
	slots, err := match(t, wanted, there, tx.Conn().TypeMap())
	if err != nil {
		return err
	}
	if s.how == upserts {
		if err := s.keys(ctx, tx, t, slots); err != nil {
			return err
		}
	}
	w.setup(t, s.how, s.key, slots, s.DeliveryID != "")
	return nil
}

// keys checks the key of an upsert.
func (s *Sink[T]) keys(ctx context.Context, tx pgx.Tx, t table, slots []slot) error {
	if len(s.key) == 0 {
		return errors.New("Upsert needs the columns of a key")
	}
	for _, k := range s.key {
		if !slices.ContainsFunc(slots, func(s slot) bool { return s.column == k }) {
			return fmt.Errorf("no field is column %s of the key", k)
		}
	}
	return t.unique(ctx, tx, s.key)
}

// setup makes the statements.
func (w *writer[T]) setup(t table, how statement, key []string, slots []slot, id bool) {
	names := make([]string, len(slots))
	for i, s := range slots {
		names[i] = s.column
	}
	if w.copies = how == copies; w.copies {
		format := "binary"
		if w.text = slices.ContainsFunc(slots, func(s slot) bool { return s.format == pgtype.TextFormatCode }); w.text {
			format = "text"
			for i := range slots {
				slots[i].format = pgtype.TextFormatCode
			}
		}
		w.sql = fmt.Sprintf("copy %s (%s) from stdin with (format %s)", t.sql(), columns(names), format)
	} else {
		w.sql = insert(t, names)
		if how == upserts {
			w.sql += onConflict(key, names)
		}
		for _, s := range slots {
			w.oids, w.formats = append(w.oids, s.oid), append(w.formats, s.format)
		}
	}
	if w.id = id; id {
		slots = slots[:len(slots)-1]
	}
	w.slots = slots
}

func insert(t table, names []string) string {
	var values strings.Builder
	for i := range names {
		if i > 0 {
			values.WriteString(", ")
		}
		fmt.Fprintf(&values, "$%d", i+1)
	}
	return fmt.Sprintf("insert into %s (%s) values (%s)", t.sql(), columns(names), values.String())
}

func onConflict(key, names []string) string {
	var sets []string
	for _, n := range names {
		if !slices.Contains(key, n) {
			sets = append(sets, fmt.Sprintf("%s = excluded.%s", columns([]string{n}), columns([]string{n})))
		}
	}
	if len(sets) == 0 {
		return fmt.Sprintf(" on conflict (%s) do nothing", columns(key))
	}
	return fmt.Sprintf(" on conflict (%s) do update set %s", columns(key), strings.Join(sets, ", "))
}

// patience is how long an open waits for a transaction of an earlier owner.
func (db *DB) patience() time.Duration { return 2 * db.set.IdleTimeout }
