package recovery

import (
	"fmt"
	"strconv"

	"github.com/weirflow/weir/internal/wire"
	"github.com/weirflow/weir/journal"
)

const (
	snapMagic   = "weirsnap"
	snapVersion = 1
)

// Entries is keyed state that can be written; plan.Table is one.
type Entries interface {
	Name() string
	// Snapshot yields every entry in ascending order of encoded keys, with the LSN
	// of its last change.
	Snapshot(yield func(key, value []byte, at journal.LSN) error) error
}

// AppendSnapshot appends the encoding of tables and of s's open work, timers,
// receipts and messages taken to dst. Other fields of s are not in a snapshot.
func AppendSnapshot[T Entries](dst []byte, s *Stage, tables []T) ([]byte, error) {
	b := dst
	b = append(b, snapMagic...)
	b = wire.AppendUvarint(b, snapVersion)
	b = wire.AppendString(b, s.Name)
	b = wire.AppendUvarint(b, uint64(len(tables)))
	for _, t := range tables {
		b = wire.AppendString(b, t.Name())
		err := t.Snapshot(func(key, value []byte, at journal.LSN) error {
			b = wire.AppendBytes(append(b, 1), key)
			b = wire.AppendUvarint(wire.AppendBytes(b, value), uint64(at))
			return nil
		})
		if err != nil {
			return dst, fmt.Errorf("snapshot of table %s of stage %s: %w", t.Name(), s.Name, err)
		}
		b = append(b, 0)
	}
	b = wire.AppendUvarint(b, uint64(len(s.Open)))
	for i := range s.Open {
		o := &s.Open[i]
		b = wire.AppendUvarint(b, o.ID)
		b = append(b, o.Epoch[:]...)
		b = wire.AppendUvarint(wire.AppendString(b, o.Journal), o.Seq)
		b = wire.AppendUvarint(wire.AppendBytes(b, o.Data), uint64(len(o.Updates)))
		for _, u := range o.Updates {
			b = wire.AppendBytes(b, u)
		}
	}
	b = wire.AppendUvarint(b, max(s.NextOpen, 1))
	b = wire.AppendUvarint(b, uint64(len(s.Timers)))
	for i := range s.Timers {
		t := &s.Timers[i]
		b = wire.AppendBytes(wire.AppendString(b, t.ID), t.Key)
		b = wire.AppendString(wire.AppendVarint(b, t.At), t.Reason)
	}
	b = wire.AppendString(wire.AppendString(b, s.Note), s.Phase)
	b = wire.AppendUvarint(wire.AppendUvarint(b, s.Receipted), uint64(len(s.Taken)))
	for _, id := range s.Taken {
		b = wire.AppendString(b, id)
	}
	return b, nil
}

// ParseSnapshot reads what AppendSnapshot wrote: open work, timers, receipts
// and messages taken into s, whose name must be the snapshot's, and each entry of a table as a
// change to apply. What s gets shares memory with data, and so do the changes. It
// never panics and takes no more memory than data justifies. An error of apply is
// returned as it is.
func ParseSnapshot(data []byte, s *Stage, apply func(table string, c journal.Change, at journal.LSN) error) error {
	in := wire.NewReader(data)
	if magic := in.Raw("magic", len(snapMagic)); in.Err() == nil && string(magic) != snapMagic {
		in.Fail(0, fmt.Sprintf("%q", snapMagic), fmt.Sprintf("%q", magic))
	}
	expect(&in, "version", strconv.Itoa(snapVersion), func() string { return strconv.FormatUint(in.Uvarint("version"), 10) })
	expect(&in, "stage", s.Name, func() string { return in.String("stage", journal.MaxName) })
	for range in.Count("tables", 2) {
		table := in.String("table", journal.MaxName)
		for in.Bool("entry") {
			c := journal.Change{Key: in.Bytes("key", journal.MaxKey), Value: in.Bytes("value", journal.MaxPayload)}
			at := journal.LSN(in.Uvarint("changed at"))
			if in.Err() != nil {
				break
			}
			if err := apply(table, c, at); err != nil {
				return err
			}
		}
	}
	parseOpen(&in, s)
	for range in.Count("timers", 4) {
		s.Timers = append(s.Timers, journal.Timer{
			ID: in.String("timer id", journal.MaxKey), Key: in.Bytes("timer key", journal.MaxKey),
			At: in.Varint("timer time"), Reason: in.String("timer reason", journal.MaxName),
		})
	}
	s.Note = in.String("note", journal.MaxBytes)
	s.Phase = in.String("phase", journal.MaxName)
	s.Receipted = in.Uvarint("receipted")
	for range in.Count("messages", 1) {
		s.Taken = append(s.Taken, in.String("message", journal.MaxKey))
	}
	return in.Done()
}

func parseOpen(in *wire.Reader, s *Stage) {
	last := uint64(0)
	for range in.Count("open work", 20) {
		at := in.Offset()
		o := Open{OpenWork: journal.OpenWork{Op: journal.OpenAdd, ID: in.Uvarint("open work id")}}
		if in.Err() == nil && o.ID <= last {
			in.Fail(at, fmt.Sprintf("an id above %d", last), strconv.FormatUint(o.ID, 10))
		}
		last = o.ID
		copy(o.Epoch[:], in.Raw("epoch", len(o.Epoch)))
		o.Journal = in.String("journal", 2*journal.MaxName+1)
		o.Seq = in.Uvarint("sequence")
		o.Data = in.Bytes("data", journal.MaxBytes)
		for range in.Count("updates", 1) {
			o.Updates = append(o.Updates, in.Bytes("update", journal.MaxBytes))
		}
		if in.Err() != nil {
			return
		}
		s.Open = append(s.Open, o)
	}
	at := in.Offset()
	s.NextOpen = in.Uvarint("next open work")
	if in.Err() == nil && s.NextOpen <= last {
		in.Fail(at, fmt.Sprintf("an id above %d", last), strconv.FormatUint(s.NextOpen, 10))
	}
}

// expect fails in unless read returns want.
func expect(in *wire.Reader, what, want string, read func() string) {
	at := in.Offset()
	if got := read(); in.Err() == nil && got != want {
		in.Fail(at, fmt.Sprintf("%s %q", what, want), fmt.Sprintf("%q", got))
	}
}
