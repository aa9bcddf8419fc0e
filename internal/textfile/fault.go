package textfile

import (
	"errors"
	"fmt"

	"github.com/weirflow/weir/event"
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
