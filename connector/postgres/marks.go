package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir"
)

// take makes the epoch of at the owner of its mark and returns it. See the package
// comment for why no transaction of an earlier owner can commit after that.
func (db *DB) take(ctx context.Context, pool *pgxpool.Pool, at weir.At) (mark weir.Mark, err error) {
	ctx, cancel := context.WithTimeout(ctx, db.patience()+db.set.Timeout)
	defer cancel()
	tx, err := pool.BeginTx(ctx, db.begin(pgx.ReadCommitted, db.patience()))
	if err != nil {
		return "", explain(err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	m := db.marks.sql()
	if _, err := tx.Exec(ctx, "set local statement_timeout = 0"); err != nil { // it waits for a lock, which has a limit
		return "", explain(err)
	}
	err = tx.QueryRow(ctx, "insert into "+m+` as m (run, stage, epoch, owner, mark) values ($1, $2, $3, $4, '')
		on conflict (run, stage) do update set epoch = excluded.epoch, owner = excluded.owner, moved_at = now()
		where m.epoch < excluded.epoch or m.owner = excluded.owner
		returning mark`, at.Run, at.Stage, int64(at.Epoch), at.EpochID).Scan(&mark)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", db.fenced(ctx, tx, at)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" {
		return "", fmt.Errorf("a transaction of an earlier process has held the mark of stage %s for %v: %w; look for it in pg_stat_activity, and end it with pg_terminate_backend", at.Stage, db.patience(), explain(err))
	}
	if err != nil {
		return "", fmt.Errorf("table %s: %w", db.marks, explain(err))
	}
	if err := tx.Commit(ctx); err != nil {
		return "", fmt.Errorf("table %s: %w", db.marks, explain(err))
	}
	return mark, nil
}

// fenced says who owns the mark.
func (db *DB) fenced(ctx context.Context, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, at weir.At,
) error {
	var epoch int64
	var owner string
	err := q.QueryRow(ctx, "select epoch, owner from "+db.marks.sql()+" where run = $1 and stage = $2", at.Run, at.Stage).Scan(&epoch, &owner)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%w: the mark of run %s, stage %s, has been removed from table %s", ErrFenced, at.Run, at.Stage, db.marks)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrFenced, explain(err))
	case owner == at.EpochID:
		return fmt.Errorf("the mark of run %s, stage %s, in table %s is neither the one before this batch nor the one after it: it was changed from outside", at.Run, at.Stage, db.marks)
	case epoch == int64(at.Epoch):
		return fmt.Errorf("%w: run %s is in epoch %d in two places; one of them is a copy", ErrFenced, at.Run, epoch)
	default:
		return fmt.Errorf("%w: run %s is in epoch %d there, and in %d here", ErrFenced, at.Run, epoch, at.Epoch)
	}
}
