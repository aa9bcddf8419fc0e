package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/internal/payload"
	"github.com/weirflow/weir/internal/recovery"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/topology"
)

// A Log is what a Run reads: a [journal.Log], or a view of one that another
// process owns.
type Log interface {
	Manifest() journal.Manifest
	Head() journal.LSN    // the newest frame that can be read
	Durable() journal.LSN // frames after it may yet be lost
	Tails() map[string]journal.Tail
	Stats() journal.Stats
	Read(from journal.LSN) (journal.Reader, error)
	Find(journal string, seq uint64) (journal.LSN, error)
	ReadSnapshot(name string) ([]byte, error)
}

// A Run is one run, open for reading. Its methods are for one goroutine at a
// time.
type Run struct {
	log      Log
	manifest journal.Manifest
	graph    *topology.Graph   // of the newest definition; nil if the manifest has none
	before   []*topology.Graph // earlier ones, oldest first
	codec    event.Codec       // of payloads and state
	dir      string
	owner    func() (who string, held bool, err error)
	wait     func(ctx context.Context, after journal.LSN) error // returns when there may be frames after that one; nil if there never will be
	close    func() error
}

// Of returns the run whose log this process owns, as far as log has it now. The
// run does not close the log.
func Of(log Log) (*Run, error) {
	r := &Run{
		log: log, manifest: log.Manifest(), close: func() error { return nil },
		owner: func() (string, bool, error) { return "this process", true, nil },
	}
	if d, ok := log.(interface {
		Await(context.Context, journal.LSN) error
	}); ok {
		r.wait = func(ctx context.Context, after journal.LSN) error { return d.Await(ctx, after+1) }
	}
	err := r.parse()
	return r, err
}

// parse reads the definitions in the manifest.
func (r *Run) parse() error {
	if len(r.manifest.Definition) == 0 {
		return nil
	}
	definitions := []json.RawMessage{r.manifest.Definition}
	for e := range r.manifest.Redefinitions() {
		definitions = append(definitions, e.Redefined.Definition)
	}
	var all []*topology.Graph
	for _, d := range definitions {
		g, err := topology.Parse(d)
		if err != nil {
			return fmt.Errorf("definition in the manifest of run %s: %w", r.manifest.Run, err)
		}
		all = append(all, g)
	}
	g := all[len(all)-1]
	r.graph, r.before = g, all[:len(all)-1]
	if err := r.codec.UnmarshalText([]byte(g.Codec())); err != nil {
		return fmt.Errorf("definition in the manifest of run %s: %w", r.manifest.Run, err)
	}
	return nil
}

// shown returns a payload or state as JSON, or as it is if it is
// something else: what the engine records is JSON whatever the flow's codec.
func (r *Run) shown(port string, data []byte) []byte {
	if port == journal.PortSys || port == journal.PortFx || port == evidence.Receipts {
		return data
	}
	if text, err := payload.AsJSON(r.codec, data); err == nil {
		return text
	}
	return data
}

// Close ends reading.
func (r *Run) Close() error { return r.close() }

// Manifest returns what the run is, as of now.
func (r *Run) Manifest() journal.Manifest {
	known := len(r.manifest.Epochs)
	r.manifest = r.log.Manifest() // a next owner adds its epoch
	if len(r.manifest.Epochs) != known {
		_ = r.parse() // what was known stays; the error comes when the run is opened
	}
	return r.manifest
}

// Graph returns the flow's graph, by the newest definition that the run had; nil if
// the manifest has none.
func (r *Run) Graph() *topology.Graph { return r.graph }

// definition returns a stage as the newest definition has it that has one of that
// name.
func (r *Run) definition(stage string) (topology.Stage, bool) {
	if r.graph != nil {
		if s, ok := r.graph.Stage(stage); ok {
			return s, true
		}
	}
	for _, g := range slices.Backward(r.before) {
		if s, ok := g.Stage(stage); ok {
			return s, true
		}
	}
	return topology.Stage{}, false
}

// Dir returns the run's directory, "" if it has none.
func (r *Run) Dir() string { return r.dir }

// state is where every stage stands now.
func (r *Run) state() (*recovery.State, error) {
	r.Manifest()
	s, err := r.recover(func(string, string) (recovery.Table, error) { return nil, nil })
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", r.manifest.Run, err)
	}
	return s, nil
}

// recover reads where every stage stands, again if the owner of the run went on
// meanwhile and has removed a snapshot. table is asked anew each time.
func (r *Run) recover(table func(stage, name string) (recovery.Table, error)) (*recovery.State, error) {
	for {
		head := r.log.Head()
		s, err := recovery.ReadInto(r.log, table)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		if failed := r.refresh(); failed != nil || r.log.Head() == head {
			return nil, errors.Join(err, failed)
		}
	}
}

