package postgres_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/effect"
)

// Transactions have the limits of the configuration, and are durable though others
// here are not.
func TestTransactionSettings(t *testing.T) {
	b := newBase(t)
	b.exec("alter database " + b.name + " set synchronous_commit = off")
	b.exec("alter database " + b.name + " set client_encoding = 'LATIN1'")
	c := b.config()
	c.Timeout, c.IdleTimeout = 90*time.Second, 12*time.Second+time.Microsecond
	db := declare(t, c)
	var got []string
	err := postgres.Tx(db).Commit(t.Context(), "k", func(tx pgx.Tx) ([]byte, error) {
		for _, name := range []string{"statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "synchronous_commit", "transaction_isolation", "application_name", "client_encoding"} {
			var v string
			if err := tx.QueryRow(t.Context(), "show "+name).Scan(&v); err != nil {
				return nil, err
			}
			got = append(got, v)
		}
		return nil, nil
	})
	if want := []string{"90s", "12001ms", "0", "on", "read committed", "weir", "UTF8"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	pool, err := db.Pool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var outside string
	if err := pool.QueryRow(t.Context(), "show synchronous_commit").Scan(&outside); err != nil || outside != "off" {
		t.Errorf("outside of transactions: %s, %v", outside, err)
	}
}

// Our tables have the names that they are given, are made once by however many ask
// for them at the same time, and are left to others if that is wanted.
func TestTables(t *testing.T) {
	b := newBase(t, unkeyed, `create schema "We.ir"`)
	worker := b.role("worker")
	b.exec("grant insert on trades to "+worker, "create type taken as enum ()")
	use := func(user, marks, effects string, noCreate bool) error {
		db := declare(t, postgres.Config{DSN: b.dsn(b.dir, user), Marks: marks, Effects: effects, NoCreate: noCreate})
		_, err := postgres.Copy[trade](db, "trades").OpenTx(t.Context(), weir.At{Run: "r", Stage: user, Epoch: 1, EpochID: user})
		if err != nil {
			return err
		}
		return postgres.Tx(db).Commit(t.Context(), user, func(pgx.Tx) ([]byte, error) { return nil, nil })
	}
	for _, c := range []struct {
		user, marks, effects string
		noCreate             bool
		says                 string
	}{
		{"weir", "", "", true, `there is no table weir_marks, and Config.NoCreate leaves it to you: create table "weir_marks" (`},
		{worker, "", "", false, "create table weir_marks: insufficient privilege (SQLSTATE 42501): permission denied for schema public"},
		{"weir", "taken", "", false, `create table taken: syntax error or access rule violation (SQLSTATE 42710): type "taken" already exists`},
		{"weir", `"We.ir".marks`, `"We.ir".Effects`, false, ""},
		{"weir", "", "", false, ""},
		{worker, "", "", true, "table weir_marks: insufficient privilege (SQLSTATE 42501): permission denied for table weir_marks"},
	} {
		err := use(c.user, c.marks, c.effects, c.noCreate)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	b.exec(`grant insert, select, update on weir_marks, weir_effects to ` + worker)
	if err := use(worker, "", "", true); err != nil {
		t.Errorf("with the rights that the package comment names: %v", err)
	}
	for _, table := range []string{`"We.ir".marks`, `"We.ir"."Effects"`, "weir_marks", "weir_effects"} {
		if b.number("select count(*) from "+table) == 0 {
			t.Errorf("nothing is in %s", table)
		}
	}
	b.exec("drop table weir_effects")
	var dbs []*postgres.DB
	for range 8 {
		dbs = append(dbs, declare(t, b.config()))
	}
	for range 20 { // the server tells of a table that somebody else just made in several ways
		b.exec("drop table weir_marks")
		errs := make(chan error)
		for i, db := range dbs {
			go func() {
				_, err := postgres.Insert[trade](db, "trades").OpenTx(context.WithoutCancel(t.Context()), weir.At{Run: "r", Stage: strconv.Itoa(i), Epoch: 1})
				errs <- err
			}()
		}
		for range dbs {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
}

// A replay opens nothing: it needs no database.
func TestReplayNeedsNoDatabase(t *testing.T) {
	b := newBase(t, unkeyed, paymentsDDL)
	flow := func(dsn weir.Secret) *weir.Definition {
		return weir.Define("trading", func(f *weir.Flow) {
			db := postgres.Open(f, "db", postgres.Config{DSN: dsn})
			in := weir.From(f, "trades", weir.Slice(trades(20)))
			done, _ := weir.Perform(in, "pay", effect.Transactional("pay", postgres.Tx(db), func(ctx context.Context, tx pgx.Tx, v trade) (trade, error) {
				_, err := tx.Exec(ctx, "insert into payments (trade) values ($1)", v.ID)
				return v, err
			}))
			weir.Into(done, "ledger", weir.ExactlyOnce(postgres.Copy[trade](db, "trades")))
		})
	}
	o := weir.Options{Logger: quiet, Dir: t.TempDir()}
	sum, err := flow(b.dsn(b.dir, "weir")).Run(t.Context(), o)
	if err != nil || sum.Out != 20 {
		t.Fatalf("%+v, %v", sum, err)
	}
	if sum, err := flow("host=/no/such/place").Replay(t.Context(), sum.Dir, weir.Options{Logger: quiet}); err != nil || sum.Status != weir.Completed {
		t.Errorf("replay: %+v, %v", sum, err)
	}
	b.each(20)
}
