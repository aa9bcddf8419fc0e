package segment_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/internal/vfs"
	"github.com/weirflow/weir/journal"
	"github.com/weirflow/weir/journal/segment"
)

// The tests of this file, and C12 and C13 in hardware_test.go, are the cases of "Why recovery is right" in
// docs/format.md.

const (
	first = dir + "/log/0000000001.seg"
	hint  = dir + "/log/durable"
)

// A place is where a frame lies in the one segment of a run.
type place struct {
	from, to int64
	whole    bool // it ends its transition
}

// frames lists the frames in the bytes of a segment.
func frames(b []byte) []place {
	var all []place
	for at := int64(512); string(b[at:at+4]) == "\xf7WF\x1e"; {
		end := at + 36 + int64(binary.LittleEndian.Uint32(b[at+12:]))
		all = append(all, place{at, end, b[at+9]&4 == 0})
		at = end
	}
	return all
}

// unsynced is a run that was killed: transitions of one to three frames, of which
// a few are durable. It returns the LSN that was.
func unsynced(t *testing.T) (disk *vfs.Memory, told journal.LSN) {
	t.Helper()
	disk = vfs.NewMemory()
	synctest.Test(t, func(t *testing.T) {
		p := begin(t, disk, segment.Options{SegmentSize: 8 << 10})
		s := &stage{name: "orders"}
		for i := range 12 {
			put(t, p.Log, s.next(t, 1+i%3, nil, fmt.Sprint("order ", i))...)
			if i == 4 {
				durable(t, p.Log)
				told = p.Durable()
			}
		}
		synctest.Wait() // all is written; no sync is due
		p.kill()
	})
	return disk, told
}

// recovers opens the log, checks that it ends at head, that it goes on, and that
// the next owner finds the same. It returns the report of the first.
func recovers(t *testing.T, disk *vfs.Memory, head journal.LSN) segment.Report {
	t.Helper()
	o := segment.Options{SegmentSize: 8 << 10}
	l, report, err := segment.Open(disk, dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if l.Head() != head || l.Durable() != head || report.Head != head {
		t.Fatalf("head %d, durable %d, reported %d; want %d", l.Head(), l.Durable(), report.Head, head)
	}
	if got := len(read(t, l, 0)); got != int(head) {
		t.Fatalf("read %d frames, want %d", got, head)
	}
	closeLog(t, l)
	l, again := open(t, disk, o)
	if again.Cut != 0 || l.Head() != head || len(read(t, l, 0)) != int(head) {
		t.Fatalf("the next owner: head %d, report %+v", l.Head(), again)
	}
	closeLog(t, l)
	return report
}

// stride is how far apart the bytes are that a test of each of them changes.
func stride() int {
	if testing.Short() {
		return 7
	}
	return 1
}

func TestC1TornTail(t *testing.T) {
	made, told := unsynced(t)
	whole := readFile(t, made, first)
	all := frames(whole)
	for _, shorten := range []bool{false, true} {
		for cut := all[told-1].to; cut <= all[len(all)-1].to; cut += int64(stride()) {
			disk := made.Kill()
			b := append([]byte(nil), whole...)
			if shorten {
				b = b[:cut]
			} else {
				clear(b[cut:])
			}
			writeFile(t, disk, first, b)
			head, end := journal.LSN(0), int64(512)
			for i, f := range all {
				if f.whole && f.to <= cut {
					head, end = journal.LSN(i+1), f.to
				}
			}
			// A frame may end in zeros, which are there when they are lost.
			if !shorten && int(head) < len(all) {
				for i := int(head); i < len(all) && strings.Trim(string(whole[min(cut, all[i].to):all[i].to]), "\x00") == ""; i++ {
					if all[i].whole {
						head, end = journal.LSN(i+1), all[i].to
					}
				}
			}
			report := recovers(t, disk, head)
			if cut == all[len(all)-1].to && report.Cut != 0 || report.Cut > max(0, cut-end) || report.Cut > 0 && (report.Offset != end || report.LSN != head+1 || report.File != first) {
				t.Fatalf("cut at %d: %+v; frames end at %d", cut, report, end)
			}
		}
	}
}

func TestC2LaterFrameSurvives(t *testing.T) {
	made, told := unsynced(t)
	whole := readFile(t, made, first)
	all := frames(whole)
	for i := int(told); i < len(all)-1; i++ {
		disk := made.Kill()
		b := append([]byte(nil), whole...)
		clear(b[all[i].from+8 : all[i].to])
		writeFile(t, disk, first, b)
		head := i
		for head > 0 && !all[head-1].whole {
			head--
		}
		report := recovers(t, disk, journal.LSN(head))
		if want := all[len(all)-1].to - all[head].from; report.Cut != want || report.Reason == "" {
			t.Errorf("frame %d torn: cut %d bytes (%s), want %d", i+1, report.Cut, report.Reason, want)
		}
	}
}

func TestC3ConfirmedDamage(t *testing.T) {
	made, told := unsynced(t)
	whole := readFile(t, made, first)
	all := frames(whole)
	for _, withHint := range []bool{true, false} {
		for off := 0; int64(off) < all[told-1].to; off += stride() {
			disk := made.Kill()
			if !withHint {
				if err := disk.Remove(hint); err != nil {
					t.Fatal(err)
				}
			}
			flip(t, disk, first, off, uint(off)%8)
			_, _, err := segment.Open(disk, dir, segment.Options{})
			var corrupt *segment.CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != first || corrupt.Offset > int64(off) {
				t.Fatalf("hint %v, byte %d flipped: %v", withHint, off, err)
			}
			flip(t, disk, first, off, uint(off)%8)
			recovers(t, disk, journal.LSN(len(all)))
		}
	}
	// The last synced frames, with nothing behind them and no hint, cannot be told
	// from a torn write.
	disk := made.Kill()
	b := append([]byte(nil), whole...)
	clear(b[all[told-1].to:])
	b[all[told-1].to-1] ^= 1
	writeFile(t, disk, first, b)
	if err := disk.Remove(hint); err != nil {
		t.Fatal(err)
	}
	head := told - 1
	for head > 0 && !all[head-1].whole {
		head--
	}
	recovers(t, disk, head)
}

func TestC4UnfinishedTransition(t *testing.T) {
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
		head := i
		for !all[head-1].whole {
			head--
		}
		if report := recovers(t, disk, journal.LSN(head)); report.Cut != all[i].to-all[head].from {
			t.Errorf("parts up to frame %d: cut %d bytes, want %d", i+1, report.Cut, all[i].to-all[head].from)
		}
		tested++
	}
	if tested < 4 {
		t.Errorf("only %d cases", tested)
	}
}

