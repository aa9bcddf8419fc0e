package memory

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weirflow/weir/journal"
)

// Options say how a log in memory behaves. The zero value is a log whose frames
// are durable as soon as they are placed.
type Options struct {
	// Manual leaves durability to Sync, Release and Close.
	Manual bool
	// Room is how many bytes may be placed and not durable before Normal appends
	// wait. Zero means no limit.
	Room int64
	// Fault is asked before frames are placed, with the LSN that the first of
	// them would get; an error poisons the log and nothing is placed. It must
	// return at once and not call the log. Nil means no faults.
	Fault func(next journal.LSN) error

	// Build and Config go into the epoch that the owner enters.
	Build, Config string
	// Redefine is asked by Reopen what the owner's definition means. Nil means that
	// it is that of the epoch before.
	Redefine journal.Redefine
	// Now is the clock that dates epochs. Nil means the run's time of creation.
	Now func() time.Time
	// ID names epochs. Nil means random.
	ID func() journal.ID
}

var (
	errKilled  = errors.New("its process was killed")
	errCrashed = errors.New("the power went off")
)

// A Log is one owner's view of a run's log in memory.
type Log struct {
	o     Options
	epoch uint64
	tails map[string]journal.Tail

	manifest journal.Manifest
	store    *store
	watchers []*watcher
	wanted   journal.LSN
	held     bool // durability waits for Sync or Release
	paused   error
	failed   error       // why the log cannot go on; wraps ErrPoisoned or ErrClosed
	last     journal.LSN // head and durable when it failed; a next owner moves the store's
	synced   journal.LSN
}

// A store is what outlives an owner.
type store struct {
	mu        sync.Mutex // guards memory of the store and of its logs, never held in a wait
	manifest  journal.Manifest
	chain     [32]byte // over entries[:chained]
	chained   int
	entries   []entry
	durable   journal.LSN
	bytes     int64 // of all entries
	unsynced  int64 // of those not durable
	index     map[string][]mark
	snapshots map[string][]byte
	changed   chan struct{} // closed, by whoever changes anything that is waited for; then replaced
	owner     *Log          // nil after a loss of power
	cut       int64         // bytes lost since the last owner
}

// An entry is a frame that was placed.
type entry struct {
	epoch uint64
	first journal.LSN // of its transition
	more  bool
	frame journal.Frame
}

// A mark says where a run of records of a journal begins.
type mark struct {
	seq uint64
	lsn journal.LSN // the first frame of the transition that holds seq
}

type watcher struct{ fn func(journal.LSN, error) }

var _ journal.Log = (*Log)(nil)

