package segment

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
)

// ErrWithdrawn says that frames which a reader has already given, and which were
// not durable, were cut by the run's next owner.
var ErrWithdrawn = errors.New("segment: frames that were not durable have been withdrawn")

// A View reads a run without owning it, while a process that owns it writes on,
// dies and is followed by another. It takes no lock and changes nothing.
//
// It knows the run as of OpenView, and learns more when a reader comes to the end
// and in Refresh and Wait. Frames up to Durable stay for ever; those between
// Durable and Head were written, but a loss of power, or the next owner, may yet
// take them back. A frame that is not whole ends the view: it may be in the making.
//
// A View and its readers are used by one goroutine at a time.
type View struct {
	layout
	manifest journal.Manifest
	version  vfs.Identity // of the manifest's file
	told     hint

	segs    []*viewed // all; the last may be open
	idx     *index    // at head
	indexes indexCache
	sealed  int64 // bytes of frames in all segments but the last

	file   vfs.File // the last segment, if it is open
	scan   scanner
	track  tracker
	whole  cutPoint // behind the last whole transition: head
	known  int64    // offset in the last segment up to which frames say that all is durable
	ends   []mark   // ends of the transitions behind known
	proven journal.LSN
	damage error // why nothing behind head can be read

	watch *vfs.Watcher
}

// A viewed segment is what a View knows of one.
type viewed struct {
	number  uint64
	header  header
	last    journal.LSN // of the frames that can be read
	end     int64       // behind it
	sealed  bool
	trailer trailer
}

