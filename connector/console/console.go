// Package console prints what a flow produces: as a table, as JSON lines, or in
// a form of your own. All of its sinks deliver at least once: after a crash,
// what had no receipt is printed again.
package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/weirflow/weir"
)

// A Sink prints to standard output, or where To says.
type Sink[T any] struct {
	To io.Writer // nil means standard output

	open func(io.Writer) printer[T]
}

// A printer prints a batch.
type printer[T any] interface {
	print(batch []weir.Delivery[T]) error
}

// Stderr returns s printing to standard error.
func (s *Sink[T]) Stderr() *Sink[T] {
	s.To = os.Stderr
	return s
}

// JSON prints each payload as one line of JSON.
func JSON[T any]() *Sink[T] {
	return Lines(func(v T) string { return marshal(v, "") })
}

// Pretty prints each payload as indented JSON.
func Pretty[T any]() *Sink[T] {
	return Lines(func(v T) string { return marshal(v, "  ") })
}

func marshal(v any, indent string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%+v (%v)", v, err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Lines prints what format makes of each payload, on a line of its own.
func Lines[T any](format func(T) string) *Sink[T] {
	return &Sink[T]{open: func(w io.Writer) printer[T] { return lines[T]{w, format} }}
}

// stdout keeps the lines of several sinks apart.
var stdout sync.Mutex

type lines[T any] struct {
	w      io.Writer
	format func(T) string
}

func (l lines[T]) print(batch []weir.Delivery[T]) error {
	var b bytes.Buffer
	for i := range batch {
		b.WriteString(l.format(batch[i].Value))
		b.WriteByte('\n')
	}
	return write(l.w, b.Bytes())
}

func write(w io.Writer, p []byte) error {
	stdout.Lock()
	defer stdout.Unlock()
	_, err := w.Write(p)
	return err
}

// Table prints the payloads as a table under title, a batch at a time: columns
// are as wide as the widest value so far. T is a struct; its exported fields are
// the columns, named by the csv or json tag where there is one.
func Table[T any](title string) *Sink[T] {
	return &Sink[T]{open: func(w io.Writer) printer[T] {
		fields := columns(reflect.TypeFor[T]())
		return &table[T]{w: w, title: title, fields: fields, widths: make([]int, len(fields))}
	}}
}

type table[T any] struct {
	w      io.Writer
	title  string
	fields []field
	widths []int
	begun  bool
}

func (t *table[T]) print(batch []weir.Delivery[T]) error {
	var rows [][]string
	if !t.begun {
		var head []string
		for _, f := range t.fields {
			head = append(head, f.name)
		}
		rows = append(rows, head)
	}
	for i := range batch {
		v := reflect.ValueOf(&batch[i].Value).Elem()
		row := make([]string, 0, len(t.fields))
		for _, f := range t.fields {
			row = append(row, fmt.Sprint(f.of(v)))
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i, cell := range row {
			t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b bytes.Buffer
	if !t.begun && t.title != "" {
		b.WriteString(t.title + "\n")
	}
	for _, row := range rows {
		t.line(&b, row)
	}
	if err := write(t.w, b.Bytes()); err != nil {
		return err
	}
	t.begun = true
	return nil
}

// line writes one row; numbers stand to the right of their column.
func (t *table[T]) line(b *bytes.Buffer, row []string) {
	start := b.Len()
	for i, cell := range row {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
		if t.fields[i].number {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	for b.Len() > start && b.Bytes()[b.Len()-1] == ' ' {
		b.Truncate(b.Len() - 1)
	}
	b.WriteByte('\n')
}

type field struct {
	name   string
	index  int // -1: the value itself
	number bool
}

func (f field) of(v reflect.Value) any {
	if f.index < 0 {
		return v.Interface()
	}
	v = v.Field(f.index)
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	return v.Interface()
}

func columns(t reflect.Type) (fields []field) {
	if t.Kind() != reflect.Struct {
		return []field{{"value", -1, isNumber(t)}}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Name
		for _, tag := range []string{"json", "csv"} {
			if n, _, _ := strings.Cut(f.Tag.Get(tag), ","); n != "" {
				name = n
			}
		}
		if f.IsExported() && name != "-" {
			fields = append(fields, field{name, i, isNumber(f.Type)})
		}
	}
	return fields
}

func isNumber(t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// Open begins to print.
func (s *Sink[T]) Open(context.Context, weir.At) (weir.Writer[T], error) {
	to := s.To
	if to == nil {
		to = os.Stdout
	}
	return &writer[T]{s.open(to)}, nil
}

type writer[T any] struct{ printer[T] }

func (w *writer[T]) Deliver(_ context.Context, batch []weir.Delivery[T]) error {
	return w.print(batch)
}

// Close does nothing: standard output is not ours to close.
func (w *writer[T]) Close() error { return nil }
