package segment

import (
	"crypto/sha256"
	"errors"
	"hash"
)

// A chain computes chain values within one segment.
type chain struct {
	before [32]byte  // value before the first frame of the segment
	hash   hash.Hash // over before and the frames so far; nil before the first
	value  [32]byte  // scratch
}

// origin is the chain value before the first frame of a run.
func origin(run string) [32]byte { return sha256.Sum256([]byte("weir run " + run)) }

// add appends encoded frames.
func (c *chain) add(frames []byte) {
	if c.hash == nil {
		c.hash = sha256.New()
		c.hash.Write(c.before[:])
	}
	c.hash.Write(frames)
}

// sum returns the value after the frames so far.
func (c *chain) sum() [32]byte {
	if c.hash == nil {
		return c.before
	}
	c.hash.Sum(c.value[:0])
	return c.value
}

// clone returns a chain that goes on from here on its own.
func (c *chain) clone() (chain, error) {
	d := chain{before: c.before}
	if c.hash == nil {
		return d, nil
	}
	h, ok := c.hash.(hash.Cloner)
	if !ok {
		return d, errors.New("SHA-256 cannot be cloned in this build") // never: crypto/sha256 promises it
	}
	dup, err := h.Clone()
	d.hash = dup
	return d, err
}
