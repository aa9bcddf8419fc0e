package history_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/history"
)

// A run is looked at without the code that made it: how it stands, what it gave
// up on, and what a result followed from.
func Example() {
	data, err := os.MkdirTemp("", "weir")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(data)
	halves := weir.Define("halves", func(f *weir.Flow) {
		numbers := weir.From(f, "numbers", weir.Slice([]int{2, 3, 4}))
		half := weir.Map(numbers, "half", func(n int) (int, error) {
			if n%2 != 0 {
				return 0, errors.New("odd")
			}
			return n / 2, nil
		})
		weir.Each(half, "use", func(context.Context, int) error { return nil })
	})
	ctx := context.Background()
	if _, err := halves.Run(ctx, weir.Options{Dir: data, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		log.Fatal(err)
	}

	dir, err := history.Find(data, "halves")
	if err != nil {
		log.Fatal(err)
	}
	run, err := history.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer run.Close()
	s, err := run.Summary(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Name, s.In, "in", s.Out, "delivered", s.Dead, "dead")
	for rec, err := range run.Records(ctx, "half.dead", history.Range{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rec.Ref, string(rec.Payload))
	}
	ref, err := run.Ref("half:2")
	if err != nil {
		log.Fatal(err)
	}
	why, err := run.Why(ctx, ref, history.Limits{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(why.Record.Ref, "followed from", why.Causes[0].Ref)
	// Output:
	// completed 3 in 2 delivered 1 dead
	// half.dead:1 {"input":3,"ref":"numbers.out:2","kind":"domain","reason":"odd"}
	// half.out:2 followed from numbers.out:3
}
