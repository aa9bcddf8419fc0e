package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/connector/csvfile"
	"github.com/weirflow/weir/connector/jsonl"
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/vfs"
)

// quiet is the logger of runs that are meant to fail.
var quiet = slog.New(slog.DiscardHandler)

type order struct {
	ID       string `csv:"id" json:"id"`
	Customer string `csv:"customer" json:"customer"`
	Cents    int64  `csv:"cents" json:"cents"`
}

type customer struct {
	ID     string   `json:"id"`
	Region string   `json:"region"`
	Tags   []string `json:"tags"` // not safe to share
}

type sale struct {
	Order  order  `json:"order"`
	Region string `json:"region"`
}

type turnover struct {
	Region string   `json:"region" csv:"region"`
	Sales  int      `json:"sales" csv:"sales"`
	Cents  int64    `json:"cents" csv:"cents"`
	Worst  int64    `json:"worst" csv:"worst"`
	Sizes  []string `json:"sizes" csv:"-"` // sets of values, in no order that depends on arrival
}

// A shop is the world around the flow: what the disk of the machine does not
// hold. It outlives crashes.
type shop struct {
	customers []customer
	store     []order

	mu        sync.Mutex
	delivered []delivery // to the sink named desk, in order
	rows      []row      // of the database
	mark      weir.Mark
	owner     uint64 // epoch
}

// A delivery is what a sink got.
type delivery struct {
	id          string
	epoch       uint64
	redelivered bool
}

type row struct {
	id   string
	sale sale
}

func newShop() *shop {
	s := &shop{}
	for i, id := range []string{"anna", "ben", "carl", "dora"} {
		s.customers = append(s.customers, customer{id, []string{"north", "south"}[i%2], []string{id}})
	}
	s.customers = append(s.customers, customer{"anna", "south", nil}) // moved
	for i := range 9 {
		s.store = append(s.store, order{fmt.Sprint("s", i), []string{"anna", "ben", "nobody"}[i%3], int64(i*30 - 40)})
	}
	return s
}

// stock writes the files that the flow reads, and one that it appends to.
func stock(t testing.TB, fsys vfs.FS) {
	t.Helper()
	web := "id,customer,cents\n"
	for i := range 8 {
		web += fmt.Sprintf("w%d,%s,%d\n", i, []string{"carl", "dora", "anna"}[i%3], i*100-150)
		if i == 3 {
			web += "w_bad,carl,lots\n"
		}
	}
	for name, text := range map[string]string{"/in/web.csv": web, "/out/unknown.jsonl": "\"old\"\n"} {
		dir := name[:4]
		if err := vfs.EnsureDir(fsys, dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(fsys, name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// flow is a flow with a source of each kind, a merge, a split with dead letters,
// a join, keyed state and a sink of each guarantee.
func (s *shop) flow() *weir.Definition {
	return weir.Define("shop", func(f *weir.Flow) {
		f.Defaults(weir.OnError{Budget: weir.Budget{Share: 1}})
		web := weir.From(f, "web", csvfile.Read[order]("/in/web.csv"))
		store := weir.From(f, "store", few[order]{s.store, 2})
		customers := weir.From(f, "customers", few[customer]{s.customers, 2})

		valid, refunds := weir.Split2(weir.Merge(web, store), "validate", func(o order, valid, refund weir.Emit[order]) error {
			switch {
			case o.Cents == 50:
				valid(o)
				refund(o)
				return event.Invalid(fmt.Errorf("%s costs 50", o.ID))
			case o.Cents < 0:
				refund(o)
			default:
				valid(o)
			}
			return nil
		}, weir.Ports("valid", "refunds"))
		sales, unknown := weir.Join(weir.KeyBy(valid, func(o order) string { return o.Customer }),
			weir.TableOf(weir.KeyBy(customers, func(c customer) string { return c.ID })), "enrich",
			func(o order, c customer) (sale, error) { return sale{o, c.Region}, nil })
		totals := weir.Reduce(weir.KeyBy(sales, func(s sale) string { return s.Region }), "totals",
			func(region string) turnover {
				return turnover{Region: region, Worst: 1 << 40, Sizes: make([]string, 3)}
			},
			func(t *turnover, s sale) error {
				t.Sales++
				t.Cents += s.Order.Cents
				t.Worst = min(t.Worst, s.Order.Cents)
				t.Sizes[min(2, s.Order.Cents/100)] = strconv.FormatInt(min(2, s.Order.Cents/100), 10)
				if s.Order.Cents == 550 {
					return errors.New("too good to be true")
				}
				return nil
			})

		weir.Into(totals, "report", csvfile.Write[turnover]("/out/totals.csv"))
		weir.Into(refunds, "refunds", jsonl.Write[order]("/out/refunds.jsonl"))
		appended := jsonl.Write[order]("/out/unknown.jsonl")
		appended.Append = true
		weir.Into(unknown, "unknown", appended)
		weir.Into(weir.DeadLetters(weir.Merge(web, store), "validate"), "desk", desk{s})
		weir.Into(sales, "book", weir.ExactlyOnce(database{s}))
	})
}

// few is a source that reads a few values at a time.
type few[T any] struct {
	values []T
	size   int
}

func (few[T]) Bounded() bool { return true }

func (s few[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		at := 0
		if after != "" {
			var err error
			if at, err = strconv.Atoi(string(after)); err != nil {
				yield(weir.Batch[T]{}, err)
				return
			}
		}
		for at < len(s.values) && ctx.Err() == nil {
			end := min(at+s.size, len(s.values))
			if !yield(weir.Batch[T]{Values: s.values[at:end], Position: weir.Position(strconv.Itoa(end))}, nil) {
				return
			}
			at = end
		}
	}
}

// desk is a sink that delivers at least once.
type desk struct{ s *shop }

func (d desk) Open(_ context.Context, at weir.At) (weir.Writer[weir.Failed[order]], error) {
	return &deskWriter{d.s, at.Epoch}, nil
}

type deskWriter struct {
	s     *shop
	epoch uint64
}

func (w *deskWriter) Deliver(_ context.Context, batch []weir.Delivery[weir.Failed[order]]) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	for _, d := range batch {
		w.s.delivered = append(w.s.delivered, delivery{d.ID, w.epoch, d.Redelivery})
	}
	return nil
}

func (w *deskWriter) Close() error { return nil }

// database is a sink with transactions.
type database struct{ s *shop }

func (d database) OpenTx(_ context.Context, at weir.At) (weir.TxWriter[sale], error) {
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	d.s.owner++
	return &databaseWriter{d.s, d.s.owner}, nil
}

type databaseWriter struct {
	s     *shop
	owner uint64
}

func (w *databaseWriter) Mark(context.Context) (weir.Mark, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.mark, nil
}

func (w *databaseWriter) Commit(_ context.Context, batch []weir.Delivery[sale], mark weir.Mark) error {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	if w.s.owner != w.owner {
		return errors.New("another epoch owns the table")
	}
	for _, d := range batch {
		w.s.rows = append(w.s.rows, row{d.ID, d.Value})
	}
	w.s.mark = mark
	return nil
}

func (w *databaseWriter) Close() error { return nil }

// contents reads a file; a file that does not exist has none.
func contents(fsys vfs.FS, name string) string {
	b, err := vfs.ReadFile(fsys, name, 1<<20)
	if errors.Is(err, os.ErrNotExist) {
		return "(no file)"
	}
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return string(b)
}

var _ io.Closer = (*deskWriter)(nil)
