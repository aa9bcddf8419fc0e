// Command approval sells things, and asks a person before it sells a dear one.
//
// What is in orders.jsonl is reserved, charged and done with, but an order above
// the limit waits: until somebody says yes or no, or until patience is at an end.
// After a yes it cools off for a while, so that it can still be called off. These
// waits survive the program: kill it while they last, and start it again, before or
// after the time has come. README.md is a walk through that.
//
//	approval                                          run it, or go on with it
//	approval effects approval                         who waits, and for what
//	approval signal approval approval 2 '{"ok":true,"by":"ann"}'
package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/app"
	"github.com/weirflow/weir/connector/console"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/policy"
)

type (
	// An Order is a line of orders.jsonl.
	Order struct {
		ID    string `json:"id"`
		Item  string `json:"item"`
		Cents int64  `json:"cents"`
	}
	// An Approval is what a person says about an order.
	Approval struct {
		OK bool   `json:"ok"`
		By string `json:"by"`
	}
	// A Step is something that happened to an order.
	Step struct {
		ID   string `json:"id"`
		What string `json:"what"`
	}
)

// Config is what can be set: by flag, environment or file.
type Config struct {
	Limit    int64         `help:"cents above which a person is asked"`
	Patience time.Duration `help:"how long an answer is awaited"`
	CoolOff  time.Duration `help:"how long an approved order can be called off"`
	Orders   weir.Path     `help:"orders, one JSON object a line"`
	Out      weir.Path     `help:"folder for the results"`
}

var defaults = Config{Limit: 1000_00, Patience: 72 * time.Hour, CoolOff: time.Hour, Orders: "orders.jsonl", Out: "out"}

// approvals are awaited by the number of the order.
var approvals = weir.NewSignal[Approval]("approval")

var approval = weir.DefineWith("approval", defaults, func(f *weir.Flow, cfg Config) {
	out := func(name string) string { return filepath.Join(string(cfg.Out), name) }
	c := checkout{cfg, newShop(out("shop.jsonl"))}

	orders := weir.From(f, "orders", jsonl.Read[Order](string(cfg.Orders)))
	steps, refused := weir.Orchestrate(orders, "checkout", c.run,
		weir.Using(c.reserve, policy.Retry{Max: 5}),
		weir.Using(c.charge, policy.Retry{Max: 5}),
		weir.Using(c.release, policy.Retry{Max: 20}),
		weir.MaxOpen(50_000), // those that wait take no more than their place in the log
	)
	weir.Into(steps, "write_steps", jsonl.Write[Step](out("steps.jsonl")))
	weir.Into(refused, "write_refused", jsonl.Write[weir.Failed[Order]](out("refused.jsonl")))
	weir.Into(steps, "print", console.Lines(func(s Step) string { return fmt.Sprintf("%s  %s", s.ID, s.What) }))
	weir.Into(refused, "print_refused", console.Lines(func(f weir.Failed[Order]) string {
		return fmt.Sprintf("%s  refused: %s", f.Input.ID, f.Reason)
	}))
})

// A checkout is what happens to an order.
type checkout struct {
	cfg Config
	shop
}

// run is a durable function: it touches the world through its steps only, and when
// the process dies in the middle of it, the next one runs it again and gives it what
// is on record of them. What it emits is on record with the step that follows.
func (c checkout) run(s *weir.Steps, o Order, emit weir.Emit[Step]) error {
	if _, err := weir.Do(s, "reserve", c.reserve, o); err != nil {
		return err
	}
	weir.Compensate(s, "release", c.release, o)
	if o.Cents > c.cfg.Limit {
		emit(Step{o.ID, "waits for approval"})
		a, arrived, err := weir.Await(s, approvals, o.ID, c.cfg.Patience)
		switch {
		case err != nil:
			return err
		case !arrived:
			return fmt.Errorf("nobody said anything within %v", c.cfg.Patience)
		case !a.OK:
			return errors.New(a.By + " said no")
		}
		emit(Step{o.ID, "approved by " + a.By})
		if err := weir.Sleep(s, "cool off", c.cfg.CoolOff); err != nil {
			return err
		}
	}
	receipt, err := weir.Do(s, "charge", c.charge, o)
	if err != nil {
		return err
	}
	emit(Step{o.ID, "charged, " + receipt.ID})
	return nil
}

func main() { app.Main(approval) }
