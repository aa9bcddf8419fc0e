package main

import (
	"fmt"

	"github.com/weirflow/weir"
)

// settle has an approved order paid, booked and shipped, or leaves nothing behind:
// if a step is refused, what came before it is taken back, the latest first.
//
// It is a durable function. If the process dies in the middle it is run again, by
// the next process, and each step that is on record returns what it returned.
func (c *client) settle(s *weir.Steps, a Approved, emit weir.Emit[Paid]) error {
	charge, err := weir.Do(s, "charge", c.charge, a.Order)
	if err != nil {
		return fmt.Errorf("charge: %w", err)
	}
	weir.Compensate(s, "refund", c.refund, a.Order)
	if _, err := weir.Do(s, "book", c.book, a.Order); err != nil {
		return fmt.Errorf("book: %w", err)
	}
	weir.Compensate(s, "cancel", c.cancel, a.Order)
	parcel, err := weir.Do(s, "ship", c.ship, a.Order)
	if err != nil {
		return fmt.Errorf("ship: %w", err)
	}
	emit(Paid{a.Order.ID, a.Order.Customer, a.Order.Cents, a.Fee, charge.ID, parcel.ID})
	return nil
}