func TestC5Zeros(t *testing.T) {
	made, _ := unsynced(t)
	all := frames(readFile(t, made, first))
	if report := recovers(t, made, journal.LSN(len(all))); report.Cut != 0 || report.Reason != "" {
		t.Errorf("zeros behind the last frame: %+v", report)
	}
}

// What was cut comes back after each recovery, as if the zeros over it had never
// reached the disk: frames that were whole and valid in their time.
func TestC6CutFramesStayCut(t *testing.T) {
	disk, told := unsynced(t)
	whole := readFile(t, disk, first)
	all := frames(whole)
	b := append([]byte(nil), whole...)
	clear(b[all[told].to:]) // of the transition behind told only the first part is left
	writeFile(t, disk, first, b)
	o := segment.Options{SegmentSize: 8 << 10}
	for cut := range 3 {
		p := begin(t, disk, o)
		if p.Head() != told {
			t.Fatalf("cut %d: head %d, want %d", cut, p.Head(), told)
		}
		p.kill()
		writeFile(t, disk, first, whole)
		if v := view(t, disk); v.Head() != told {
			t.Fatalf("cut %d: a view sees %d frames, want %d", cut, v.Head(), told)
		}
	}
	// The next owner writes the same transition again. Behind it lie frames that
	// followed the old one.
	s := &stage{name: "orders"}
	for i := range 5 {
		s.next(t, 1+i%3, nil, fmt.Sprint("order ", i))
	}
	p := begin(t, disk, o)
	head := put(t, p.Log, s.next(t, 3, nil, "order 5")...)
	durable(t, p.Log)
	p.kill()
	now := readFile(t, disk, first)
	end := frames(now)[head-1].to
	if end != all[head-1].to {
		t.Fatalf("the transition written again ends at %d, the old one at %d", end, all[head-1].to)
	}
	copy(now[end:], whole[end:])
	writeFile(t, disk, first, now)
	if got := len(frames(now)); got != len(all) {
		t.Fatalf("%d frames, want the old ones behind the new", got)
	}
	recovers(t, disk, head)
}

