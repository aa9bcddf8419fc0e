package event

import (
	"fmt"
	"strconv"
	"strings"
)

// A Ref addresses one record of a run among those that exist now, as
// stage.port:seq: "orders.out:17", "validate.rejected:3", or for a reserved
// port "validate.dead:2". It may be typed by people; what must name a record
// for ever is a [RecordID].
//
// Stage is the stage's full name with its groups. A stage that works in
// several slots has a journal for each, and Stage then ends in "~" and the
// slot's number: "totals~3.out:17"; [Ref.Slot] takes it apart. Port is empty
// where the text left it out, which means the stage's only data port.
// Journals number their records from 1; the zero Ref names no record.
type Ref struct {
	Stage, Port string
	Seq         uint64
}

// String returns stage.port:seq, or stage:seq if Port is empty.
func (r Ref) String() string {
	return string(strconv.AppendUint(append([]byte(r.Journal()), ':'), r.Seq, 10))
}

// Journal returns the name of the journal the record is in, stage.port, or
// just the stage if Port is empty.
func (r Ref) Journal() string {
	if r.Port == "" {
		return r.Stage
	}
	return r.Stage + "." + r.Port
}

// Slot returns the stage's name without its slot, and the slot. It returns -1
// for the journal of a stage that has no slots.
func (r Ref) Slot() (stage string, slot int) {
	name, digits, ok := strings.Cut(r.Stage, "~")
	if !ok {
		return r.Stage, -1
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return r.Stage, -1
	}
	return name, n
}

// MarshalText returns the text of r, or nothing for the zero Ref.
func (r Ref) MarshalText() ([]byte, error) {
	if r == (Ref{}) {
		return nil, nil
	}
	return []byte(r.String()), nil
}

// UnmarshalText is [ParseRef]; no text gives the zero Ref.
func (r *Ref) UnmarshalText(text []byte) error {
	*r = Ref{}
	if len(text) == 0 {
		return nil
	}
	parsed, err := ParseRef(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// ParseRef reads a ref as [Ref.String] writes it. The port may be left out
// where the stage has one: "orders:17" gives an empty Port. It accepts exactly
// one spelling of each ref: no spaces, no sign, no leading zeros.
func ParseRef(s string) (Ref, error) {
	journal, digits, ok := cutLast(s, ':')
	if !ok {
		return Ref{}, refError(s, "there is no \":\" before a sequence number")
	}
	seq, ok := parseDecimal(digits)
	if !ok || seq == 0 {
		return Ref{}, refError(s, "what follows \":\" is not a sequence number; records are numbered from 1")
	}
	stage, port, err := splitJournal(journal)
	if err != nil {
		return Ref{}, refError(s, err.Error())
	}
	return Ref{Stage: stage, Port: port, Seq: seq}, nil
}

// splitJournal takes a journal name apart and checks its names.
func splitJournal(journal string) (stage, port string, err error) {
	stage, port, hasPort := strings.Cut(journal, ".")
	if hasPort && !isPart(port) {
		return "", "", fmt.Errorf("%s is not a port name", clip(port))
	}
	name, slot, hasSlot := strings.Cut(stage, "~")
	if hasSlot {
		if n, ok := parseDecimal(slot); !ok || n >= 1<<16 {
			return "", "", fmt.Errorf("%s is not a slot number", clip(slot))
		}
	}
	if !isStage(name) {
		return "", "", fmt.Errorf("%s is not a stage name", clip(name))
	}
	return stage, port, nil
}

func refError(s, reason string) error {
	return fmt.Errorf("%s is not a ref: %s (write it as orders:17 or validate.rejected:3)", clip(s), reason)
}

// parseDecimal reads digits without sign or leading zeros.
func parseDecimal(s string) (uint64, bool) {
	if s == "" || s[0] == '0' && len(s) > 1 || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
