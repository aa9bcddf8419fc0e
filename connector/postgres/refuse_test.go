package postgres_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/policy"
)

// A row that the database refuses is a dead letter that says why, without the
// value; the rest of its batch is delivered.
func TestRefusedRows(t *testing.T) {
	for name, sink := range everyWay {
		t.Run(name, func(t *testing.T) {
			b := newBase(t, tradesDDL,
				`create table symbols (symbol text primary key)`, `insert into symbols values ('ABC')`,
				`alter table trades add foreign key (symbol) references symbols deferrable initially deferred`,
				`create function judge() returns trigger language plpgsql as $$ begin
					if new.cents = 4242 then raise exception 'secret %', new.cents; end if; return new; end $$`,
				`create trigger judge before insert on trades for each row execute function judge()`)
			values := trades(40)
			values[3].Cents = -7777               // check
			values[7].Cents = 1 << 40             // does not fit, which we see
			values[8].Symbol = "no \x00 8888"     // the server sees that
			values[20].Symbol = "XYZ 9999"        // a deferred foreign key, seen at the commit
			values[21].Cents = 4242               // a trigger
			values[39].Note = &values[8].Symbol   // the last
			values[39].Symbol = values[38].Symbol //
			bad := map[int64]string{
				4:  "validation: check violation (SQLSTATE 23514), constraint trades_cents_check, table public.trades",
				8:  "validation: the value of field Cents does not go into column cents, which is integer",
				9:  "validation: character not in repertoire (SQLSTATE 22021)",
				21: "validation: commit: foreign key violation (SQLSTATE 23503), constraint trades_symbol_fkey, table public.trades",
				22: "domain: raised by a function of the database (SQLSTATE P0001)",
				40: "validation: character not in repertoire (SQLSTATE 22021)",
			}
			got := map[int64]string{}
			sum, err := into(values, b.config(), sink, func(d weir.Failed[trade]) {
				got[d.Input.ID] = fmt.Sprintf("%s: %s", d.Kind, d.Reason)
			}).Run(t.Context(), weir.Options{Logger: quiet})
			if err != nil || sum.Dead != 6 {
				t.Errorf("%+v, %v", sum, err)
			}
			for id, want := range bad {
				if got[id] != want {
					t.Errorf("trade %d: %q, want %q", id, got[id], want)
				}
			}
			if len(got) != len(bad) || b.number("select count(*) from trades") != 34 {
				t.Errorf("%d dead letters, %d rows", len(got), b.number("select count(*) from trades"))
			}
		})
	}
}

