package segment_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// sample writes a run of several small segments with snapshots and checkpoints
// and closes it, if seal.
func sample(t testing.TB, o segment.Options, seal bool) *vfs.Memory {
	t.Helper()
	disk := vfs.NewMemory()
	p := begin(t, disk, o)
	a, b := &stage{name: "orders"}, &stage{name: "ship/eu"}
	for i := range 12 {
		put(t, p.Log, a.next(t, 1+i%3, nil, fmt.Sprint("order ", i), strings.Repeat("x", 40))...)
		if i%4 != 3 {
			continue
		}
		name := fmt.Sprintf("ship/eu-%d.snap", i)
		data := []byte(strings.Repeat(name, 5))
		if err := p.WriteSnapshot(name, data); err != nil {
			t.Fatalf("WriteSnapshot: %v", err)
		}
		put(t, p.Log, b.next(t, 1, &journal.Checkpoint{Snapshot: name, Sum: sha256.Sum256(data)}, fmt.Sprint("shipped ", i))...)
	}
	durable(t, p.Log)
	if seal {
		closeLog(t, p.Log)
	} else {
		p.kill()
	}
	return disk
}

// files lists the files below a directory.
func files(t testing.TB, fsys vfs.FS, at string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(at)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if name := filepath.Join(at, e.Name()); e.IsDir() {
			all = append(all, files(t, fsys, name)...)
		} else {
			all = append(all, name)
		}
	}
	return all
}

func readFile(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name, 1<<26)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
}

// flip inverts one bit of a file.
func flip(t testing.TB, fsys vfs.FS, name string, off int, bit uint) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, int64(off)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b, int64(off)); err != nil {
		t.Fatal(err)
	}
}

func check(t testing.TB, fsys vfs.FS) *segment.Findings {
	t.Helper()
	f, err := segment.Check(fsys, dir)
	if err != nil {
		t.Fatalf("Check: %v", err)
	}
	return f
}

func TestCheckClean(t *testing.T) {
	for _, seal := range []bool{true, false} {
		disk := sample(t, segment.Options{SegmentSize: 1 << 10}, seal)
		f := check(t, disk)
		if len(f.Damage) != 0 || f.Open == seal || f.Owned || f.Head != 27 || f.Frames != 27 || f.Transitions != 15 || seal && f.Snapshots != 1 || f.Segments < 3 {
			t.Errorf("sealed %v: %+v", seal, f)
		}
		if len(f.Journals) != 2 || f.Journals[0].Stage != "orders" || f.Journals[0].Records != 48 || f.Journals[1].Records != 3 {
			t.Errorf("journals %+v", f.Journals)
		}
		l, _ := open(t, disk, segment.Options{})
		if e := l.Manifest().Epochs[1]; e.Chain != f.Chain || e.First != f.Head+1 {
			t.Errorf("epoch %+v, want chain %s after %d", e, f.Chain, f.Head)
		}
		closeLog(t, l)
	}
}

// A flipped bit at every byte of every file of a closed run is found, and located
// in its file.
func TestEveryFlippedBitIsFound(t *testing.T) {
	disk := sample(t, segment.Options{SegmentSize: 1 << 10}, true)
	bits := 0
	for _, name := range files(t, disk, dir) {
		if base := filepath.Base(name); base == "LOCK" || base == "durable" {
			continue
		}
		for off := 0; off < len(readFile(t, disk, name)); off += stride() {
			bit := uint(off) % 8
			flip(t, disk, name, off, bit)
			bits++
			f := check(t, disk)
			if len(f.Damage) == 0 || f.Damage[0].File != name {
				t.Fatalf("%s, byte %d, bit %d: found %v", name, off, bit, f.Damage)
			}
			if d := f.Damage[0]; strings.HasSuffix(name, ".seg") && (d.Offset > int64(off) && d.Offset != 12 || !strings.Contains(d.Error(), name)) {
				t.Fatalf("%s, byte %d: located behind it: %v", name, off, d)
			}
			flip(t, disk, name, off, bit)
		}
	}
	if f := check(t, disk); len(f.Damage) != 0 {
		t.Errorf("afterwards: %v", f.Damage)
	}
	t.Logf("%d bits", bits)
}