// A recovery that is cut short at any operation is followed by another that finds
// the same.
func TestC7RecoveryIsCut(t *testing.T) {
	made, told := unsynced(t)
	all := frames(readFile(t, made, first))
	b := readFile(t, made, first)
	clear(b[all[told].to:])
	writeFile(t, made, first, b)
	for n := 1; ; n++ {
		disk := made.Kill()
		faults := vfs.NewFaults(disk, vfs.StopAt(n))
		l, _, err := segment.Open(faults, dir, segment.Options{SegmentSize: 8 << 10})
		if err == nil {
			_ = l.Close()
			if !faults.Stopped() {
				return
			}
		}
		recovers(t, disk.Kill(), told)
	}
}

// closed is a run of several segments that was closed.
func closed(t *testing.T) (disk *vfs.Memory, head journal.LSN, last string) {
	t.Helper()
	disk = sample(t, segment.Options{SegmentSize: 1 << 10}, true)
	f := check(t, disk)
	return disk, f.Head, fmt.Sprintf("%s/log/%010d.seg", dir, f.Segments)
}

func TestC8Footer(t *testing.T) {
	made, head, last := closed(t)
	whole := readFile(t, made, last)
	all := frames(whole)
	end := all[len(all)-1].to
	for i, torn := range []func(b []byte, at int64) []byte{
		func(b []byte, at int64) []byte { return b[:at] },
		func(b []byte, at int64) []byte { clear(b[at:]); return b },
		func(b []byte, at int64) []byte { clear(b[end : at+1]); return b }, // its end came first
	} {
		for at := end; at < int64(len(whole)); at++ {
			disk := made.Kill()
			writeFile(t, disk, last, torn(append([]byte(nil), whole...), at))
			// Nobody was told that it is there.
			if err := disk.Remove(dir + "/log/durable"); err != nil {
				t.Fatal(err)
			}
			if f := check(t, disk); len(f.Damage) > 0 || !f.Open || f.Head != head {
				t.Fatalf("footer torn at %d: %+v", at, f)
			}
			// A few bytes alone may also be those of a frame.
			if report := recovers(t, disk, head); report.Cut > 7 && i < 2 {
				t.Fatalf("footer torn at %d: %d bytes cut", at, report.Cut)
			}
		}
	}
	// With a successor it is damage.
	disk := made.Kill()
	name := dir + "/log/0000000001.seg"
	b := readFile(t, disk, name)
	writeFile(t, disk, name, b[:len(b)-1])
	var corrupt *segment.CorruptError
	if _, _, err := segment.Open(disk, dir, segment.Options{}); !errors.As(err, &corrupt) || corrupt.File != name {
		t.Errorf("Open = %v, want a CorruptError about %s", err, name)
	}
}

func TestC9NoSuccessor(t *testing.T) {
	disk, head, _ := closed(t)
	if report := recovers(t, disk, head); report.Cut != 0 {
		t.Errorf("%+v", report)
	}
}

func TestC10EmptySuccessor(t *testing.T) {
	disk, head, _ := closed(t)
	p := begin(t, disk, segment.Options{SegmentSize: 1 << 10})
	segments := p.Stats().Segments
	p.kill() // the successor has its name and no frame
	name := fmt.Sprintf("%s/log/%010d.seg", dir, segments)
	b := readFile(t, disk, name)
	damaged := disk.Kill()
	flip(t, damaged, name, 40, 1)
	var corrupt *segment.CorruptError
	if _, _, err := segment.Open(damaged, dir, segment.Options{}); !errors.As(err, &corrupt) || corrupt.File != name {
		t.Errorf("Open with a damaged header = %v", err)
	}
	// Whatever lies where its frames will be was never confirmed.
	copy(b[512:], "neither zeros nor a frame")
	disk = disk.Kill()
	writeFile(t, disk, name, b)
	if report := recovers(t, disk, head); report.Cut != 25 || report.Offset != 512 {
		t.Errorf("%+v", report)
	}
}

