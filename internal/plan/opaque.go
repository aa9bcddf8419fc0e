package plan

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// A Payload is encoded data within a JSON document: as it is where it is JSON in
// the shortest form, else as {"base64": "…"}. Reading gives the same bytes back.
type Payload []byte

// MarshalJSON writes p.
func (p Payload) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("null"), nil
	}
	var short bytes.Buffer
	// encoding/json escapes these in what a MarshalJSON returns.
	if !bytes.ContainsAny(p, "<>&\u2028\u2029") && json.Compact(&short, p) == nil && bytes.Equal(short.Bytes(), p) && p.plain() {
		return p, nil
	}
	return json.Marshal(wrapped{Base64: base64.StdEncoding.EncodeToString(p)})
}

type wrapped struct {
	Base64 string `json:"base64"`
}

// plain reports whether p would not be taken for null or for a wrapped payload.
func (p Payload) plain() bool {
	return !bytes.Equal(p, []byte("null")) && !bytes.HasPrefix(p, []byte(`{"base64"`))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *Payload) UnmarshalJSON(data []byte) error {
	switch {
	case bytes.Equal(data, []byte("null")):
		*p = nil
	case bytes.HasPrefix(data, []byte(`{"base64"`)):
		var w wrapped
		if err := json.Unmarshal(data, &w); err != nil {
			return err
		}
		raw, err := base64.StdEncoding.DecodeString(w.Base64)
		if err != nil {
			return fmt.Errorf("payload: %w", err)
		}
		*p = raw
	default:
		*p = bytes.Clone(data)
	}
	return nil
}

// AppendEntry appends e as it is recorded on the port fx, without its type.
func AppendEntry(dst []byte, e *Entry) ([]byte, error) {
	data, err := json.Marshal(e)
	return append(dst, data...), err
}

// ParseEntry reads what AppendEntry wrote. Unknown fields are left out.
func ParseEntry(typ string, data []byte) (Entry, error) {
	e := Entry{}
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("%s: %w", typ, err)
	}
	e.Type = typ
	return e, nil
}
