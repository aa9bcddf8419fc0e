package plan

import (
	"github.com/weirflow/weir/event"
	"github.com/weirflow/weir/journal"
)

// An Original is the record of another run that one of this run is a copy of. The
// outside knows both as the original. The zero Original is none.
type Original struct {
	Run string // root run
	ID  event.RecordID
}

// OriginalOf returns what the record rec of o is a copy of: the last of its causes
// that are records of other runs.
func OriginalOf(o *journal.Output, rec *journal.Record) (original Original) {
	for _, ref := range rec.Refs {
		if ref.Journal >= len(o.Journals) {
			continue
		}
		if f, ok := journal.ParseForeign(o.Journals[ref.Journal]); ok {
			original = Original{Run: f.Run, ID: event.RecordID{Epoch: f.Epoch, Journal: f.Journal, Seq: ref.Seq}}
		}
	}
	return original
}

// Cause returns the original as a cause of its copy, which comes last among its
// causes.
func (o *Original) Cause() Origin {
	f := journal.Foreign{Run: o.Run, Epoch: o.ID.Epoch, Journal: o.ID.Journal}
	return Origin{Journal: f.Text(), Seq: o.ID.Seq}
}
