package perform

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/weirflow/weir/internal/plan"
)

// Key returns the key of the call that a step makes for an input: the first half,
// in hexadecimal, of the SHA-256 of these parts, each followed by a zero byte:
//
//	weir.key.v1   root run   stage   record id of the input   step
//
// None of them holds a zero byte. Of a copy, root run and record id are those of
// its original: a service sees the key that it saw when that was executed.
func Key(in *plan.Accepted, step string) string {
	of := in.Identity()
	b := make([]byte, 0, 256)
	b = append(append(b, "weir.key.v1"...), 0)
	b = append(append(b, of.Run...), 0)
	b = append(append(b, in.Stage...), 0)
	b, _ = of.ID.AppendText(b)
	b = append(append(append(b, 0), step...), 0)
	sum := sha256.Sum256(b)
	return inHex(sum[:sha256.Size/2])
}

func hashOf(request []byte) string {
	sum := sha256.Sum256(request)
	return inHex(sum[:])
}

func inHex(sum []byte) string {
	return string(hex.AppendEncode(make([]byte, 0, 2*sha256.Size), sum))
}
