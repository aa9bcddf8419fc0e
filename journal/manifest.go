package journal

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"time"
)

// FormatVersion is the version of the frame and manifest formats that this
// release writes. Releases read every version from 1 on.
const FormatVersion = 1

// A Manifest says what a run is. Status is not in it: status is what the log
// says.
type Manifest struct {
	Format      int             `json:"format"`
	Run         string          `json:"run"`  // ULID
	Flow        string          `json:"flow"` // name
	Created     time.Time       `json:"created"`
	Fingerprint string          `json:"fingerprint"`          // of the definition that the run began with: SHA-256 of what shapes the record, hex
	Definition  json.RawMessage `json:"definition,omitempty"` // what the run began with: topology.Graph, canonical; see DefinitionAt
	Settings    []Setting       `json:"settings,omitempty"`
	Baseline    string          `json:"baseline,omitempty"` // the run this one replays
	Root        string          `json:"root,omitempty"`     // the first of the runs that it replays: keys are derived from its id
	Redrive     *Redrive        `json:"redrive,omitempty"`  // what of another run this one processes again
	Epochs      []Epoch         `json:"epochs"`
	Kept        *Kept           `json:"kept,omitempty"` // set once retention removed something
}

// A Setting is one effective value of a run's configuration.
type Setting struct {
	Name   string          `json:"name"`
	Value  json.RawMessage `json:"value,omitempty"` // absent for a secret
	Source string          `json:"source"`          // code, file, environment, command line
	Secret bool            `json:"secret,omitempty"`
}

// A Redrive is what a run processes again of another one: inputs that a stage of
// that run gave up on. They enter at the same stage.
type Redrive struct {
	Run   string    `json:"run"`   // the other run
	Stage string    `json:"stage"` // that gave up on them
	Taken []Letters `json:"taken"` // in this order; none is there twice
}

// Letters are consecutive records of a journal that holds what a stage gave up on.
type Letters struct {
	Journal string `json:"journal"` // stage.dead or stage.failed
	From    uint64 `json:"from"`
	To      uint64 `json:"to"` // inclusive
}

// Count returns how many letters r takes.
func (r *Redrive) Count() uint64 {
	n := uint64(0)
	for _, l := range r.Taken {
		n += l.To - l.From + 1
	}
	return n
}

// Nth returns where the nth letter is that r takes, from 1; ok is false if there are
// fewer.
func (r *Redrive) Nth(n uint64) (name string, seq uint64, ok bool) {
	for _, l := range r.Taken {
		if has := l.To - l.From + 1; n > has {
			n -= has
			continue
		}
		return l.Journal, l.From + n - 1, n > 0
	}
	return "", 0, false
}

// An Epoch is one process's ownership of a run.
type Epoch struct {
	Number    uint64        `json:"number"` // from 1
	ID        ID            `json:"id"`     // random
	First     LSN           `json:"first"`  // LSN its first frame has or will have
	Chain     string        `json:"chain"`  // SHA-256 chain value before First, hex
	Cut       int64         `json:"cut"`    // bytes of unconfirmed tail that were cut before it
	Started   time.Time     `json:"started"`
	Build     string        `json:"build"`               // identity of the binary
	Config    string        `json:"config"`              // fingerprint of the definition it ran
	Redefined *Redefinition `json:"redefined,omitempty"` // set if it ran another definition than the epoch before
}

// A Redefinition says what another definition means for a run: what each stage had when
// its epoch began, as far as that does not follow from the frames before it. It
// takes effect between the frames before the epoch's first and that one, in the
// order of its fields.
//
// What a stage has is its memory: cursors, tables, open work, timers, what a sink
// noted, the position of a source. What it has written is not part of it: that is
// numbered by the stage's name, and goes on where it was if the name comes again.
type Redefinition struct {
	Definition json.RawMessage `json:"definition"`        // topology.Graph, canonical
	Renamed    []Rename        `json:"renamed,omitempty"` // stages that are new and have the memory of others
	Removed    []string        `json:"removed,omitempty"` // stages that are gone, with their memory; the position of a source is kept
	Added      []string        `json:"added,omitempty"`   // stages that are new, without a memory
	Dropped    []Start         `json:"dropped,omitempty"` // inputs that a stage does not read any more, or that is gone, and how far it had
	Starts     []Start         `json:"starts,omitempty"`  // inputs that a stage reads from elsewhere than the beginning
}