// New opens an empty log for the run that m describes. The owner enters the epoch
// that follows those of m.
func New(m journal.Manifest, o Options) *Log {
	m.Epochs = slices.Clone(m.Epochs)
	s := &store{
		manifest:  m,
		index:     map[string][]mark{},
		snapshots: map[string][]byte{},
		changed:   make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enter(o, nil)
}

// enter begins an epoch, with another definition unless that is nil. The caller
// holds s.mu.
func (s *store) enter(o Options, other *journal.Redefinition) *Log {
	e := journal.Epoch{
		Number:  1,
		First:   s.head() + 1,
		Chain:   s.sum(),
		Cut:     s.cut,
		Started: s.manifest.Created,
		Build:   o.Build,
		Config:  o.Config,

		Redefined: other,
	}
	if n := len(s.manifest.Epochs); n > 0 {
		e.Number = s.manifest.Epochs[n-1].Number + 1
	}
	if o.ID != nil {
		e.ID = o.ID()
	} else {
		_, _ = rand.Read(e.ID[:]) // never fails
	}
	if o.Now != nil {
		e.Started = o.Now()
	}
	s.manifest.Epochs = append(s.manifest.Epochs, e)
	l := &Log{o: o, held: o.Manual, epoch: e.Number, tails: s.tails(), manifest: s.manifest, store: s}
	l.manifest.Epochs = slices.Clone(s.manifest.Epochs)
	s.owner, s.cut = l, 0
	return l
}

// Append places the frames of one transition. See [journal.Log].
func (l *Log) Append(ctx context.Context, u journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	if len(frames) == 0 {
		return 0, errors.New("append: a transition has at least one frame")
	}
	for _, f := range frames {
		if f.Stage != frames[0].Stage {
			return 0, fmt.Errorf("append: a transition belongs to one stage, not to %q and %q", frames[0].Stage, f.Stage)
		}
	}
	for {
		lsn, changed, err := l.try(u, frames)
		if changed == nil {
			return lsn, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// try places frames, or returns a channel that is closed when it may be tried
// again.
func (l *Log) try(u journal.Urgency, frames []journal.Frame) (lsn journal.LSN, changed <-chan struct{}, err error) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.failed != nil {
		return 0, nil, l.failed
	}
	if u == journal.Normal && !l.hasRoom() {
		return 0, l.store.changed, nil
	}
	lsn, err = l.place(frames)
	return lsn, nil, err
}

func (l *Log) hasRoom() bool {
	return l.paused == nil && (l.o.Room <= 0 || l.store.unsynced < l.o.Room)
}

// place appends frames to the store. The caller holds the store's mu.
func (l *Log) place(frames []journal.Frame) (journal.LSN, error) {
	s := l.store
	first := s.head() + 1
	if l.o.Fault != nil {
		if err := l.o.Fault(first); err != nil {
			l.fail(poisoned(err))
			return 0, l.failed
		}
	}
	for i, f := range frames {
		f.Body = bytes.Clone(f.Body)
		f.Spans = slices.Clone(f.Spans)
		s.entries = append(s.entries, entry{
			epoch: l.epoch, first: first, more: i+1 < len(frames), frame: f,
		})
		s.bytes += int64(len(f.Body))
		s.unsynced += int64(len(f.Body))
		for _, span := range f.Spans {
			name := span.Stage + "." + span.Port
			s.index[name] = append(s.index[name], mark{seq: span.First, lsn: first})
		}
	}
	if !l.held {
		l.sync()
	}
	s.wake()
	return s.head(), nil
}

// sync makes everything placed durable. The caller holds the store's mu.
func (l *Log) sync() {
	s := l.store
	if s.durable == s.head() {
		return
	}
	s.durable = s.head()
	s.unsynced = 0
	for _, w := range l.watchers {
		w.fn(s.durable, nil)
	}
	s.wake()
}

// fail ends the owner's use of the log. The caller holds the store's mu.
func (l *Log) fail(err error) {
	if l.failed != nil {
		return
	}
	l.failed, l.last, l.synced = err, l.store.head(), l.store.durable
	if errors.Is(err, journal.ErrPoisoned) {
		for _, w := range l.watchers {
			w.fn(l.store.durable, err)
		}
	}
	l.store.wake()
}

func poisoned(cause error) error { return fmt.Errorf("%w: %w", journal.ErrPoisoned, cause) }

// wake lets everyone who waits look again. The caller holds s.mu.
func (s *store) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *store) head() journal.LSN { return journal.LSN(len(s.entries)) }

// Head returns the LSN placed last.
func (l *Log) Head() journal.LSN {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.failed != nil {
		return l.last
	}
	return l.store.head()
}

// Durable returns the LSN up to which everything is durable.
func (l *Log) Durable() journal.LSN {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return l.confirmed()
}

// confirmed is the durable LSN as this owner knows it. The caller holds the
// store's mu.
func (l *Log) confirmed() journal.LSN {
	if l.failed != nil {
		return l.synced
	}
	return l.store.durable
}

// Want says that someone waits for lsn to be durable; see [Log.Wanted].
func (l *Log) Want(lsn journal.LSN) {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	l.wanted = max(l.wanted, lsn)
}

// Await returns when lsn is durable. See [journal.Log].
func (l *Log) Await(ctx context.Context, lsn journal.LSN) error {
	l.Want(lsn)
	s := l.store
	for {
		s.mu.Lock()
		durable, failed, changed := l.confirmed(), l.failed, s.changed
		s.mu.Unlock()
		if lsn <= durable {
			return nil
		}
		if failed != nil {
			return failed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Watch has fn called when Durable advances and when the log is poisoned, at
// once if it already is. After stop has returned fn is not called again.
func (l *Log) Watch(fn func(durable journal.LSN, err error)) (stop func()) {
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &watcher{fn: fn}
	l.watchers = append(l.watchers, w)
	if errors.Is(l.failed, journal.ErrPoisoned) {
		fn(l.synced, l.failed)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		l.watchers = slices.DeleteFunc(l.watchers, func(x *watcher) bool { return x == w })
	}
}

// Manifest returns the run's manifest; its last epoch is this owner's.
func (l *Log) Manifest() journal.Manifest {
	m := l.manifest
	m.Epochs = slices.Clone(m.Epochs)
	return m
}

// Stats counts the bytes of frame bodies; a log in memory has no segments.
func (l *Log) Stats() journal.Stats {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	return journal.Stats{Bytes: l.store.bytes, Paused: l.paused}
}

// Close makes everything placed durable, unless the log is poisoned, and gives
// the log up. Closing again does nothing.
func (l *Log) Close() error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.failed != nil {
		if errors.Is(l.failed, journal.ErrPoisoned) {
			return l.failed
		}
		return nil
	}
	l.sync()
	l.fail(journal.ErrClosed)
	return nil
}
