package csvfile

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"

	"github.com/jszwec/csvutil"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// A Sink writes one file, exactly once: what a receipt covers is in the file,
// once, and nothing else is. The file appears when the input has ended; until
// then its bytes are in "<path>.<run>.part". A run that redrives dead letters writes
// "<path>.<run>" and leaves the file at path as it is.
type Sink[T any] struct {
	path string

	// Comma is the delimiter; zero means ','.
	Comma rune
	// Columns are the columns to write, in order; nil means all fields of T in
	// the order of their declaration. It must be given for a [Row].
	Columns []string
	// NoHeader leaves the names of the columns out.
	NoHeader bool
	// Append adds to the file at path instead of replacing it, also when dead
	// letters are redriven. One run at a time may do so. The header is written only
	// into an empty file.
	Append bool
}

// Write returns a Sink to path. T is a struct or [Row]. Folders that are missing
// are made.
func Write[T any](path string) *Sink[T] { return &Sink[T]{path: path} }

// Open opens the part of the run.
func (s *Sink[T]) Open(ctx context.Context, at weir.At) (weir.Writer[T], error) {
	columns := s.Columns
	if columns == nil {
		var err error
		if columns, err = csvutil.Header(*new(T), "csv"); err != nil {
			return nil, fmt.Errorf("write %T to %s: use a struct, or csvfile.Row with Columns: %w", *new(T), s.path, err)
		}
	}
	part, err := textfile.OpenPart(vfs.From(ctx), textfile.File{
		Path: s.path, Run: at.Run, Append: s.Append, Beside: at.Redrives != "",
	}, at.Note)
	if err != nil {
		return nil, err
	}
	w := &writer[T]{part: part, columns: columns, csv: csv.NewWriter(part)}
	if s.Comma != 0 {
		w.csv.Comma = s.Comma
	}
	if _, untyped := any((*T)(nil)).(*Row); !untyped {
		w.encoder = csvutil.NewEncoder(w.csv)
		w.encoder.AutoHeader = false
		w.encoder.SetHeader(columns)
	}
	w.header = !s.NoHeader && part.Empty()
	return w, nil
}

type writer[T any] struct {
	part    *textfile.Part
	columns []string
	csv     *csv.Writer
	encoder *csvutil.Encoder // nil for Row
	header  bool             // the header is to be written
	fields  []string
}

// Deliver writes a row for each payload. The receipt waits for Flush.
func (w *writer[T]) Deliver(_ context.Context, batch []weir.Delivery[T]) error {
	if err := w.head(); err != nil {
		return err
	}
	failed := map[int]error{}
	for i := range batch {
		if err := w.row(&batch[i].Value); err != nil {
			failed[i] = fmt.Errorf("write %s: %w", batch[i].Ref, err)
		}
	}
	if len(failed) > 0 {
		return &weir.PartialError{Failed: failed} // the others are written and must not come again
	}
	return nil
}

func (w *writer[T]) head() error {
	if !w.header {
		return nil
	}
	w.header = false
	return w.csv.Write(w.columns)
}

func (w *writer[T]) row(v *T) error {
	untyped, ok := any(v).(*Row)
	if !ok {
		return w.encoder.Encode(v)
	}
	w.fields = w.fields[:0]
	for _, c := range w.columns {
		w.fields = append(w.fields, (*untyped)[c])
	}
	return w.csv.Write(w.fields)
}

// Flush makes what was delivered durable.
func (w *writer[T]) Flush(context.Context) error {
	w.csv.Flush()
	return errors.Join(w.csv.Error(), w.part.Sync())
}

func (w *writer[T]) Note() string { return w.part.Note() }

func (w *writer[T]) Prepare(ctx context.Context) (string, error) {
	if err := errors.Join(w.head(), w.Flush(ctx)); err != nil { // an empty table has a header
		return "", err
	}
	note, err := w.part.Prepare()
	return note, err
}

func (w *writer[T]) Finish(context.Context) (string, error) {
	note, err := w.part.Finish()
	return note, err
}

func (w *writer[T]) Close() error { return w.part.Close() }