// OpenView opens the run in dir for reading. The error wraps [fs.ErrNotExist] if
// there is no run; it is a [CorruptError] or a [FormatError] if the manifest, or
// the header or footer of a segment, cannot be used.
func OpenView(fsys vfs.FS, dir string) (*View, error) {
	m, err := ReadManifest(fsys, dir)
	if err != nil {
		return nil, err
	}
	v := &View{layout: newLayout(fsys, dir, m.Run), manifest: m}
	if err := v.Refresh(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// Close ends the view and gives up what it holds open.
func (v *View) Close() error {
	var err error
	if v.file != nil {
		err = v.file.Close()
		v.file = nil
	}
	if v.watch != nil {
		err = errors.Join(err, v.watch.Close())
		v.watch = nil
	}
	return err
}

// Manifest returns what the run is.
func (v *View) Manifest() journal.Manifest { return v.manifest }

// Head returns the newest frame that can be read, transitions whole.
func (v *View) Head() journal.LSN { return v.whole.lsn }

// Durable returns the LSN up to which nothing can be taken back, as far as is
// known; with `sync: none`, what the owner says was written.
func (v *View) Durable() journal.LSN {
	d := max(v.proven, v.told.lsn, v.manifest.Epochs[len(v.manifest.Epochs)-1].First-1)
	return min(d, v.whole.lsn)
}

// An Owner is the process that has a run.
type Owner struct {
	PID  int    `json:"pid"`
	Host string `json:"host"`
}

// Owner tells whether a process owns the run at this moment, and which, if it is
// known already.
func (v *View) Owner() (Owner, bool, error) {
	note, held, err := v.fsys.LockHolder(lockFile(v.dir))
	if err != nil || !held {
		return Owner{}, false, err
	}
	var o Owner
	if err := json.Unmarshal([]byte(note), &o); err != nil {
		return Owner{}, true, nil //nolint:nilerr // the note is for people; it may not be written yet
	}
	return o, true, nil
}

// Tails says where each stage stands at the head.
func (v *View) Tails() map[string]journal.Tail { return v.idx.tails() }

// Stats returns sizes as far as they can be read.
func (v *View) Stats() journal.Stats {
	s := journal.Stats{Segments: len(v.segs), Bytes: v.sealed}
	if n := len(v.segs); n > 0 {
		s.Bytes += v.segs[n-1].end - headerSize
	}
	return s
}

// ReadSnapshot returns what was stored under name, as [Log.ReadSnapshot].
func (v *View) ReadSnapshot(name string) ([]byte, error) { return v.readSnapshot(name) }

// Find returns the LSN of a transition at or before the one that holds record seq
// of a journal.
func (v *View) Find(name string, seq uint64) (journal.LSN, error) {
	if len(v.segs) == 0 {
		return 1, nil
	}
	return findRecord(splitJournal(name), seq, v.segs[0].header.first, len(v.segs), func(i int) (*index, func(), error) {
		x, err := v.indexOf(i)
		return x, func() {}, err
	})
}

func (v *View) indexOf(i int) (*index, error) {
	if i == len(v.segs)-1 {
		return v.idx, nil
	}
	seg := v.segs[i]
	return v.indexes.get(seg.number, func() (*index, error) { return v.loadIndex(&seg.trailer) })
}

// Refresh looks at the run anew. Damage behind Durable is no error of it: it ends
// the view, and readers that come there report it.
func (v *View) Refresh() error {
	// In this order: what log/durable tells of is of an epoch that the manifest
	// lists.
	told, ok, err := v.readHint()
	if err != nil {
		return err
	}
	if err := v.refreshManifest(); err != nil {
		return err
	}
	if ok && told.lsn >= v.told.lsn {
		v.told = told
	}
	for {
		if err := v.advance(); err != nil {
			return err
		}
		more, err := v.following()
		if err != nil || !more {
			return err
		}
	}
}

// replaced tells whether the manifest is another than the one read last, and
// which.
func (v *View) replaced() (vfs.Identity, bool, error) {
	info, err := v.fsys.Stat(manifestFile(v.dir))
	if err != nil {
		return vfs.Identity{}, false, err
	}
	version, ok := vfs.IdentityOf(info)
	return version, !ok || version != v.version, nil
}

// refreshManifest reads the manifest if it was replaced. If a new owner cut
// frames that the view has, it forgets the last segment.
func (v *View) refreshManifest() error {
	version, replaced, err := v.replaced()
	if err != nil || !replaced {
		return err
	}
	m, err := ReadManifest(v.fsys, v.dir)
	if err != nil {
		return err
	}
	known := len(v.manifest.Epochs)
	v.manifest, v.version = m, version
	v.scan.epochs = m.Epochs
	n := len(v.segs)
	if n == 0 || v.file == nil || len(m.Epochs) <= known || m.Epochs[known].First >= v.scan.lsn {
		return nil // no frame was cut that the scanner is past, be its transition whole or not
	}
	err = v.file.Close()
	v.file = nil
	v.segs = v.segs[:n-1]
	if n > 1 {
		v.sealed -= v.segs[n-2].end - headerSize
	}
	return err
}

// following enters the next segment, if there is one and the last is sealed.
func (v *View) following() (bool, error) {
	number, first := uint64(1), false
	at := tail{prev: v.seed, chain: origin(v.run)}
	n := len(v.segs)
	switch {
	case n > 0 && !v.segs[n-1].sealed:
		return false, nil
	case n > 0:
		last := v.segs[n-1]
		number = last.number + 1
		at = tail{number: last.number, lsn: last.last, off: last.end, prev: last.trailer.prev, chain: last.trailer.chain}
	case v.manifest.Kept != nil:
		numbers, err := v.segments()
		if err != nil {
			return false, err
		}
		if len(numbers) > 0 {
			number, first = numbers[0], numbers[0] != 1
		}
	}
	_, err := v.fsys.Stat(v.segment(number + 1))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	last := err != nil
	found, err := v.inspect(number, first, last, &at)
	if errors.Is(err, fs.ErrNotExist) {
		if n == 0 && v.idx == nil {
			v.idx = newIndex()
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	seg := &viewed{number: number, header: found.header, last: at.lsn, end: headerSize}
	if n > 0 {
		v.sealed += v.segs[n-1].end - headerSize
	}
	if found.sealed {
		seg.sealed, seg.trailer, seg.last, seg.end = true, found.trailer, found.trailer.last, found.trailer.end
		v.segs = append(v.segs, seg)
		v.idx = found.index
		v.whole = cutPoint{off: seg.end, lsn: seg.last, prev: seg.trailer.prev}
		v.proven = seg.last
		return true, nil
	}
	return true, v.enter(seg)
}

// enter begins to scan an open segment.
func (v *View) enter(seg *viewed) error {
	f, err := v.fsys.OpenFile(v.segment(seg.number), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	v.idx = newIndex()
	if n := len(v.segs); n > 0 {
		x, err := v.loadIndex(&v.segs[n-1].trailer)
		if err != nil {
			return errors.Join(err, f.Close())
		}
		v.idx = x
	}
	v.idx.next()
	h := &seg.header
	v.segs = append(v.segs, seg)
	v.file = f
	v.scan = scanner{
		src: f, name: f.Name(), sums: summer{seed: v.seed}, epochs: v.manifest.Epochs,
		number: seg.number, off: headerSize, lsn: h.first, prev: h.prev, sure: true,
	}
	v.track = tracker{idx: v.idx, name: f.Name()}
	v.whole = cutPoint{off: headerSize, lsn: h.first - 1, prev: h.prev}
	v.known, v.ends, v.damage = headerSize, nil, nil
	v.proven = h.first - 1
	return nil
}

// advance reads on in the open segment, until the frames end or it is sealed.
func (v *View) advance() error {
	for sealed := false; v.file != nil && v.damage == nil; {
		bad, err := v.pass()
		if bad == nil || err != nil {
			return err
		}
		again, err := v.stop(bad, sealed)
		if !again || err != nil {
			return err
		}
		sealed = true
	}
	return nil
}

// pass reads the frames of the open segment, as the file is now, up to what is
// none. Without one there is damage.
func (v *View) pass() (*fault, error) {
	size, err := v.file.Size()
	if err != nil {
		return nil, err
	}
	v.scan.end = size
	v.scan.forget()
	for {
		at := v.scan.off
		f, body, bad, err := v.scan.next()
		if err != nil {
			v.damage = err
			return nil, nil //nolint:nilerr // readers report it when they come there
		}
		if bad != nil {
			return bad, nil
		}
		if err := v.track.add(&f, body, at); err != nil {
			v.damage = err
			return nil, nil //nolint:nilerr // as above
		}
		v.known = max(v.known, int64(f.synced))
		if !f.more() {
			v.whole = cutPoint{off: v.scan.off, lsn: f.lsn, prev: f.crc}
			v.ends = append(v.ends, mark{f.lsn, v.scan.off})
			seg := v.segs[len(v.segs)-1]
			seg.last, seg.end = f.lsn, v.scan.off
		}
		v.confirm()
	}
}

// confirm moves proven over the transitions that frames say are durable.
func (v *View) confirm() {
	i := 0
	for i < len(v.ends) && v.ends[i].off <= v.known {
		v.proven = v.ends[i].lsn
		i++
	}
	if v.ends = v.ends[i:]; len(v.ends) == 0 {
		v.ends = nil
	}
}

// stop says what it means that the frames of the open segment end here: it is
// sealed, its next frame is not written yet, or it is damaged. A footer proves the
// frames before it only to a pass that began after the footer was seen (sealed):
// for another, both may have been written in between, and it is to look again.
func (v *View) stop(bad *fault, sealed bool) (again bool, err error) {
	seg := v.segs[len(v.segs)-1]
	t, missing, err := v.readTrailer(v.file, &seg.header)
	if err != nil {
		return false, err
	}
	footed := missing == nil
	if footed && t.end == v.scan.off && t.last == seg.last {
		seg.sealed, seg.trailer = true, t
		v.proven = t.last
		err := v.file.Close()
		v.file = nil
		return false, err
	}
	e := v.manifest.Epochs[len(v.manifest.Epochs)-1]
	durable := v.told.proven && v.told.number == seg.number && v.told.off > v.scan.off ||
		footed && t.end > v.scan.off || v.scan.lsn < e.First || v.known > v.scan.off
	if !durable {
		return false, nil
	}
	if _, replaced, err := v.replaced(); err != nil || replaced {
		return false, err // a new owner changed it just now: the next look will see
	}
	if footed && !sealed {
		return true, nil
	}
	bad.expected += ", for it was durable"
	v.damage = v.scan.corrupt(bad)
	return false, nil
}
