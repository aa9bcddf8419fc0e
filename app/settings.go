package app

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"

	"github.com/weirflow/weir"
	"github.com/weirflow/weir/internal/nearest"
	"github.com/weirflow/weir/internal/payload"
)

// Where a setting's value came from, as the manifest records it.
const (
	fromCode = "code"
	fromFile = "file"
	fromEnv  = "environment"
	fromLine = "command line"
)

// A setting is one value that can be set: a field of the flow's settings, or one
// of Weir's own. Its flag is its name with dashes, its variable its name in upper
// case behind a prefix, its key in the file its name.
type setting struct {
	name   string // snake case
	env    string
	help   string
	kind   string // of its value, for usage
	secret bool
	value  reflect.Value // settable
	source string
	flag   *string // what the command line says; it is applied last
}

// set parses text into the value.
func (s *setting) set(text, source string) error {
	v := s.value
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		s.source = source
		return nil
	}
	if err := parse(v, text); err != nil {
		return err
	}
	s.source = source
	return nil
}

func parse(v reflect.Value, text string) error {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 250ms or 1m30s", text)
		}
		v.SetInt(int64(d))
		return nil
	}
	bits := 0
	if v.Kind() >= reflect.Int && v.Kind() <= reflect.Float64 {
		bits = v.Type().Bits()
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is no whole number of %d bits", text, bits)
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is no whole number from 0 on, of %d bits", text, bits)
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(text, bits)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetFloat(f)
	default:
		return fmt.Errorf("a value of type %v cannot be given as text", v.Type())
	}
	return nil
}

// kindOf names the type of a setting's value for usage.
func kindOf(v reflect.Value) (kind string, err error) {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return "duration", nil
	case v.Type() == reflect.TypeFor[weir.Path]():
		return "path", nil
	case v.Type() == reflect.TypeFor[weir.Secret]():
		return "secret", nil
	}
	if _, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return "text", nil
	}
	switch v.Kind() {
	case reflect.String:
		return "text", nil
	case reflect.Bool:
		return "bool", nil // which usage leaves out
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float32, reflect.Float64:
		return "number", nil
	}
	return "", fmt.Errorf("a setting cannot be of type %v: use text, numbers, booleans, durations, or a type with UnmarshalText", v.Type())
}

// fields returns the settings of a struct; v is settable.
func fields(v reflect.Value, envPrefix string) ([]*setting, error) {
	var all []*setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			return nil, fmt.Errorf("field %s of the settings is not exported, so nobody can set it", f.Name)
		}
		kind, err := kindOf(v.Field(i))
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Name, err)
		}
		name := payload.SnakeCase(f.Name)
		all = append(all, &setting{
			name: name, env: envPrefix + strings.ToUpper(name), help: f.Tag.Get("help"), kind: kind,
			secret: kind == "secret", value: v.Field(i), source: fromCode,
		})
	}
	return all, nil
}

// A flagValue makes a setting a flag.
type flagValue struct{ *setting }

func (f flagValue) String() string {
	if f.setting == nil || !f.value.IsValid() {
		return ""
	}
	if f.secret {
		return ""
	}
	return fmt.Sprint(f.value.Interface())
}

// Set keeps text for fromFlags, after a check.
func (f flagValue) Set(text string) error {
	before := reflect.New(f.value.Type()).Elem()
	before.Set(f.value)
	source := f.source
	err := f.set(text, fromLine)
	f.value.Set(before)
	f.source = source
	f.flag = &text
	return err
}

func (f flagValue) Type() string { return f.kind }

// fromFlags sets what the command line says.
func fromFlags(all []*setting) error {
	for _, s := range all {
		if s.flag == nil {
			continue
		}
		if err := s.set(*s.flag, fromLine); err != nil {
			return fmt.Errorf("--%s: %w", strings.ReplaceAll(s.name, "_", "-"), err)
		}
	}
	return nil
}

// addFlags makes the settings flags of set.
func addFlags(set *pflag.FlagSet, all []*setting) error {
	for _, s := range all {
		name := strings.ReplaceAll(s.name, "_", "-")
		if set.Lookup(name) != nil {
			return fmt.Errorf("the setting %s would hide the flag --%s: rename the field", s.name, name)
		}
		flag := set.VarPF(flagValue{s}, name, "", s.help)
		if s.value.Kind() == reflect.Bool {
			flag.NoOptDefVal = "true"
		}
	}
	return nil
}

// A file is what weir.toml says: Weir's own settings at the top, those of each
// flow in a table of its name.
type file struct {
	path   string
	values map[string]any
}

// readFile reads weir.toml. A file that nobody named may be missing.
func readFile(path string, named bool) (file, error) {
	f := file{path: path}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) && !named {
		return f, nil
	}
	if err != nil {
		pe := &fs.PathError{}
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return f, fmt.Errorf("read settings from %s: %w", path, err)
	}
	if _, err := toml.Decode(string(text), &f.values); err != nil {
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			return f, fmt.Errorf("%s line %d: %s", path, pe.Position.Line, pe.Message)
		}
		return f, fmt.Errorf("read settings from %s: %w", path, err)
	}
	return f, nil
}

// apply sets what the table holds; a key that is no setting is refused.
func (f file) apply(table map[string]any, where string, all []*setting, also ...string) error {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if slices.Contains(also, key) {
			continue
		}
		i := slices.IndexFunc(all, func(s *setting) bool { return s.name == key })
		if i < 0 {
			var names []string
			for _, s := range all {
				names = append(names, s.name)
			}
			return fmt.Errorf("%s: %sthere is no setting %q%s", f.path, where, key, hint(key, append(names, also...)))
		}
		switch table[key].(type) {
		case map[string]any:
			return fmt.Errorf("%s: %s%s is a table, want a value", f.path, where, key)
		case []any, []map[string]any:
			return fmt.Errorf("%s: %s%s is a list, want a value", f.path, where, key)
		}
		if err := all[i].set(fmt.Sprint(table[key]), fromFile); err != nil {
			return fmt.Errorf("%s: %s%s: %w", f.path, where, key, err)
		}
	}
	return nil
}

// fromEnvironment sets what the environment holds.
func fromEnvironment(all []*setting, lookup func(string) (string, bool)) error {
	for _, s := range all {
		if s.env == "" {
			continue
		}
		if text, ok := lookup(s.env); ok {
			if err := s.set(text, fromEnv); err != nil {
				return fmt.Errorf("environment variable %s: %w", s.env, err)
			}
		}
	}
	return nil
}

// hint names the word that s may have been meant to be, or lists all.
func hint(s string, words []string) string {
	if best := nearest.Name(s, words); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	if len(words) == 0 {
		return ""
	}
	return "; there are " + strings.Join(words, ", ")
}
