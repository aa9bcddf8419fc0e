package weir

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/redrive"
	"github.com/weirflow/weir/internal/resilience"
	"github.com/weirflow/weir/topology"
)

// A Flow collects stages while a [Definition] is being built. It must not be
// used after the build function has returned.
type Flow struct {
	name    string
	prefix  string // of the present group, with its "/"
	onError plan.OnError
	codec   event.Codec // of every payload and state
	sealed  bool        // the build function has returned

	upcasters []event.Upcaster

	plan     *plan.Flow
	policies *resilience.Set    // of the one run that the flow is built for
	shared   map[string]sharing // what stages share by name
	stages   []topology.Stage
	edges    []topology.Edge
	index    map[string]int          // stage name → index in plan.Nodes
	compiled map[reflect.Type]any    // payload type → *payload.Type
	named    map[string]reflect.Type // payload name → type
	groups   map[string]bool
	atEnd    []func() // checks that need the whole flow
	problems []topology.Problem
}

func newFlow(name string) *Flow {
	f := &Flow{
		name: name, plan: &plan.Flow{Name: name}, onError: defaultOnError(),
		policies: resilience.NewSet(time.Now, rand.Float64), shared: map[string]sharing{}, //nolint:forbidigo // the edge: policies wait in real time
		index: map[string]int{}, compiled: map[reflect.Type]any{},
		named: map[string]reflect.Type{}, groups: map[string]bool{},
	}
	if err := event.ValidName(event.FlowName, name); err != nil {
		f.problem("", "", "%v", err)
	}
	return f
}

// Group gives the stages that body adds a common prefix, "name/stage", and draws
// them as one box. Groups nest. [Flow.Defaults] set within a group end with it.
func (f *Flow) Group(name string, body func()) {
	at := f.open()
	if err := event.ValidName(event.GroupName, name); err != nil {
		f.problem("", at, "%v", err)
		name = "group"
	}
	if body == nil {
		f.problem("", at, "group %s%s has no body", f.prefix, name)
		return
	}
	prefix, onError := f.prefix, f.onError
	f.prefix += name + "/"
	if f.groups[f.prefix] {
		f.problem("", at, "two groups are called %s; give one of them another name", strings.TrimSuffix(f.prefix, "/"))
	}
	f.groups[f.prefix] = true
	defer func() { f.prefix, f.onError = prefix, onError }()
	body()
}

// Codec sets how payloads and state are recorded: [event.JSON], which is the
// default, or [event.CBOR], which is smaller and faster and which the commands
// that inspect runs show as JSON. It applies to the whole flow, so it comes before
// the first stage; a run goes on with the codec that it began with.
func (f *Flow) Codec(c event.Codec) {
	at := f.open()
	switch {
	case len(f.stages) > 0:
		f.problem("", at, "Codec is called behind the first stage; call it before")
	case c != event.JSON && c != event.CBOR:
		f.problem("", at, "there is no codec %v; use event.JSON or event.CBOR", c)
	default:
		f.codec = c
	}
}

// Upcast lets the flow read what earlier code recorded in a run that it goes on
// with: payloads in journals and state, also within what Weir makes of them, such
// as [Failed]. It comes before the first stage. Upcasters that lead to no type of
// the flow have no effect.
//
// A payload whose upcaster returns an error is a dead letter of the stage that
// reads it. State must be read whole: there, a run is not gone on with.
func (f *Flow) Upcast(up ...event.Upcaster) {
	at := f.open()
	all := append(slices.Clip(f.upcasters), up...)
	if len(f.stages) > 0 {
		f.problem("", at, "Upcast is called behind the first stage; call it before")
	} else if _, err := payload.For[Whole](f.codec, all...); err != nil {
		f.problem("", at, "%v", err)
	} else {
		f.upcasters = all
	}
}

