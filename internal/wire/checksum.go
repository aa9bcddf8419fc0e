package wire

import "hash/crc32"

// castagnoli is the polynomial of iSCSI, ext4 and Btrfs; amd64 and arm64 have
// instructions for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of p.
func Checksum(p []byte) uint32 { return crc32.Update(0, castagnoli, p) }

// Extend returns the CRC-32C of what crc covers followed by p:
//
//	Extend(Checksum(a), b) == Checksum(append(a, b...))
//
// To seed a checksum, so that bytes of one owner are never valid for another,
// extend the checksum of the owner's id: Extend(Checksum(runID), frame).
func Extend(crc uint32, p []byte) uint32 { return crc32.Update(crc, castagnoli, p) }
