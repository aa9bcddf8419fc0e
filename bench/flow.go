package main

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strconv"
	"sync/atomic"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/journal"
)

// sourceBatch is how many records the sources here put into a batch.
const sourceBatch = 1024

// A cyclic source yields n values, repeating those it has. Its position is how
// many it has yielded. If it holds on it then waits to be stopped.
type cyclic[T any] struct {
	values []T
	n      int
	hold   bool
}

func (c *cyclic[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		at, err := offset(after)
		if err != nil {
			yield(weir.Batch[T]{}, err)
			return
		}
		for at < c.n && ctx.Err() == nil {
			from := at % len(c.values)
			k := min(sourceBatch, c.n-at, len(c.values)-from)
			at += k
			if !yield(weir.Batch[T]{Values: c.values[from : from+k], Position: positionOf(at)}, nil) {
				return
			}
		}
		if c.hold {
			<-ctx.Done()
		}
	}
}

func offset(p weir.Position) (int, error) {
	if p == "" {
		return 0, nil
	}
	return strconv.Atoi(string(p))
}

func positionOf(n int) weir.Position { return weir.Position(strconv.Itoa(n)) }

// A sink that counts what it is given.
type counting[T any] struct {
	n atomic.Int64
	// on is called with each batch, if it is set.
	on func(batch []weir.Delivery[T])
}

func (c *counting[T]) Open(context.Context, weir.At) (weir.Writer[T], error) { return c, nil }
func (c *counting[T]) Close() error                                          { return nil }

func (c *counting[T]) Deliver(_ context.Context, batch []weir.Delivery[T]) error {
	c.n.Add(int64(len(batch)))
	if c.on != nil {
		c.on(batch)
	}
	return nil
}

// chainOf is a source, n-1 maps and a sink.
func chainOf[T any](n int, src weir.Source[T], hop func(T) (T, error), sink weir.Sink[T]) *weir.Definition {
	return weir.Define("chain", func(f *weir.Flow) {
		s := weir.From(f, "source", src)
		for i := 1; i < n; i++ {
			s = weir.Map(s, fmt.Sprintf("map%d", i), hop)
		}
		weir.Into(s, "sink", sink)
	})
}

// options are those of a new run in dir.
func options(dir string, sync journal.SyncMode) weir.Options {
	return weir.Options{Dir: dir, Sync: journal.Sync{Mode: sync}, Logger: slog.New(slog.DiscardHandler)}
}

// completed turns a run that did not complete, or lost something, into an error.
func completed(sum weir.Summary, err error, delivered, want int64) error {
	switch {
	case err != nil:
		return err
	case sum.Status != weir.Completed:
		return fmt.Errorf("the run ended %s", sum.Status)
	case delivered != want || sum.Dead != 0:
		return fmt.Errorf("%d of %d records were delivered, %d are dead letters", delivered, want, sum.Dead)
	}
	return nil
}
