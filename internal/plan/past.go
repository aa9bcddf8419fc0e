package plan

import (
	"cmp"
	"slices"

	"github.com/weirflow/weir/topology"
)

// A Past is what something was in earlier epochs of a run, where it was another
// type than it is now: in ascending order. The nil Past means that it was always
// what it is now.
type Past []Was

// Was is a type that something had up to an epoch, and not yet in those of the
// Was before. A nil Type means that it was what it is now.
type Was struct {
	UpTo uint64
	Type *topology.Type
}

// At returns the type in an epoch, nil if it is today's.
func (p Past) At(epoch uint64) *topology.Type {
	i, _ := slices.BinarySearchFunc(p, epoch, func(w Was, epoch uint64) int { return cmp.Compare(w.UpTo, epoch) })
	if i == len(p) {
		return nil
	}
	return p[i].Type
}

// A Reading is how what was recorded as another type is read.
type Reading uint8

// The ways to read, worst first.
const (
	Unreadable Reading = iota
	Upcast             // by upcasters
	Widened            // as it is: the type got fields, which are zero
	Same               // as it is
)

// A Rememberer is something recorded: a [Decoder], a [Table], a [Performer] for
// its open work. It knows how to read what it was.
type Rememberer interface {
	// Remember says what it was in earlier epochs of the run. It is called before
	// anything is read.
	Remember(Past)
	// Reads tells how it reads what was recorded as was.
	Reads(was topology.Type) Reading
}
