package weirtest

import (
	"testing"

	"github.com/weirflow/weir"
)

// Crashes is CrashEverywhere, with what it would fail the test for.
func Crashes(t *testing.T, def *weir.Definition, opts ...Option) error {
	_, _, err := crashEverywhere(t, def, opts)
	return err
}
