package engine_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/evidence"
	"github.com/weirflow/weir/journal/memory"
)

// A log can fail between its opening and the start of the run, when the next
// piece of a disk cannot be had: the run says why, and is interrupted.
func TestLogThatFailedBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is gone")
		log := newLog(memory.Options{})
		log.Poison(broken)
		b := newBuild()
		b.source("in", 1, 1, 2, 3)
		b.sink("out", &world{}, "in.out")
		res, err := start(t, b, log).Wait()
		if res.Status != evidence.Interrupted || !errors.Is(err, broken) {
			t.Errorf("the run ended %s with %v, want interrupted with the log's error", res.Status, err)
		}
	})
}
