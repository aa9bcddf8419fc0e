package memory_test

import (
	"errors"
	"testing"

	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/journaltest"
	"github.com/weirflow/weir/journal/memory"
)

// A store gives one log in memory to owner after owner.
type store struct{ log *memory.Log }

func (s *store) Open() (journal.Log, error) {
	if s.log == nil {
		s.log = memory.New(run, memory.Options{Room: 4 << 20})
		return s.log, nil
	}
	next, err := s.log.Reopen()
	if err != nil {
		return nil, err
	}
	s.log = next
	return next, nil
}

func (s *store) Hold()             { s.log.Hold() }
func (s *store) Release()          { s.log.Release() }
func (s *store) Fill()             { s.log.Pause(errors.New("no space left on device")) }
func (s *store) Space()            { s.log.Pause(nil) }
func (s *store) Break(cause error) { s.log.Poison(cause) }
func (s *store) Kill()             { s.log.Kill() }
func (s *store) Crash()            { s.log.Crash() }

func TestConformance(t *testing.T) {
	journaltest.Run(t, func() journaltest.Store { return &store{} })
}

func TestModel(t *testing.T) {
	journaltest.Model(t, func() journaltest.Store { return &store{} })
}
