package payload

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weirflow/weir/event"
)

// maxTypeName bounds the name of a payload type, in bytes.
const maxTypeName = 200

// nameOf returns the recorded name of a payload type: what EventType says on
// its zero value, else its bare Go name, type arguments likewise.
func nameOf(typ reflect.Type) (string, error) {
	if typ.Kind() != reflect.Interface {
		if typed, ok := reflect.TypeAssert[event.Typed](reflect.New(typ)); ok {
			return declaredName(typ, typed)
		}
	}
	name := bareName(typ)
	if !validTypeName(name) {
		return "", fmt.Errorf("payload %v has no name to record: declare a named type, with EventType() string if its name is longer than %d bytes", typ, maxTypeName)
	}
	return name, nil
}

func declaredName(typ reflect.Type, typed event.Typed) (name string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("payload %v: EventType panics on the zero value: %v; return a constant", typ, p)
		}
	}()
	name = typed.EventType()
	if !validTypeName(name) {
		return "", fmt.Errorf("payload %v: EventType returns %q; a name is 1 to %d printable bytes without spaces, like \"order.placed.v1\"", typ, name, maxTypeName)
	}
	return name, nil
}

func validTypeName(name string) bool {
	if name == "" || len(name) > maxTypeName || !utf8.ValidString(name) {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool { return unicode.IsSpace(c) || !unicode.IsPrint(c) })
}

// bareName returns the Go name of a type without package paths, also within
// its type arguments: Pair[Order,Item].
func bareName(typ reflect.Type) string {
	full := typ.Name()
	if full == "" {
		full = typ.String()
	}
	var b strings.Builder
	start := 0 // of the identifier being read
	flush := func(end int) {
		word := full[start:end]
		if i := strings.LastIndexByte(word, '.'); i >= 0 {
			word = word[i+1:]
		}
		if i := strings.Index(word, "·"); i >= 0 { // declared within a function
			word = word[:i]
		}
		b.WriteString(word)
	}
	for i := range len(full) {
		if strings.IndexByte("[],*(){}; ", full[i]) >= 0 {
			flush(i)
			b.WriteByte(full[i])
			start = i + 1
		}
	}
	flush(len(full))
	return b.String()
}
