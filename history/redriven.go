package history

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/internal/plan"
	"github.com/weirflow/weir/internal/redrive"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
	"github.com/weirflow/weir/topology"
)

// GivenUp is what a stage gave up on: the records of one journal.
type GivenUp struct {
	Stage   string `json:"stage"`
	Journal string `json:"journal"` // stage.dead, or stage.failed of a stage that performs effects
	Letters uint64 `json:"letters"`
	Taken   uint64 `json:"taken"` // by runs that redrive
	// Unknown is how many of the failures may have happened all the same.
	Unknown uint64 `json:"unknown,omitempty"`
	// Read tells that other stages of the flow read the journal.
	Read bool `json:"read,omitempty"`
}

// A Redriver is a run that processes letters of another one again.
type Redriver struct {
	Run    string            `json:"run"`
	Dir    string            `json:"dir"`
	Status string            `json:"status"`
	Taken  []journal.Letters `json:"taken"`
}

// GivenUp returns what the stages of the run gave up on, in the order in which data
// flows, and the runs in the same directory that redrive it, oldest first. Journals
// that hold nothing are left out.
func (r *Run) GivenUp(ctx context.Context) (all []GivenUp, by []Redriver, err error) {
	state, err := r.state()
	if err != nil {
		return nil, nil, err
	}
	manifests, dirs, err := r.redrivers()
	if err != nil {
		return nil, nil, err
	}
	taken := redrive.TakenFrom(r.manifest.Run, manifests)
	for _, name := range r.stages(state) {
		at := state.Stages[name]
		if at == nil {
			continue
		}
		ports := []string{journal.PortDead}
		if r.graph != nil {
			if s, ok := r.graph.Stage(name); ok && s.Kind == topology.Effect {
				ports = append(ports, plan.PortFailed)
			}
		}
		for _, port := range ports {
			g := GivenUp{Stage: name, Journal: name + "." + port, Letters: at.Ports[port].Count}
			if g.Letters == 0 {
				continue
			}
			g.Taken = taken.Count(g.Journal, g.Letters)
			g.Read = r.graph != nil && len(r.graph.Readers(name, port)) > 0
			if port == plan.PortFailed {
				if g.Unknown, err = r.unknown(ctx, g.Journal, g.Letters); err != nil {
					return nil, nil, err
				}
			}
			all = append(all, g)
		}
	}
	for i := range manifests {
		d := Redriver{Run: manifests[i].Run, Dir: dirs[i], Taken: manifests[i].Redrive.Taken}
		d.Status, err = statusOf(dirs[i])
		if err != nil {
			return nil, nil, err
		}
		by = append(by, d)
	}
	return all, by, nil
}

// unknown counts the failures in a journal that may have happened.
func (r *Run) unknown(ctx context.Context, name string, count uint64) (n uint64, err error) {
	err = r.each(ctx, name, 1, count, func(e entry) bool {
		var failed struct {
			Happened string `json:"happened"`
		}
		if json.Unmarshal(r.shown(plan.PortFailed, e.rec.Payload), &failed) == nil && failed.Happened != "" {
			n++
		}
		return true
	})
	if errors.Is(err, journal.ErrTrimmed) {
		err = nil
	}
	return n, err
}

// redrivers returns the manifests and directories of the runs beside this one that
// redrive it, oldest first.
func (r *Run) redrivers() (manifests []journal.Manifest, at []string, err error) {
	if r.dir == "" {
		return nil, nil, nil
	}
	flow := filepath.Dir(filepath.Clean(r.dir))
	names, err := dirs(flow)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names) // ids are by age
	for _, name := range names {
		dir := filepath.Join(flow, name)
		m, err := segment.ReadManifest(disk, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, err
		case m.Redrive != nil && m.Redrive.Run == r.manifest.Run && m.Baseline == "":
			manifests, at = append(manifests, m), append(at, dir)
		}
	}
	return manifests, at, nil
}

func statusOf(dir string) (string, error) {
	r, err := Open(dir)
	if err != nil {
		return "", err
	}
	s, err := r.Status()
	return s.Name, errors.Join(err, r.Close())
}

