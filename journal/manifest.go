package journal

import (
	"encoding/json"
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
	Fingerprint string          `json:"fingerprint"`          // SHA-256 of what shapes the record, hex
	Definition  json.RawMessage `json:"definition,omitempty"` // topology.Graph, canonical
	Settings    []Setting       `json:"settings,omitempty"`
	Baseline    string          `json:"baseline,omitempty"` // the run this one replays
	Root        string          `json:"root,omitempty"`     // the first of the runs that it replays: keys are derived from its id
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

// An Epoch is one process's ownership of a run.
type Epoch struct {
	Number  uint64    `json:"number"` // from 1
	ID      ID        `json:"id"`     // random
	First   LSN       `json:"first"`  // LSN its first frame has or will have
	Chain   string    `json:"chain"`  // SHA-256 chain value before First, hex
	Cut     int64     `json:"cut"`    // bytes of unconfirmed tail that were cut before it
	Started time.Time `json:"started"`
	Build   string    `json:"build"`  // identity of the binary
	Config  string    `json:"config"` // fingerprint of the definition it ran
}

// Kept is what retention leaves: enough to say what can no longer be proved.
type Kept struct {
	First    LSN               `json:"first"`
	Chain    string            `json:"chain"`
	Journals map[string]uint64 `json:"journals"` // first kept sequence
}
