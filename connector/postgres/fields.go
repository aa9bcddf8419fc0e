package postgres

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/weirflow/weir/internal/payload"
)

// A field is one of a payload type that goes into a column.
type field struct {
	name   string // of the Go field
	column string
	index  []int
	typ    reflect.Type
}

// fieldsOf returns the fields of t that go into columns, in the order of their
// declaration, those of embedded structs in their place.
func fieldsOf(t reflect.Type) (fields []field, err error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%v is no struct: its fields would be the columns", t)
	}
	for _, f := range reflect.VisibleFields(t) {
		tag, tagged := f.Tag.Lookup("db")
		embeds := f.Anonymous && f.Type.Kind() == reflect.Struct && !tagged
		if !f.IsExported() || embeds || tag == "-" || outer(t, f.Index) {
			continue
		}
		column := tag
		if column == "" {
			column = payload.SnakeCase(f.Name)
		}
		if at := slices.IndexFunc(fields, func(other field) bool { return other.column == column }); at >= 0 {
			return nil, fmt.Errorf("fields %s and %s of %v are both column %s: tag one with `db:\"…\"`", fields[at].name, f.Name, t, column)
		}
		fields = append(fields, field{f.Name, column, f.Index, f.Type})
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("%v has no exported field that could be a column", t)
	}
	return fields, nil
}

// outer reports whether a field at index lies within one that is a column itself,
// or none.
func outer(t reflect.Type, index []int) bool {
	for i := 1; i < len(index); i++ {
		if _, tagged := t.FieldByIndex(index[:i]).Tag.Lookup("db"); tagged {
			return true
		}
	}
	return false
}
