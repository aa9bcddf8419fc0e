package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/policy"
)

const paymentsDDL = `create table payments (number bigint generated always as identity, trade bigint, cents bigint check (cents < 5000))`

// add inserts a payment and returns an outcome.
func add(ctx context.Context, trade int) func(pgx.Tx) ([]byte, error) {
	return func(tx pgx.Tx) ([]byte, error) {
		_, err := tx.Exec(ctx, "insert into payments (trade) values ($1)", trade)
		return fmt.Appendf(nil, "paid %d", trade), err
	}
}

func TestPort(t *testing.T) {
	b := newBase(t, paymentsDDL)
	p := postgres.Tx(declare(t, b.config()))
	ctx := t.Context()
	lookup := func(key, want string) {
		t.Helper()
		got, found, err := p.Lookup(ctx, key)
		if err != nil || found != (want != "") || string(got) != want {
			t.Errorf("Lookup(%s) = %q, %t, %v; want %q", key, got, found, err, want)
		}
	}
	lookup("a", "")
	if err := p.Commit(ctx, "a", add(ctx, 1)); err != nil {
		t.Fatal(err)
	}
	lookup("a", "paid 1")
	err := p.Commit(ctx, "a", func(pgx.Tx) ([]byte, error) { t.Error("it is done again"); return nil, nil })
	if known := (*plan.RefusedError)(nil); err == nil || errors.As(err, &known) {
		t.Errorf("a key that is committed: %v", err)
	}
	lookup("a", "paid 1")

	no := errors.New("no")
	err = p.Commit(ctx, "b", func(tx pgx.Tx) ([]byte, error) {
		_, _ = add(ctx, 2)(tx)
		return nil, no
	})
	if !errors.Is(err, no) {
		t.Errorf("an action that fails: %v", err)
	}
	lookup("b", "")
	err = p.Commit(ctx, "b", func(tx pgx.Tx) ([]byte, error) {
		if err := errors.Join(tx.Commit(ctx), tx.Rollback(ctx)); err == nil {
			t.Error("it can end the transaction")
		}
		inner, err := tx.Begin(ctx)
		if err != nil {
			return nil, err
		}
		_, _ = add(ctx, 3)(inner)
		return nil, inner.Rollback(ctx)
	})
	if err != nil {
		t.Error(err)
	}
	if _, found, err := p.Lookup(ctx, "b"); !found || err != nil {
		t.Errorf("an empty outcome: %t, %v", found, err)
	}
	if n := b.number("select count(*) from payments"); n != 1 {
		t.Errorf("%d payments, want 1", n)
	}
}

// What the database says about an action decides whether it is tried again, unless
// the action decides; and no value is told.
func TestVerdicts(t *testing.T) {
	b := newBase(t, paymentsDDL,
		`create table firm (id int primary key, boss int references firm deferrable initially deferred)`,
		`create function loud() returns void language plpgsql as $$ begin raise exception '4711'; end $$`)
	port := postgres.Tx(declare(t, b.config()))
	action := func(sql string, mark func(error) error) (err error) {
		e := effect.Transactional("a", port, func(ctx context.Context, tx pgx.Tx, _ string) (string, error) {
			_, err := tx.Exec(ctx, sql)
			if err != nil {
				err = mark(fmt.Errorf("around: %w", err))
			}
			return "", err
		})
		p, err := e.Plan(event.JSON)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Do(t.Context(), plan.Call{Key: "k"}, "")
		return err
	}
	same := func(err error) error { return err }
	for _, c := range []struct {
		sql   string
		mark  func(error) error
		final bool
		says  string
	}{
		{"insert into payments (cents) values (4711000)", same, true, "around: check violation (SQLSTATE 23514), constraint payments_cents_check, table public.payments"},
		{"insert into payments (cents) values (4711000)", effect.DidNotHappen, false, "around: check violation"},
		{"insert into payments (cents) values ('4711x')", same, true, "around: invalid text representation (SQLSTATE 22P02)"},
		{"select loud()", same, true, "around: raised by a function of the database (SQLSTATE P0001)"},
		{"insert into firm values (1, 2)", same, true, "commit: foreign key violation (SQLSTATE 23503), constraint firm_boss_fkey, table public.firm"},
		{"select 1 from nowhere", same, false, `around: undefined table (SQLSTATE 42P01): relation "nowhere" does not exist`},
		{"select pg_terminate_backend(pg_backend_pid())", same, false, "around: admin shutdown (SQLSTATE 57P01)"},
		{"do $$ begin raise exception using errcode = '40P01'; end $$", same, false, "around: deadlock detected (SQLSTATE 40P01)"},
	} {
		err := action(c.sql, c.mark)
		known := (*plan.RefusedError)(nil)
		if !errors.As(err, &known) || known.Final != c.final || !strings.HasPrefix(err.Error(), c.says) || strings.Contains(err.Error(), "4711") {
			t.Errorf("%s: %v (known: %t), want %q, final %t", c.sql, err, known != nil, c.says, c.final)
		}
	}
}

