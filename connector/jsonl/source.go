// Package jsonl reads and writes JSON lines: one JSON value a line, in files or
// on standard input and output.
//
// A [Source] of a file has positions: after a crash it goes on behind the last
// line that is in the log, and refuses a file that was replaced in between. A
// [Sink] writes under a temporary name and puts the file in place when its input
// has ended; whatever happens in between, the file comes out the same, byte for
// byte.
package jsonl

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/jsonrow"
	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// Batches are kept small: what a crash in the middle of one costs is that it is
// read again.
const (
	batchRows  = 256
	batchBytes = 256 << 10
)

// A Source reads one file of JSON lines. A line that is no JSON, does not fit T,
// is not valid UTF-8, is longer than 1 MiB or is refused by T's Validate method is
// bad input: a dead letter of the source that holds the line as it came (the beginning of an overlong one, with
// its place). Empty lines are passed over. Fields that T does not have are
// ignored.
type Source[T any] struct {
	path string
}

// Read returns a Source of the file at path. Nothing is opened until the flow
// runs.
func Read[T any](path string) *Source[T] { return &Source[T]{path: path} }

// Bounded reports that a file ends.
func (s *Source[T]) Bounded() bool { return true }

// Read yields the lines behind a position.
func (s *Source[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		r, err := textfile.Open(vfs.From(ctx), s.path, string(after), 0)
		if err != nil {
			yield(weir.Batch[T]{}, err)
			return
		}
		defer r.Close()
		for ctx.Err() == nil {
			b, err := next[T](r, s.path)
			if n := len(b.Values) + len(b.Bad); n > 0 {
				b.Position = weir.Position(r.Position())
				if !yield(b, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(weir.Batch[T]{}, err)
				return
			}
		}
		yield(weir.Batch[T]{}, context.Cause(ctx))
	}
}

// DecodeRows returns what makes a payload of a line; see [weir.RowDecoder].
func (s *Source[T]) DecodeRows(context.Context) (func(line []byte) (T, error), error) {
	return func(line []byte) (T, error) { return decode[T](textfile.Row{Text: line}) }, nil
}

// next reads one batch.
func next[T any](r *textfile.Reader, path string) (b weir.Batch[T], err error) {
	for bytes := 0; len(b.Values)+len(b.Bad) < batchRows && bytes < batchBytes; {
		row, err := r.Next()
		if err != nil {
			return b, err
		}
		bytes += len(row.Text)
		add(&b, row, path)
	}
	return b, nil
}

func add[T any](b *weir.Batch[T], row textfile.Row, path string) {
	if row.Long == 0 && len(bytes.TrimSpace(row.Text)) == 0 {
		return
	}
	v, err := decode[T](row)
	if err != nil {
		b.Bad = append(b.Bad, weir.Bad{Raw: bytes.Clone(row.Text), Err: row.Fault(path, err)})
		return
	}
	b.Values = append(b.Values, v)
}

func decode[T any](row textfile.Row) (v T, err error) {
	if row.Long > 0 {
		return v, textfile.ErrLong
	}
	return jsonrow.Decode[T](row.Text)
}

// From returns a Source of JSON lines from a stream that cannot be read again,
// such as standard input. It has no positions: what was read but not recorded
// when the process died is lost to the run, and a run continued later goes on
// with what the stream then gives.
func From[T any](name string, in io.Reader) weir.Source[T] {
	return lines[T]{func(ctx context.Context, _ weir.Position) iter.Seq2[weir.Batch[T], error] {
		return func(yield func(weir.Batch[T], error) bool) {
			lines := bufio.NewReaderSize(in, 64<<10)
			var at int64
			for line := int64(1); ctx.Err() == nil; line++ {
				row, n, err := readLine(lines)
				row.Line, row.At = line, at
				at += n
				var b weir.Batch[T]
				if add(&b, row, name); len(b.Values)+len(b.Bad) > 0 && !yield(b, nil) {
					return
				}
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					yield(weir.Batch[T]{}, fmt.Errorf("read %s: %w", name, err))
					return
				}
			}
			yield(weir.Batch[T]{}, context.Cause(ctx))
		}
	}}
}

type lines[T any] struct{ weir.SourceFunc[T] }

// DecodeRows returns what makes a payload of a line; see [weir.RowDecoder].
func (lines[T]) DecodeRows(context.Context) (func(line []byte) (T, error), error) {
	return func(line []byte) (T, error) { return decode[T](textfile.Row{Text: line}) }, nil
}

// readLine reads one line, keeping the beginning only of one that is too long, and
// returns how long it is with its end.
func readLine(in *bufio.Reader) (row textfile.Row, length int64, err error) {
	for {
		piece, err := in.ReadSlice('\n')
		length += int64(len(piece))
		if room := textfile.MaxRow - len(row.Text); room > 0 {
			row.Text = append(row.Text, piece[:min(room, len(piece))]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if length > textfile.MaxRow {
			row.Long = length
			row.Text = row.Text[:textfile.KeptOfLong]
		}
		row.Text = bytes.TrimRight(row.Text, "\r\n")
		return row, length, err
	}
}
