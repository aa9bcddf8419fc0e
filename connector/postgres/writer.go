package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir"
)

// A writer is a sink that is open. It belongs to one goroutine.
type writer[T any] struct {
	db   *DB
	pool *pgxpool.Pool
	at   weir.At
	mark weir.Mark // the one stored last, as far as is known

	sql     string // that writes rows
	copies  bool
	text    bool     // of copies: in text, because a type has no other form
	oids    []uint32 // of inserts: the parameters'
	formats []int16  // likewise
	slots   []slot
	id      bool // the last column is the delivery's id

	unsure bool // a commit was sent and not answered: mark may be the one after it
	rows   rows
	stream []byte
}

// Mark returns the mark found when the sink was opened.
func (w *writer[T]) Mark(context.Context) (weir.Mark, error) { return w.mark, nil }

// Close does nothing: the pool belongs to the run.
func (w *writer[T]) Close() error { return nil }

// Commit writes the batch and the mark; see weir.TxWriter.
func (w *writer[T]) Commit(ctx context.Context, batch []weir.Delivery[T], mark weir.Mark) error {
	ctx, cancel := context.WithTimeout(ctx, w.db.set.Timeout)
	defer cancel()
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return explain(err)
	}
	defer conn.Release()
	if err := encode(&w.rows, w.slots, conn.Conn().TypeMap(), w.id, batch); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, w.db.begin(pgx.ReadCommitted, 0))
	if err != nil {
		return explain(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	if w.unsure {
		done, err := w.look(ctx, tx, mark)
		if done || err != nil {
			return err
		}
	}
	if err := w.write(ctx, conn.Conn()); err != nil {
		return explainRow(err)
	}
	moved, err := w.move(ctx, tx, mark)
	if err != nil {
		return explain(err)
	}
	if !moved {
		return w.db.fenced(ctx, tx, w.at)
	}
	if err := tx.Commit(ctx); err != nil {
		w.unsure = true
		return explainRow(fmt.Errorf("commit: %w", err)) // a constraint may be deferred
	}
	w.mark, w.unsure = mark, false
	return nil
}

// look finds out what became of a commit that was not answered: done says that
// it was the one of mark, and that it is committed. The row stays locked, so a
// transaction that is still at it has ended.
func (w *writer[T]) look(ctx context.Context, tx pgx.Tx, mark weir.Mark) (done bool, err error) {
	var owner string
	var stored weir.Mark
	err = tx.QueryRow(ctx, "select owner, mark from "+w.db.marks.sql()+" where run = $1 and stage = $2 for update", w.at.Run, w.at.Stage).Scan(&owner, &stored)
	switch {
	case errors.Is(err, pgx.ErrNoRows) || err == nil && owner != w.at.EpochID:
		return false, w.db.fenced(ctx, tx, w.at)
	case err != nil:
		return false, explain(err)
	case stored == mark:
		w.mark, w.unsure = mark, false
		return true, nil
	}
	return false, nil
}

// move stores mark if it follows the one before and we own it.
func (w *writer[T]) move(ctx context.Context, tx pgx.Tx, mark weir.Mark) (bool, error) {
	tag, err := tx.Exec(ctx, "update "+w.db.marks.sql()+" set mark = $5, moved_at = now() where run = $1 and stage = $2 and owner = $3 and mark = $4",
		w.at.Run, w.at.Stage, w.at.EpochID, string(w.mark), string(mark))
	return tag.RowsAffected() == 1, err
}

// write writes the rows.
func (w *writer[T]) write(ctx context.Context, conn *pgx.Conn) error {
	if w.rows.len() == 0 {
		return nil
	}
	if w.copies {
		if w.text {
			w.stream = w.rows.appendText(w.stream[:0])
		} else {
			w.stream = w.rows.appendBinary(w.stream[:0])
		}
		_, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(w.stream), w.sql)
		if err != nil {
			w.stream = nil // with a connection that was lost, somebody may read on in it
		}
		return err
	}
	p := conn.PgConn().StartPipeline(ctx)
	p.SendPrepare("", w.sql, w.oids)
	for i := range w.rows.len() {
		p.SendQueryPrepared("", w.rows.row(i), w.formats, nil)
	}
	if err := p.Sync(); err != nil {
		return errors.Join(err, p.Close())
	}
	var failed error
	for failed == nil {
		result, err := p.GetResults()
		if r, ok := result.(*pgconn.ResultReader); ok && err == nil {
			_, err = r.Close()
		}
		if failed = err; result == nil {
			break
		}
	}
	if err := p.Close(); failed == nil {
		failed = err
	}
	return failed
}
