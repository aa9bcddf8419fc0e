package plan

import (
	"fmt"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

// AppendUpdate appends e as the open work of an input holds it: what is on
// record as number seq of the stage's port fx, with its type.
func AppendUpdate(dst []byte, seq uint64, e *Entry) ([]byte, error) {
	return AppendEntry(appendUpdate(dst, seq, e.Type), e)
}

// AppendWritten is AppendUpdate for an entry of that type whose text AppendEntry
// wrote.
func AppendWritten(dst []byte, seq uint64, typ string, text []byte) []byte {
	return append(appendUpdate(dst, seq, typ), text...)
}

func appendUpdate(dst []byte, seq uint64, typ string) []byte {
	return wire.AppendUvarint(wire.AppendString(dst, typ), seq)
}

// ParseUpdate reads what AppendUpdate wrote.
func ParseUpdate(data []byte) (seq uint64, e Entry, err error) {
	in := wire.NewReader(data)
	typ := in.String("entry type", journal.MaxName)
	seq = in.Uvarint("sequence")
	if err := in.Err(); err != nil {
		return 0, Entry{}, fmt.Errorf("update of open work: %w", err)
	}
	e, err = ParseEntry(typ, data[in.Offset():])
	return seq, e, err
}
