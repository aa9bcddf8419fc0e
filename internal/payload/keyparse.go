package payload

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// A keyReader consumes the text of a key from the front. It need not refuse
// other spellings of a key: Parse compares.
type keyReader struct{ rest string }

// parse reads the key at p from r. At the top level of a string everything
// left belongs to it.
func (s *keyShape) parse(r *keyReader, p unsafe.Pointer, nested bool) error {
	switch s.class {
	case keyString:
		str, err := r.text(nested)
		if err != nil {
			return err
		}
		*(*string)(p) = str
	case keyInt:
		return s.parseInt(r, p)
	case keyUint:
		return s.parseUint(r, p)
	case keyBool:
		switch {
		case r.take("true"):
			*(*bool)(p) = true
		case r.take("false"):
			*(*bool)(p) = false
		default:
			return errors.New("true or false is expected")
		}
	case keyBytes:
		return s.parseBytes(r, p, nested)
	case keyTuple:
		return s.parseTuple(r, p)
	default: // keyNothing
	}
	return nil
}

func (s *keyShape) parseInt(r *keyReader, p unsafe.Pointer) error {
	digits := r.number()
	n, err := strconv.ParseInt(digits, 10, s.bits())
	if err != nil {
		return fmt.Errorf("%.40q is not an integer of %d bits", digits, s.bits())
	}
	switch s.size {
	case 1:
		*(*int8)(p) = int8(n)
	case 2:
		*(*int16)(p) = int16(n)
	case 4:
		*(*int32)(p) = int32(n)
	default:
		*(*int64)(p) = n
	}
	return nil
}

func (s *keyShape) parseUint(r *keyReader, p unsafe.Pointer) error {
	digits := r.number()
	n, err := strconv.ParseUint(digits, 10, s.bits())
	if err != nil {
		return fmt.Errorf("%.40q is not an unsigned integer of %d bits", digits, s.bits())
	}
	switch s.size {
	case 1:
		*(*uint8)(p) = uint8(n)
	case 2:
		*(*uint16)(p) = uint16(n)
	case 4:
		*(*uint32)(p) = uint32(n)
	default:
		*(*uint64)(p) = n
	}
	return nil
}

func (s *keyShape) parseBytes(r *keyReader, p unsafe.Pointer, nested bool) error {
	if nested && !r.take(`"`) {
		return errors.New("a string of hexadecimal digits is expected")
	}
	n := 2 * int(s.size)
	if len(r.rest) < n {
		return fmt.Errorf("%d hexadecimal digits are expected", n)
	}
	if _, err := hex.Decode(unsafe.Slice((*byte)(p), s.size), []byte(r.rest[:n])); err != nil {
		return err
	}
	r.rest = r.rest[n:]
	if nested && !r.take(`"`) {
		return errors.New("the string of hexadecimal digits does not end")
	}
	return nil
}

func (s *keyShape) parseTuple(r *keyReader, p unsafe.Pointer) error {
	if !r.take("[") {
		return errors.New("[ is expected")
	}
	for i := range s.parts {
		if i > 0 && !r.take(",") {
			return fmt.Errorf("there are %d elements, %d are expected", i, len(s.parts))
		}
		part := &s.parts[i]
		if err := part.parse(r, unsafe.Add(p, part.off), true); err != nil {
			return fmt.Errorf("%s: %w", part.path, err)
		}
	}
	if !r.take("]") {
		return errors.New("] is expected")
	}
	return nil
}

func (r *keyReader) take(prefix string) bool {
	rest, ok := strings.CutPrefix(r.rest, prefix)
	r.rest = rest
	return ok
}

func (r *keyReader) number() string {
	n := 0
	for n < len(r.rest) && (r.rest[n] == '-' || '0' <= r.rest[n] && r.rest[n] <= '9') {
		n++
	}
	digits := r.rest[:n]
	r.rest = r.rest[n:]
	return digits
}

// text reads a string: a JSON string as appendQuoted writes it, or, at the top
// level, all there is.
func (r *keyReader) text(nested bool) (string, error) {
	if !utf8.ValidString(r.rest) {
		return "", errors.New("it is not valid UTF-8")
	}
	if !nested {
		s := r.rest
		r.rest = ""
		return s, nil
	}
	if !r.take(`"`) {
		return "", errors.New("a string is expected")
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(r.rest, `"\`)
		if i < 0 {
			return "", errors.New("a string does not end")
		}
		b.WriteString(r.rest[:i])
		r.rest = r.rest[i:]
		if r.take(`"`) {
			break
		}
		switch {
		case r.escape(&b):
		case r.take(`\u00`) && len(r.rest) >= 2:
			c, err := strconv.ParseUint(r.rest[:2], 16, 8)
			if err != nil || c >= 0x20 {
				return "", fmt.Errorf(`\u00%s is not how a character is written in a key`, r.rest[:2])
			}
			b.WriteByte(byte(c))
			r.rest = r.rest[2:]
		default:
			return "", errors.New("a string holds an escape that keys do not use")
		}
	}
	return b.String(), nil
}

// escape reads one of the two-character escapes.
func (r *keyReader) escape(b *strings.Builder) bool {
	if len(r.rest) < 2 {
		return false
	}
	i := strings.IndexByte(`"\bfnrt`, r.rest[1])
	if i < 0 {
		return false
	}
	b.WriteByte("\"\\\b\f\n\r\t"[i])
	r.rest = r.rest[2:]
	return true
}
