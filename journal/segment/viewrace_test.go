package segment_test

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// afterRead is a file system on which something else happens just after a piece of
// a segment was read.
type afterRead struct {
	vfs.FS
	happen func()
}

func (a *afterRead) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := a.FS.OpenFile(name, flag, perm)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return f, err
	}
	return &afterReadFile{f, a}, nil
}

type afterReadFile struct {
	vfs.File
	fs *afterRead
}

func (f *afterReadFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	if do := f.fs.happen; do != nil {
		f.fs.happen = nil
		do()
	}
	return n, err
}

// Between a look at the frames and a look for the footer the owner writes both:
// that is no damage.
func TestViewWhileSegmentIsSealed(t *testing.T) {
	disk := vfs.NewMemory()
	l := create(t, disk, segment.Options{SegmentSize: 4 << 10})
	s := &stage{name: "orders"}
	put(t, l, s.next(t, 1, nil, "first")...)
	durable(t, l)
	fsys := &afterRead{FS: disk}
	v := view(t, fsys)
	segments := l.Stats().Segments
	fsys.happen = func() {
		for l.Stats().Segments == segments {
			put(t, l, s.next(t, 2, nil, strings.Repeat("x", 300))...)
		}
		durable(t, l)
	}
	if err := v.Refresh(); err != nil {
		t.Fatal(err)
	}
	if fsys.happen != nil {
		t.Fatal("the view read no frame")
	}
	r, err := v.Read(0)
	if err != nil {
		t.Fatal(err)
	}
	if lsns, _ := rest(t, r); journal.LSN(len(lsns)) != l.Head() {
		t.Errorf("read %d frames of %d", len(lsns), l.Head())
	}
	closeLog(t, l)
}

// A view that has seen a part of a transition goes on when the next owner cut it.
func TestViewOfPartThatIsCut(t *testing.T) {
	made, told := unsynced(t)
	whole := readFile(t, made, first)
	all := frames(whole)
	tested := 0
	for i := int(told); i < len(all); i++ {
		if all[i].whole {
			continue
		}
		disk := made.Kill()
		b := append([]byte(nil), whole...)
		clear(b[all[i].to:])
		writeFile(t, disk, first, b)
		v := view(t, disk)
		l, _ := open(t, disk, segment.Options{SegmentSize: 8 << 10})
		bodies := read(t, l, 0)
		s := &stage{name: "orders"}
		for _, body := range bodies {
			var tr journal.Transition
			if err := journal.Parse(bytes.Clone([]byte(body)), &tr); err != nil {
				t.Fatal(err)
			}
			o := tr.Outputs[0]
			s.number, s.seq = tr.Number, o.First+uint64(o.Count)-1
		}
		for range 5 {
			put(t, l, s.next(t, 1, nil, "of the next epoch")...)
		}
		durable(t, l)
		r, err := v.Read(0)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := rest(t, r); !slices.Equal(got, read(t, l, 0)) {
			t.Errorf("parts up to frame %d: the view reads %d frames of %d", i+1, len(got), l.Head())
		}
		closeLog(t, l)
		tested++
	}
	if tested < 4 {
		t.Errorf("only %d cases", tested)
	}
}
