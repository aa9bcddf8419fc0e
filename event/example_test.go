package event_test

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
)

func ExampleParseRef() {
	ref, err := event.ParseRef("billing/charge.declined:17")
	fmt.Println(ref.Stage, ref.Port, ref.Seq, err)
	_, err = event.ParseRef("billing/charge.declined")
	fmt.Println(err)
	// Output:
	// billing/charge declined 17 <nil>
	// "billing/charge.declined" is not a ref: there is no ":" before a sequence number (write it as orders:17 or validate.rejected:3)
}

func ExampleRef_Slot() {
	ref, _ := event.ParseRef("totals~3.out:17")
	fmt.Println(ref.Slot())
	fmt.Println(event.Ref{Stage: "totals", Port: "out", Seq: 17}.Slot())
	// Output:
	// totals 3
	// totals -1
}

func ExampleRef_Journal() {
	fmt.Println(event.Ref{Stage: "orders", Port: "out", Seq: 17}.Journal())
	// Output: orders.out
}

func ExampleParseRecordID() {
	id, err := event.ParseRecordID("orders.out:17@04106050r3gg28a1c60t3gf208")
	fmt.Println(id.Journal, id.Seq, id.Epoch[0], err)
	fmt.Println(id.Ref())
	// Output:
	// orders.out 17 1 <nil>
	// orders.out:17 <nil>
}

func ExampleRecordID_AppendText() {
	id := event.RecordID{Journal: "orders.out", Seq: 17}
	text, _ := id.AppendText([]byte("Idempotency-Key: "))
	fmt.Println(string(text))
	// Output: Idempotency-Key: orders.out:17@00000000000000000000000000
}

func ExampleValidName() {
	fmt.Println(event.ValidName(event.StageName, "billing/charge"))
	fmt.Println(event.ValidName(event.StageName, "ChargeCard"))
	fmt.Println(event.ValidName(event.PortName, "dead"))
	// Output:
	// <nil>
	// stage name "ChargeCard" must begin with a-z and hold only a-z, 0-9 and _, groups joined by /; try "charge_card"
	// port name "dead" is reserved (every stage has dead, fx and sys); choose another
}

func ExampleReservedPort() {
	fmt.Println(event.ReservedPort("fx"), event.ReservedPort("out"))
	// Output: true false
}

func ExampleMark() {
	err := fmt.Errorf("charge: %w", event.Mark(event.KindRemote, errors.New("503 from gateway")))
	fmt.Println(err)
	fmt.Println(event.KindOf(err))
	// Output:
	// charge: remote: 503 from gateway
	// remote
}

func ExampleInvalid() {
	err := event.Invalid(errors.New("amount is negative"))
	fmt.Println(err)
	fmt.Println(event.KindOf(err), event.KindOf(errors.New("anything else")))
	// Output:
	// validation: amount is negative
	// validation unknown
}

func ExampleKind_Known() {
	fmt.Println(event.KindTimeout.Known(), event.Kind("melted").Known())
	// Output: true false
}

type orderV1 struct{ Amount int }

type orderV2 struct {
	Cents    int
	Currency string
}

func (orderV2) EventType() string { return "order.placed.v2" }

func ExampleUpcast() {
	up := event.Upcast("order.placed.v1", func(old orderV1) (orderV2, error) {
		return orderV2{Cents: old.Amount * 100, Currency: "EUR"}, nil
	})
	fmt.Println(up.From())
	fmt.Println(up.Types())
	now, err := up.Apply(&orderV1{Amount: 12})
	fmt.Println(*now.(*orderV2), err)
	// Output:
	// order.placed.v1
	// event_test.orderV1 event_test.orderV2
	// {1200 EUR} <nil>
}

func ExampleBare() {
	fmt.Println(event.Bare("order.placed.v2"), event.Bare("order.vip"))
	// Output: order.placed order.vip
}

func ExampleCodec() {
	var c event.Codec
	fmt.Println(c)
	err := c.UnmarshalText([]byte("cbor"))
	fmt.Println(c, err)
	// Output:
	// json
	// cbor <nil>
}
