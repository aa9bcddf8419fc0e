package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// What our tables are made of. They are also in the package comment.
const (
	marksDDL = `create table %s (
  run      text        not null,
  stage    text        not null,
  epoch    bigint      not null,
  owner    text        not null,
  mark     text        not null,
  moved_at timestamptz not null default now(),
  primary key (run, stage)
)`
	effectsDDL = `create table %s (
  key          text        primary key,
  outcome      bytea       not null,
  committed_at timestamptz not null default now()
)`
)

// create makes one of our tables unless it is there.
func (db *DB) create(ctx context.Context, pool *pgxpool.Pool, t table, ddl string) error {
	there := func() (there bool, err error) {
		err = pool.QueryRow(ctx, "select to_regclass($1) is not null", t.sql()).Scan(&there)
		return there, err
	}
	if ok, err := there(); err != nil || ok {
		return explain(err)
	}
	sql := fmt.Sprintf(ddl, t.sql())
	if db.set.NoCreate {
		return fmt.Errorf("there is no table %s, and Config.NoCreate leaves it to you: %s", t, sql)
	}
	_, err := pool.Exec(ctx, sql)
	if err != nil { // perhaps somebody else just made it: the errors of that are many
		if ok, again := there(); again == nil && ok {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("create table %s: %w", t, explain(err))
	}
	return nil
}
