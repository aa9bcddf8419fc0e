package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// Read returns a reader of everything up to the head; see [journal.Log.Read]. At
// the head it looks whether there is more. What it gives beyond Durable may be
// taken back; if it was, the reader ends with [ErrWithdrawn].
func (v *View) Read(from journal.LSN) (journal.Reader, error) { return v.read(from, v.Head) }

// ReadDurable returns a reader of everything up to Durable: what it gives is
// never taken back.
func (v *View) ReadDurable(from journal.LSN) (journal.Reader, error) { return v.read(from, v.Durable) }

func (v *View) read(from journal.LSN, limit func() journal.LSN) (journal.Reader, error) {
	first := journal.LSN(1)
	if len(v.segs) > 0 {
		first = v.segs[0].header.first
	}
	if from != 0 && from < first {
		return nil, fmt.Errorf("read from LSN %d: %w: the log begins at %d", from, journal.ErrTrimmed, first)
	}
	return &viewReader{view: v, from: max(from, first), limit: limit, begins: true}, nil
}

// Follow returns the frames from the first transition at or after from on, each
// once, in order, as they become durable, across the death of the run's owner,
// a cut and a resume. It ends when ctx is done, with its cause, or at an error.
func (v *View) Follow(ctx context.Context, from journal.LSN) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		r, err := v.ReadDurable(from)
		if err != nil {
			yield(journal.Entry{}, err)
			return
		}
		defer r.Close()
		seen := max(from, 1) - 1
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				err = v.Wait(ctx, max(seen, v.Durable()))
				if err == nil {
					continue
				}
			}
			if err != nil {
				yield(journal.Entry{}, err)
				return
			}
			seen = e.LSN
			if !yield(e, nil) {
				return
			}
		}
	}
}

// Wait returns when Durable is beyond after, or when ctx is done, with its cause.
// It is woken by the file system where it knows how, and looks every 200 ms
// elsewhere.
func (v *View) Wait(ctx context.Context, after journal.LSN) error {
	if v.watch == nil {
		v.watch = vfs.Watch(v.fsys, v.durable())
	}
	for {
		if err := v.Refresh(); err != nil {
			return err
		}
		if v.Durable() > after {
			return nil
		}
		if v.damage != nil {
			return v.damage
		}
		if err := v.watch.Wait(ctx); err != nil {
			return err
		}
	}
}

// A viewReader reads the segments of a View.
type viewReader struct {
	view   *View
	from   journal.LSN
	limit  func() journal.LSN
	file   vfs.File
	number uint64 // of its segment
	scan   scanner
	epoch  uint64 // of the frame before
	begins bool
	wanted bool
	done   bool
}

// Next returns the next frame. See [journal.Reader].
func (r *viewReader) Next() (journal.Entry, error) {
	for {
		if err := r.advance(); err != nil {
			return journal.Entry{}, err
		}
		f, body, bad, err := r.scan.next()
		if err != nil {
			return journal.Entry{}, err
		}
		if bad != nil {
			return journal.Entry{}, r.broken(bad)
		}
		if r.begins {
			r.wanted = f.lsn >= r.from
		}
		r.begins, r.epoch = !f.more(), uint64(f.epoch)
		if r.wanted {
			return journal.Entry{LSN: f.lsn, Epoch: uint64(f.epoch), More: f.more(), Body: body}, nil
		}
	}
}

// broken says what it means that a frame which the view has is not there: it was
// cut since, or it is damaged.
func (r *viewReader) broken(bad *fault) error {
	lsn := r.scan.lsn
	if err := r.view.Refresh(); err != nil {
		return err
	}
	if e := epochs(r.view.manifest.Epochs); lsn <= r.view.Durable() && (r.epoch == 0 || e.at(lsn-1) == r.epoch) {
		return r.scan.corrupt(bad)
	}
	return fmt.Errorf("LSN %d and after: %w: read again from there", lsn, ErrWithdrawn)
}

// advance makes the scanner ready to read a frame; io.EOF if there is none.
func (r *viewReader) advance() error {
	if r.done {
		return journal.ErrClosed
	}
	v := r.view
	next := max(r.scan.lsn, r.from)
	if next > r.limit() {
		if err := v.Refresh(); err != nil {
			return err
		}
		if next > r.limit() {
			if next > v.Head() && v.damage != nil {
				return v.damage
			}
			return io.EOF
		}
	}
	i := sort.Search(len(v.segs), func(i int) bool { return v.segs[i].last >= next })
	seg := v.segs[i]
	if r.file != nil && r.number == seg.number {
		if r.scan.end != seg.end {
			r.scan.end = seg.end
			r.scan.epochs = v.manifest.Epochs
			r.scan.forget()
		}
		return nil
	}
	return r.turn(i, next)
}

// turn opens segment i.
func (r *viewReader) turn(i int, next journal.LSN) error {
	v, seg := r.view, r.view.segs[i]
	f, err := v.fsys.Open(v.segment(seg.number))
	if err != nil {
		return err
	}
	scan := scanner{
		src: f, name: f.Name(), sums: summer{seed: v.seed}, epochs: v.manifest.Epochs,
		number: seg.number, off: headerSize, end: seg.end, lsn: seg.header.first, prev: seg.header.prev, sure: true, buf: r.scan.buf[:0],
	}
	if r.file == nil {
		x, err := v.indexOf(i)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if m, ok := x.before(next); ok && m.lsn > scan.lsn {
			scan.off, scan.lsn, scan.sure = m.off, m.lsn, false
		}
	} else {
		scan.prev = r.scan.prev
		if err := r.file.Close(); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	r.file, r.number, r.scan = f, seg.number, scan
	return nil
}

// Close ends the reader.
func (r *viewReader) Close() error {
	r.done = true
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}