// refresh looks at the log anew.
func (r *Run) refresh() error {
	if v, ok := r.log.(interface{ Refresh() error }); ok {
		return v.Refresh()
	}
	return nil
}

// A NotFoundError says that a run has no such journal or record.
type NotFoundError struct {
	What string   // what was asked for, as it was written
	Why  string   // in a few words
	Have []string // what there is instead, if that helps
}

func (e *NotFoundError) Error() string {
	msg := fmt.Sprintf("%s: %s", e.What, e.Why)
	if len(e.Have) > 0 {
		msg += "; there is " + strings.Join(e.Have, ", ")
	}
	return msg
}

// Journal returns the full name of the journal that a person names: stage.port
// as it is, or a stage, which means its only data port, and its receipts if it
// is a sink. The error is a [*NotFoundError].
func (r *Run) Journal(name string) (string, error) {
	state, err := r.state()
	if err != nil {
		return "", err
	}
	return r.journalIn(state, name)
}

func (r *Run) journalIn(state *recovery.State, name string) (string, error) {
	stage, port := split(name)
	ports := r.ports(state, stage)
	if ports == nil {
		return "", &NotFoundError{What: name, Why: "the run has no such stage", Have: r.stages(state)}
	}
	if port != "" {
		if slices.Contains(ports, port) || port == journal.PortDead || port == journal.PortFx || port == journal.PortSys {
			return name, nil
		}
		return "", &NotFoundError{What: name, Why: "the stage has no such port", Have: prefixed(stage, ports)}
	}
	data := slices.DeleteFunc(slices.Clone(ports), func(p string) bool {
		return p == journal.PortDead || p == journal.PortFx || p == journal.PortSys
	})
	if len(data) == 1 {
		return stage + "." + data[0], nil
	}
	if len(data) == 0 {
		return "", &NotFoundError{What: name, Why: "the stage has no port with data", Have: prefixed(stage, ports)}
	}
	return "", &NotFoundError{What: name, Why: "the stage has several ports, say which", Have: prefixed(stage, data)}
}

// ports lists the ports of a stage, those with data first; nil if there is no
// such stage.
func (r *Run) ports(state *recovery.State, stage string) []string {
	var ports []string
	known := false
	add := func(p string) {
		if !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	if s, ok := r.definition(stage); ok {
		known = true
		for _, p := range s.Ports {
			add(p.Name)
		}
		if s.Kind == topology.Sink {
			add(evidence.Receipts)
		}
	}
	if s, ok := state.Stages[stage]; ok {
		known = true
		for _, p := range sortedKeys(s.Ports) {
			if p != journal.PortDead && p != journal.PortFx && p != journal.PortSys {
				add(p)
			}
		}
		for _, p := range []string{journal.PortDead, journal.PortFx, journal.PortSys} {
			if s.Ports[p].Count > 0 {
				add(p)
			}
		}
	}
	if known && ports == nil {
		ports = []string{journal.PortSys}
	}
	return ports
}

// stages lists the names of all stages, in the order in which data flows if that
// is known.
func (r *Run) stages(state *recovery.State) []string {
	var names []string
	if r.graph != nil {
		names = r.graph.Order()
	}
	for _, n := range sortedKeys(state.Stages) {
		if n != evidence.Pipeline && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// split takes a journal name apart; port is "" if there is none.
func split(name string) (stage, port string) {
	stage, port, _ = strings.Cut(name, ".")
	return stage, port
}

func prefixed(stage string, ports []string) []string {
	out := make([]string, len(ports))
	for i, p := range ports {
		out[i] = stage + "." + p
	}
	return out
}

// Ref returns the full ref that a person's text names; see [Run.Journal] for one
// without a port.
func (r *Run) Ref(text string) (event.Ref, error) {
	ref, err := event.ParseRef(text)
	if err != nil {
		return ref, err
	}
	name, err := r.Journal(ref.Journal())
	if err != nil {
		return ref, err
	}
	ref.Stage, ref.Port = split(name)
	return ref, nil
}

// epochID returns the identity of an epoch by its number.
func (r *Run) epochID(number uint64) journal.ID {
	if n := len(r.manifest.Epochs); n == 0 || r.manifest.Epochs[n-1].Number < number {
		r.Manifest()
	}
	for i := range r.manifest.Epochs {
		if r.manifest.Epochs[i].Number == number {
			return r.manifest.Epochs[i].ID
		}
	}
	return journal.ID{}
}

// trimmed explains that something is no longer kept.
func trimmed(what string, err error) error {
	if errors.Is(err, journal.ErrTrimmed) {
		return &NotFoundError{What: what, Why: "retention has removed this part of the log"}
	}
	return fmt.Errorf("%s: %w", what, err)
}