// A duplicate is refused by an insert and replaces by an upsert, the last one
// winning, also within a batch.
func TestDuplicates(t *testing.T) {
	values := trades(10)
	values[9].ID, values[4].ID = 2, 1
	for name, want := range map[string][]string{
		"insert": {"(1,100)", "(2,200)", "5 10"},
		"copy":   {"(1,100)", "(2,200)", "5 10"},
		"upsert": {"(1,500)", "(2,1000)", ""},
	} {
		b := newBase(t, tradesDDL)
		var dead []string
		_, err := into(values, b.config(), everyWay[name], func(d weir.Failed[trade]) {
			if !strings.Contains(d.Reason, "unique violation (SQLSTATE 23505), constraint trades_pkey") {
				t.Errorf("%s: %s", name, d.Reason)
			}
			dead = append(dead, strconv.FormatUint(d.Ref.Seq, 10))
		}).Run(t.Context(), weir.Options{Logger: quiet})
		if err != nil {
			t.Error(err)
		}
		got := append(b.texts("select id, cents from trades where id < 3 order by id"), strings.Join(dead, " "))
		if !slices.Equal(got, want) || b.number("select count(*) from trades") != 8 {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// What is wrong with table and type is told when the sink opens, all at once.
func TestMisfits(t *testing.T) {
	b := newBase(t, tradesDDL,
		`create table odd (id bigint generated always as identity, symbol bytea, cents date, must int not null, defaulted int not null default 1, at timestamptz)`,
		`create schema "My.Schema"`, `create table "My.Schema"."Trades" (like trades including all)`,
		`create unique index on odd (symbol, cents)`, `create unique index on odd (must) where must > 0`)
	guest := b.role("guest")
	b.exec("grant create, usage on schema public to "+guest, "grant insert (id, symbol) on trades to "+guest)
	type narrow struct {
		ID int64
		A  string `db:"x"`
		B  string `db:"x"`
	}
	open := func(user string, sink func(*postgres.DB) error) error {
		return sink(declare(t, postgres.Config{DSN: b.dsn(b.dir, user)}))
	}
	at := weir.At{Run: "r", Stage: "s", Epoch: 1, EpochID: "e"}
	openTrades := func(how func(*postgres.DB) *postgres.Sink[trade]) func(*postgres.DB) error {
		return func(db *postgres.DB) error { _, err := how(db).OpenTx(t.Context(), at); return err }
	}
	insert := func(table string) func(*postgres.DB) error {
		return openTrades(func(db *postgres.DB) *postgres.Sink[trade] { return postgres.Insert[trade](db, table) })
	}
	upsert := func(table string, key ...string) func(*postgres.DB) error {
		return openTrades(func(db *postgres.DB) *postgres.Sink[trade] { return postgres.Upsert[trade](db, table, key...) })
	}
	for _, c := range []struct {
		user string
		open func(*postgres.DB) error
		says []string // none: it opens
	}{
		{"weir", insert("trades"), nil},
		{"weir", insert(`"My.Schema".Trades`), nil},
		{"weir", insert("Trades"), []string{"table Trades: there is no table Trades", "as it is written"}},
		{"weir", insert("a.b.c"), []string{"want a name, or a schema and a name"}},
		{"weir", insert(`tra"des`), []string{"want a name"}},
		{"weir", insert("odd"), []string{
			`column id is generated and cannot be written; tag field ID`, "column cents is date, and a int64, as field Cents is, does not go into it",
			"there is no column remark for field Note", "column must must not be null and has no default",
		}},
		{guest, insert("trades"), []string{`we have no right to insert into column cents: grant insert (cents) on "trades" to`}},
		{"weir", upsert("trades"), []string{"Upsert needs the columns of a key"}},
		{"weir", upsert("trades", "nothing"), []string{"no field is column nothing of the key"}},
		{"weir", upsert("trades", "symbol"), []string{`no unique index of just these columns: create unique index on "trades" ("symbol")`}},
		{"weir", upsert("trades", "id"), nil},
		{"weir", func(db *postgres.DB) error {
			_, err := postgres.Copy[narrow](db, "trades").OpenTx(t.Context(), at)
			return err
		}, []string{"fields A and B of postgres_test.narrow are both column x"}},
		{"weir", func(db *postgres.DB) error {
			_, err := postgres.Copy[int](db, "trades").OpenTx(t.Context(), at)
			return err
		}, []string{"int is no struct"}},
		{"weir", func(*postgres.DB) error {
			_, err := postgres.Copy[trade](nil, "trades").OpenTx(t.Context(), at)
			return err
		}, []string{"has no database"}},
	} {
		err := open(c.user, c.open)
		if (err == nil) != (c.says == nil) {
			t.Errorf("as %s: %v, want %q", c.user, err, c.says)
			continue
		}
		for _, says := range c.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("as %s: %v\nwant %q", c.user, err, says)
			}
		}
	}
}

// A table that goes away fails the stage and says why; nothing is a dead letter,
// and the run goes on when it is back.
func TestUndefinedTable(t *testing.T) {
	b := newBase(t, tradesDDL)
	dir := t.TempDir()
	w := newWire(t, b.dir)
	w.on(func(said string) fate {
		if strings.HasPrefix(said, "begin") && strings.Contains(said, "lock_timeout = 20000") { // it takes its mark: the table has been looked at
			b.exec("alter table trades rename to gone")
			w.on(nil)
		}
		return pass
	})
	def := into(trades(10), postgres.Config{DSN: b.dsn(w.dir, "weir")}, everyWay["copy"], func(weir.Failed[trade]) { t.Error("a dead letter") }, policy.Retry{Max: 2, Delay: time.Millisecond})
	sum, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: dir})
	if err == nil || sum.Status != weir.Failing || !strings.Contains(err.Error(), `undefined table (SQLSTATE 42P01): relation "public.trades" does not exist`) {
		t.Fatalf("%+v, %v", sum, err)
	}
	b.exec("alter table gone rename to trades")
	if sum, err := def.Run(t.Context(), weir.Options{Logger: quiet, Dir: dir}); err != nil || sum.Dead != 0 || b.number("select count(*) from trades") != 10 {
		t.Errorf("%+v, %v", sum, err)
	}
}
