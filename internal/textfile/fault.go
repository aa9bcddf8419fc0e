package textfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/vfs"
)

// What makes a row bad whatever its format.
var (
	ErrLong     = event.Mark(event.KindTooLarge, errors.New("it is too long"))
	ErrEncoding = event.Mark(event.KindDecode, errors.New("it is not valid UTF-8"))
)

// Validate asks a payload whether it is acceptable, if it can tell. Connectors
// ask while they have the row at hand; so the dead letter names its place and
// holds it as it came. v points to the payload.
func Validate(v any) error {
	c, ok := v.(event.Validator)
	if !ok {
		return nil
	}
	err := c.Validate()
	if err != nil && event.KindOf(err) == event.KindUnknown {
		return event.Invalid(err)
	}
	return err
}

// Fault says where a bad row is and what is wrong with it. The error has the kind
// that err is marked with, decode if it is not marked.
func (r Row) Fault(path string, err error) error {
	if r.Long > 0 {
		return event.Mark(event.KindTooLarge, fmt.Errorf(
			"%s line %d: it has %d bytes, from offset %d on; %d is the limit, its first %d are kept",
			path, r.Line, r.Long, r.At, MaxRow, len(r.Text)))
	}
	kind := event.KindOf(err)
	if kind == event.KindUnknown {
		kind = event.KindDecode
	}
	return event.Mark(kind, fmt.Errorf("%s line %d: %w", path, r.Line, unmark(err)))
}

// unmark takes the kind off the words of an error: it is said once, in front.
func unmark(err error) error {
	if k, ok := err.(interface{ ErrorKind() event.Kind }); ok && k.ErrorKind() != event.KindUnknown {
		if inner := errors.Unwrap(err); inner != nil {
			return inner
		}
	}
	return err
}

// said is an error in words for people.
type said struct {
	text string
	err  error
}

func (e said) Error() string { return e.text }
func (e said) Unwrap() error { return e.err }

// refused says what the system refused to do with a file, and what helps.
func refused(op, path string, err error) error {
	switch {
	case vfs.IsNoSpace(err):
		return said{fmt.Sprintf("%s %s: the disk is full: make room and go on with the run", op, path), err}
	case errors.Is(err, fs.ErrPermission):
		return said{fmt.Sprintf("%s %s: permission denied: give the user with id %d access to it", op, path, os.Getuid()), err}
	}
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == path {
		err = at.Err
	}
	return fmt.Errorf("%s %s: %w", op, path, err)
}
