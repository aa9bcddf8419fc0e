// Package jsonrow decodes rows of JSON, whatever they come in, and says what is
// wrong with one in words of JSON.
package jsonrow

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/weirflow/weir/internal/textfile"
)

// Decode makes a payload of a row. The error says why the row is none: it is not
// valid UTF-8, no JSON, does not fit T, or T's Validate method refuses it. Fields
// that T does not have are ignored.
func Decode[T any](row []byte) (v T, err error) {
	if !utf8.Valid(row) {
		return v, textfile.ErrEncoding
	}
	if err := json.Unmarshal(row, &v); err != nil {
		return v, explain(err)
	}
	err = textfile.Validate(&v)
	return v, err
}

func explain(err error) error {
	var syntax *json.SyntaxError
	var misfit *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("it is no JSON, from byte %d on: %w", syntax.Offset, err)
	case errors.As(err, &misfit) && misfit.Field == "":
		return fmt.Errorf("want %s, found %s", kindOf(misfit.Type), misfit.Value)
	case errors.As(err, &misfit):
		return fmt.Errorf("field %q: want %s, found %s", misfit.Field, kindOf(misfit.Type), misfit.Value)
	}
	return err
}

// kindOf names what JSON has for a type.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "object"
	case reflect.Slice, reflect.Array:
		return "array"
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	}
	return fmt.Sprintf("number (%v)", t)
}
