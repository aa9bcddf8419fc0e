// Command payments takes orders from a web shop and from a store, has them paid at
// a payment service, and ships what is paid.
//
// Nothing here talks to a pretend service: gateway is a program of its own, with a
// ledger, and with all the bad habits of real ones if it is told so. Kill either
// program whenever you like and run the same command again: no order is charged
// twice and none is lost. README.md is a walk through that.
//
// This file is the flow. orders.go decides about orders, settle.go has them paid,
// client.go talks to the service.
package main

import (
	"path/filepath"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/connector/jsonl"
)

// Config is what can be set: by flag, environment or file.
type Config struct {
	Gateway  string        `help:"address of the payment service"`
	Token    weir.Secret   `help:"what it knows us by"`
	Patience time.Duration `help:"how long an answer of it is awaited"`
	Rate     float64       `help:"requests per second that it allows, 0 for no limit"`
	Web      weir.Path     `help:"orders of the web shop, CSV"`
	Store    weir.Path     `help:"orders of the store, one JSON object a line"`
	Out      weir.Path     `help:"folder for the results"`
}

var payments = weir.DefineWith("payments", Config{
	Gateway: "http://localhost:9000", Patience: time.Second, Rate: 200,
	Web: "web.csv", Store: "store.jsonl", Out: "out",
}, build)

func build(f *weir.Flow, cfg Config) {
	bank := newClient(cfg)

	web := weir.From(f, "web_orders", csvfile.Read[Order](string(cfg.Web)))
	store := weir.From(f, "store_orders", jsonl.Read[Order](string(cfg.Store)))
	byID := weir.KeyBy(weir.Merge(web, store), func(o Order) string { return o.ID })
	counted := weir.Reduce(byID, "count", weir.Zero, count, weir.EmitAlways())
	valid, suspect, invalid := weir.Split3(counted, "validate", validate, weir.Ports("valid", "suspect", "invalid"))

	byCustomer := weir.KeyBy(valid, func(o Order) string { return o.Customer })
	decided, unavailable := weir.Perform(byCustomer, "authorize", bank.authorize, append(bank.policies(6), weir.Concurrency(16))...)
	approved, declined := weir.Split2(decided, "decide", decide, weir.Ports("approved", "declined"))

	paid, unpaid := weir.Orchestrate(approved, "settle", bank.settle,
		weir.Using(bank.charge, bank.policies(6)...),
		weir.Using(bank.book, bank.policies(6)...),
		weir.Using(bank.ship, bank.policies(6)...),
		weir.Using(bank.cancel, bank.policies(20)...), // what must not fail is tried for long
		weir.Using(bank.refund, bank.policies(20)...),
		weir.Concurrency(16),
	)
	refused, unclear := weir.Split2(unpaid, "sort", sortOut, weir.Ports("refused", "unclear"))

	out := func(name string) string { return filepath.Join(string(cfg.Out), name) }
	weir.Into(paid, "write_paid", csvfile.Write[Paid](out("paid.csv")))
	weir.Into(weir.Merge(invalid, declined, refused), "notify", jsonl.Write[Notice](out("notices.jsonl")))
	weir.Into(weir.Merge(suspect, weir.Map(unavailable, "explain", explain), unclear), "manual_review", jsonl.Write[Case](out("review.jsonl")))
	weir.Into(weir.Merge(weir.BadInput(f, "web_orders"), weir.BadInput(f, "store_orders")), "bad_rows", jsonl.Write[weir.Failed[[]byte]](out("bad_rows.jsonl")))
}

func main() { app.Main(payments) }
