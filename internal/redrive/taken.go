package redrive

import (
	"cmp"
	"slices"

	"github.com/weirflow/weir/journal"
)

// Taken says which letters of a run others take: who does, by journal and sequence.
type Taken struct{ of map[string][]taken }

type taken struct {
	journal.Letters
	by string // run
}

// TakenFrom adds up what the runs with these manifests take from run. Replays take
// nothing.
func TakenFrom(run string, manifests []journal.Manifest) Taken {
	t := Taken{of: map[string][]taken{}}
	for i := range manifests {
		m := &manifests[i]
		if m.Redrive == nil || m.Redrive.Run != run || m.Baseline != "" {
			continue
		}
		for _, l := range m.Redrive.Taken {
			t.of[l.Journal] = append(t.of[l.Journal], taken{l, m.Run})
		}
	}
	return t
}

// By returns the runs that take a letter, in no order that means anything.
func (t Taken) By(name string, seq uint64) (runs []string) {
	for _, l := range t.of[name] {
		if l.From <= seq && seq <= l.To && !slices.Contains(runs, l.by) {
			runs = append(runs, l.by)
		}
	}
	return runs
}

// Count returns how many of the first n letters of a journal are taken.
func (t Taken) Count(name string, n uint64) (count uint64) {
	ranges := slices.Clone(t.of[name])
	slices.SortFunc(ranges, func(a, b taken) int { return cmp.Compare(a.From, b.From) })
	next := uint64(1)
	for _, l := range ranges {
		if from, to := max(l.From, next), min(l.To, n); from <= to {
			count += to - from + 1
			next = to + 1
		}
	}
	return count
}

// A Picker gathers letters into runs of sequences.
type Picker struct{ picked []journal.Letters }

// Add adds the letter behind those before it.
func (p *Picker) Add(name string, seq uint64) {
	if n := len(p.picked); n > 0 {
		if l := &p.picked[n-1]; l.Journal == name && l.To+1 == seq {
			l.To = seq
			return
		}
	}
	p.picked = append(p.picked, journal.Letters{Journal: name, From: seq, To: seq})
}

// Letters returns what was added.
func (p *Picker) Letters() []journal.Letters { return p.picked }
