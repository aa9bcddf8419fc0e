package journaltest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/journaltest"
	"github.com/weirflow/weir/journal/memory"
)

// mutants are logs that break one promise, by the test of Run that must fail.
var mutants = map[string]func(log *memory.Log) journal.Log{
	"OrderOfAppends":       func(l *memory.Log) journal.Log { return &garbles{Log: l} },
	"TransitionsWhole":     func(l *memory.Log) journal.Log { return splits{l} },
	"ReadersBesideAppends": func(l *memory.Log) journal.Log { return splits{l} },
	"PlacedIsVisible":      func(l *memory.Log) journal.Log { return hasty{l} },
	"Await":                func(l *memory.Log) journal.Log { return hasty{l} },
	"AwaitWhatIsNotPlaced": func(l *memory.Log) journal.Log { return hasty{l} },
	"AwaitCancelled":       func(l *memory.Log) journal.Log { return deaf{l} },
	"Watch":                func(l *memory.Log) journal.Log { return silent{l} },
	"DiskFull":             func(l *memory.Log) journal.Log { return greedy{l} },
	"Find":                 func(l *memory.Log) journal.Log { return astray{l} },
	"Tails":                func(l *memory.Log) journal.Log { return tailless{l} },
	"Snapshots":            func(l *memory.Log) journal.Log { return careless{l} },
	"Model":                func(l *memory.Log) journal.Log { return &garbles{Log: l} },
}

// garbles flips a bit of the fourth transition of each owner.
type garbles struct {
	*memory.Log
	n int
}

func (l *garbles) Append(ctx context.Context, u journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	if l.n++; l.n == 4 {
		frames[0].Body = append([]byte(nil), frames[0].Body...)
		frames[0].Body[len(frames[0].Body)-1] ^= 1
	}
	return l.Log.Append(ctx, u, frames...)
}

// splits places each part as if it were whole.
type splits struct{ *memory.Log }

func (l splits) Append(ctx context.Context, u journal.Urgency, frames ...journal.Frame) (lsn journal.LSN, err error) {
	for _, f := range frames {
		if lsn, err = l.Log.Append(ctx, u, f); err != nil {
			return 0, err
		}
	}
	return lsn, nil
}

// hasty says that everything placed is durable.
type hasty struct{ *memory.Log }

func (l hasty) Durable() journal.LSN                             { return l.Head() }
func (l hasty) Await(ctx context.Context, lsn journal.LSN) error { return nil }

// deaf does not hear that a context is done.
type deaf struct{ *memory.Log }

func (l deaf) Await(ctx context.Context, lsn journal.LSN) error {
	return l.Log.Await(context.WithoutCancel(ctx), lsn)
}

// silent tells watchers of failures only.
type silent struct{ *memory.Log }

func (l silent) Watch(fn func(journal.LSN, error)) func() {
	return l.Log.Watch(func(d journal.LSN, err error) {
		if err != nil {
			fn(d, err)
		}
	})
}

// greedy lets nobody wait for space.
type greedy struct{ *memory.Log }

func (l greedy) Append(ctx context.Context, _ journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	return l.Log.Append(ctx, journal.Urgent, frames...)
}

// astray finds the frame after the one that holds a record.
type astray struct{ *memory.Log }

func (l astray) Find(name string, seq uint64) (journal.LSN, error) {
	lsn, err := l.Log.Find(name, seq)
	return lsn + 1, err
}

// tailless forgets checkpoints.
type tailless struct{ *memory.Log }

func (l tailless) Tails() map[string]journal.Tail {
	tails := l.Log.Tails()
	for stage, t := range tails {
		t.Checkpoint = 0
		tails[stage] = t
	}
	return tails
}

// careless cuts a snapshot short.
type careless struct{ *memory.Log }

func (l careless) WriteSnapshot(name string, data []byte) error {
	return l.Log.WriteSnapshot(name, data[:len(data)*9/10])
}

// A mutantStore opens logs in memory that break a promise.
type mutantStore struct {
	log  *memory.Log
	make func(*memory.Log) journal.Log
}

func (s *mutantStore) Open() (journal.Log, error) {
	if s.log == nil {
		s.log = memory.New(journal.Manifest{Format: journal.FormatVersion, Run: "mutant"}, memory.Options{Room: 4 << 20})
		return s.make(s.log), nil
	}
	next, err := s.log.Reopen()
	if err != nil {
		return nil, err
	}
	s.log = next
	return s.make(next), nil
}

func (s *mutantStore) Hold()             { s.log.Hold() }
func (s *mutantStore) Release()          { s.log.Release() }
func (s *mutantStore) Fill()             { s.log.Pause(errors.New("full")) }
func (s *mutantStore) Space()            { s.log.Pause(nil) }
func (s *mutantStore) Break(cause error) { s.log.Poison(cause) }
func (s *mutantStore) Kill()             { s.log.Kill() }
func (s *mutantStore) Crash()            { s.log.Crash() }

const mutantVariable = "WEIR_JOURNALTEST_MUTANT"

// The suite finds each mutant. A suite that fails ends its test, so each runs in
// a process of its own.
func TestRunFindsMutants(t *testing.T) {
	if name := os.Getenv(mutantVariable); name != "" {
		mutant := func() journaltest.Store { return &mutantStore{make: mutants[name]} }
		journaltest.Run(t, mutant)
		t.Run("Model", func(t *testing.T) { journaltest.Model(t, mutant) })
		return
	}
	for name := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0],
				"-test.run=^TestRunFindsMutants$/^"+name+"$", "-rapid.nofailfile", "-rapid.shrinktime=1s")
			cmd.Env = append(os.Environ(), mutantVariable+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passes:\n%s", out)
			}
			if !strings.Contains(string(out), "--- FAIL: TestRunFindsMutants/"+name) {
				t.Errorf("the suite ends otherwise: %v\n%s", err, out)
			}
		})
	}
}
