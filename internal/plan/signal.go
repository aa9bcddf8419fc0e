package plan

import "time"

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