// Whoever reads a damaged segment is told, and nobody changes it.
func TestDamageStopsReaders(t *testing.T) {
	clean := sample(t, segment.Options{SegmentSize: 1 << 10}, true)
	want := len(check(t, clean).Journals)
	if want == 0 {
		t.Fatal("nothing to read")
	}
	name := dir + "/log/0000000002.seg"
	size := len(readFile(t, clean, name))
	for off := 0; off < size; off += 3 * stride() {
		disk := clean.Kill()
		flip(t, disk, name, off, 3)
		was := readFile(t, disk, name)
		l, _, err := segment.Open(disk, dir, segment.Options{})
		if err == nil {
			var r journal.Reader
			if r, err = l.Read(0); err == nil {
				for err == nil {
					_, err = r.Next()
				}
			}
			closeLog(t, l)
		}
		if corrupt, ok := errors.AsType[*segment.CorruptError](err); !ok {
			// Only what a reader of everything does not need: the index.
			f := check(t, disk)
			if len(f.Damage) == 0 || !strings.Contains(f.Damage[0].Expected, "index") {
				t.Fatalf("byte %d: read to the end with %v; check says %v", off, err, f.Damage)
			}
		} else if corrupt.File != name {
			t.Fatalf("byte %d: %v", off, corrupt)
		}
		if !bytes.Equal(was, readFile(t, disk, name)) {
			t.Fatalf("byte %d: the damaged file was changed", off)
		}
	}
}

// Who is refused because of damage has closed what was opened, once.
func TestRefusedOwnerClosesOnce(t *testing.T) {
	clean := sample(t, segment.Options{SegmentSize: 1 << 10}, true)
	sizes := map[string]int{}
	for _, name := range files(t, clean, dir) {
		if strings.HasSuffix(name, ".seg") {
			sizes[name] = len(readFile(t, clean, name))
		}
	}
	refused := 0
	for name, size := range sizes {
		for off := 0; off < size; off += 10 {
			disk := clean.Kill()
			flip(t, disk, name, off, 3)
			l, _, err := segment.Open(disk, dir, segment.Options{})
			if err == nil {
				closeLog(t, l)
				continue
			}
			refused++
			if errors.Is(err, fs.ErrClosed) {
				t.Fatalf("%s, byte %d: %v", name, off, err)
			}
		}
	}
	if refused == 0 {
		t.Error("nobody was refused")
	}
}

// A manifest that is older than the log, as from a backup, makes nothing of what a
// later epoch wrote an unconfirmed tail: that epoch was on record before it wrote.
func TestManifestOlderThanTheLog(t *testing.T) {
	var disk *vfs.Memory
	synctest.Test(t, func(t *testing.T) {
		disk = vfs.NewMemory()
		p := begin(t, disk, segment.Options{})
		s := &stage{name: "orders"}
		put(t, p.Log, s.next(t, 1, nil, "of epoch 1")...)
		durable(t, p.Log)
		p.kill()
		old := readFile(t, disk, dir+"/manifest.json")
		disk = disk.Kill()
		l, _ := open(t, disk, segment.Options{})
		put(t, l, s.next(t, 1, nil, "of epoch 2")...)
		durable(t, l)
		killed := disk.Kill()
		_ = l.Close()
		disk = killed
		writeFile(t, disk, dir+"/manifest.json", old)
		if err := disk.Remove(dir + "/log/durable"); err != nil {
			t.Fatal(err)
		}
	})
	_, _, err := segment.Open(disk, dir, segment.Options{})
	var corrupt *segment.CorruptError
	if !errors.As(err, &corrupt) || !strings.Contains(err.Error(), "epoch") {
		t.Errorf("Open = %v, want to be told that the manifest is older than the log", err)
	}
}
