// Package csvfile reads and writes CSV files (RFC 4180).
//
// A [Source] has positions: after a crash it goes on behind the last row that is
// in the log, and refuses a file that was replaced in between. A [Sink] writes
// under a temporary name and puts the file in place when its input has ended;
// whatever happens in between, the file comes out the same, byte for byte.
//
// Columns are matched to the fields of a struct by the csv tag, as package
// csvutil does; [Row] reads any file without one.
package csvfile

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jszwec/csvutil"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// A Row is a row without a struct: the values by column.
type Row map[string]string

const (
	batchRows  = 256
	batchBytes = 256 << 10
)

// A Source reads one file. A row with the wrong number of columns or bad quotes,
// with a value that does not fit its field, that is not valid UTF-8, longer than
// 1 MiB or refused by T's Validate method is bad input: a dead letter of the source that holds the row as it
// came. Empty lines are passed over. Columns that T does not have are ignored; a
// column that T has and the file has not is an error before the first row.
type Source[T any] struct {
	path string

	// Comma is the delimiter, an ASCII character; zero means ','. Use '\t' for
	// tab-separated values.
	Comma rune
	// Skip is how many lines come before the header.
	Skip int
	// Columns are the names of the columns of a file that has no header; nil
	// means that the first row names them.
	Columns []string
}

// Read returns a Source of the file at path. T is a struct or [Row]. Nothing is
// opened until the flow runs.
func Read[T any](path string) *Source[T] { return &Source[T]{path: path} }

// Bounded reports that a file ends.
func (s *Source[T]) Bounded() bool { return true }

