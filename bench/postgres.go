package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir/internal/pgtest"
)

// A postgres is a throw-away PostgreSQL server on a Unix socket, with its default
// settings.
type postgres struct {
	server *pgtest.Server
	admin  *pgx.Conn
	made   int // databases
}

func newPostgres(ctx context.Context) (*postgres, error) {
	server, err := pgtest.Start("max_connections=200")
	if err != nil {
		return nil, err
	}
	admin, err := pgx.Connect(ctx, server.DSN("postgres"))
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return &postgres{server: server, admin: admin}, nil
}

func (p *postgres) stop(ctx context.Context) error {
	return errors.Join(p.admin.Close(ctx), p.server.Stop())
}

// database makes an empty one. drop ends who uses it yet, and removes it.
func (p *postgres) database(ctx context.Context) (dsn string, drop func() error, err error) {
	p.made++
	name := "bench" + strconv.Itoa(p.made)
	if _, err := p.admin.Exec(ctx, "create database "+name); err != nil {
		return "", nil, fmt.Errorf("create database: %w", err)
	}
	return p.server.DSN(name), func() error {
		_, err := p.admin.Exec(ctx, "drop database "+name+" with (force)")
		return err
	}, nil
}

// syncs is how often the server has synced its WAL so far, by its own count: that of
// connections that ended is complete.
func (p *postgres) syncs(ctx context.Context) (n int, err error) {
	err = p.admin.QueryRow(ctx, "select wal_sync from pg_stat_wal").Scan(&n)
	return n, err
}
