package weir

import (
	"cmp"
	"encoding/hex"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/weirflow/weir/internal/nearest"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/topology"
)

// finish makes the checks that need the whole flow and the graph. The error is
// a *topology.ValidationError.
func (f *Flow) finish() error {
	for _, check := range f.atEnd {
		check()
	}
	if len(f.problems) == 0 {
		for i, n := range f.plan.Nodes {
			f.describeNode(&f.stages[i], n)
		}
		g, err := topology.New(f.name, f.stages, f.edges)
		f.plan.Graph = g
		return err
	}
	if !slices.ContainsFunc(f.plan.Nodes, func(n *plan.Node) bool { return n.Source != nil }) {
		f.problem("", "", "no source; a flow begins with one")
	}
	slices.SortStableFunc(f.problems, func(a, b topology.Problem) int { return cmp.Compare(a.Stage, b.Stage) })
	return &topology.ValidationError{Flow: f.name, Problems: f.problems}
}

func (f *Flow) describeNode(t *topology.Stage, n *plan.Node) {
	if n.Sink != nil {
		t.Guarantee = n.Sink.Guarantee()
	}
	t.Policies = n.Guards.Describe()
}

// describe returns what the graph says about a payload, key or state type.
func describe[T any](t *payload.Type[T]) topology.Type {
	if t == nil {
		return topology.Type{Name: "invalid"}
	}
	return topology.Type{Name: t.Name, Schema: hex.EncodeToString(t.SchemaHash[:]), Shape: t.Schema, Fields: fieldsOf(reflect.TypeFor[T]())}
}

// keptAs describes state by the type that the user knows it as.
func keptAs[T any]() topology.Type {
	return topology.Type{Name: payloadName[T](), Fields: fieldsOf(reflect.TypeFor[T]())}
}

// keyName describes a key type by what is written of it: the name of a Go type
// does not matter.
func keyName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		parts := make([]string, t.NumField())
		for i := range parts {
			parts[i] = keyName(t.Field(i).Type)
		}
		return "(" + strings.Join(parts, ", ") + ")"
	case reflect.Array:
		return "[" + strconv.Itoa(t.Len()) + "]" + keyName(t.Elem())
	default:
		return t.Kind().String()
	}
}

// fieldsOf lists the fields of a struct as they are written, for people.
func fieldsOf(t reflect.Type) []topology.Field {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var out []topology.Field
	for sf := range t.Fields() {
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if !sf.IsExported() || name == "-" {
			continue
		}
		out = append(out, topology.Field{Name: cmp.Or(name, sf.Name), Type: bareType(sf.Type)})
	}
	return out
}

// bareType is the name of a type without packages.
func bareType(t reflect.Type) string {
	s := t.String()
	var b strings.Builder
	start := 0
	flush := func(end int) {
		word := s[start:end]
		b.WriteString(word[strings.LastIndexByte(word, '.')+1:])
	}
	for i, c := range s {
		if strings.ContainsRune("[]*,(){} ", c) {
			flush(i)
			b.WriteRune(c)
			start = i + 1
		}
	}
	flush(len(s))
	return b.String()
}

// hint names the one of names that s may have been meant to be, if one is close.
func hint(s string, names []string) string {
	if best := nearest.Name(s, names); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}