// Move makes of where the stages stood where they stand: by stage and journal, the
// records behind them.
func (d *Redefinition) Move(cursors map[[2]string]uint64) {
	was := map[string]string{} // who has the cursors of a stage now; "" is nobody
	for _, n := range d.Renamed {
		was[n.Was] = n.Stage
	}
	for _, name := range d.Removed {
		was[name] = ""
	}
	moved := map[[2]string]uint64{}
	for k, seq := range cursors {
		if now, ok := was[k[0]]; ok {
			delete(cursors, k)
			if now != "" {
				moved[[2]string{now, k[1]}] = seq
			}
		}
	}
	maps.Copy(cursors, moved)
	for _, x := range d.Dropped {
		delete(cursors, [2]string{x.Stage, x.Journal})
	}
	for _, x := range d.Starts {
		cursors[[2]string{x.Stage, x.Journal}] = x.Seq
	}
}

// A Rename gives a stage the memory of another, which is gone.
type Rename struct {
	Stage string `json:"stage"`
	Was   string `json:"was"`
	Open  uint64 `json:"open"` // what was accepted under an ID below was accepted as Was
}

// A Start is where a stage stands on a journal: it has Seq records behind it.
type Start struct {
	Stage   string `json:"stage"`
	Journal string `json:"journal"`
	Seq     uint64 `json:"seq"`
}

// Kept is what retention leaves: enough to say what can no longer be proved.
type Kept struct {
	First    LSN               `json:"first"`
	Chain    string            `json:"chain"`
	Journals map[string]uint64 `json:"journals"` // first kept sequence
}

// DefinitionAt returns the definition that an epoch ran. Zero means the newest
// epoch.
func (m *Manifest) DefinitionAt(epoch uint64) json.RawMessage {
	d := m.Definition
	for i := range m.Epochs {
		e := &m.Epochs[i]
		if e.Redefined != nil && (epoch == 0 || e.Number <= epoch) {
			d = e.Redefined.Definition
		}
	}
	return d
}

// Redefinitions yields the epochs that ran another definition than the one before them.
func (m *Manifest) Redefinitions() iter.Seq[*Epoch] {
	return func(yield func(*Epoch) bool) {
		for i := range m.Epochs {
			if e := &m.Epochs[i]; e.Redefined != nil && !yield(e) {
				return
			}
		}
	}
}

// NameAt returns what a stage of the newest definition was called in an epoch: the
// stage whose memory it has. It is the stage's own name if it was not renamed
// since, or began since.
func (m *Manifest) NameAt(stage string, epoch uint64) string {
	for e := range m.lives(stage) {
		if e.number <= epoch {
			break
		}
		stage = e.was
	}
	return stage
}

// AcceptedBy returns the name under which a stage of the newest definition accepted
// its open work of an ID.
func (m *Manifest) AcceptedBy(stage string, id uint64) string {
	for e := range m.lives(stage) {
		if id >= e.open {
			break
		}
		stage = e.was
	}
	return stage
}

// A renaming is a Rename with the epoch that it is of.
type renaming struct {
	number uint64
	was    string
	open   uint64
}

// lives yields how a stage of the newest definition got its name, and how the one
// that it was got its own, back to the one that began.
func (m *Manifest) lives(stage string) iter.Seq[renaming] {
	return func(yield func(renaming) bool) {
		for _, e := range slices.Backward(m.Epochs) {
			d := e.Redefined
			if d == nil {
				continue
			}
			if slices.Contains(d.Added, stage) {
				return
			}
			i := slices.IndexFunc(d.Renamed, func(r Rename) bool { return r.Stage == stage })
			if i < 0 {
				continue
			}
			stage = d.Renamed[i].Was
			if !yield(renaming{e.Number, stage, d.Renamed[i].Open}) {
				return
			}
		}
	}
}
