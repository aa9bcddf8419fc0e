package segment

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// scan finds the end of the open segment, cuts what follows it and makes what
// comes before durable. told is the offset that log/durable proves, zero if
// none.
func (r *recovery) scan(seg *segment, h *header, told int64) (tail, error) {
	f, err := r.fsys.OpenFile(r.segment(seg.number), os.O_RDWR, filePerm)
	if err != nil {
		return tail{}, err
	}
	seg.file = f
	size, err := f.Size()
	if err != nil {
		return tail{}, err
	}
	seg.limit = max(seg.limit, min(size, maxSegment))
	r.writer = writer{seg: seg, chain: chain{before: h.chain}, prev: h.prev}
	s := scanner{
		src: f, name: f.Name(), sums: summer{seed: r.seed}, epochs: r.manifest.Epochs,
		number: seg.number, off: headerSize, end: size, lsn: h.first, prev: h.prev, sure: true,
	}
	known := max(told, headerSize)
	tr := tracker{idx: r.idx, name: f.Name()}
	whole := cutPoint{off: headerSize, lsn: h.first - 1, prev: h.prev} // behind the last whole transition
	var before *chain                                                  // its chain, if a transition is unfinished
	var bad *fault
	for {
		at := s.off
		var fr frame
		var body []byte
		if fr, body, bad, err = s.next(); err != nil {
			return tail{}, err
		}
		if bad != nil {
			break
		}
		known = max(known, int64(fr.synced))
		if fr.more() && before == nil {
			dup, err := r.writer.chain.clone()
			if err != nil {
				return tail{}, err
			}
			before = &dup
		}
		if err := tr.add(&fr, body, at); err != nil {
			return tail{}, err
		}
		r.writer.chain.add(s.raw)
		if !fr.more() {
			whole, before = cutPoint{off: s.off, lsn: fr.lsn, prev: fr.crc}, nil
		}
	}
	p := s.off
	newest := uint64(0) // epoch of what survived
	if err := s.survivors(p, func(fr frame, _ int64) { known, newest = max(known, int64(fr.synced)), max(newest, uint64(fr.epoch)) }); err != nil {
		return tail{}, err
	}
	if last := r.manifest.Epochs[len(r.manifest.Epochs)-1].Number; newest > last {
		return tail{}, &CorruptError{
			File: f.Name(), Offset: p, LSN: s.lsn,
			Expected: fmt.Sprintf("no epoch after %d, the last in the manifest", last),
			Found:    fmt.Sprintf("frames of epoch %d: the manifest is older than the log", newest),
		}
	}
	if whole.off < known {
		return tail{}, &CorruptError{
			File: f.Name(), Offset: p, LSN: s.lsn,
			Expected: fmt.Sprintf("%s, for everything below offset %d was durable", bad.expected, known), Found: bad.found,
		}
	}
	if before != nil {
		r.writer.chain = *before
	}
	r.writer.prev = whole.prev
	seg.end, seg.last, seg.begun = whole.off, whole.lsn, r.o.Now()
	if err := r.settle(f, known, whole, size, bad); err != nil {
		return tail{}, err
	}
	return tail{number: seg.number, lsn: whole.lsn, off: whole.off, prev: whole.prev, chain: r.writer.chain.sum()}, nil
}

// A cutPoint is where a log may be cut: behind a whole transition.
type cutPoint struct {
	off  int64
	lsn  journal.LSN
	prev uint32
}

// settle makes the open segment hold, durably, everything below the cut and zeros
// behind it.
func (r *recovery) settle(f vfs.File, known int64, cut cutPoint, size int64, bad *fault) error {
	end, err := lastNonZero(f, cut.off, size)
	if err != nil {
		return err
	}
	if end > cut.off {
		r.report.Segment, r.report.File, r.report.Offset, r.report.LSN = r.segs[len(r.segs)-1].number, f.Name(), cut.off, cut.lsn+1
		r.report.Reason = fmt.Sprintf("expected %s, found %s", bad.expected, bad.found)
		if r.report.Cut = end - cut.off; startsFooter(f, cut.off) {
			r.report.Cut = 0 // only the footer, which will be written anew
		}
	}
	r.report.Rewrote = cut.off - known
	if err := rewrite(f, known, cut.off); err != nil {
		return err
	}
	if err := zero(f, cut.off, end); err != nil {
		return err
	}
	return f.Sync()
}

func startsFooter(f io.ReaderAt, off int64) bool {
	b := make([]byte, len(indexMagic))
	n, _ := f.ReadAt(b, off)
	return string(b[:n]) == indexMagic
}

// rewrite writes [from, to) of f over itself: what is read may not be on the
// disk, and what is not written anew may never get there.
func rewrite(f vfs.File, from, to int64) error {
	chunk := make([]byte, min(max(to-from, 0), 1<<20))
	for from < to {
		n := min(int64(len(chunk)), to-from)
		if got, err := f.ReadAt(chunk[:n], from); int64(got) < n {
			return errors.Join(io.ErrUnexpectedEOF, err)
		}
		if _, err := f.WriteAt(chunk[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// A tracker enters the frames of a segment into an index, transition by
// transition, and checks that every stage and journal goes on where it was.
type tracker struct {
	idx     *index
	name    string // of the file
	t       journal.Transition
	pending []part // of a transition that is not whole yet
}

type part struct {
	lsn   journal.LSN
	off   int64
	check bool
	stage string
	spans []journal.Span
}

// add enters a frame that lies at off. After it t is what the frame says.
func (tr *tracker) add(f *frame, body []byte, off int64) error {
	corrupt := func(journal string, seq uint64, expected, found string) error {
		return &CorruptError{File: tr.name, Offset: off, LSN: f.lsn, Journal: journal, Sequence: seq, Expected: expected, Found: found}
	}
	if err := journal.Parse(body, &tr.t); err != nil {
		return corrupt("", 0, "the body of a frame", err.Error())
	}
	t := &tr.t
	number := uint64(1)
	if s := tr.idx.stages[t.Stage]; s != nil {
		number = s.number + 1
	}
	if n := len(tr.pending); n > 0 {
		if tr.pending[0].stage != t.Stage {
			return corrupt("", 0, "a further part of a transition of stage "+tr.pending[0].stage, "a frame of stage "+t.Stage)
		}
		number += uint64(n)
	}
	if t.Number != number {
		return corrupt("", 0, fmt.Sprintf("frame %d of stage %s", number, t.Stage), fmt.Sprintf("frame %d", t.Number))
	}
	p := part{lsn: f.lsn, off: off, check: f.check(), stage: t.Stage}
	for i := range t.Outputs {
		o := &t.Outputs[i]
		if o.Count == 0 {
			continue
		}
		span := journal.Span{Stage: t.Stage, Port: o.Port, First: o.First, Count: o.Count}
		var before []journal.Span
		for _, q := range tr.pending {
			before = append(before, q.spans...)
		}
		if err := tr.idx.follows(span, append(before, p.spans...)); err != nil {
			return corrupt(t.Stage+"."+o.Port, o.First, "records that go on where the journal ends", err.Error())
		}
		p.spans = append(p.spans, span)
	}
	tr.pending = append(tr.pending, p)
	if f.more() {
		return nil
	}
	for i, p := range tr.pending {
		tr.idx.add(p.lsn, p.off, i == 0, p.check, p.stage, p.spans)
	}
	tr.pending = tr.pending[:0]
	return nil
}
