package weir

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/weirflow/weir/topology"
)

// A Definition is a named recipe for a flow, built afresh for every run, so that
// no state leaks from one into another. Building opens nothing and calls nothing
// outside. A Definition is immutable and safe for concurrent use.
type Definition struct {
	name     string
	defaults any // a struct, or nil
	build    func(*Flow, any)
}

// Define names a flow and the function that wires it. The name is
// [a-z][a-z0-9_]*; like every wiring mistake, a bad one is reported by
// [Definition.Graph] and when the flow is run.
func Define(name string, build func(f *Flow)) *Definition {
	d := &Definition{name: name}
	if build != nil {
		d.build = func(f *Flow, _ any) { build(f) }
	}
	return d
}

// DefineWith is Define for a flow with settings. C is a struct; defaults holds
// the values of what nobody sets. The values a run was started with are recorded
// in its manifest under the names of the fields in snake case, and going on with
// the run builds with those again. Fields of type [Secret] are not recorded;
// those of type [Path] are made absolute.
func DefineWith[C any](name string, defaults C, build func(f *Flow, cfg C)) *Definition {
	d := &Definition{name: name, defaults: defaults}
	if build != nil {
		d.build = func(f *Flow, cfg any) { build(f, cfg.(C)) }
	}
	return d
}

// A Secret is a setting that is never recorded, printed or logged. Convert it to
// a string where it is used.
type Secret string

// String returns "(secret)".
func (Secret) String() string { return "(secret)" }

// GoString returns "(secret)".
func (Secret) GoString() string { return "(secret)" }

// MarshalText returns "(secret)", so that a secret does not reach a file by
// being part of something that is written.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// A Path is a setting that names a file. It is recorded, and given to the flow,
// as an absolute path, so that a run goes on with the same file from another
// working directory.
type Path string

// Name returns the flow's name.
func (d *Definition) Name() string { return d.name }

// Defaults returns the default settings, nil if the flow has none.
func (d *Definition) Defaults() any { return d.defaults }

// Graph wires the flow with cfg (nil means the defaults) and returns its graph.
// If anything is wrong the error is a [*topology.ValidationError] with every
// problem: its stage, the line that made it and what to do.
func (d *Definition) Graph(cfg any) (*topology.Graph, error) {
	f, err := d.wire(cfg)
	if err != nil {
		return nil, err
	}
	return f.plan.Graph, nil
}

// wire builds the flow.
func (d *Definition) wire(cfg any) (*Flow, error) {
	f := newFlow(d.name)
	cfg, err := d.settings(cfg)
	switch {
	case err != nil:
		f.problem("", "", "%v", err)
	case d.build == nil:
		f.problem("", "", "the function that wires the flow is nil")
	default:
		f.build(func() { d.build(f, cfg) })
	}
	if err := f.finish(); err != nil {
		return nil, err
	}
	return f, nil
}

// settings checks cfg and puts the defaults in place of nil.
func (d *Definition) settings(cfg any) (any, error) {
	want := reflect.TypeOf(d.defaults)
	switch {
	case cfg == nil:
		cfg = d.defaults
	case want == nil:
		return nil, fmt.Errorf("flow %s has no settings, got %T: use DefineWith", d.name, cfg)
	case reflect.TypeOf(cfg) != want:
		return nil, fmt.Errorf("flow %s is configured by %v, got %T", d.name, want, cfg)
	}
	if want != nil && want.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the settings of flow %s are a %v; use a struct", d.name, want)
	}
	if want != nil {
		if faults := checkSettings(want); len(faults) > 0 {
			return nil, errors.New(strings.Join(faults, "; "))
		}
	}
	return absolute(cfg)
}