func TestC11ForeignFrames(t *testing.T) {
	made, _ := unsynced(t)
	whole := readFile(t, made, first)
	all := frames(whole)
	end := all[len(all)-1].to
	otherDisk := vfs.NewMemory()
	m := run
	m.Run = "01JZ0000000000000000000001"
	other, err := segment.Create(otherDisk, dir, m, segment.Options{SegmentSize: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{name: "orders"}
	for range 20 {
		put(t, other, s.next(t, 1, nil)...)
	}
	durable(t, other)
	closeLog(t, other)
	foreign := readFile(t, otherDisk, first)
	for name, tail := range map[string][]byte{
		"frames of this segment, elsewhere": whole[512:end],
		"the last frame once more":          whole[all[len(all)-1].from:end],
		"frames of another run":             foreign[frames(foreign)[0].from:],
		"a frame's magic":                   []byte("\xf7WF\x1e"),
		"a header that claims much":         append([]byte("\xf7WF\x1e"), []byte(strings.Repeat("\xff", 200))...),
	} {
		t.Run(name, func(t *testing.T) {
			disk := made.Kill()
			b := append([]byte(nil), whole...)
			n := copy(b[end:], tail)
			writeFile(t, disk, first, b)
			if report := recovers(t, disk, journal.LSN(len(all))); report.Cut == 0 || report.Cut > int64(n) {
				t.Errorf("%+v", report)
			}
		})
	}
}

func TestC14DurableHint(t *testing.T) {
	made, _ := unsynced(t)
	head := journal.LSN(len(frames(readFile(t, made, first))))
	told := readFile(t, made, hint)
	for off := range told {
		disk := made.Kill()
		flip(t, disk, hint, off, uint(off)%8)
		recovers(t, disk, head)
		disk = made.Kill()
		writeFile(t, disk, hint, told[:off])
		recovers(t, disk, head)
	}
	disk := made.Kill()
	if err := disk.Remove(hint); err != nil {
		t.Fatal(err)
	}
	recovers(t, disk, head)

	// With sync: none the hint may be on the disk and the frames not.
	disk = vfs.NewMemory()
	p := begin(t, disk, segment.Options{Sync: journal.Sync{Mode: journal.None}})
	s := &stage{name: "orders"}
	put(t, p.Log, s.next(t, 1, nil)...)
	durable(t, p.Log)
	closeLog(t, p.Log)
	b := readFile(t, disk, first)
	clear(b[512:])
	writeFile(t, disk, first, b)
	f := check(t, disk)
	if len(f.Damage) == 0 {
		t.Error("check says nothing of a closed segment without frames")
	}
	recovers(t, disk, 0)
}

func TestC15MissingSegment(t *testing.T) {
	made, _, last := closed(t)
	for _, name := range []string{dir + "/log/0000000001.seg", dir + "/log/0000000003.seg", last} {
		disk := made.Kill()
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
		var corrupt *segment.CorruptError
		if _, _, err := segment.Open(disk, dir, segment.Options{}); !errors.As(err, &corrupt) {
			t.Errorf("without %s: Open = %v, want a CorruptError", name, err)
		}
		if f := check(t, disk); len(f.Damage) == 0 {
			t.Errorf("without %s: check finds nothing", name)
		}
	}
	// The manifest knows as well.
	disk := made.Kill()
	p := begin(t, disk, segment.Options{})
	p.kill()
	for _, name := range files(t, disk, dir+"/log") {
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	var corrupt *segment.CorruptError
	if _, _, err := segment.Open(disk, dir, segment.Options{}); !errors.As(err, &corrupt) {
		t.Errorf("without any segment: Open = %v, want a CorruptError", err)
	}
}

func TestC16Creation(t *testing.T) {
	for n := 1; ; n++ {
		for _, power := range []bool{false, true} {
			disk := vfs.NewMemory()
			faults := vfs.NewFaults(disk, vfs.StopAt(n))
			l, err := segment.Create(faults, dir, run, segment.Options{})
			if err == nil {
				_ = l.Close()
				if !faults.Stopped() {
					if n < 10 {
						t.Errorf("creation has %d operations only", n)
					}
					return
				}
			}
			if disk = disk.Kill(); power {
				disk = disk.Crash(rand.New(rand.NewPCG(uint64(n), 1)))
			}
			p := begin(t, disk, segment.Options{})
			put(t, p.Log, (&stage{name: "orders"}).next(t, 1, nil)...)
			durable(t, p.Log)
			closeLog(t, p.Log)
			recovers(t, disk, 1)
		}
	}
}
