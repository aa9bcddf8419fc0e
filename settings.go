package weir

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/journal"
)

// The sources of a setting's value, as manifests record them, strongest first.
const (
	fromCommandLine = "command line"
	fromCode        = "code"
)

var (
	secretType = reflect.TypeFor[Secret]()
	pathType   = reflect.TypeFor[Path]()
)

// settingFields returns the settings of a struct by their names, in order.
func settingFields(t reflect.Type) (names []string, fields []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && (!f.Anonymous || f.Type.Kind() != reflect.Struct) {
			names, fields = append(names, payload.SnakeCase(f.Name)), append(fields, f)
		}
	}
	return names, fields
}

// checkSettings returns what is wrong with a type as settings.
func checkSettings(t reflect.Type) (faults []string) {
	names, fields := settingFields(t)
	seen := map[string]string{}
	for i, f := range fields {
		if other, ok := seen[names[i]]; ok {
			faults = append(faults, fmt.Sprintf("settings %s and %s are both called %s; rename one", other, f.Name, names[i]))
		}
		seen[names[i]] = f.Name
		if f.Type != secretType && holdsSecret(f.Type, map[reflect.Type]bool{}) {
			faults = append(faults, fmt.Sprintf("setting %s holds a Secret within a %v; make the secret a field of its own, so that it is not recorded", f.Name, f.Type))
		}
	}
	return faults
}

func holdsSecret(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == secretType {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for field := range t.Fields() {
			if holdsSecret(field.Type, seen) {
				return true
			}
		}
	case reflect.Map:
		return holdsSecret(t.Key(), seen) || holdsSecret(t.Elem(), seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsSecret(t.Elem(), seen)
	default:
	}
	return false
}

// absolute returns cfg with its paths made absolute; nil stays nil.
func absolute(cfg any) (any, error) {
	if cfg == nil {
		return nil, nil
	}
	v := settable(cfg)
	names, fields := settingFields(v.Type())
	for i, f := range fields {
		if f.Type != pathType {
			continue
		}
		p := v.FieldByIndex(f.Index)
		if p.String() == "" {
			continue
		}
		abs, err := filepath.Abs(p.String())
		if err != nil {
			return nil, fmt.Errorf("setting %s: %w", names[i], err)
		}
		p.SetString(abs)
	}
	return v.Interface(), nil
}

// recordSettings returns the settings as a manifest holds them: secrets without
// their values. sources says where values came from, by name; the default is the
// code.
func recordSettings(cfg any, sources map[string]string) ([]journal.Setting, error) {
	if cfg == nil {
		return nil, nil
	}
	v := reflect.ValueOf(cfg)
	names, fields := settingFields(v.Type())
	out := make([]journal.Setting, len(fields))
	for i, f := range fields {
		out[i] = journal.Setting{Name: names[i], Source: fromCode, Secret: f.Type == secretType}
		if s, ok := sources[names[i]]; ok {
			out[i].Source = s
		}
		if out[i].Secret {
			continue
		}
		value, err := json.Marshal(v.FieldByIndex(f.Index).Interface())
		if err != nil {
			return nil, fmt.Errorf("setting %s cannot be recorded: %w", names[i], err)
		}
		out[i].Value = value
	}
	return out, nil
}

// withNew returns recorded settings and those of now that were not recorded, because
// the code had no such setting yet.
func withNew(recorded, now []journal.Setting) []journal.Setting {
	all := slices.Clone(recorded)
	for _, s := range now {
		if !slices.ContainsFunc(recorded, func(r journal.Setting) bool { return r.Name == s.Name }) {
			all = append(all, s)
		}
	}
	return all
}

// A drift is a setting of a continued run whose value is not the recorded one.
type drift struct {
	name     string
	recorded json.RawMessage
	now      json.RawMessage
	gone     bool // the code has no such setting any more
}

// plain is a JSON value as people write it.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}

func (d drift) attrs() []any {
	now := plain(d.now)
	if d.gone {
		now = "not known any more"
	}
	return []any{slog.String("setting", d.name), slog.String("began_with", plain(d.recorded)), slog.String("now", now)}
}

func (d drift) changed() ChangedSetting {
	return ChangedSetting{Name: d.name, Recorded: plain(d.recorded), Now: plain(d.now)}
}

// restoreSettings returns cfg with the values that a run recorded. A value from
// the command line wins over the recorded one; secrets are as they are in cfg.
func restoreSettings(cfg any, recorded []journal.Setting, sources map[string]string) (restored any, drifts []drift, err error) {
	if cfg == nil {
		return nil, nil, nil
	}
	v := settable(cfg)
	names, fields := settingFields(v.Type())
	at := map[string]reflect.Value{}
	for i, f := range fields {
		at[names[i]] = v.FieldByIndex(f.Index)
	}
	for _, r := range recorded {
		f, ok := at[r.Name]
		if !ok {
			drifts = append(drifts, drift{name: r.Name, recorded: r.Value, gone: true})
			continue
		}
		if r.Secret || f.Type() == secretType {
			continue
		}
		if sources[r.Name] == fromCommandLine {
			now, err := json.Marshal(f.Interface())
			if err != nil {
				return nil, nil, fmt.Errorf("setting %s: %w", r.Name, err)
			}
			if string(now) != string(compact(r.Value)) {
				drifts = append(drifts, drift{name: r.Name, recorded: r.Value, now: now})
			}
			continue
		}
		fresh := reflect.New(f.Type())
		if err := json.Unmarshal(r.Value, fresh.Interface()); err != nil {
			return nil, nil, fmt.Errorf("setting %s was recorded as %s, which is no %v any more: give it on the command line: %w", r.Name, r.Value, f.Type(), err)
		}
		f.Set(fresh.Elem())
	}
	return v.Interface(), drifts, nil
}

// compact returns JSON as Marshal writes it: manifests are indented.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return raw
	}
	return b.Bytes()
}

// settable returns a copy of a struct that can be changed.
func settable(cfg any) reflect.Value {
	v := reflect.New(reflect.TypeOf(cfg)).Elem()
	v.Set(reflect.ValueOf(cfg))
	return v
}
