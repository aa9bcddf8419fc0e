package wire

// Digest sums up which records a port holds: Σ mod 2⁶⁴ of h(sequence, CRC-32C
// of the encoded payload). Both sides of an edge keep one; equal counts and
// digests at the same sequence mean that no record was lost, doubled, altered
// or given another sequence, up to a collision: 2⁻³² for an altered payload
// (that of its CRC), 2⁻⁶⁴ for the rest. It finds accidents; it is no defence
// against someone who constructs collisions.
//
// As a sum it does not depend on the order in which records are added, and
// ranges can be added separately: the digest of 1…9 is that of 1…4 plus that
// of 5…9. The zero value is the digest of an empty port.
type Digest uint64

// Add returns the digest with the record at seq, whose payload has the
// checksum crc, added.
func (d Digest) Add(seq uint64, crc uint32) Digest { return d + Digest(mixRecord(seq, crc)) }

// mixRecord is h: the SplitMix64 output function over the sequence, and again
// over that with the CRC. For one sequence distinct CRCs give distinct values
// and the other way round, because each step is a bijection.
func mixRecord(seq uint64, crc uint32) uint64 {
	return splitMix(splitMix(seq) ^ uint64(crc))
}

// splitMix is one step of SplitMix64 from state x: Steele, Lea and Flood,
// "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, with the
// constants of variant 13 of Stafford, "Better Bit Mixing" (2011), as in
// Vigna's splitmix64.c.
func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
