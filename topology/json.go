package topology

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// FormatVersion is the version of the JSON form. Parse reads this and every
// earlier one.
const FormatVersion = 1

// document is the JSON form. The order of the members is part of it.
type document struct {
	Format int     `json:"format"`
	Flow   string  `json:"flow"`
	Stages []Stage `json:"stages"`
	Edges  []Edge  `json:"edges"`
}

// MarshalJSON returns the canonical JSON: members in a fixed order, lists in
// normal form, no spaces, no HTML escapes, empty members left out. Equal graphs
// give equal bytes. An encoder that embeds the graph may escape it again; the
// fingerprint is not taken from there.
func (g *Graph) MarshalJSON() ([]byte, error) {
	return encode(document{FormatVersion, g.flow, g.stages, g.edges})
}

func encode(d document) ([]byte, error) {
	if d.Stages == nil {
		d.Stages = []Stage{}
	}
	if d.Edges == nil {
		d.Edges = []Edge{}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode topology: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Parse reads the JSON form and checks the graph as New does. Members it does
// not know are ignored, a later format version is refused.
func Parse(data []byte) (*Graph, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("parse topology: %w", err)
	}
	if d.Format < 1 || d.Format > FormatVersion {
		return nil, fmt.Errorf("parse topology: format version %d, this program reads 1 to %d; use the release that wrote it or a later one",
			d.Format, FormatVersion)
	}
	return New(d.Flow, d.Stages, d.Edges)
}

// UnmarshalJSON is Parse, so that a graph can be a member of a larger document.
func (g *Graph) UnmarshalJSON(data []byte) error {
	parsed, err := Parse(data)
	if err != nil {
		return err
	}
	*g = *parsed
	return nil
}

// Fingerprint returns the SHA-256, in hex, of the canonical JSON of what shapes
// the record: flow, stages, kinds, ports, edges with their views, payload, key
// and state types by name and schema hash, operator parameters, effects.
// Groups, types of dead letters, policies, guarantees, callers, shapes and field
// lists do not count.
func (g *Graph) Fingerprint() string {
	stages := make([]Stage, len(g.stages))
	for i, s := range g.stages {
		s = clone(s)
		s.Group, s.Dead, s.Policies, s.Guarantee, s.Caller = "", nil, nil, "", ""
		for j := range s.Ports {
			s.Ports[j].Type.Shape, s.Ports[j].Type.Fields = "", nil
		}
		for _, t := range []*Type{s.Key, s.State} {
			if t != nil {
				t.Shape, t.Fields = "", nil
			}
		}
		stages[i] = s
	}
	b, err := encode(document{FormatVersion, g.flow, stages, g.edges})
	if err != nil {
		panic("topology: a graph of strings and numbers did not encode: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
