package main

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
	"github.com/weirflow/weir/event"
)

// What an order can be on its way.
type (
	// An Order is a row of web.csv or a line of store.jsonl.
	Order struct {
		ID       string `json:"id" csv:"id"`
		Customer string `json:"customer" csv:"customer"`
		Item     string `json:"item" csv:"item"`
		Cents    int64  `json:"cents" csv:"cents"`
	}
	// Counted is an order, and how often its number has come.
	Counted struct {
		Order Order `json:"order"`
		Times int   `json:"times"`
	}
	// A Decision is what the payment service says about an order.
	Decision struct {
		Order    Order `json:"order"`
		Approved bool  `json:"approved"`
	}
	// Approved is an order that will be paid, and what that costs us.
	Approved struct {
		Order Order `json:"order"`
		Fee   int64 `json:"fee"` // cents
	}
	// Paid is an order that was paid and shipped.
	Paid struct {
		ID       string `json:"id" csv:"id"`
		Customer string `json:"customer" csv:"customer"`
		Cents    int64  `json:"cents" csv:"cents"`
		Fee      int64  `json:"fee" csv:"fee"`
		Charge   string `json:"charge" csv:"charge"`
		Parcel   string `json:"parcel" csv:"parcel"`
	}
	// A Notice tells a customer why an order will not come.
	Notice struct {
		ID       string `json:"id"`
		Customer string `json:"customer"`
		Reason   string `json:"reason"`
	}
	// A Case is an order that somebody has to look at.
	Case struct {
		Order  Order  `json:"order"`
		Reason string `json:"reason"`
		Stands string `json:"stands"` // whether something was done for it and not taken back: no, unknown or yes
	}
)

// EventType is what an Order is called in the log.
func (Order) EventType() string { return "order.placed.v1" }

// Validate refuses what nobody can deliver: it becomes bad input of its source.
func (o Order) Validate() error {
	if o.ID == "" || o.Customer == "" {
		return errors.New("order without a number or a customer")
	}
	return nil
}

func count(c *Counted, o Order) error {
	c.Order = o
	c.Times++
	return nil
}

// suspectCents is what nobody has ever spent here.
const suspectCents = 500_000

func validate(c Counted, valid weir.Emit[Order], suspect weir.Emit[Case], invalid weir.Emit[Notice]) error {
	o := c.Order
	switch {
	case c.Times > 1:
		invalid(Notice{o.ID, o.Customer, "we have this order already"})
	case o.Cents <= 0:
		invalid(Notice{o.ID, o.Customer, "there is nothing to pay"})
	case o.Cents > suspectCents:
		suspect(Case{o, "unusually large", "no"})
	default:
		valid(o)
	}
	return nil
}

// What the payment service takes: a part of the amount, and something for each.
const (
	feePermille = 14
	feeCents    = 25
)

func fee(cents int64) int64 { return cents*feePermille/1000 + feeCents }

func decide(d Decision, approved weir.Emit[Approved], declined weir.Emit[Notice]) error {
	if d.Approved {
		approved(Approved{d.Order, fee(d.Order.Cents)})
	} else {
		declined(Notice{d.Order.ID, d.Order.Customer, "your bank declined the payment"})
	}
	return nil
}

// sortOut looks at orders that were not settled. If the service refused a step, the
// customer has the money back and is told; if anything is not known, somebody looks.
func sortOut(f weir.Failed[Approved], refused weir.Emit[Notice], unclear weir.Emit[Case]) error {
	o := f.Input.Order
	if f.Kind == event.KindPermanent && f.Happened == effect.No {
		refused(Notice{o.ID, o.Customer, f.Reason})
	} else {
		unclear(Case{o, f.Reason, stands(f.Happened)})
	}
	return nil
}

// explain says why an order could not be authorized. An authorization by itself moves
// nothing.
func explain(f weir.Failed[Order]) (Case, error) {
	return Case{f.Input, fmt.Sprintf("%s (attempts: %d)", f.Reason, f.Attempts), "no"}, nil
}

func stands(h effect.Happened) string {
	switch h {
	case effect.Yes:
		return "yes"
	case effect.Maybe:
		return "unknown"
	default:
		return "no"
	}
}
