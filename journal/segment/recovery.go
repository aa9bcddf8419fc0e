package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// A Report says what Open found.
type Report struct {
	Head     journal.LSN   // the last frame that is kept
	Cut      int64         // bytes of unconfirmed tail that were cut
	Segment  uint64        // the segment that was cut, zero if none
	File     string        // its path
	Offset   int64         // where it ends now
	LSN      journal.LSN   // of the first frame that was cut
	Reason   string        // what ended the log there
	Rewrote  int64         // bytes of frames that were written again to be sure
	Segments int           // that the log has
	Took     time.Duration // by the clock of the options
}

// A spotValue is the chain value after a frame.
type spotValue struct {
	lsn   journal.LSN
	chain [32]byte
}

// A tail is where a log ends: in which segment, or, if number is zero or the
// segment has a footer, before the next.
type tail struct {
	number uint64
	lsn    journal.LSN
	off    int64
	prev   uint32
	chain  [32]byte
}

// A recovery turns a directory into a log.
type recovery struct {
	layout
	o        *Options
	manifest journal.Manifest
	report   Report

	segs   []*segment
	idx    *index
	tail   tail
	writer writer
}

func recoverLog(fsys vfs.FS, dir string, o Options) (*Log, Report, error) {
	m, err := ReadManifest(fsys, dir)
	if err != nil {
		return nil, Report{}, err
	}
	r := recovery{layout: newLayout(fsys, dir, m.Run), o: &o, manifest: m}
	l, err := r.do()
	if err != nil {
		return nil, r.report, errors.Join(err, r.close())
	}
	return l, r.report, nil
}

// do does the steps of docs/format.md.
func (r *recovery) do() (*Log, error) {
	for _, sub := range []string{r.dir, r.logDir(), r.snapDir()} {
		if err := removeTemp(r.fsys, sub); err != nil {
			return nil, fmt.Errorf("remove what was in preparation: %w", err)
		}
	}
	numbers, err := r.segments()
	if err != nil {
		return nil, err
	}
	told, toldAny, err := r.readHint()
	if err != nil {
		return nil, err
	}
	if !told.proven {
		toldAny = false
	}
	if r.tail, err = r.load(numbers, told, toldAny); err != nil {
		return nil, err
	}
	if err := r.prove(told, toldAny); err != nil {
		return nil, err
	}
	for _, dir := range []string{r.snapDir(), r.logDir(), r.dir} {
		if err := r.fsys.SyncDir(dir); err != nil {
			return nil, err
		}
	}
	other, err := r.redefine()
	if err != nil {
		return nil, err
	}
	if r.manifest, err = r.o.enter(r.manifest, spotValue{r.tail.lsn, r.tail.chain}, r.report.Cut, other); err != nil {
		return nil, err
	}
	if err := writeManifest(r.fsys, r.dir, &r.manifest); err != nil {
		return nil, err
	}
	if n := len(r.segs); n == 0 || r.segs[n-1].footed {
		if err := r.begin(&r.tail); err != nil {
			return nil, err
		}
	}
	return r.log()
}

