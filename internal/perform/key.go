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
// None of them holds a zero byte.
func Key(in *plan.Accepted, step string) string {
	h := sha256.New()
	for _, part := range []string{"weir.key.v1", in.Run, in.Stage, in.Input.String(), step} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:sha256.Size/2])
}

func hashOf(request []byte) string {
	sum := sha256.Sum256(request)
	return hex.EncodeToString(sum[:])
}
