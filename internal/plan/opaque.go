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
	if p.plain() {
		return p, nil
	}
	return json.Marshal(wrapped{Base64: base64.StdEncoding.EncodeToString(p)})
}

type wrapped struct {
	Base64 string `json:"base64"`
}

// plain reports whether p is JSON that stays what it is in a document: in the
// shortest form, without what encoding/json escapes, and nothing that reading takes
// for null or for a wrapped payload.
func (p Payload) plain() bool {
	for i, c := range p {
		switch c {
		case '<', '>', '&':
			return false
		case 0xE2: // U+2028 and U+2029
			if i+2 < len(p) && p[i+1] == 0x80 && p[i+2]&^1 == 0xA8 {
				return false
			}
		}
	}
	return !bytes.Equal(p, []byte("null")) && !bytes.HasPrefix(p, []byte(`{"base64"`)) && compactLen(p) == len(p)
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
