// Package textfile is what file connectors have in common: reading a text file
// row by row from a position that notices a replaced file ([Reader]), and
// writing one under a temporary name, byte for byte the same across crashes,
// until it is put in place at the end ([Part]).
package textfile

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
)

// MaxRow is the longest row that is read whole, in bytes. A longer one is bad
// input: its beginning is kept, with its place and length.
const MaxRow = 1 << 20

// KeptOfLong is how much of a row beyond MaxRow is kept.
const KeptOfLong = 4 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A place is a position in a file, as it is recorded: enough to tell whether the
// file that is found later has the same beginning.
type place struct {
	Offset int64  `json:"offset"`          // bytes before the position
	Row    int64  `json:"row"`             // rows before it, the header included
	Line   int64  `json:"line"`            // lines before it
	CRC    uint32 `json:"crc"`             // CRC-32C of the bytes before it
	Size   int64  `json:"size"`            // of the file when it was opened
	Inode  uint64 `json:"inode,omitempty"` // of the file when it was opened
}

func (p place) String() string {
	b, err := json.Marshal(p)
	if err != nil { // integers only
		panic(err)
	}
	return string(b)
}

func parsePlace(s string) (p place, err error) {
	if s == "" {
		return place{}, nil
	}
	if err := json.Unmarshal([]byte(s), &p); err != nil || p.Offset < 0 {
		return place{}, fmt.Errorf("the recorded position %q is not one of a file", s)
	}
	return p, nil
}

// A ChangedError says that a file is not what a run recorded of it.
type ChangedError struct {
	Path   string
	What   string // what differs
	Advice string // what to do
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: %s; %s", e.Path, e.What, e.Advice)
}