// A key is not said to be free while a transaction that has it may commit, and
// another attempt with it waits.
func TestLookupWaits(t *testing.T) {
	for _, what := range []fate{pass, cutBefore, cutAfter} {
		t.Run(fmt.Sprint("fate ", int(what)), func(t *testing.T) {
			b := newBase(t, paymentsDDL)
			w := newWire(t, b.dir)
			ctx := t.Context()
			reached, goOn := make(chan bool), make(chan bool)
			release := sync.OnceFunc(func() { close(goOn) })
			defer release()
			w.on(func(said string) fate {
				if said != "commit" {
					return pass
				}
				w.on(nil)
				close(reached)
				<-goOn
				return what
			})
			first := make(chan error)
			dies := postgres.Tx(declare(t, postgres.Config{DSN: b.dsn(w.dir, "weir")}))
			go func() { first <- dies.Commit(ctx, "k", add(ctx, 1)) }()
			<-reached
			p := postgres.Tx(declare(t, b.config()))
			type answer struct {
				outcome []byte
				found   bool
				err     error
			}
			looked := make(chan answer, 1)
			go func() {
				outcome, found, err := p.Lookup(ctx, "k")
				looked <- answer{outcome, found, err}
			}()
			b.waiting()
			select {
			case a := <-looked:
				t.Fatalf("Lookup = %+v while the key may be committed", a)
			default:
			}
			release()
			a := <-looked
			known := (*plan.RefusedError)(nil)
			if err := <-first; (err == nil) != (what == pass) || errors.As(err, &known) {
				t.Errorf("the first attempt: %v (known: %t)", err, known != nil)
			}
			if a.err != nil || a.found != (what != cutBefore) || a.found && string(a.outcome) != "paid 1" {
				t.Errorf("Lookup = %q, %t, %v", a.outcome, a.found, a.err)
			}
			if err := p.Commit(ctx, "k", add(ctx, 1)); (err == nil) != (what == cutBefore) || b.number("select count(*) from payments") != 1 {
				t.Errorf("the second attempt: %v, %d payments", err, b.number("select count(*) from payments"))
			}
		})
	}
}

// Whatever connection is lost, a call happens once, and its result is the one
// committed.
func TestLostConnectionsOfEffects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int
		at   string
		what fate
	}{
		{5, "begin", cutBefore},
		{1, `insert into "weir_effects"`, cutBefore},
		{2, "insert into payments", cutBefore},
		{1, `update "weir_effects"`, cutBefore},
		{3, "commit", cutBefore},
		{3, "commit", cutAfter},
		{10, "commit", cutAfter},
	} {
		t.Run(fmt.Sprintf("%s %d %d", c.at, c.n, c.what), func(t *testing.T) {
			t.Parallel()
			b := newBase(t, paymentsDDL)
			w := newWire(t, b.dir)
			heard, happened := nth(c.n, c.at, c.what)
			w.on(heard)
			def := weir.Define("paying", func(f *weir.Flow) {
				db := postgres.Open(f, "db", postgres.Config{DSN: b.dsn(w.dir, "weir")})
				pay := effect.Transactional("trade.pay.v1", postgres.Tx(db), func(ctx context.Context, tx pgx.Tx, v trade) (n int64, err error) {
					err = tx.QueryRow(ctx, "insert into payments (trade) values ($1) returning number", v.ID).Scan(&n)
					return n, err
				})
				done, failed := weir.Perform(weir.From(f, "trades", weir.Slice(trades(20))), "pay", pay, weir.Concurrency(3), policy.Retry{Max: 3, Delay: time.Millisecond})
				weir.Each(done, "paid", func(context.Context, int64) error { return nil })
				weir.Each(failed, "failed", func(_ context.Context, f weir.Failed[trade]) error { t.Errorf("%+v", f); return nil })
			})
			if sum, err := def.Run(t.Context(), weir.Options{Logger: quiet}); err != nil || sum.Failed != 0 {
				t.Errorf("%+v, %v", sum, err)
			}
			if n, of := b.number("select count(*) from payments"), b.number("select count(distinct trade) from payments"); !happened() || n != 20 || of != 20 {
				t.Errorf("%d payments for %d trades (%t)", n, of, happened())
			}
		})
	}
}

// A call under a stricter isolation that loses against another is tried again.
func TestIsolation(t *testing.T) {
	b := newBase(t, paymentsDDL)
	p := postgres.Tx(declare(t, b.config()))
	p.Isolation = pgx.Serializable
	var level string
	err := p.Commit(t.Context(), "a", func(tx pgx.Tx) ([]byte, error) {
		return nil, tx.QueryRow(t.Context(), "show transaction_isolation").Scan(&level)
	})
	if err != nil || level != "serializable" {
		t.Errorf("%s, %v", level, err)
	}
}