// redriven finds what other runs made of the letters among the effects.
func (f *forward) redriven(ctx context.Context, limits Limits) error {
	letters := []event.Ref{f.out.Record.Ref}
	for i := range f.out.Effects {
		if e := &f.out.Effects[i]; e.Kind == EffectRecord {
			letters = append(letters, e.Record.Ref)
		}
	}
	letters = slices.DeleteFunc(letters, func(ref event.Ref) bool { return ref.Port != journal.PortDead && ref.Port != plan.PortFailed })
	if len(letters) == 0 {
		return nil
	}
	manifests, at, err := f.run.redrivers()
	if err != nil {
		return err
	}
	for i := range manifests {
		m := &manifests[i]
		taken := redrive.TakenFrom(f.run.manifest.Run, manifests[i:i+1])
		for _, ref := range letters {
			if len(taken.By(ref.Journal(), ref.Seq)) == 0 {
				continue
			}
			r := Redriven{Of: ref, Run: m.Run}
			limits.Records = max(f.limit-len(f.out.Effects), 1)
			if r.Impact, r.Left, err = entered(ctx, at[i], f.run.manifest.Run, ref, limits); err != nil {
				return err
			}
			f.out.Redriven = append(f.out.Redriven, r)
		}
	}
	return nil
}

// entered returns what came of a letter of the run of in the run at dir, or why there
// is nothing.
func entered(ctx context.Context, dir, of string, letter event.Ref, limits Limits) (_ *Impact, left string, err error) {
	r, err := Open(dir)
	if err != nil {
		return nil, err.Error(), nil // what else there is to say is said
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	m := r.Manifest()
	ports := []string{redrive.Stage + ".out"}
	if r.graph == nil {
		return nil, "its manifest has no definition", nil
	}
	if s, ok := r.graph.Stage(m.Redrive.Stage); ok && s.Kind == topology.Source {
		ports = nil
		for _, p := range s.Ports {
			ports = append(ports, s.Name+"."+p.Name)
		}
		ports = append(ports, s.Name+"."+journal.PortDead)
	}
	for _, name := range ports {
		var found *event.Ref
		err := r.each(ctx, name, 1, ^uint64(0), func(e entry) bool {
			for _, ref := range e.rec.Refs {
				f, ok := journal.Foreign{}, false
				if ref.Journal < len(e.out.Journals) {
					f, ok = journal.ParseForeign(e.out.Journals[ref.Journal])
				}
				if ok && f.Run == of && f.Journal == letter.Journal() && ref.Seq == letter.Seq {
					at := refOf(name, e.seq)
					found = &at
				}
			}
			return found == nil
		})
		if err != nil {
			return nil, "", trimmed(name, err)
		}
		if found != nil {
			x, err := r.Impact(ctx, *found, limits)
			return x, "", err
		}
	}
	return nil, "it has not entered yet", nil
}

// foreign adds a record of another run. Behind another one it is only added if that
// did not lead to it.
func (l *inputs) foreign(f journal.Foreign, seq uint64) error {
	stage, port := split(f.Journal)
	ref := event.Ref{Stage: stage, Port: port, Seq: seq}
	if l.abroad && l.seen[seen{f.Run, ref}] {
		return nil
	}
	l.abroad = true
	w, why := l.elsewhere(f.Run)
	if w == nil {
		l.shown = append(l.shown, Cause{Kind: CauseInput, Run: f.Run, Ref: &ref, Left: why})
		return nil
	}
	c, err := w.input(ref, l.depth)
	if c.Run = f.Run; c.Input != nil && c.Input.Record.ID.Epoch != f.Epoch {
		c.Input, c.Left = nil, "the run has another record there"
	}
	l.shown = append(l.shown, c)
	return err
}

// elsewhere returns a tracer of another run, or why there is none.
func (w *tracer) elsewhere(run string) (*tracer, string) {
	if o, ok := w.others[run]; ok {
		return o, ""
	}
	if w.run.dir == "" {
		return nil, "it is in another run"
	}
	r, err := Open(filepath.Join(filepath.Dir(filepath.Clean(w.run.dir)), run))
	if _, none := errors.AsType[*NoRunError](err); none {
		return nil, "that run is not beside this one"
	}
	if err != nil {
		return nil, "that run cannot be read: " + err.Error()
	}
	o := &tracer{run: r, ctx: w.ctx, limits: w.limits, seen: w.seen, others: w.others}
	if o.state, err = r.state(); err != nil {
		_ = r.Close() // it was only read
		return nil, "that run cannot be read: " + err.Error()
	}
	w.others[run] = o
	return o, ""
}

// close ends reading other runs.
func (w *tracer) close() (err error) {
	for _, o := range w.others {
		err = errors.Join(err, o.run.Close())
	}
	return err
}
