package verify

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weirflow/weir/journal"
)

// A Kind says how record and computation differ.
type Kind string

// The kinds.
const (
	Changed      Kind = "changed"      // both have it, with different content
	Missing      Kind = "missing"      // recorded, and not computed
	Extra        Kind = "extra"        // computed, and not recorded
	Inconsistent Kind = "inconsistent" // the record contradicts itself
	Refused      Kind = "refused"      // the handler does not take an input that it took
)

// A Difference is one thing that came out other than it is on record.
type Difference struct {
	Kind    Kind        `json:"kind"`
	Stage   string      `json:"stage"`
	Journal string      `json:"journal"`         // "stage.port", or "stage#table" for state
	Seq     uint64      `json:"seq,omitempty"`   // of the record; of an extra one, of the record that it comes before; none for state
	LSN     journal.LSN `json:"lsn"`             // of the transition
	Key     string      `json:"key,omitempty"`   // of the record or the state
	Input   string      `json:"input,omitempty"` // of an effect or orchestration: the record that it is about
	Step    string      `json:"step,omitempty"`  // of an orchestration
	Fields  []Field     `json:"fields"`          // that differ, as paths into the record: "payload.total"
}

// A Field is one value of both sides. What a side does not have is empty.
type Field struct {
	Path     string `json:"path"`
	Recorded string `json:"recorded,omitempty"`
	Computed string `json:"computed,omitempty"`
}

// A Report is what Run found.
type Report struct {
	First, Last journal.LSN // frames that were read
	Stages      []StageReport
	Differences []Difference // in the order of the log; at most Config.Max
	Total       uint64       // differences, listed or not
	Groups      []Group      // of all of them, the largest first
	Skipped     []Skip       // what could not be executed again
}

// A StageReport counts what was done for one stage.
type StageReport struct {
	Stage       string `json:"stage"`
	Transitions uint64 `json:"transitions"` // executed again
	Records     uint64 `json:"records"`     // outputs, dead letters and effect requests compared
	Changes     uint64 `json:"changes"`     // of state compared
	Masked      uint64 `json:"masked"`      // equal but for masked fields
	Differences uint64 `json:"differences"`
}

// A Group counts the differences of one stage and key.
type Group struct {
	Stage string `json:"stage"`
	Key   string `json:"key,omitempty"` // "" where records have none
	Count uint64 `json:"count"`
}

// A Skip is something that could not be executed again, and why.
type Skip struct {
	Stage       string `json:"stage"`
	Transitions uint64 `json:"transitions,omitempty"` // zero means all
	Reason      string `json:"reason"`
}

// maxGroups bounds how many keys differences are counted by, for each stage;
// those of further keys count together as "…".
const maxGroups = 1000

// A tally collects the differences of one stage.
type tally struct {
	StageReport
	max    int
	listed []Difference
	groups map[string]uint64
}

func (t *tally) add(ds ...Difference) {
	for _, d := range ds {
		t.Differences++
		if len(t.listed) < t.max {
			t.listed = append(t.listed, d)
		}
		key := d.Key
		if _, ok := t.groups[key]; !ok && len(t.groups) >= maxGroups {
			key = "…"
		}
		if t.groups == nil {
			t.groups = map[string]uint64{}
		}
		t.groups[key]++
	}
}

// report puts together what the stages found.
func (v *verifier) report() *Report {
	r := &Report{First: v.read1, Last: v.head, Skipped: v.skipped}
	for _, s := range v.stages {
		t := &s.tally
		if !s.chosen {
			continue
		}
		r.Stages = append(r.Stages, t.StageReport)
		r.Total += t.Differences
		r.Differences = append(r.Differences, t.listed...)
		for key, n := range t.groups {
			r.Groups = append(r.Groups, Group{Stage: s.name, Key: key, Count: n})
		}
		r.Skipped = append(r.Skipped, s.skips()...)
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return cmp.Compare(a.LSN, b.LSN) })
	r.Differences = r.Differences[:min(len(r.Differences), v.Max)]
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Stage, b.Stage), strings.Compare(a.Key, b.Key))
	})
	slices.SortFunc(r.Skipped, func(a, b Skip) int { return strings.Compare(a.Stage, b.Stage) })
	return r
}
