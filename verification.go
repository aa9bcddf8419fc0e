package weir

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weirflow/weir/internal/verify"
	"github.com/weirflow/weir/journal"
)

// An Outcome is what verification came to.
type Outcome string

// The outcomes.
const (
	Identical    Outcome = "identical"    // everything was computed again, and comes out as recorded
	Different    Outcome = "different"    // something comes out otherwise
	Inconclusive Outcome = "inconclusive" // nothing comes out otherwise, but not all could be computed
)

// reportFormat is the version of the JSON form of a Verification: what a reader
// must know changes with it, what is added does not.
const reportFormat = 1

// A Verification is what verification found. Its JSON form is the report, which
// docs/verify.md describes.
type Verification struct {
	Format  int     `json:"format"`
	Run     string  `json:"run"`
	Flow    string  `json:"flow"`
	Dir     string  `json:"dir"`
	Outcome Outcome `json:"outcome"`

	At         EvidenceAt       `json:"at"`
	Part       VerifiedPart     `json:"part,omitzero"` // of the run; zero means all of it
	Definition TwoSides         `json:"definition"`    // fingerprints
	Build      TwoSides         `json:"build"`         // of the epochs, each once, and of this program
	Settings   []ChangedSetting `json:"settings,omitempty"`
	Verified   time.Time        `json:"verified"`

	Transitions uint64 `json:"transitions"` // executed again
	Records     uint64 `json:"records"`     // compared
	Changes     uint64 `json:"changes"`     // of state, compared
	Found       uint64 `json:"found"`       // differences, listed or not

	Stages      []VerifiedStage   `json:"stages"`
	Differences []Difference      `json:"differences"`
	Groups      []DifferenceGroup `json:"groups,omitempty"` // of all differences, the largest first
	Skipped     []Skipped         `json:"skipped,omitempty"`
}

// EvidenceAt says how much of which log a verdict is about.
type EvidenceAt struct {
	First   journal.LSN `json:"first"`
	LSN     journal.LSN `json:"lsn"` // everything up to here was durable
	Epoch   uint64      `json:"epoch"`
	EpochID journal.ID  `json:"epoch_id"`
	Chain   string      `json:"chain,omitempty"` // SHA-256 chain value after LSN, hex; empty if it was not asked for
}

// VerifiedPart is what of a run was asked for; see [VerifyOptions].
type VerifiedPart struct {
	Stages []string `json:"stages,omitempty"`
	From   string   `json:"from,omitempty"`
	To     string   `json:"to,omitempty"`
}

// A ChangedSetting is one that the flow was built with and the run did not begin
// with. Now is empty if the code has no such setting any more.
type ChangedSetting struct {
	Name     string `json:"name"`
	Recorded string `json:"recorded"`
	Now      string `json:"now,omitempty"`
}

// TwoSides are a value of the record and the present one.
type TwoSides struct {
	Recorded string `json:"recorded"`
	Now      string `json:"now"`
}

// ErrNoRecord says that [VerifyOptions] name a stage or a record that there is
// not.
var ErrNoRecord = verify.ErrNoRecord

// A DifferenceKind says how record and computation differ.
type DifferenceKind = verify.Kind

// The kinds of differences.
const (
	DifferenceChanged      = verify.Changed      // both have it, with different content
	DifferenceMissing      = verify.Missing      // recorded, and not computed
	DifferenceExtra        = verify.Extra        // computed, and not recorded
	DifferenceInconsistent = verify.Inconsistent // the record contradicts itself
	DifferenceRefused      = verify.Refused      // the code does not take an input that was taken
)

// What a verdict consists of.
type (
	// Difference is one thing that comes out other than recorded.
	Difference = verify.Difference
	// DifferenceField is one field of both sides.
	DifferenceField = verify.Field
	// DifferenceGroup counts differences by stage and key.
	DifferenceGroup = verify.Group
	// VerifiedStage says what was done for one stage.
	VerifiedStage = verify.StageReport
	// Skipped is what could not be executed again, and why.
	Skipped = verify.Skip
)

// conclude puts what was found into the verdict.
func (v *Verification) conclude(r *verify.Report, m *journal.Manifest) {
	v.Stages, v.Differences, v.Groups, v.Skipped, v.Found = r.Stages, r.Differences, r.Groups, r.Skipped, r.Total
	for _, s := range r.Stages {
		v.Transitions += s.Transitions
		v.Records += s.Records
		v.Changes += s.Changes
	}
	v.At.First, v.At.LSN = r.First, r.Last
	var builds []string
	for _, e := range m.Epochs {
		if e.First > r.Last {
			break
		}
		v.At.Epoch, v.At.EpochID = e.Number, e.ID
		if !slices.Contains(builds, e.Build) {
			builds = append(builds, e.Build)
		}
	}
	v.Build = TwoSides{strings.Join(builds, ", "), buildIdentity()}
	if m.Kept != nil {
		v.Skipped = append(v.Skipped, Skipped{Reason: fmt.Sprintf("frames before %d are no longer kept", m.Kept.First)})
	}
	switch {
	case v.Found > 0:
		v.Outcome = Different
	case len(v.Skipped) > 0:
		v.Outcome = Inconclusive
	default:
		v.Outcome = Identical
	}
}