// Defaults sets options for the stages that are added after it in this flow or
// group. What a stage is given itself comes first.
func (f *Flow) Defaults(opts ...DefaultOption) {
	at := f.open()
	var s plan.DefaultSettings
	for i, o := range opts {
		if o == nil {
			f.problem("", at, "default option %d is nil", i+1)
			continue
		}
		o.ApplyDefault(&s)
	}
	f.faults("", at, s.Faults)
	if s.OnError != nil {
		f.onError = *s.OnError
	}
}

// A wiringPanic ends the build function where nothing sensible can follow. It
// is recovered in build.
type wiringPanic struct{ caller, text string }

// build runs the function of the user's that wires the flow.
func (f *Flow) build(wire func()) {
	defer func() {
		f.sealed = true
		switch p := recover().(type) {
		case nil:
		case wiringPanic:
			f.problem("", p.caller, "%s; what comes after it was not looked at", p.text)
		default:
			f.problem("", "", "the function that wires the flow panicked: %v\n%s", p, debug.Stack())
		}
	}()
	wire()
}

// open checks that f can be added to, and returns where the caller is.
func (f *Flow) open() (caller string) {
	at := callerOutside()
	switch {
	case f == nil:
		panic(wiringPanic{at, "a stage was given no flow: the *Flow is nil, or the Stream is a zero value"})
	case f.sealed:
		panic(wiringPanic{at, fmt.Sprintf("flow %s was built already: streams and flows are of use within one build only", f.name)})
	}
	return at
}

func (f *Flow) problem(stage, caller, format string, args ...any) {
	f.problems = append(f.problems, topology.Problem{Stage: stage, Caller: caller, Text: fmt.Sprintf(format, args...)})
}

func (f *Flow) faults(stage, caller string, faults []string) {
	for _, text := range faults {
		f.problem(stage, caller, "%s", text)
	}
}

// A stage is a node under construction.
type stage struct {
	f    *Flow
	at   int // index in plan.Nodes
	node *plan.Node
}

// add adds a stage. op tells operators of one kind apart.
func (f *Flow) add(kind topology.Kind, op, name string) *stage {
	caller := f.open()
	full := f.prefix + name
	s := &stage{f: f, at: len(f.plan.Nodes), node: &plan.Node{
		Name: full, Kind: op, Caller: caller, OnError: f.onError, Turn: &plan.Turn{Item: -1},
	}}
	switch err := event.ValidName(event.StageName, name); {
	case err != nil:
		f.problem("", caller, "%v", err)
	case strings.Contains(name, "/"):
		f.problem(full, caller, "a stage name has no %q of its own; use Flow.Group", "/")
	case full == evidence.Pipeline:
		f.problem("", caller, "stage name %q is taken by the supervisor of the flow; choose another", full)
	case full == redrive.Stage:
		f.problem("", caller, "stage name %q is taken by what enters when dead letters are processed again; choose another", full)
	case len(full) > topology.MaxName:
		f.problem("", caller, "stage name %q is %d bytes long with its groups, the limit is %d", full, len(full), topology.MaxName)
	}
	if i, dup := f.index[full]; dup {
		f.problem("", caller, "two stages are called %s: here and at %s; give one of them another name", full, f.plan.Nodes[i].Caller)
	} else {
		f.index[full] = s.at
	}
	f.plan.Nodes = append(f.plan.Nodes, s.node)
	ts := topology.Stage{Name: full, Kind: kind, Group: strings.TrimSuffix(f.prefix, "/"), Caller: caller}
	if kind != topology.Source && kind != topology.Sink { // of those the log does not depend on which it is
		ts.Params = append(ts.Params, topology.Param{Key: "operator", Value: op})
	}
	if f.codec != event.JSON {
		ts.Params = append(ts.Params, topology.Param{Key: topology.ParamCodec, Value: f.codec.String()})
	}
	f.stages = append(f.stages, ts)
	return s
}

func (s *stage) problem(format string, args ...any) {
	s.f.problem(s.node.Name, s.node.Caller, format, args...)
}

// require reports a function, source or sink that is missing.
func (s *stage) require(ok bool, what string) {
	if !ok {
		s.problem("the %s is nil", what)
	}
}

