package segment

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Options say how a log behaves. The zero value is a good choice.
type Options struct {
	Sync journal.Sync

	// SegmentSize is the size of every segment. Zero means 1 MiB for the first
	// and twice as much for each following, up to 64 MiB.
	SegmentSize int64

	// Enter is what the manifest records of the epoch that begins.
	Enter Enter

	// MaxUnwritten and MaxUnsynced are how many bytes may be placed but not
	// written, and not durable, before Normal appends wait. Zero means 8 MiB and
	// 64 MiB.
	MaxUnwritten, MaxUnsynced int64

	// Paused is called with the reason when intake begins to wait for space on the
	// disk, and with nil when it goes on. Calls come one after the other, from
	// goroutines of the log; it must not call the log. Nil means that nobody asks.
	Paused func(why error)

	// Random is where epochs get their ids. Nil means crypto/rand.
	Random io.Reader
	// Now is the clock that dates epochs. Nil means the machine's.
	Now func() time.Time
}

// Enter is what an owner leaves in the manifest.
type Enter struct {
	Build  string // identity of the binary
	Config string // fingerprint of the definition; empty means the manifest's

	// Redefine is asked by Open what the owner's definition means. Nil means that
	// it is that of the epoch before.
	Redefine journal.Redefine
	// Settings replace those of the manifest if the definition is another one. Nil
	// keeps them.
	Settings []journal.Setting
}

func (o Options) withDefaults() Options {
	if o.MaxUnwritten <= 0 {
		o.MaxUnwritten = 8 << 20
	}
	if o.MaxUnsynced <= 0 {
		o.MaxUnsynced = 64 << 20
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the edge: the default of the clock's port
	}
	return o
}

// A Log is the log of one run, on disk, and the only owner of its directory. See
// the package comment.
//
// Three goroutines serve it from Open to Close: the writer, the syncer and the
// preparer. They wait without timers while there is nothing to do.
type Log struct {
	layout
	o        Options
	manifest journal.Manifest // as of this epoch; not changed
	epoch    uint32
	tails    map[string]journal.Tail // at open; not changed
	lock     io.Closer
	hints    vfs.File // log/durable

	mu       sync.Mutex // guards memory: what follows; never held in a wait or file operation
	sums     summer
	segs     []*segment // all, in order; frames are placed in the last
	idx      *index     // of the last
	prev     uint32     // CRC of the frame placed last
	placed   spot
	written  spot
	synced   spot
	durable  journal.LSN   // as announced; in mode None it runs ahead of synced
	hinted   journal.LSN   // as written into log/durable
	wants    []journal.LSN // not durable, and someone waits for them; ascending
	queue    []*group      // placed and not written, in order
	spare    [][]byte      // buffers for groups
	ready    *segment      // the next segment, prepared
	hindered [2]error      // why writer and preparer wait for space
	pausing  sync.Mutex    // held while Options.Paused is called; taken before mu
	told     bool          // that intake waits; guarded by pausing
	failed   error         // why the log cannot go on; wraps ErrPoisoned or ErrClosed
	closing  bool
	sealed   int64             // bytes of frames in all segments but the last
	room     chan struct{}     // closed, and replaced, when whoever waits for room shall look again
	crowd    bool              // someone waits for room
	waiters  []*waiter         // for durability
	named    map[string]string // by stage: the snapshot that its newest checkpoint names
	outdated []outdated        // snapshots that no checkpoint names once an LSN is durable

	// Wake-ups: capacity one, sent to without waiting, never closed.
	toWrite, toSync, toPrepare chan struct{}
	retry                      [2]chan struct{} // the writer, the preparer
	// turn is a token: who has it may sync, and close the segment that is written.
	turn    chan struct{}
	hintBuf []byte // of who has the turn
	// close is closed by Close; stopped by each goroutine when it ends.
	close   chan struct{}
	stopped sync.WaitGroup

	telling  sync.Mutex // guards watchers, in the order of what they are told; taken before mu
	watchers []*watcher

	indexes indexCache
	writer  writer // the writer's own
}

// A spot is a place between two frames.
type spot struct {
	lsn   journal.LSN // of the frame before it
	seg   *segment
	off   int64
	total int64 // bytes of frames before it since the log was opened
}

