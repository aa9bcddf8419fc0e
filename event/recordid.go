package event

import (
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
)

// A RecordID identifies one record for ever: it is never used for two
// records, whatever was cut after a crash, forked or copied. It is the only
// identity the outside may remember: effect keys, delivery ids and stored
// positions are made of it.
//
// Epoch is the random id of the epoch that authored the record, not of the
// one that reads it. Journal is the full name of its journal, stage.port.
type RecordID struct {
	Epoch   [16]byte
	Journal string
	Seq     uint64
}

// epochText is the alphabet ULIDs use, in lower case: 26 letters for 16 bytes,
// none of which is mistaken for another.
var epochText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// String returns journal:seq@epoch, for example
// "orders.out:17@06ey2szh8h6ckdvgw7vjskvdc4".
func (id RecordID) String() string {
	text, _ := id.AppendText(nil)
	return string(text)
}

// AppendText appends the text of id to dst. The error is always nil.
func (id RecordID) AppendText(dst []byte) ([]byte, error) {
	dst = append(dst, id.Journal...)
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, id.Seq, 10)
	dst = append(dst, '@')
	return epochText.AppendEncode(dst, id.Epoch[:]), nil
}

// MarshalText returns the text of id, or nothing for the zero RecordID.
func (id RecordID) MarshalText() ([]byte, error) {
	if id == (RecordID{}) {
		return nil, nil
	}
	return id.AppendText(nil)
}

// UnmarshalText is [ParseRecordID]; no text gives the zero RecordID.
func (id *RecordID) UnmarshalText(text []byte) error {
	*id = RecordID{}
	if len(text) == 0 {
		return nil
	}
	parsed, err := ParseRecordID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Ref returns the address of the record within its run.
func (id RecordID) Ref() (Ref, error) {
	stage, port, err := splitJournal(id.Journal)
	if err != nil {
		return Ref{}, fmt.Errorf("record id %s: %w", id, err)
	}
	return Ref{Stage: stage, Port: port, Seq: id.Seq}, nil
}

// ParseRecordID reads a record id as [RecordID.String] writes it; each id has
// exactly one spelling, with the port always present.
func ParseRecordID(s string) (RecordID, error) {
	fail := func(reason string) (RecordID, error) {
		return RecordID{}, fmt.Errorf("%s is not a record id: %s (it reads journal:sequence@epoch)", clip(s), reason)
	}
	text, epoch, ok := cutLast(s, '@')
	if !ok {
		return fail("there is no \"@\" before an epoch")
	}
	ref, err := ParseRef(text)
	if err != nil {
		return fail(err.Error())
	}
	if ref.Port == "" {
		return fail("the port is missing")
	}
	id := RecordID{Journal: ref.Journal(), Seq: ref.Seq}
	if err := parseEpoch(&id.Epoch, epoch); err != nil {
		return fail(err.Error())
	}
	return id, nil
}

func parseEpoch(dst *[16]byte, s string) error {
	if len(s) != epochText.EncodedLen(len(dst)) {
		return fmt.Errorf("the epoch has %d letters, not %d", len(s), epochText.EncodedLen(len(dst)))
	}
	if _, err := epochText.Decode(dst[:], []byte(s)); err != nil {
		return errors.New("the epoch holds a letter no epoch has")
	}
	// The last letter has two bits to spare; only zeros there are ours. A
	// newline, which the decoder skips, fails here too.
	if epochText.EncodeToString(dst[:]) != s {
		return errors.New("the epoch is not spelled canonically")
	}
	return nil
}
