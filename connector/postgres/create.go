package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
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
	var there bool
	if err := pool.QueryRow(ctx, "select to_regclass($1) is not null", t.sql()).Scan(&there); err != nil {
		return explain(err)
	}
	if there {
		return nil
	}
	sql := fmt.Sprintf(ddl, t.sql())
	if db.set.NoCreate {
		return fmt.Errorf("there is no table %s, and Config.NoCreate leaves it to you: %s", t, sql)
	}
	_, err := pool.Exec(ctx, sql)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (pg.Code == "42P07" || pg.Code == "23505" && pg.SchemaName == "pg_catalog") {
		return nil // somebody else just made it
	}
	if err != nil {
		return fmt.Errorf("create table %s: %w", t, explain(err))
	}
	return nil
}