// A segment is what the owner knows of one. All fields but number and first are
// guarded by Log.mu.
type segment struct {
	number  uint64
	first   journal.LSN
	limit   int64 // frames are placed below it, unless one alone is larger
	end     int64 // behind the last frame placed
	last    journal.LSN
	file    vfs.File // while it is written
	index   []byte   // once it is full, until its footer is written
	footed  bool     // it has its footer
	trailer trailer  // then
	begun   time.Time
}

// A group is a run of frames that are written in one piece.
type group struct {
	seg   *segment
	off   int64
	buf   []byte
	last  journal.LSN
	prev  uint32 // CRC of the last frame
	taken bool   // by the writer: nothing is added
}

func (g *group) end() int64 { return g.off + int64(len(g.buf)) }

type waiter struct {
	lsn  journal.LSN
	done chan error // capacity one: the one result
}

type watcher struct{ fn func(journal.LSN, error) }

var _ journal.Log = (*Log)(nil)

// Append places the frames of one transition. See [journal.Log].
func (l *Log) Append(ctx context.Context, u journal.Urgency, frames ...journal.Frame) (journal.LSN, error) {
	size, err := sizeOf(frames)
	if err != nil {
		return 0, err
	}
	snapshot, err := snapshotOf(frames)
	if err != nil {
		return 0, err
	}
	var lsn journal.LSN
	for {
		l.mu.Lock()
		if l.failed != nil || l.closing {
			err := cmp.Or(l.failed, journal.ErrClosed)
			l.mu.Unlock()
			return 0, err
		}
		if l.hasRoom(u, size) {
			lsn, err = l.place(frames, size, snapshot)
			l.mu.Unlock()
			break
		}
		l.crowd = true
		room, hindered := l.room, l.paused() != nil
		l.mu.Unlock()
		if hindered {
			wake(l.retry[0])
			wake(l.retry[1])
		}
		select {
		case <-room:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if err != nil {
		return 0, err
	}
	wake(l.toWrite)
	if l.o.Sync.Mode == journal.Always {
		// The frames are placed; giving up now would say that they are not.
		if err := l.Await(context.WithoutCancel(ctx), lsn); err != nil {
			return 0, err
		}
	}
	return lsn, nil
}

// sizeOf returns how many bytes the frames of a transition take.
func sizeOf(frames []journal.Frame) (int64, error) {
	if len(frames) == 0 {
		return 0, errors.New("append: a transition has at least one frame")
	}
	size := int64(0)
	for i := range frames {
		f := &frames[i]
		if f.Stage != frames[0].Stage {
			return 0, fmt.Errorf("append: a transition belongs to one stage, not to %q and %q", frames[0].Stage, f.Stage)
		}
		if len(f.Stage) > journal.MaxName {
			return 0, fmt.Errorf("append: a stage's name has %d bytes, at most %d are allowed", len(f.Stage), journal.MaxName)
		}
		if len(f.Body) > maxBody {
			return 0, fmt.Errorf("append: %w: a frame of %d bytes, limit %d", journal.ErrTooLarge, len(f.Body), maxBody)
		}
		size += frameHeader + int64(len(f.Body))
	}
	if size > math.MaxInt32-lastSize {
		return 0, fmt.Errorf("append: %w: %d bytes", journal.ErrTooLarge, size)
	}
	return size, nil
}

// hasRoom tells whether a transition may be placed now. The caller holds mu.
func (l *Log) hasRoom(u journal.Urgency, size int64) bool {
	if u == journal.Urgent {
		return true
	}
	return l.paused() == nil &&
		l.placed.total-l.written.total < l.o.MaxUnwritten &&
		l.placed.total-l.synced.total < l.maxUnsynced() &&
		(l.ready != nil || l.fits(size))
}

func (l *Log) maxUnsynced() int64 {
	if l.o.Sync.Mode == journal.None {
		return math.MaxInt64
	}
	return l.o.MaxUnsynced
}

// fits tells whether a transition belongs into the last segment. The caller
// holds mu.
func (l *Log) fits(size int64) bool {
	return l.placed.off+size <= l.placed.seg.limit || l.placed.off == headerSize
}

// paused is why intake waits. The caller holds mu.
func (l *Log) paused() error {
	if l.hindered[0] != nil {
		return l.hindered[0]
	}
	return l.hindered[1]
}

// place gives the frames their LSNs and puts them into the queue. The caller
// holds mu.
func (l *Log) place(frames []journal.Frame, size int64, snapshot string) (journal.LSN, error) {
	for i := range frames {
		spans := frames[i].Spans
		for k := range spans {
			if err := l.follows(frames, i, k); err != nil {
				return 0, fmt.Errorf("append: %w", err)
			}
		}
	}
	if !l.fits(size) {
		switch {
		case l.ready != nil:
			l.turnOver()
		case l.placed.off+size > maxSegment: // urgent frames go on in a full segment while there is no other
			return 0, fmt.Errorf("append: no room in segment %d and no other: %w", l.placed.seg.number, cmpErr(l.paused(), syscall.ENOSPC))
		}
	}
	g := l.group(size)
	seg := g.seg
	known := uint32(headerSize)
	if l.synced.seg == seg {
		known = uint32(l.synced.off)
	}
	for i := range frames {
		in := &frames[i]
		lsn := l.placed.lsn + 1
		f := frame{lsn: lsn, epoch: l.epoch, synced: known, prev: l.prev}
		if i+1 < len(frames) {
			f.flags |= flagMore
		}
		if in.Check {
			f.flags |= flagCheck
		}
		g.buf = l.sums.appendFrame(g.buf, &f, in.Body, seg.number, l.placed.off)
		l.idx.add(lsn, l.placed.off, i == 0, in.Check, in.Stage, in.Spans)
		if in.Check {
			l.supersede(in.Stage, snapshot, lsn)
		}
		l.prev = f.crc
		l.placed.lsn = lsn
		l.placed.off += f.size()
		l.placed.total += f.size()
	}
	g.last, g.prev = l.placed.lsn, l.prev
	seg.last, seg.end = l.placed.lsn, l.placed.off
	return l.placed.lsn, nil
}

// follows checks that span k of frame i goes on where its journal ends.
func (l *Log) follows(frames []journal.Frame, i, k int) error {
	if i == 0 && k == 0 {
		return l.idx.follows(frames[0].Spans[0], nil)
	}
	before := frames[i].Spans[:k]
	if i > 0 { // parts are rare
		before = nil
		for j := range i {
			before = append(before, frames[j].Spans...)
		}
		before = append(before, frames[i].Spans[:k]...)
	}
	return l.idx.follows(frames[i].Spans[k], before)
}

// group returns the group that the next frames go into. The caller holds mu.
func (l *Log) group(size int64) *group {
	if n := len(l.queue); n > 0 {
		if g := l.queue[n-1]; !g.taken && g.seg == l.placed.seg {
			return g
		}
	}
	g := &group{seg: l.placed.seg, off: l.placed.off}
	if n := len(l.spare); n > 0 {
		g.buf, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		g.buf = make([]byte, 0, max(size, 64<<10))
	}
	l.queue = append(l.queue, g)
	return g
}

// turnOver makes the prepared segment the one that frames are placed in. The
// caller holds mu.
func (l *Log) turnOver() {
	full, next := l.placed.seg, l.ready
	full.index = l.idx.encode()
	l.idx.next()
	l.sealed += full.end - headerSize
	next.first, next.end, next.last = l.placed.lsn+1, headerSize, l.placed.lsn
	next.begun = l.o.Now()
	l.segs = append(l.segs, next)
	l.ready = nil
	l.placed.seg, l.placed.off = next, headerSize
	wake(l.toPrepare)
}

// Head returns the LSN placed last; in mode Always what is not durable does not
// count as placed.
func (l *Log) Head() journal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head()
}

func (l *Log) head() journal.LSN {
	if l.o.Sync.Mode == journal.Always {
		return l.durable
	}
	return l.placed.lsn
}

// Durable returns the LSN up to which everything is durable.
func (l *Log) Durable() journal.LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Manifest returns what the run is; its last epoch is this owner's.
func (l *Log) Manifest() journal.Manifest {
	m := l.manifest
	m.Epochs = slices.Clone(m.Epochs)
	m.Settings = slices.Clone(m.Settings)
	return m
}

// Stats returns sizes and the present condition.
func (l *Log) Stats() journal.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return journal.Stats{
		Bytes:    l.sealed + l.placed.off - headerSize,
		Segments: len(l.segs),
		Paused:   l.paused(),
	}
}

// wake sends on a channel of capacity one whose receiver looks at everything
// there is to do.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
