package jsonl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/textfile"
	"github.com/weirflow/weir/internal/vfs"
)

// A Sink writes one file of JSON lines, exactly once: what a receipt covers is in
// the file, once, and nothing else is. The file appears when the input has ended;
// until then its bytes are in "<path>.<run>.part". A run that redrives dead letters
// writes "<path>.<run>" and leaves the file at path as it is.
type Sink[T any] struct {
	path string

	// Append adds to the file at path instead of replacing it, also when dead
	// letters are redriven. One run at a time may do so.
	Append bool
}

// Write returns a Sink to path. Folders that are missing are made.
func Write[T any](path string) *Sink[T] { return &Sink[T]{path: path} }

// Open opens the part of the run.
func (s *Sink[T]) Open(ctx context.Context, at weir.At) (weir.Writer[T], error) {
	part, err := textfile.OpenPart(vfs.From(ctx), textfile.File{
		Path: s.path, Run: at.Run, Append: s.Append, Beside: at.Redrives != "",
	}, at.Note)
	if err != nil {
		return nil, err
	}
	return &writer[T]{Part: part}, nil
}

type writer[T any] struct {
	*textfile.Part
	line encoder
}

// Deliver writes a line for each payload. The receipt waits for Flush.
func (w *writer[T]) Deliver(_ context.Context, batch []weir.Delivery[T]) error {
	failed := map[int]error{}
	for i := range batch {
		line, err := w.line.encode(&batch[i].Value)
		if err != nil {
			failed[i] = fmt.Errorf("encode %s: %w", batch[i].Ref, err)
			continue
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return &weir.PartialError{Failed: failed} // the others are written and must not come again
	}
	return nil
}

func (w *writer[T]) Flush(context.Context) error { return w.Sync() }

func (w *writer[T]) Note() string { return w.Part.Note() }

func (w *writer[T]) Prepare(context.Context) (string, error) {
	note, err := w.Part.Prepare()
	return note, err
}

func (w *writer[T]) Finish(context.Context) (string, error) {
	note, err := w.Part.Finish()
	return note, err
}

// An encoder makes lines, reusing its memory.
type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

func (e *encoder) encode(v any) ([]byte, error) {
	if e.enc == nil {
		e.enc = json.NewEncoder(&e.buf)
		e.enc.SetEscapeHTML(false)
	}
	e.buf.Reset()
	err := e.enc.Encode(v)
	return e.buf.Bytes(), err
}

// To returns a sink of JSON lines to a stream, such as standard output, at least
// once: after a crash the lines that had no receipt come again.
func To[T any](out io.Writer) weir.Sink[T] { return stream[T]{out} }

type stream[T any] struct{ out io.Writer }

func (s stream[T]) Open(context.Context, weir.At) (weir.Writer[T], error) {
	return &streamWriter[T]{out: s.out}, nil
}

type streamWriter[T any] struct {
	out  io.Writer
	line encoder
}

func (w *streamWriter[T]) Deliver(_ context.Context, batch []weir.Delivery[T]) error {
	for i := range batch {
		line, err := w.line.encode(&batch[i].Value)
		if err != nil {
			return fmt.Errorf("encode %s: %w", batch[i].Ref, err)
		}
		if _, err := w.out.Write(line); err != nil {
			return errors.Join(fmt.Errorf("write %s", batch[i].Ref), err)
		}
	}
	return nil
}

func (w *streamWriter[T]) Close() error { return nil }
