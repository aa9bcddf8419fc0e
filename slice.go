package weir

import (
	"context"
	"fmt"
	"iter"
	"strconv"
)

// batchSize is how many values the sources of this package put into a batch.
const batchSize = 256

// Slice is a [Source] over vs, which must not change. Its position is an index.
func Slice[T any](vs []T) Source[T] { return slice[T](vs) }

type slice[T any] []T

func (s slice[T]) Bounded() bool { return true }

func (s slice[T]) Expect(context.Context) (int64, bool, error) { return int64(len(s)), true, nil }

func (s slice[T]) Read(ctx context.Context, after Position) iter.Seq2[Batch[T], error] {
	return func(yield func(Batch[T], error) bool) {
		at, err := index(after)
		if err == nil && at > len(s) {
			err = fmt.Errorf("the run stood at element %d, but the slice has only %d now", at, len(s))
		}
		if err != nil {
			yield(Batch[T]{}, err)
			return
		}
		for at < len(s) && ctx.Err() == nil {
			end := min(at+batchSize, len(s))
			if !yield(Batch[T]{Values: s[at:end:end], Position: position(end)}, nil) {
				return
			}
			at = end
		}
	}
}

// Seq is a [Source] over seq, which must be finite or willing to be left. To go
// on with a run it skips as many values as were recorded, so seq must yield the
// same values again. Values are recorded 256 at a time; for one that produces
// them slowly use [Chan] or a Source of your own.
func Seq[T any](seq iter.Seq[T]) Source[T] {
	if seq == nil {
		return nil
	}
	return sequence[T](seq)
}

type sequence[T any] iter.Seq[T]

func (s sequence[T]) Read(ctx context.Context, after Position) iter.Seq2[Batch[T], error] {
	return func(yield func(Batch[T], error) bool) {
		skip, err := index(after)
		if err != nil {
			yield(Batch[T]{}, err)
			return
		}
		n := 0
		var b Batch[T]
		for v := range s {
			if n++; n <= skip {
				continue
			}
			b.Values = append(b.Values, v)
			if len(b.Values) == batchSize {
				b.Position = position(n)
				if !yield(b, nil) || ctx.Err() != nil {
					return
				}
				b.Values = nil
			}
		}
		switch {
		case n < skip:
			yield(Batch[T]{}, fmt.Errorf("the run stood after %d values, but the sequence yields only %d now", skip, n))
		case len(b.Values) > 0:
			b.Position = position(n)
			yield(b, nil)
		}
	}
}

func position(n int) Position { return Position(strconv.Itoa(n)) }

func index(p Position) (int, error) {
	if p == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(string(p))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("position %q is not a number of values", string(p))
	}
	return n, nil
}

// Chan is a [Source] over a channel, for a program that feeds its own flow. It
// ends when ch is closed. It has no position: what was received but not recorded
// when the process died is lost, so prefer a Source that has one.
func Chan[T any](ch <-chan T) Source[T] {
	if ch == nil {
		return nil
	}
	return channel[T](ch)
}

type channel[T any] <-chan T

// Warning is shown when a run starts.
func (c channel[T]) Warning() string {
	return "a channel has no position: what it gave and was not recorded when the process dies is lost"
}

func (c channel[T]) Read(ctx context.Context, _ Position) iter.Seq2[Batch[T], error] {
	return func(yield func(Batch[T], error) bool) {
		for {
			var b Batch[T]
			select {
			case <-ctx.Done():
				return
			case v, ok := <-c:
				if !ok {
					return
				}
				b.Values = append(b.Values, v)
			}
			// Take what else is there, without waiting.
			closed := false
			for more := true; more && len(b.Values) < batchSize; {
				select {
				case v, ok := <-c:
					if more, closed = ok, !ok; ok {
						b.Values = append(b.Values, v)
					}
				default:
					more = false
				}
			}
			if !yield(b, nil) || closed {
				return
			}
		}
	}
}