func (s *stage) param(key, value string) {
	t := &s.f.stages[s.at]
	t.Params = append(t.Params, topology.Param{Key: key, Value: value})
}

// read adds the ports of a stream to the stage's inputs. input is the stage's
// logical input, from 0: several ports of one are read as a merge.
func (s *stage) read(ports []feed, input int, role plan.Role, via string) {
	if len(ports) == 0 {
		s.problem("reads a stream of no stage; use what a stage returned")
	}
	for _, p := range ports {
		switch {
		case p.f != s.f:
			s.problem("reads a stream of another flow (%s); streams connect stages of one flow", p.f.name)
			continue
		case p.node < 0: // reported where it was made
			continue
		}
		view := joinViews(p.view, via)
		s.node.Inputs = append(s.node.Inputs, &plan.Input{
			From: plan.PortRef{Node: p.node, Port: p.port}, Role: role, View: view, Adapt: p.adapt,
		})
		from := s.f.plan.Nodes[p.node]
		name := event.PortDead
		if p.port != plan.DeadPort {
			name = from.Ports[p.port].Name
		}
		e := topology.Edge{From: from.Name, Port: name, To: s.node.Name, Input: input, Via: view}
		for _, o := range s.f.edges {
			if o.To == e.To && o.From == e.From && o.Port == e.Port {
				s.problem("reads %s twice; put a stage between, such as a Map that returns what it is given", e.Journal())
			}
		}
		s.f.edges = append(s.f.edges, e)
	}
}

func joinViews(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", " + b
}

// addPort adds a data port for Ts.
func addPort[T any](s *stage, name string) *plan.TypedWriter[T] {
	switch err := event.ValidName(event.PortName, name); {
	case err != nil:
		s.problem("%v", err)
	case name == evidence.Receipts:
		s.problem("port name %q is reserved (sinks write their receipts there); choose another", name)
	}
	for _, p := range s.node.Ports {
		if p.Name == name {
			s.problem("two ports are called %s", name)
		}
	}
	typ := payloadType[T](s, "port "+name)
	p, w := newPort[T](s, name, typ)
	s.node.Ports = append(s.node.Ports, p)
	t := &s.f.stages[s.at]
	t.Ports = append(t.Ports, topology.Port{Name: name, Type: describe[T](typ)})
	return w
}

func newPort[T any](s *stage, name string, typ *payload.Type[T]) (*plan.Port, *plan.TypedWriter[T]) {
	w := plan.NewWriter(name, typ, s.node.Turn)
	p := &plan.Port{Name: name, Go: reflect.TypeFor[T](), Mode: plan.Copied, Writer: w, Decoder: plan.NewDecoder(typ)}
	if typ != nil {
		p.Type = typ.Name
		if typ.Mode == payload.Share {
			p.Mode = plan.Share
		}
	}
	return p, w
}

// port returns the stream of one of the stage's ports.
func port[T any](s *stage, i int) Stream[T] {
	return Stream[T]{f: s.f, ports: []feed{{f: s.f, node: s.at, port: i}}}
}

// payloadType compiles T once per flow; nil, with a problem, if it cannot be a
// payload. where says what it is for.
func payloadType[T any](s *stage, where string) *payload.Type[T] {
	f, key := s.f, reflect.TypeFor[T]()
	if t, ok := f.compiled[key]; ok {
		return t.(*payload.Type[T])
	}
	t, err := payload.For[T](f.codec, f.upcasters...)
	f.compiled[key] = t
	if err != nil {
		s.problem("%s: %v", where, err)
		return nil
	}
	if other, ok := f.named[t.Name]; ok {
		s.problem("%s: %v and %v are both called %s in the log; give one of them a method EventType() string", where, other, key, t.Name)
		return nil
	}
	f.named[t.Name] = key
	return t
}

// callerOutside returns file:line of the call into this package.
func callerOutside() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "github.com/weirflow/weir.") {
			return fmt.Sprintf("%s:%d", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}
