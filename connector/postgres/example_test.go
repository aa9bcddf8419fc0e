package postgres_test

import (
	"context"
	"log"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/connector/postgres"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/policy"
)

type sale struct {
	ID    string
	Item  string
	Cents int64
}

// Sales from a file are in the table sales once, however often the process dies. A
// row that the database refuses is a dead letter.
func Example() {
	type settings struct{ DSN weir.Secret }
	def := weir.DefineWith("sales", settings{DSN: "host=/run/postgresql dbname=shop"}, func(f *weir.Flow, set settings) {
		db := postgres.Open(f, "db", postgres.Config{DSN: set.DSN, TLS: postgres.VerifyFull})
		sales := weir.From(f, "sales", jsonl.Read[sale]("sales.jsonl"))
		weir.Into(sales, "table", weir.ExactlyOnce(postgres.Copy[sale](db, "sales")), policy.Retry{Max: 5, Delay: time.Second, Factor: 2})
	})
	if _, err := def.Run(context.Background(), weir.Options{Dir: ".weir"}); err != nil {
		log.Fatal(err)
	}
}

// The newest price of each item, replaced as it changes.
func ExampleUpsert() {
	type price struct {
		Item  string
		Cents int64 `db:"price_cents"`
	}
	weir.Define("prices", func(f *weir.Flow) {
		db := postgres.Open(f, "db", postgres.Config{DSN: "host=/run/postgresql dbname=shop"})
		prices := weir.From(f, "prices", jsonl.Read[price]("prices.jsonl"))
		weir.Into(prices, "table", weir.ExactlyOnce(postgres.Upsert[price](db, "shop.prices", "item")))
	})
}

// An account is charged in a transaction, which happens once for each sale. What
// it returned is recorded, and is the same after a crash.
func ExampleTx() {
	type charged struct{ Balance int64 }
	weir.Define("charges", func(f *weir.Flow) {
		db := postgres.Open(f, "db", postgres.Config{DSN: "host=/run/postgresql dbname=shop"})
		charge := effect.Transactional("account.charge.v1", postgres.Tx(db), func(ctx context.Context, tx pgx.Tx, s sale) (charged, error) {
			var c charged
			err := tx.QueryRow(ctx, "update accounts set balance = balance - $1 where item = $2 returning balance", s.Cents, s.Item).Scan(&c.Balance)
			return c, err
		})
		sales := weir.From(f, "sales", jsonl.Read[sale]("sales.jsonl"))
		done, failed := weir.Perform(sales, "charge", charge, policy.Retry{Max: 3, Delay: 100 * time.Millisecond}, weir.Concurrency(8))
		weir.Into(done, "balances", jsonl.Write[charged]("balances.jsonl"))
		weir.Into(failed, "refused", jsonl.Write[weir.Failed[sale]]("refused.jsonl"))
	})
}
