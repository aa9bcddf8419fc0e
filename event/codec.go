package event

import "fmt"

// A Codec is how payloads are written in the log. The manifest records it, so
// a run is always read with the codec it was written with. The zero Codec is
// [JSON].
type Codec uint8

// The codecs.
const (
	// JSON is the default: readable in every tool. Field names and options
	// come from json struct tags.
	JSON Codec = iota
	// CBOR (RFC 8949) is smaller and faster. Field names and options come from
	// cbor struct tags, or json ones where a field has none.
	CBOR
)

// String returns the codec's name, "json" or "cbor".
func (c Codec) String() string {
	switch c {
	case JSON:
		return "json"
	case CBOR:
		return "cbor"
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// MarshalText returns the codec's name; a value that is no codec is an error.
func (c Codec) MarshalText() ([]byte, error) {
	if c > CBOR {
		return nil, fmt.Errorf("%v does not exist; there are json and cbor", c)
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads the name of a codec.
func (c *Codec) UnmarshalText(text []byte) error {
	switch string(text) {
	case "json":
		*c = JSON
	case "cbor":
		*c = CBOR
	default:
		return fmt.Errorf("there is no codec %s; there are json and cbor", clip(string(text)))
	}
	return nil
}
