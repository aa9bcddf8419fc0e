package segment

import (
	"fmt"
	"strings"

	"github.com/weirflow/weir/journal"
)

// A CorruptError says that something which was confirmed to be stored is not
// there as it was written. Nothing was changed.
type CorruptError struct {
	File     string      // path
	Offset   int64       // in File, as near as is known
	LSN      journal.LSN // of the frame, or of the first one missing; zero if unknown
	Journal  string      // if a journal does not go on as it should
	Sequence uint64      // in Journal
	Expected string
	Found    string
}

func (e *CorruptError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is damaged at offset %d", e.File, e.Offset)
	if e.LSN != 0 {
		fmt.Fprintf(&b, " (LSN %d)", e.LSN)
	}
	if e.Journal != "" {
		fmt.Fprintf(&b, ", journal %s:%d", e.Journal, e.Sequence)
	}
	fmt.Fprintf(&b, ": expected %s, found %s; this was confirmed to be stored, so nothing is cut: "+
		"restore the file from a copy, and look at the disk (`weir check` lists all damage)", e.Expected, e.Found)
	return b.String()
}

// A FormatError says that bytes are whole but of a format that this release does
// not read.
type FormatError struct {
	File  string
	Found string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has %s, which this release (format %d) does not read: use the release that wrote it, or a newer one",
		e.File, e.Found, journal.FormatVersion)
}
