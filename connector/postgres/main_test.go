package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/internal/pgtest"
)

func TestMain(m *testing.M) {
	if child := os.Getenv(childVar); child != "" {
		os.Exit(beChild(child))
	}
	os.Exit(pgtest.Main(m))
}

var quiet = slog.New(slog.DiscardHandler)

var databases atomic.Int64

// A base is a database of a test's own.
type base struct {
	t    testing.TB
	name string
	dir  string // of the server's socket
	pool *pgxpool.Pool
}

// newBase makes a database and executes statements in it.
func newBase(t testing.TB, statements ...string) *base {
	t.Helper()
	server := pgtest.Of(t)
	b := &base{t: t, name: fmt.Sprintf("t%d", databases.Add(1)), dir: server.Dir}
	admin, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	if _, err := admin.Exec(t.Context(), "create database "+b.name); err != nil {
		t.Fatal(err)
	}
	if b.pool, err = pgxpool.New(t.Context(), server.DSN(b.name)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.pool.Close)
	b.exec(statements...)
	return b
}

// dsn is how to reach b through the socket in dir, as a user.
func (b *base) dsn(dir, user string) weir.Secret {
	return weir.Secret(fmt.Sprintf("host=%s user=%s dbname=%s", dir, user, b.name))
}

// config reaches b as its owner.
func (b *base) config() postgres.Config { return postgres.Config{DSN: b.dsn(b.dir, "weir")} }

func (b *base) exec(statements ...string) {
	b.t.Helper()
	for _, sql := range statements {
		if _, err := b.pool.Exec(b.t.Context(), sql); err != nil {
			b.t.Fatalf("%s: %v", sql, err)
		}
	}
}

// role makes a role that may log in, and returns its name: roles are the server's.
func (b *base) role(name string) string {
	b.t.Helper()
	name += "_" + b.name
	b.exec("create role " + name + " login")
	return name
}

// texts returns the rows of a query, each as one text.
func (b *base) texts(sql string, args ...any) []string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), "select q::text from ("+sql+") q", args...)
	if err != nil {
		b.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// number returns the one number of a query.
func (b *base) number(sql string, args ...any) (n int) {
	b.t.Helper()
	if err := b.pool.QueryRow(b.t.Context(), sql, args...).Scan(&n); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// declare returns a database outside of any run, for what is opened by hand.
func declare(t testing.TB, c postgres.Config) *postgres.DB {
	t.Helper()
	var db *postgres.DB
	_, _ = weir.Define("by_hand", func(f *weir.Flow) { db = postgres.Open(f, "db", c) }).Graph(nil)
	t.Cleanup(func() {
		if pool, err := db.Pool(context.Background()); err == nil { //nolint:usetesting // t.Context is over
			pool.Close()
		}
	})
	return db
}
