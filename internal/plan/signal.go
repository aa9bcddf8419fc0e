package plan

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// A Signal is something from outside that executions await by name and key.
type Signal struct {
	Name    string
	Key     string
	Payload []byte // in the flow's codec
	ID      string // never used for two
	At      time.Time
	From    Origin // the record that it was made of, in an order that never changes; zero if it was made of none
}

// maxSignalKey is how long the key of a signal may be, in bytes.
const maxSignalKey = 4 << 10

// SignalKey says why there is no signal with that key.
func SignalKey(key string) error {
	switch {
	case len(key) > maxSignalKey:
		return fmt.Errorf("a signal's key has %d bytes, the limit is %d", len(key), maxSignalKey)
	case !utf8.ValidString(key):
		return fmt.Errorf("a signal's key is not UTF-8: %q", key)
	}
	return nil
}

// Address is where the signals of a name and key are kept. Names hold no space.
func (s *Signal) Address() string { return s.Name + " " + s.Key }

// Kept is a row of a [SignalTable]: a signal that nobody was given yet, or how far
// signals were made of a journal's records.
type Kept struct {
	Name    string    `json:"name,omitempty"`
	Key     string    `json:"key,omitempty"`
	ID      string    `json:"id,omitempty"`
	At      time.Time `json:"at,omitzero"`
	Payload []byte    `json:"payload,omitempty"`

	Seq uint64 `json:"seq,omitempty"` // of a journal: the last record that a signal was made of
}

// Address is where the signal is kept, as of the Signal that it was.
func (k *Kept) Address() string { return k.Name + " " + k.Key }

// A SignalTable keeps signals, a row for each, in the order in which they came: by
// their number on the stage's port fx.
type SignalTable = TypedTable[string, Kept]

// A Signaller is a Sink that makes signals of records. Signal does so for record i
// of b; it is pure, and may be called by any goroutine.
type Signaller interface {
	Signal(b *Batch, i int) (Signal, error)
}

// KeepSignal keeps s, which is number seq on the port fx, until TakeSignal, and
// notes of which record it was made.
func KeepSignal(t *SignalTable, seq uint64, s *Signal) error {
	if err := putKept(t, KeptRow(seq), Kept{Name: s.Name, Key: s.Key, ID: s.ID, At: s.At.UTC(), Payload: s.Payload}); err != nil || s.From.Journal == "" {
		return err
	}
	return putKept(t, SignalsOf(s.From.Journal), Kept{Seq: s.From.Seq})
}

func putKept(t *SignalTable, row string, k Kept) error {
	if err := t.Put(row, k); err != nil {
		return fmt.Errorf("keep signal %s for %q: %w", k.Name, k.Key, err)
	}
	t.Close()
	return nil
}

// TakeSignal keeps the signal that is number seq no longer.
func TakeSignal(t *SignalTable, seq uint64) error {
	if err := t.Delete(KeptRow(seq)); err != nil {
		return fmt.Errorf("take signal %d: %w", seq, err)
	}
	t.Close()
	return nil
}

// KeptSignals yields the numbers of the signals that are kept, in order. The rows
// are not to be changed or kept.
func KeptSignals(t *SignalTable, yield func(seq uint64, k *Kept)) error {
	return t.Ascend(nil, func(row, _ string) bool {
		var seq uint64
		if n, err := fmt.Sscanf(row, keptFormat, &seq); n == 1 && err == nil && KeptRow(seq) == row {
			yield(seq, t.Peek(row))
		}
		return true
	})
}

const keptFormat = "%016x"

// KeptRow is the row of the signal that is number seq.
func KeptRow(seq uint64) string { return fmt.Sprintf(keptFormat, seq) }

// SignalsOf is the row of a journal of which signals are made.
func SignalsOf(journal string) string { return "of " + journal }
