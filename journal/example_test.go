package journal_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/memory"
)

// What a stage did goes into a log as one transition, and comes back as one.
func Example() {
	ctx := context.Background()
	l := memory.New(journal.Manifest{Run: "01JZ0000000000000000000000", Flow: "shop"}, memory.Options{})
	defer l.Close()

	out := journal.Output{Port: "out", Type: "total", First: 1}
	item := -1
	for _, payload := range []string{`{"cents":5}`, `{"cents":7}`} {
		out.Records, item = journal.AppendRecord(out.Records, item, &journal.Record{Payload: []byte(payload)})
		out.Count++
	}
	var enc journal.Encoder
	frames, err := enc.Encode(&journal.Transition{
		Stage: "totals", Number: 1,
		Consumed: []journal.Consumed{{Kind: journal.Run, Journal: "orders.out", From: 1, To: 2}},
		Outputs:  []journal.Output{out},
	})
	if err != nil {
		log.Fatal(err)
	}
	lsn, err := l.Append(ctx, journal.Normal, frames...)
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Await(ctx, lsn); err != nil { // until then nobody outside may see it
		log.Fatal(err)
	}

	r, err := l.Read(0)
	if err != nil {
		log.Fatal(err)
	}
	in := journal.Transitions(r)
	defer in.Close()
	var p journal.Placed
	for {
		if err := in.Next(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		c := p.Consumed[0]
		fmt.Printf("LSN %d: %s read %s %d to %d\n", p.Last, p.Stage, c.Journal, c.From, c.To)
		records := journal.NewRecords(&p.Outputs[0])
		var rec journal.Record
		for seq, ok := records.Next(&rec); ok; seq, ok = records.Next(&rec) {
			fmt.Printf("%s.%s:%d %s\n", p.Stage, p.Outputs[0].Port, seq, rec.Payload)
		}
		if err := records.Err(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// LSN 1: totals read orders.out 1 to 2
	// totals.out:1 {"cents":5}
	// totals.out:2 {"cents":7}
}
