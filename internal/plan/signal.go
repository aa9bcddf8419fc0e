package plan

import (
	"fmt"
	"slices"
	"time"
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

// Address is where the signals of a name and key are kept. Names hold no space.
func (s *Signal) Address() string { return s.Name + " " + s.Key }

// Kept are the signals of one address that nobody awaited yet, the oldest first.
// At the address of a journal it is how far signals were made of its records.
type Kept struct {
	Signals []KeptSignal `json:"signals,omitempty"`
	Seq     uint64       `json:"seq,omitempty"`
}

// A KeptSignal is one of them.
type KeptSignal struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Payload []byte    `json:"payload,omitempty"`
}

// A SignalTable keeps signals by address.
type SignalTable = TypedTable[string, Kept]

// A Signaller is a Sink that makes signals of records. Signal does so for record i
// of b; it is pure, and may be called by any goroutine.
type Signaller interface {
	Signal(b *Batch, i int) (Signal, error)
}

// KeepSignal keeps s until TakeSignal, and notes of which record it was made.
func KeepSignal(t *SignalTable, s *Signal) error {
	err := changeKept(t, s.Address(), func(k *Kept) {
		k.Signals = append(slices.Clip(k.Signals), KeptSignal{ID: s.ID, At: s.At.UTC(), Payload: s.Payload})
	})
	if err != nil || s.From.Journal == "" {
		return err
	}
	return changeKept(t, SignalsOf(s.From.Journal), func(k *Kept) { k.Seq = s.From.Seq })
}

// TakeSignal keeps the signal with that id no longer.
func TakeSignal(t *SignalTable, address, id string) error {
	return changeKept(t, address, func(k *Kept) {
		k.Signals = slices.DeleteFunc(slices.Clone(k.Signals), func(o KeptSignal) bool { return o.ID == id })
	})
}

// SignalsOf is the address of a journal. No name of a signal begins like that.
func SignalsOf(journal string) string { return "weir.of " + journal }

// changeKept changes the row of an address, and removes it if nothing is left in it.
func changeKept(t *SignalTable, address string, fn func(*Kept)) error {
	row, _, err := t.Open(address, func(string) Kept { return Kept{} })
	if err != nil {
		return fmt.Errorf("signals for %q: %w", address, err)
	}
	if fn(row); len(row.Signals) == 0 && row.Seq == 0 {
		t.Drop()
	}
	t.Close()
	return nil
}