// Read yields the rows behind a position.
func (s *Source[T]) Read(ctx context.Context, after weir.Position) iter.Seq2[weir.Batch[T], error] {
	return func(yield func(weir.Batch[T], error) bool) {
		r, err := s.open(vfs.From(ctx), string(after))
		if err != nil {
			yield(weir.Batch[T]{}, err)
			return
		}
		defer r.file.Close()
		for ctx.Err() == nil {
			b, err := r.next()
			if len(b.Values)+len(b.Bad) > 0 {
				b.Position = weir.Position(r.file.Position())
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

// DecodeRows returns what makes a payload of a row; see [weir.RowDecoder]. It looks
// at the file for the names of the columns.
func (s *Source[T]) DecodeRows(ctx context.Context) (func(row []byte) (T, error), error) {
	r, err := s.open(vfs.From(ctx), "")
	if err != nil {
		return nil, err
	}
	return func(row []byte) (T, error) { return r.decode(textfile.Row{Text: row}) }, r.file.Close()
}

// open opens the file behind a position and knows its columns.
func (s *Source[T]) open(fsys vfs.FS, position string) (_ *reader[T], err error) {
	comma := s.Comma
	if comma == 0 {
		comma = ','
	}
	if comma >= utf8.RuneSelf || comma == '"' || comma == '\n' || comma == '\r' {
		return nil, fmt.Errorf("read %s: the delimiter %q is not an ASCII character that can separate columns", s.path, comma)
	}
	r := &reader[T]{path: s.path}
	r.parser = csv.NewReader(&r.feed)
	r.parser.Comma, r.parser.FieldsPerRecord, r.parser.ReuseRecord = comma, -1, true

	begin, err := textfile.Open(fsys, s.path, "", byte(comma))
	if err != nil {
		return nil, err
	}
	defer func() {
		if r.file != begin {
			err = errors.Join(err, begin.Close())
		}
	}()
	if r.columns, err = s.header(begin, r); err != nil {
		return nil, err
	}
	if position == "" {
		r.file = begin
	} else if r.file, err = textfile.Open(fsys, s.path, position, byte(comma)); err != nil {
		return nil, err
	}
	return r, nil
}

// header reads the names of the columns, and what comes before them. An empty
// file has none.
func (s *Source[T]) header(file *textfile.Reader, r *reader[T]) ([]string, error) {
	for range s.Skip {
		if _, err := file.Next(); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	columns := s.Columns
	if columns == nil {
		row, err := file.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		fields, err := r.parse(row)
		if err != nil {
			return nil, fmt.Errorf("the header: %w", row.Fault(s.path, err))
		}
		columns = slices.Clone(fields)
	}
	for i, c := range columns {
		if j := slices.Index(columns, c); j < i {
			return nil, fmt.Errorf("%s: two columns are named %q: give other names in Columns", s.path, c)
		}
	}
	if _, untyped := any((*T)(nil)).(*Row); untyped {
		return columns, nil
	}
	wanted, err := csvutil.Header(*new(T), "csv")
	if err != nil {
		return nil, fmt.Errorf("read %s into %T: use a struct or csvfile.Row: %w", s.path, *new(T), err)
	}
	for _, w := range wanted {
		if !slices.Contains(columns, w) {
			return nil, fmt.Errorf("%s has no column %q: it has %s", s.path, w, strings.Join(columns, ", "))
		}
	}
	r.decoder, err = csvutil.NewDecoder(&r.record, columns...)
	return columns, err
}

// A reader reads batches of an open file.
type reader[T any] struct {
	path    string
	file    *textfile.Reader
	columns []string
	feed    feed
	parser  *csv.Reader
	record  record
	decoder *csvutil.Decoder // nil for Row
}

func (r *reader[T]) next() (b weir.Batch[T], err error) {
	for size := 0; len(b.Values)+len(b.Bad) < batchRows && size < batchBytes; {
		row, err := r.file.Next()
		if err != nil {
			return b, err
		}
		size += len(row.Text)
		if row.Long == 0 && len(row.Text) == 0 {
			continue
		}
		v, err := r.decode(row)
		if err != nil {
			b.Bad = append(b.Bad, weir.Bad{Raw: bytes.Clone(row.Text), Err: row.Fault(r.path, err)})
			continue
		}
		b.Values = append(b.Values, v)
	}
	return b, nil
}

// parse splits a row into its fields; they are valid until the next call.
func (r *reader[T]) parse(row textfile.Row) ([]string, error) {
	if row.Long > 0 {
		return nil, textfile.ErrLong
	}
	if !utf8.Valid(row.Text) {
		return nil, textfile.ErrEncoding
	}
	r.feed.row, r.feed.ended = row.Text, false
	fields, err := r.parser.Read()
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		err = parse.Err
	}
	if err != nil {
		return nil, err
	}
	return fields, nil
}

func (r *reader[T]) decode(row textfile.Row) (v T, err error) {
	fields, err := r.parse(row)
	if err != nil {
		return v, err
	}
	if len(fields) != len(r.columns) {
		return v, fmt.Errorf("it has %d columns, the header has %d", len(fields), len(r.columns))
	}
	if untyped, ok := any(&v).(*Row); ok {
		*untyped = make(Row, len(fields))
		for i, c := range r.columns {
			(*untyped)[c] = fields[i]
		}
		return v, nil
	}
	r.record.fields = fields
	if err := r.decoder.Decode(&v); err != nil {
		return v, r.explain(err)
	}
	err = textfile.Validate(&v)
	return v, err
}

// explain says what does not fit in words of the file.
func (r *reader[T]) explain(err error) error {
	var in *csvutil.DecodeError
	var fit *csvutil.UnmarshalTypeError
	if errors.As(err, &in) && errors.As(err, &fit) {
		return fmt.Errorf("column %s: %q is no %v", in.Field, fit.Value, fit.Type)
	}
	return err
}

// A feed gives one row, with a line end, to the parser, and then ends until it
// has the next.
type feed struct {
	row   []byte
	ended bool
}

func (f *feed) Read(p []byte) (int, error) {
	if len(f.row) > 0 {
		n := copy(p, f.row)
		f.row = f.row[n:]
		return n, nil
	}
	if f.ended {
		return 0, io.EOF
	}
	f.ended = true
	p[0] = '\n'
	return 1, nil
}

// A record gives parsed fields to the decoder.
type record struct{ fields []string }

func (r *record) Read() ([]string, error) { return r.fields, nil }

// FieldPos makes the decoder say which column an error is in.
func (r *record) FieldPos(field int) (line, column int) { return 0, field }
