package inspect_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/effect"
)

type order struct {
	ID    string `json:"id"`
	Cents int    `json:"cents"`
}

type charged struct {
	ID string `json:"id"`
}

// till charges five orders by a bank that cannot be asked: till DATA [DIE AT ORDER
// [hold]]. The bank's book, DATA.calls, has a line for each call.
func till() int {
	die, hold := 0, len(os.Args) > 3
	if len(os.Args) > 2 {
		die, _ = strconv.Atoi(os.Args[2]) // 0 means that it lives
	}
	var orders []order
	for n := 1; n <= 5; n++ {
		orders = append(orders, order{fmt.Sprint("o-", n), 100 * n})
	}
	bank := effect.AtMostOnce("bank", func(_ context.Context, _ effect.Call, o order) (charged, error) {
		book, err := os.OpenFile(os.Args[1]+".calls", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return charged{}, effect.Permanent(err)
		}
		fmt.Fprintln(book, o.ID)
		if err := book.Close(); err != nil {
			return charged{}, err
		}
		if o.Cents == 100*die {
			os.Exit(9)
		}
		return charged{"ch-" + o.ID}, nil
	}, effect.AskAPerson)
	def := weir.Define("till", func(f *weir.Flow) {
		opts := []weir.EffectOption{}
		if hold {
			opts = append(opts, weir.HoldInDoubt())
		}
		done, failed := weir.Perform(weir.From(f, "orders", weir.Slice(orders)), "charge", bank, opts...)
		weir.Each(done, "ship", func(context.Context, charged) error { return nil })
		weir.Each(failed, "tell", func(context.Context, weir.Failed[order]) error { return nil })
	})
	s, err := def.Run(context.Background(), weir.Options{Dir: os.Args[1], Logger: slog.New(slog.DiscardHandler)})
	fmt.Println(s.Status)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