// redefine asks the owner what its definition means, given the log as it is now.
func (r *recovery) redefine() (other *journal.Redefinition, err error) {
	if r.o.Enter.Redefine == nil {
		return nil, nil
	}
	v, err := OpenView(r.fsys, r.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if v.Head() != r.tail.lsn {
		return nil, fmt.Errorf("the log ends at frame %d and can be read up to %d", r.tail.lsn, v.Head())
	}
	return r.o.Enter.Redefine(v)
}

// load reads headers and footers and scans the last segment if it is open.
func (r *recovery) load(numbers []uint64, told hint, toldAny bool) (tail, error) {
	at := tail{prev: r.seed, chain: origin(r.run)}
	r.idx = newIndex()
	if len(numbers) == 0 {
		return at, nil
	}
	if numbers[0] != 1 && r.manifest.Kept == nil {
		return at, &CorruptError{File: r.segment(1), Expected: "the first segment", Found: "none"}
	}
	for i, number := range numbers {
		last := i == len(numbers)-1
		f, err := r.inspect(number, i == 0 && number != 1, last, &at)
		if err != nil {
			return at, err
		}
		seg := &segment{number: number, first: f.header.first}
		r.segs = append(r.segs, seg)
		if f.sealed {
			seg.footed, seg.trailer, seg.last, seg.end = true, f.trailer, f.trailer.last, f.trailer.end
			at = tail{number: number, lsn: seg.last, off: seg.end, prev: f.trailer.prev, chain: f.trailer.chain}
			if !last {
				continue
			}
			if err := r.rewriteFooter(seg, f.index); err != nil {
				return at, err
			}
			r.idx = f.index
			r.idx.next()
			return at, nil
		}
		if i > 0 {
			if r.idx, err = r.loadIndex(&r.segs[i-1].trailer); err != nil {
				return at, err
			}
			r.idx.next()
		}
		seg.limit = r.o.sizeAfter(at.off)
		if !toldAny || told.number != number {
			told.off = 0
		}
		return r.scan(seg, &f.header, told.off)
	}
	return at, nil
}

// prove holds the tail to what is known to have been durable.
func (r *recovery) prove(told hint, toldAny bool) error {
	r.report.Head, r.report.Segments = r.tail.lsn, len(r.segs)
	file := r.segment(max(r.tail.number, 1))
	if e := r.manifest.Epochs[len(r.manifest.Epochs)-1]; r.tail.lsn+1 < e.First {
		return &CorruptError{
			File: file, Offset: r.tail.off, LSN: r.tail.lsn + 1,
			Expected: fmt.Sprintf("a frame, for epoch %d began at LSN %d", e.Number, e.First), Found: "the end of the log",
		}
	} else if r.tail.lsn+1 == e.First && e.Chain != hex.EncodeToString(r.tail.chain[:]) {
		return &CorruptError{
			File: file, Offset: r.tail.off, LSN: r.tail.lsn,
			Expected: "chain value " + e.Chain + " as in the manifest", Found: hex.EncodeToString(r.tail.chain[:]),
		}
	}
	if toldAny && r.tail.lsn < told.lsn {
		return &CorruptError{
			File: r.segment(max(told.number, 1)), Offset: told.off, LSN: r.tail.lsn + 1,
			Expected: fmt.Sprintf("frames up to LSN %d, as log/durable says", told.lsn), Found: "the end of the log",
		}
	}
	return nil
}

// rewriteFooter makes the footer of the last segment durable: what was read may
// only be in memory.
func (r *recovery) rewriteFooter(seg *segment, x *index) (err error) {
	f, err := r.fsys.OpenFile(r.segment(seg.number), os.O_RDWR, filePerm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	t := seg.trailer
	return writeFooter(f, r.encodeFooter(x.encode(), &t), seg.end)
}

// begin makes the segment that follows at.
func (r *recovery) begin(at *tail) error {
	number := at.number + 1
	size := r.o.sizeAfter(at.off)
	seg, err := r.prepare(number, size, size <= firstSize) // zeros for more would take time
	if err != nil {
		return err
	}
	seg.first, seg.end, seg.last, seg.begun = at.lsn+1, headerSize, at.lsn, r.o.Now()
	r.segs = append(r.segs, seg)
	r.tail = tail{number: number, lsn: at.lsn, off: headerSize, prev: at.prev, chain: at.chain}
	r.writer = writer{seg: seg, chain: chain{before: at.chain}, prev: at.prev}
	return r.name(seg.file, &header{number: number, first: seg.first, prev: at.prev, chain: at.chain})
}

// close closes the file that would have been written.
func (r *recovery) close() error {
	if n := len(r.segs); n > 0 && r.segs[n-1].file != nil {
		return r.segs[n-1].file.Close()
	}
	return nil
}

// log returns the log, not started; with an error r is still to be closed.
func (r *recovery) log() (*Log, error) {
	hints, err := r.openHint()
	if err != nil {
		return nil, err
	}
	last := r.segs[len(r.segs)-1]
	here := spot{lsn: r.tail.lsn, seg: last, off: r.tail.off}
	l := &Log{
		layout:    r.layout,
		o:         *r.o,
		manifest:  r.manifest,
		epoch:     uint32(r.manifest.Epochs[len(r.manifest.Epochs)-1].Number),
		tails:     r.idx.tails(),
		hints:     hints,
		sums:      summer{seed: r.seed},
		segs:      r.segs,
		idx:       r.idx,
		prev:      r.tail.prev,
		placed:    here,
		written:   here,
		synced:    here,
		durable:   here.lsn,
		room:      make(chan struct{}),
		toWrite:   make(chan struct{}, 1),
		toSync:    make(chan struct{}, 1),
		toPrepare: make(chan struct{}, 1),
		retry:     [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)},
		turn:      make(chan struct{}, 1),
		close:     make(chan struct{}),
		writer:    r.writer,
	}
	for _, seg := range r.segs[:len(r.segs)-1] {
		l.sealed += seg.end - headerSize
	}
	if l.named, err = l.namedSnapshots(); err == nil {
		err = l.removeUnnamed(l.named)
	}
	if err != nil {
		return nil, errors.Join(err, hints.Close())
	}
	l.writeHint(here)
	return l, nil
}

// namedSnapshots reads the newest checkpoint of each stage.
func (l *Log) namedSnapshots() (map[string]string, error) {
	named := map[string]string{}
	for stage, t := range l.tails {
		if t.Checkpoint == 0 {
			continue
		}
		check, err := l.checkpointAt(t.Checkpoint)
		if err != nil {
			return nil, fmt.Errorf("checkpoint of stage %s: %w", stage, err)
		}
		if check != nil {
			named[stage] = check.Snapshot
		}
	}
	return named, nil
}

func (l *Log) checkpointAt(lsn journal.LSN) (check *journal.Checkpoint, err error) {
	r := &reader{log: l, from: lsn, begins: true}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		if ok, err := r.advance(); err != nil || !ok {
			return nil, err
		}
		f, body, bad, err := r.scan.next()
		switch {
		case err != nil:
			return nil, err
		case bad != nil:
			return nil, r.scan.corrupt(bad)
		case f.lsn < lsn:
			continue
		}
		var t journal.Transition
		if err := journal.Parse(body, &t); err != nil {
			return nil, fmt.Errorf("LSN %d: %w", lsn, err)
		}
		return t.Check, nil
	}
}
